"""Domain errors, and the one table that says which gRPC code each has.

A message is read by a person: it names the value, the bound and the way out. Values that
came from outside are quoted with `shown`, which bounds their length and escapes what does
not print, so that nobody writes into our logs.
"""

from __future__ import annotations

VALUE_SHOWN_MAX = 80


def shown(value: str) -> str:
    """`value` quoted for a message: escaped, and cut at 80 characters."""
    if len(value) > VALUE_SHOWN_MAX:
        return f"{value[:VALUE_SHOWN_MAX]!r}… ({len(value)} characters)"
    return repr(value)


class GrandstandError(Exception):
    """Base of all errors that cross a service boundary; `code` is a google.rpc.Code number.

    `retry_after_s`: when to come again, if that is known; it travels as a google.rpc.RetryInfo.
    """

    code = 13  # INTERNAL
    retryable = False

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def message(self) -> str:
        return str(self)


class Invalid(GrandstandError):
    """A value is outside its bounds. INVALID_ARGUMENT."""

    code = 3


class TooLate(GrandstandError):
    """A deadline passed before the condition held. DEADLINE_EXCEEDED."""

    code = 4
    retryable = True


class Unknown(GrandstandError):
    """No such game, poll, board, option. NOT_FOUND."""

    code = 5


class AlreadyDone(GrandstandError):
    """A second vote, a second definition. ALREADY_EXISTS."""

    code = 6


class Forbidden(GrandstandError):
    """The token is good and does not allow this: another's event, another game. PERMISSION_DENIED."""

    code = 7


class Unauthenticated(GrandstandError):
    """No token, or one that is not good (any more). UNAUTHENTICATED."""

    code = 16


class Exhausted(GrandstandError):
    """A bound on capacity is reached; wait for what the message says. RESOURCE_EXHAUSTED."""

    code = 8
    retryable = True


class NotNow(GrandstandError):
    """The thing is in a stage that does not allow this. FAILED_PRECONDITION."""

    code = 9


class OriginRefused(NotNow):
    """The event's origin is not taken (any more); the next ones need another. A copy that was sent before may
    be stored. FAILED_PRECONDITION."""


class Unavailable(GrandstandError):
    """A part of the mesh is away; nothing was acked, retry. UNAVAILABLE."""

    code = 14
    retryable = True


BY_CODE: dict[int, type[GrandstandError]] = {
    kind.code: kind
    for kind in (
        Invalid,
        TooLate,
        Unknown,
        AlreadyDone,
        Forbidden,
        Unauthenticated,
        Exhausted,
        NotNow,
        Unavailable,
    )
}


def from_code(code: int, message: str) -> GrandstandError:
    """The domain error for a code that came over the wire; an unlisted code becomes GrandstandError."""
    return BY_CODE.get(code, GrandstandError)(message)
