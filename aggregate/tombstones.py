"""What is remembered of games that are forgotten: that there was one, its generation, and when it ended.

A new game of the same id gets a greater generation, whatever the clocks say; and who ends a game again is
answered as the first time. No service watches the bucket: it is asked about one game at a time.

Bounds: a tombstone lasts TOMBSTONES_AGE_S, and all of them take TOMBSTONES_BYTES_MAX. On overflow the oldest
goes. Then the mesh's clock alone makes the next generation greater, as it does nearly always.
"""

from __future__ import annotations

import contextlib

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError
from nats.js import api as js_api
from nats.js.errors import NoStreamResponseError, NotFoundError

from aggregate import bounds
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.wire.errors import Unavailable
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus


class Tombstones:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def get(self, game_id: str) -> Game | None:
        """Raises Unavailable."""
        try:
            found = await self._bus.js.get_last_msg(subjects.TOMBSTONES_STREAM, subjects.tombstone(game_id))
        except NotFoundError:
            return None
        except (NatsError, TimeoutError) as error:
            raise _cannot("read", error) from None
        with contextlib.suppress(DecodeError):
            return Game.FromString(found.data or b"")
        return None

    async def put(self, game: Game) -> None:
        """Raises Unavailable."""
        stone = Game(game_id=game.game_id, generation=game.generation, stage=game.stage)
        stone.ended_at.CopyFrom(game.ended_at)
        subject, value = subjects.tombstone(game.game_id), stone.SerializeToString()
        try:
            try:
                await self._bus.js.publish(subject, value)
            except NoStreamResponseError:
                await self._bus.js.add_stream(self._stream())
                await self._bus.js.publish(subject, value)
        except (NatsError, TimeoutError) as error:
            raise _cannot("written", error) from None

    def _stream(self) -> js_api.StreamConfig:
        return js_api.StreamConfig(
            name=subjects.TOMBSTONES_STREAM,
            subjects=[subjects.tombstone("*")],
            storage=js_api.StorageType.FILE,
            discard=js_api.DiscardPolicy.OLD,
            max_age=bounds.TOMBSTONES_AGE_S,
            max_bytes=bounds.TOMBSTONES_BYTES_MAX,
            max_msgs_per_subject=1,
            num_replicas=self._bus.replicas,
        )


def _cannot(what: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"what is remembered of forgotten games cannot be {what} now ({type(error).__name__}); try again"
    )
