"""What a client of the mesh can run into.

Every error is a ClientError with the gRPC code and a message, so a caller needs one `except` and can still
tell a second vote (ALREADY_EXISTS) from a closed poll. What each means for one event:

    Refused       not stored and not counted; with `maybe_stored`, an earlier copy may be
    Shed          not stored and not counted, because the mesh was under pressure; not to be sent again
    Dropped       never sent: it gave way in this client's own buffer
    BufferFull    not taken; nothing was sent
    SessionLost   may or may not be stored; the session cannot go on
"""

from __future__ import annotations

import grpc

from grandstand.client.attempts import FINAL_CODES, UNAUTHENTICATED

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

# A call that ends with one of these would end so again.
FINAL = frozenset(CODES[code] for code in (*FINAL_CODES, UNAUTHENTICATED))


class ClientError(Exception):
    """Base: a gRPC code and a message that names the value and the bound."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class Refused(ClientError):
    """One event is refused; nothing else is disturbed.

    `maybe_stored` is True where an earlier attempt may have been stored, and then counts: a copy was sent on
    a stream that ended without an answer, or ingest itself did not learn what became of it. ABORTED: a copy
    was sent under an origin that the mesh has replaced; the Publisher goes on under the new one.
    """

    def __init__(self, code: grpc.StatusCode, message: str, *, maybe_stored: bool = False) -> None:
        super().__init__(code, message)
        self.maybe_stored = maybe_stored


class Shed(ClientError):
    """A measure, reaction or presence was shed by the mesh, which was under pressure. Votes never are.

    `maybe_stored`: as of Refused.
    """

    def __init__(self, message: str, *, maybe_stored: bool = False) -> None:
        super().__init__(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        self.maybe_stored = maybe_stored


class Dropped(ClientError):
    """A measure, reaction or presence gave way to a newer event in a full buffer; it was never sent."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


class BufferFull(ClientError):
    """The event was not taken: the credit is used up and the buffer is full."""

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


class SessionLost(ClientError):
    """The session ended and cannot be resumed; what was sent and not acked may or may not be stored.

    The usual reason: a token that is not good. Start a new Publisher.
    """
