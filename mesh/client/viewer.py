"""A viewer: watches topics of a game through broken streams, and never goes back in time (I5).

Built on GatewayService.Subscribe. Iterate it: `async for message in viewer`. Each new stream is
asked for with the cursors of what was seen, so its snapshot is as new or newer. One task may
iterate a viewer; `screen` and `states` may be read by any other task of the loop.

Bound (I7): none here holds more than one message; a slow reader is pushed back on by HTTP/2 flow
control, and the gateway conflates what it misses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from random import Random
from typing import Any

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from mesh.client.attempts import OK, Attempts, Over
from mesh.client.backoff import Backoff
from mesh.client.credentials import Token, call_metadata
from mesh.client.errors import CODES, ClientError
from mesh.client.screen import Screen

# The server says something at least every 10 s.
SILENCE_MAX_S = 25.0


class Viewer:
    """One subscription. Raises ClientError only for what a new stream would not cure."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        game_id: str,
        *,
        topics: Sequence[str] = (),
        positions: Iterable[Position] = (),
        max_updates_per_s: int = 0,
        token: Token | None = None,
        backoff: Backoff | None = None,
        random: Random | None = None,
    ) -> None:
        self.screen = Screen()
        self.resumed = 0
        self._stub: Any = GatewayServiceStub(channel)
        self._request = SubscribeRequest(
            game_id=game_id, topics=topics, positions=positions, max_updates_per_s=max_updates_per_s
        )
        self._token = token
        self._attempts = Attempts(backoff or Backoff(), (random or Random()).random)

    @property
    def states(self) -> dict[str, TopicState]:
        """The newest state of every topic, by its name."""
        return self.screen.states

    def request(self) -> SubscribeRequest:
        """What the next stream is asked for: the topics, and the cursors of what was seen."""
        request = SubscribeRequest()
        request.CopyFrom(self._request)
        request.cursors.extend(self.screen.cursors())
        return request

    async def __aiter__(self) -> AsyncIterator[SubscribeResponse]:
        """Every message of every stream, after it was merged into `states`."""
        while True:
            call = self._stub.Subscribe(self.request(), metadata=call_metadata(self._token))
            useful = False
            code, why = OK, ""
            try:
                while (message := await _next(call)) is not grpc.aio.EOF:
                    if not useful:
                        self.resumed += bool(self.screen.states)
                        self._attempts.welcomed()
                        useful = True
                    if message.WhichOneof("message") == "snapshot":
                        # What was asked for is now in the cursors.
                        del self._request.positions[:]
                    self.screen.apply(message)
                    yield message
            except grpc.aio.AioRpcError as error:
                code, why = error.code().value[0], error.details() or "no details"
            except TimeoutError:
                pass
            finally:
                call.cancel()
            then = self._attempts.ended(code, why, useful=useful)
            if isinstance(then, Over):
                raise ClientError(CODES[then.code], then.message)
            await asyncio.sleep(then.delay_s)


async def _next(call: Any) -> Any:
    async with asyncio.timeout(SILENCE_MAX_S):
        return await call.read()
