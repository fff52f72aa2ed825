"""nats-py's client, with the percent-encoding of a URL's user and password undone: nats-py sends both as they
stand in the URL, so that a password with a `/`, `@` or `%` could not be given at all."""

from __future__ import annotations

from urllib.parse import ParseResult, unquote

from nats.aio.client import Client


class _Decoded(ParseResult):
    @property
    def username(self) -> str | None:
        return None if (found := super().username) is None else unquote(found)

    @property
    def password(self) -> str | None:
        return None if (found := super().password) is None else unquote(found)


class NatsClient(Client):
    def _setup_server_pool(self, connect_url: list[str]) -> None:
        super()._setup_server_pool(connect_url)
        for server in self._server_pool:
            server.uri = _Decoded(*server.uri)
