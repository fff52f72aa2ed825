"""How connections, streams and calls were ended by us, counted. Pure.

A `gRPC call` counts only if this engine ended it, or refused it on the service's word (Accept raised): what a
handler ends is the service's to count.

Bound: keys are three enumerations, so there are some hundreds at most, whatever peers do.
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


class Ending(NamedTuple):
    scope: Scope
    code: str
    """RFC 9113's name, gRPC's for a call; "" where nothing could be said."""
    cause: Cause

    def __str__(self) -> str:
        return " ".join(filter(None, self))


class Endings:
    def __init__(self) -> None:
        self._counts: dict[Ending, int] = {}
        self._told: dict[Ending, int] = {}

    def connection(self, code: int, cause: Cause) -> None:
        """By GOAWAY."""
        self._count(Scope.CONNECTION, _frame_code(code), cause)

    def unspoken(self, cause: Cause) -> None:
        """A connection that ended before HTTP/2 was spoken."""
        self._count(Scope.CONNECTION, "", cause)

    def stream(self, code: int, cause: Cause) -> None:
        """By RST_STREAM."""
        self._count(Scope.STREAM, _frame_code(code), cause)

    def call(self, status: int, cause: Cause) -> None:
        """By a gRPC status."""
        name = STATUS_CODES[status] if 0 <= status < len(STATUS_CODES) else STATUS_CODES[2]
        self._count(Scope.CALL, name, cause)

    def items(self) -> ItemsView[Ending, int]:
        """Since the start."""
        return self._counts.items()

    def of(self, cause: Cause) -> int:
        """However it was said."""
        return sum(count for ending, count in self._counts.items() if ending.cause is cause)

    def news(self) -> str:
        """What came since the last time it was asked, such as "connection ENHANCE_YOUR_CALM ping-flood: 3 (of
        5)"; "" if nothing did."""
        told, self._told = self._told, dict(self._counts)
        return ", ".join(
            f"{ending}: {count - told.get(ending, 0)} (of {count})"
            for ending, count in sorted(self._counts.items())
            if count > told.get(ending, 0)
        )

    def _count(self, scope: Scope, code: str, cause: Cause) -> None:
        ending = Ending(scope, code, cause)
        self._counts[ending] = self._counts.get(ending, 0) + 1


def _frame_code(code: int) -> str:
    return FRAME_CODES[code] if code < len(FRAME_CODES) else FRAME_CODES[2]
