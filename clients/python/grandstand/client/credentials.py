"""Who a client says it is: a token, as the metadata of a call.

A token is a string, or what gives one: a callable that is asked afresh for every call and every stream, so
that a session outlives the tokens it was opened with. It is called on the event loop and must not block: keep
a token until it is near its end, and renew it elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from grandstand.client.tracing import trace_metadata

log = logging.getLogger(__name__)

Token = str | Callable[[], str]
"""A JWT, or what gives one. "" stands for none."""

Metadata = tuple[tuple[str, str], ...]


def token_of(token: Token | None) -> str:
    """The JWT to show now; "" for none. Raises what a callable raises."""
    if token is None:
        return ""
    return token() if callable(token) else token


class StreamToken:
    """The token that a stream shows, and its renewal when the server says that it expires."""

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self.jwt = ""
        """As given last; "" for none."""

    def ask(self) -> str:
        """The JWT for a stream that opens. Raises what a callable raises."""
        self.jwt = token_of(self._token)
        return self.jwt

    def is_renewed(self) -> bool:
        """Whether there is another token now, for the next stream; False if the callable raises."""
        try:
            return token_of(self._token) != self.jwt
        except Exception as error:
            log.warning("no fresh token: %r", error)
            return False


def metadata_of(jwt: str) -> Metadata:
    """Trace context of the running span, and `authorization` unless the JWT is ""."""
    authorization = (("authorization", f"Bearer {jwt}"),) if jwt else ()
    return (*trace_metadata(), *authorization)


def call_metadata(token: Token | None) -> Metadata:
    """Metadata for a call that is about to start: the trace context of the running span, and `authorization`
    if there is a token. Raises what a callable raises."""
    return metadata_of(token_of(token))
