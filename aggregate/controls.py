"""Puts definitions into the event stream, where the folds find them (I4).

A control goes into every partition of its game, under a message id that says what it is:
whoever repeats a step, another instance or the same one after a crash, stores nothing twice
within the stream's dedupe window, and what is stored again later folds as nothing new.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Block, Control
from mesh import ids, subjects, telemetry
from mesh.bus import Bus
from mesh.errors import TooLate, Unavailable
from mesh.pipeline import PublishPipeline
from mesh.store import RedisError, ResultStore

_FOLDED_S = 2.0


class Controls:
    def __init__(self, bus: Bus, pipeline: PublishPipeline, results: ResultStore) -> None:
        self._bus = bus
        self._pipeline = pipeline
        self._results = results

    async def publish(self, game: Game, control: Control, name: str) -> list[Position]:
        """Where it is stored, in each partition of the game. `name` tells it from every other control.

        Raises Unavailable, Exhausted; some partitions may have it then, so it is to be repeated.
        """
        block = Block(control=control)
        block.stamped_at.FromNanoseconds(time.time_ns())
        payload = block.SerializeToString()
        partitions = ids.partitions_of(game.game_id, game.spread)
        sequences = await asyncio.gather(
            *(
                self._pipeline.publish(
                    subjects.events(partition), payload, f"control-{name}-{partition}", telemetry.headers()
                )
                for partition in partitions
            )
        )
        return [Position(partition=p, sequence=s) for p, s in zip(partitions, sequences, strict=True)]

    async def until_folded(self, game: Game, positions: list[Position]) -> None:
        """So that who is answered finds the topic in the next snapshot. A fold that lags is not waited
        for beyond _FOLDED_S: the topic is open all the same, and shows when the fold is there."""
        with contextlib.suppress(TooLate, Unavailable, RedisError):
            await self._results.read_at_least(game.game_id, game.spread, positions, _FOLDED_S)

    async def newest(self, game: Game) -> list[Position]:
        """The last block of each partition of the game: whatever was defined before is at or before it.
        Raises Unavailable."""
        partitions = ids.partitions_of(game.game_id, game.spread)
        found = await asyncio.gather(*(self._last(partition) for partition in partitions))
        return [Position(partition=p, sequence=s) for p, s in zip(partitions, found, strict=True) if s]

    async def _last(self, partition: int) -> int:
        try:
            last = await self._bus.js.get_last_msg(subjects.EVENTS_STREAM, subjects.events(partition))
        except NotFoundError:
            return 0
        except (NatsError, TimeoutError) as error:
            raise Unavailable(
                f"the event log cannot be asked now ({type(error).__name__}); try again"
            ) from None
        return last.seq or 0
