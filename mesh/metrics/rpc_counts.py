"""RED for each RPC of a process: its rate, its errors by code, its duration. Pure.

Calls of our own engine (mesh.http2.calls) and of grpc.aio (mesh.metrics.grpc_calls) are counted alike. A
stream's duration is its life. Only methods that are served are counted by name: what a client invents is
UNIMPLEMENTED, and counted by mesh.http2.termination_counts.

Bound: a series for each method, and for each pair of a method and a code that it ended with.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.http2.errors import STATUS_CODES
from mesh.metrics.histogram import Histogram

METHODS_MAX = 256
_OTHERS = "other"
_UNKNOWN = 2


class MethodCalls:
    __slots__ = ("ended", "opened", "seconds")

    def __init__(self) -> None:
        self.opened = 0
        self.ended: dict[int, int] = {}
        """By gRPC status code."""
        self.seconds = Histogram()

    def end(self, code: int, seconds: float, traceparent: str) -> None:
        """One of those that were opened."""
        self.ended[code] = self.ended.get(code, 0) + 1
        self.seconds.observe(seconds, traceparent)


class RpcCounts:
    """Of one listener. A path is like "/grandstand.ingest.v1.IngestService/Publish"."""

    def __init__(self) -> None:
        self.is_traced = False
        """Durations come with their traces."""
        self._methods: dict[str, MethodCalls] = {}

    def open(self, path: str) -> MethodCalls:
        """Counts one that opens; its `end` is to be called."""
        found = self._methods.get(path)
        if found is None:
            if len(self._methods) >= METHODS_MAX:
                path = _OTHERS
            found = self._methods.setdefault(path, MethodCalls())
        found.opened += 1
        return found

    # For scrapes: by method, and by method and code.

    def opened_by_method(self) -> Mapping[str, int]:
        return {path.lstrip("/"): calls.opened for path, calls in self._methods.items()}

    def ended_by_code(self) -> Mapping[tuple[str, str], int]:
        return {
            (path.lstrip("/"), _name(code)): count
            for path, calls in self._methods.items()
            for code, count in calls.ended.items()
        }

    def seconds_by_method(self) -> Mapping[str, Histogram]:
        return {path.lstrip("/"): calls.seconds for path, calls in self._methods.items()}


def _name(code: int) -> str:
    return STATUS_CODES[code if 0 <= code < len(STATUS_CODES) else _UNKNOWN]
