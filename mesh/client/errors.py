"""What a client of the mesh can run into.

Every error is a ClientError with the gRPC code and the server's message, so a caller needs one
`except` and can still tell a second vote (ALREADY_EXISTS) from a closed poll.
"""

from __future__ import annotations

import grpc

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

# A stream that ends with one of these would end so again.
FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DATA_LOSS,
    }
)


class ClientError(Exception):
    """Base: a gRPC code and a message that names the value and the bound."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class Refused(ClientError):
    """One event is refused; nothing else is disturbed.

    `maybe_stored` is True where a copy was sent on an earlier stream that ended without an
    answer: that copy may have been stored, and then it counts.
    """

    def __init__(self, code: grpc.StatusCode, message: str, *, maybe_stored: bool = False) -> None:
        super().__init__(code, message)
        self.maybe_stored = maybe_stored


class SessionLost(ClientError):
    """The session ended and cannot be resumed; what was sent and not acked may or may not be stored.

    The usual reason is an origin that is older than a day. Start a new Publisher.
    """
