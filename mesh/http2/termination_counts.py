"""Counts of connections, streams and calls that this server ended, by error code and cause. Pure.

A call is counted only if the HTTP/2 engine ended it, or refused it because the service's Accept raised. What
a handler ends is counted by the service.

Bound: a key consists of three enumerations, so there are some hundreds at most, whatever peers do.
"""

from __future__ import annotations

from collections.abc import ItemsView
from enum import StrEnum
from typing import NamedTuple

from mesh.http2.errors import FRAME_CODES, STATUS_CODES, Cause


class Scope(StrEnum):
    CONNECTION = "connection"
    STREAM = "stream"
    CALL = "call"


class Termination(NamedTuple):
    scope: Scope
    code: str
    """RFC 9113's name of the error code; gRPC's name of the status for a call; "" if neither was sent."""
    cause: Cause

    def __str__(self) -> str:
        return " ".join(filter(None, self))


class TerminationCounts:
    def __init__(self) -> None:
        self._counts: dict[Termination, int] = {}
        self._reported: dict[Termination, int] = {}

    def connection(self, code: int, cause: Cause) -> None:
        """Ended by GOAWAY."""
        self._count(Scope.CONNECTION, _frame_code(code), cause)

    def before_http2(self, cause: Cause) -> None:
        """A connection closed before its HTTP/2 preface, such as in the TLS handshake."""
        self._count(Scope.CONNECTION, "", cause)

    def stream(self, code: int, cause: Cause) -> None:
        """Ended by RST_STREAM."""
        self._count(Scope.STREAM, _frame_code(code), cause)

    def call(self, status: int, cause: Cause) -> None:
        """Ended with a gRPC status."""
        name = STATUS_CODES[status] if 0 <= status < len(STATUS_CODES) else STATUS_CODES[2]
        self._count(Scope.CALL, name, cause)

    def items(self) -> ItemsView[Termination, int]:
        """Since the start."""
        return self._counts.items()

    def of(self, cause: Cause) -> int:
        """All terminations with that cause, whatever their code."""
        return sum(count for termination, count in self._counts.items() if termination.cause is cause)

    def news(self) -> str:
        """The counts that have grown since the last call of this, such as "connection ENHANCE_YOUR_CALM
        ping-flood: 3 (of 5)"; "" if none has."""
        reported, self._reported = self._reported, dict(self._counts)
        return ", ".join(
            f"{termination}: {count - reported.get(termination, 0)} (of {count})"
            for termination, count in sorted(self._counts.items())
            if count > reported.get(termination, 0)
        )

    def _count(self, scope: Scope, code: str, cause: Cause) -> None:
        termination = Termination(scope, code, cause)
        self._counts[termination] = self._counts.get(termination, 0) + 1


def _frame_code(code: int) -> str:
    return FRAME_CODES[code] if code < len(FRAME_CODES) else FRAME_CODES[2]
