"""What ends a connection, a stream or a call; each carries its wire code, and a cause to count it by. Pure.

`ConnectionBroken` ends the connection with GOAWAY, `StreamBroken` one stream with RST_STREAM, and
`CallFailed` one call with a gRPC status, which its client reads.
"""

from __future__ import annotations

from enum import StrEnum

FRAME_CODES = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)
"""By number (RFC 9113, section 7)."""

STATUS_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC's, by number."""


class Cause(StrEnum):
    """Why, in a word or two for who reads a log."""

    # Of a connection, before HTTP/2.
    NO_ROOM = "no-room"
    """Also of a stream, where all calls are open that may be."""
    HANDSHAKE = "tls-handshake"
    ALPN = "no-alpn"
    # Of a connection or a stream.
    MALFORMED = "malformed"
    """Frames or headers that RFC 9113 does not allow."""
    CLOSED = "closed-stream"
    WINDOW = "window"
    """More DATA than a window allows, or a window beyond 2^31 - 1."""
    PREFACE = "preface"
    HEADER_BLOCK = "header-block"
    HEADER_SIZE = "header-size"
    CONTINUATION_FLOOD = "continuation-flood"
    SETTINGS_FLOOD = "settings-flood"
    PING_FLOOD = "ping-flood"
    EMPTY_FLOOD = "empty-frame-flood"
    IDLE_FLOOD = "idle-frame-flood"
    """PRIORITY, GOAWAY, and what is unknown."""
    WINDOW_FLOOD = "window-update-flood"
    LATE_FLOOD = "late-frame-flood"
    """HEADERS and RST_STREAM on closed streams."""
    RAPID_RESET = "rapid-reset"
    SILENCE = "silence"
    IDLE = "idle"
    # Of a call.
    SERVICE = "service"
    """The service refused it."""
    BROKE = "handler-failed"
    DEADLINE = "deadline"
    REQUEST = "no-request"
    """It did not come, or did not end."""
    LEAVING = "leaving"
    METHOD = "unknown-method"
    NOT_GRPC = "not-grpc"
    ENCODING = "encoding"
    TIMEOUT = "grpc-timeout"
    MESSAGE = "message"
    """Its frame, its compression, or how it ended."""
    MESSAGE_SIZE = "message-size"
    UNREAD = "unread"
    """The client did not read."""
    UNTAKEN = "untaken"
    """A connection's calls sent more than their handlers took."""


_OF_CODES = {3: Cause.WINDOW, 5: Cause.CLOSED, 9: Cause.HEADER_BLOCK}


class ConnectionBroken(Exception):
    """`code`: an HTTP/2 error code (RFC 9113, section 7)."""

    def __init__(self, code: int, text: str, cause: Cause | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.cause = cause or _OF_CODES.get(code, Cause.MALFORMED)


class StreamBroken(Exception):
    """`code`: an HTTP/2 error code."""

    def __init__(self, code: int, text: str, cause: Cause | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.cause = cause or _OF_CODES.get(code, Cause.MALFORMED)


class CallFailed(Exception):
    """`code`: a gRPC status code; `http_status` other than 200 if what came was no gRPC at all."""

    def __init__(self, code: int, text: str, cause: Cause, http_status: int = 200) -> None:
        super().__init__(text)
        self.code = code
        self.cause = cause
        self.http_status = http_status


CANCELLED = 1
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
