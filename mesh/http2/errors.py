"""What ends a connection, a stream or a call; each carries its wire code. Pure.

`ConnectionBroken` ends the connection with GOAWAY, `StreamBroken` one stream with RST_STREAM, and
`CallFailed` one call with a gRPC status, which its client reads.
"""

from __future__ import annotations


class ConnectionBroken(Exception):
    """`code`: an HTTP/2 error code (RFC 9113, section 7)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class StreamBroken(Exception):
    """`code`: an HTTP/2 error code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class CallFailed(Exception):
    """`code`: a gRPC status code; `http_status` other than 200 if what came was no gRPC at all."""

    def __init__(self, code: int, text: str, http_status: int = 200) -> None:
        super().__init__(text)
        self.code = code
        self.http_status = http_status


DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
