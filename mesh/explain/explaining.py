"""Reads what a question needs, and tells the story. The shell of mesh.explain.story.

Of the stream it reads the partitions in which the actor folds, from when the topic (or the game) was defined
less an origin's life, and decodes the few blocks in which the actor's key or a producer's origin stands.
Where a producer sent for the actor it reads twice: which origins to follow is known after the first time.

Bounds: a batch of blocks; the actor's events in them. `give_up_s` ends the reading of the stream.

Rejected: an index of events by actor. It would cost every event, for a question that one in a million asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from grandstand.internal.v1.internal_pb2 import RefusalsRequest, RefusalsResponse
from grandstand.support.v1.support_pb2 import ExplainResponse
from grandstand.wire import ids
from mesh.explain.question import PRODUCERS_MAX, ExplainQuestion, may_be_control
from mesh.explain.story import Facts, PartitionFacts, tell
from mesh.explain.stream_reader import Extent, StreamReader
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pulled
from mesh.recount.partition import PartitionRecount
from mesh.recount.restored import restored
from mesh.redis.database import RedisError
from mesh.redis.results import ResultStore

HEARD_S = 0.5
"""How long ingests have to answer."""
_MESSAGE_ID = "Nats-Msg-Id"

Progress = Callable[[int, int], None]
"""Blocks read, and how many are to come."""


def _silent(read: int, left: int) -> None:
    pass


class Explainer:
    """`progress` is told of the blocks of one partition after the other."""

    def __init__(self, bus: Bus, results: ResultStore, progress: Progress = _silent) -> None:
        self._bus = bus
        self._results = results
        self.reader = StreamReader(bus)
        self.progress = progress

    async def explain(self, question: ExplainQuestion, give_up_s: float) -> ExplainResponse:
        """`give_up_s`: the loop's time. Raises NatsError, TimeoutError."""
        game, topics = await self.reader.definitions(question.game_id)
        facts = Facts(game, topics)
        hearing = asyncio.ensure_future(self._refusals(question.actor_id))
        try:
            since_s = question.begins_s(game, topics)
            for partition in question.partitions(game, topics):
                facts.partitions.append(await self._read(question, partition, since_s, give_up_s))
            await self._look_at_state(facts.partitions)
            facts.heard = await hearing
        finally:
            hearing.cancel()
        return tell(question, facts)

    async def _read(
        self, question: ExplainQuestion, partition: int, since_s: float, give_up_s: float
    ) -> PartitionFacts:
        found = PartitionFacts(partition)
        extent = await self.reader.extent(partition)
        if not extent.last:
            found.purged_up_to = extent.purged_up_to
            return found
        start = await self.reader.first_since(partition, extent, since_s)
        letters = await self.reader.letters(partition, start)
        reading = _Reading(self, question, found, extent, letters, give_up_s)
        producers = await reading.read(start, frozenset())
        if producers:
            await reading.read(start, producers)
        return found

    async def _look_at_state(self, found: Sequence[PartitionFacts]) -> None:
        try:
            applied = await self._results.applied([each.partition for each in found])
        except RedisError:
            return
        for each in found:
            if each.partition in applied:
                each.applied = applied[each.partition].sequence

    async def _refusals(self, actor_id: str) -> list[RefusalsResponse]:
        """What each ingest says that answers in time."""
        heard: list[RefusalsResponse] = []

        async def on_answer(message: Msg) -> None:
            with suppress(DecodeError):
                heard.append(RefusalsResponse.FromString(message.data))

        inbox = self._bus.client.new_inbox()
        subscription = await self._bus.client.subscribe(inbox, cb=on_answer)
        try:
            asked = RefusalsRequest(actor_id=actor_id).SerializeToString()
            await self._bus.client.publish(subjects.REFUSALS, asked, reply=inbox)
            await asyncio.sleep(HEARD_S)
        finally:
            await subscription.unsubscribe()
        return heard


class _Reading:
    """Of one partition."""

    def __init__(
        self,
        explainer: Explainer,
        question: ExplainQuestion,
        found: PartitionFacts,
        extent: Extent,
        letters: Mapping[int, Sequence[str]],
        give_up_s: float,
    ) -> None:
        self._explainer = explainer
        self._question = question
        self._found = found
        self._extent = extent
        self._letters = letters
        self._give_up_s = give_up_s
        self._ingests: dict[int, str] = {}

    async def read(self, start: int, producers: frozenset[bytes]) -> frozenset[bytes]:
        """Fills in what is found. Returns the producers' origins that the actor's events came under."""
        count = await self._begun(start, producers)
        wanted = [ids.actor_key(self._question.actor_id), *producers]
        loop, read, left = asyncio.get_running_loop(), 0, 0
        reader, found, extent = self._explainer.reader, self._found, self._extent
        found.unread = 0
        async with aclosing(reader.blocks(found.partition, start, extent.last)) as batches:
            async for batch, left in batches:
                for block in batch:
                    if block.sequence > count.folded and (
                        may_be_control(block.data) or any(each in block.data for each in wanted)
                    ):
                        self._take(count, block)
                read += len(batch)
                self._explainer.progress(read, left)
                if loop.time() >= self._give_up_s:
                    found.unread = left
                    break
        found.fates, found.turns, found.letters = count.fates, count.turns, self._letters
        found.ingests = {fate.sequence: self._ingests.get(fate.sequence, "") for fate in count.fates}
        came = {fate.row.origin for fate in count.fates if fate.row.producer}
        return frozenset(sorted(came, reverse=True)[:PRODUCERS_MAX])

    async def _begun(self, start: int, producers: frozenset[bytes]) -> PartitionRecount:
        scope, found, extent = self._question.scope(producers), self._found, self._extent
        if extent.purged_up_to >= start > 0 and extent.purged_up_to:
            found.purged_up_to = extent.purged_up_to
            checkpoint = await self._explainer.reader.checkpoint(found.partition, extent)
            if checkpoint is not None:
                found.checkpoint = checkpoint.applied
                return await asyncio.to_thread(restored, scope, checkpoint)  # it may be large
        count = PartitionRecount(scope)
        count.begins_late = True
        count.lacks_definitions = bool(found.purged_up_to)
        return count

    def _take(self, count: PartitionRecount, block: Pulled) -> None:
        known = len(count.fates)
        stored_at_us = int(block.stored_at_s * 1e6)
        count.apply(block.sequence, block.data, stored_at_us, self._letters.get(block.sequence, ()))
        if len(count.fates) > known:
            message_id = (block.headers or {}).get(_MESSAGE_ID, "")
            self._ingests[block.sequence] = instance_of(message_id)


def instance_of(message_id: str) -> str:
    """Which ingest stored a block: `<instance>.<run>-<number>`; "" of an earlier release."""
    instance, dot, _ = message_id.rpartition(".")
    return instance if dot else ""
