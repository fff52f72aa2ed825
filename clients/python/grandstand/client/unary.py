"""Unary calls of a client, tried again while the mesh is away.

Every call of this package may be repeated, so one that ends UNAVAILABLE or too late is tried again with
jittered backoff, for at most `patience_s`. What remains is a ClientError with the server's code and message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import grpc.aio

from grandstand.client.backoff import Backoff
from grandstand.client.credentials import Metadata, Token, call_metadata
from grandstand.client.errors import ClientError

# Longer than the 5 s after which the server itself answers DEADLINE_EXCEEDED.
ATTEMPT_S = 6.0

_AGAIN = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)


class Retried:
    """Calls with one token; each waits at most `patience_s` for a mesh that is away."""

    def __init__(self, token: Token | None, patience_s: float) -> None:
        self._token = token
        self._patience_s = patience_s
        self._backoff = Backoff()
        self._random = Random()

    async def call(self, method: Any, request: Any, patience_s: float = 0.0) -> Any:
        """Raises ClientError."""
        return await self.attempt(
            lambda metadata: method(request, timeout=ATTEMPT_S, metadata=metadata), patience_s
        )

    async def attempt(self, begin: Callable[[Metadata], Awaitable[Any]], patience_s: float = 0.0) -> Any:
        """What `begin` makes for each attempt, given the metadata to send. Raises ClientError."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + max(patience_s, self._patience_s)
        attempt = 0
        while True:
            try:
                return await begin(call_metadata(self._token))
            except grpc.aio.AioRpcError as error:
                delay_s = self._backoff.delay_s(attempt, self._random)
                if error.code() not in _AGAIN or loop.time() + delay_s > give_up_at:
                    raise ClientError(error.code(), error.details() or "no details") from None
            attempt += 1
            await asyncio.sleep(delay_s)
