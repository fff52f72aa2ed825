"""Publishes control blocks, which carry definitions and corrections, into the event stream (I4). The other
end is aggregate.control_handler.

A control goes to every partition of its game or topic, under a message id that identifies it. When a step
is repeated, by another instance or by this one after a crash, the stream drops the duplicate within its
dedupe window, and a fold ignores one that is stored later. A control that a partition folded but rejected,
because it came too early, is sent again under another message id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from aggregate.closing import Folded
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Block, Control
from grandstand.wire import ids
from grandstand.wire.errors import Unavailable
from mesh import telemetry
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from mesh.redis.database import RedisError
from mesh.redis.results import ResultStore
from mesh.redis.share import Share

log = logging.getLogger(__name__)

_FOLDED_S = 2.0


class ControlPublisher:
    """`now_s`: Unix seconds of the mesh's clock."""

    def __init__(
        self, bus: Bus, pipeline: PublishPipeline, results: ResultStore, now_s: Callable[[], float]
    ) -> None:
        self._bus = bus
        self._pipeline = pipeline
        self._results = results
        self._now_s = now_s

    async def publish(
        self, partitions: Iterable[int], control: Control, name: str, after: Mapping[int, int] | None = None
    ) -> list[Position]:
        """Returns the position at which each partition stored it. `name` is unique to the control. `after`:
        by partition, the sequence of an earlier copy that has to be sent again.

        Raises Unavailable, Exhausted; some partitions may have stored it by then, so repeat the call.
        """
        block = Block(control=control)
        block.stamped_at.FromNanoseconds(int(self._now_s() * 1e9))
        payload = block.SerializeToString()
        partitions = list(partitions)
        sequences = await asyncio.gather(
            *(
                self._pipeline.publish(
                    subjects.events(partition),
                    payload,
                    f"control-{name}-{partition}"
                    + (f"-{after[partition]}" if after and partition in after else ""),
                    telemetry.headers(),
                )
                for partition in partitions
            )
        )
        return [Position(partition=p, sequence=s) for p, s in zip(partitions, sequences, strict=True)]

    async def until_folded(self, positions: list[Position]) -> None:
        """Waits until the positions are folded, so that the caller finds the topic in the next snapshot.
        Gives up after _FOLDED_S: the topic is open anyway, and gateways wait for it a while longer
        (see gateway.feed)."""
        try:
            await self._results.until_folded(positions, _FOLDED_S)
        except TimeoutError:
            pass
        except RedisError as error:
            log.warning("how far partitions are folded is not known: %s", error)

    async def folded(self, game_id: str, spread: int, topic: str) -> list[Folded]:
        """What each partition shows of the topic; of the game alone if that is empty. A partition that is
        being rebuilt counts as having folded nothing. Raises Unavailable."""
        return [
            Folded(
                share.partition,
                share.applied if share.whole else 0,
                share.partials.get(topic),
                share.stage,
                holds=not share.whole or bool(share.partials or share.stage),
            )
            for share in await self.shares(game_id, spread)
        ]

    async def shares(self, game_id: str, spread: int) -> list[Share]:
        """Raises Unavailable."""
        try:
            return await self._results.read(game_id, spread)
        except RedisError as error:
            raise Unavailable(f"results cannot be read now ({type(error).__name__}); try again") from None

    async def newest(self, game_id: str, spread: int) -> list[Position]:
        """The position of the last block in each partition of the game. All earlier definitions are at or
        before it. Raises Unavailable."""
        partitions = ids.partitions_of(game_id, spread)
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
