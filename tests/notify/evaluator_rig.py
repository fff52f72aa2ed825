"""Evaluators of rules on a real nats-server and Valkey, and aggregation as a test plays it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence

import redis
from nats.js import api as js_api
from nats.js.errors import BadRequestError

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Board, Game, Poll, Rule
from grandstand.internal.v1.internal_pb2 import (
    GameResults,
    HealthReport,
    Partial,
    PartitionResults,
    StoredNotice,
)
from grandstand.wire import ids
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from mesh.redis.database import connect
from mesh.redis.results import ResultStore
from notify.evaluator import Evaluator
from notify.quotas import Quotas
from tests.support.games import until
from tests.support.servers import Stores, eventually

_numbers = itertools.count(1)


class Played:
    """One game with rules, its definition, its results and what fired."""

    def __init__(self, bus: Bus, store: redis.Redis) -> None:
        self.game_id = f"game{next(_numbers)}"
        self.bus = bus
        self._store = store
        (self.partition,) = ids.partitions_of(self.game_id, 1)
        self.game = Game(game_id=self.game_id, title="G", spread=1, stage=STAGE_OPEN, generation=7)
        self._partials: dict[str, bytes] = {}
        self._sequence = 0

    async def define(self, *rules: Rule) -> None:
        del self.game.rules[:]
        self.game.rules.extend(rules)
        await self.put(self.game)

    async def put(self, definition: Game | Poll | Board) -> None:
        if isinstance(definition, Game):
            key = subjects.game_key(self.game_id)
        elif isinstance(definition, Poll):
            key = subjects.poll_key(self.game_id, definition.poll_id)
        else:
            key = subjects.board_key(self.game_id, definition.board_id)
        if not isinstance(definition, Game):
            definition.game_id = self.game_id
            definition.generation = 7
        bucket = await self.bus.js.key_value(subjects.CATALOG_BUCKET)
        await bucket.put(key, definition.SerializeToString())

    def applied(self) -> int:
        """Of the partition, in which other games may fold; an emptied store does not begin it again."""
        found = int(self._store.get(layout.applied_key(self.partition)) or 0)  # type: ignore[arg-type]
        self._sequence = max(self._sequence, found)
        return self._sequence

    async def show(self, *partials: Partial, told: bool = True) -> None:
        """New values, in the store, and, if `told`, also on core NATS."""
        before = self.applied()
        self.write(before + 1, partials)
        if told:
            said = PartitionResults(
                partition=self.partition, before=before, after=before + 1, stream="played"
            )
            said.games.append(
                GameResults(
                    game_id=self.game_id, partials=[self._partials[partial.topic] for partial in partials]
                )
            )
            await self.bus.client.publish(subjects.results(self.partition), said.SerializeToString())
            await self.bus.client.flush()

    def write(self, sequence: int, partials: Sequence[Partial]) -> None:
        """To the store alone."""
        self._sequence = sequence
        for partial in partials:
            partial.game_id, partial.partition, partial.sequence = self.game_id, self.partition, sequence
            self._partials[partial.topic] = partial.SerializeToString()
        results, manifest = (
            layout.results_key(self.partition, self.game_id),
            layout.manifest_key(self.partition),
        )
        with self._store.pipeline(transaction=True) as step:
            step.set(layout.stream_key(self.partition), "played 0")
            step.set(layout.applied_key(self.partition), sequence)
            step.hset(results, mapping={**self._partials, "!at": sequence})  # type: ignore[arg-type]
            entry = f"{sequence} {len(self._partials) + 1}"
            step.hset(manifest, mapping={"!at": sequence, layout.name_of(results): entry})
            step.execute()

    async def fired(self) -> list[StoredNotice]:
        """All that is stored of the game's rules, states without a notice too."""
        found = []
        state = (await self.bus.js.stream_info(subjects.NOTICES_STREAM)).state
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            message = await self.bus.js.get_msg(subjects.NOTICES_STREAM, sequence)
            stored = StoredNotice.FromString(message.data or b"")
            if stored.firing.game_id == self.game_id:
                found.append(stored)
        return found

    async def told(self) -> list[str]:
        """`<rule> <ordinal> <title>` of each notice, in the stream's order."""
        return [
            f"{each.firing.rule_id} {each.firing.ordinal} {each.notice.title}".strip()
            for each in await self.fired()
            if each.HasField("notice")
        ]

    async def is_told(self, *wanted: str) -> None:
        """Waits until exactly these are told."""

        async def enough() -> list[str]:
            told = await self.told()
            return told if len(told) >= len(wanted) else []

        assert await eventually(enough, f"{wanted} are told") == list(wanted)


class Evaluating:
    """A notify process's part that judges rules, and its connection."""

    def __init__(self, bus: Bus, evaluator: Evaluator, instance: str) -> None:
        self.bus = bus
        self.evaluator = evaluator
        self.instance = instance

    async def beat(self) -> None:
        """As its health report says."""
        report = HealthReport(service="notify", instance=self.instance)
        await self.bus.client.publish(subjects.health("notify", self.instance), report.SerializeToString())
        await self.bus.client.flush()

    def judges(self, played: Played) -> bool:
        judged = self.evaluator._games.get(played.game_id)
        return judged is not None and judged.is_ready

    def has_heard(self, played: Played) -> bool:
        """Of all that was shown."""
        judged = self.evaluator._games[played.game_id]
        return judged.view.includes(played.partition, played.applied())

    async def until_judging(self, played: Played) -> None:
        await until(lambda: self.judges(played), f"{self.instance} judges {played.game_id}")


@contextlib.asynccontextmanager
async def evaluating(around: Stores, instance: str) -> AsyncIterator[Evaluating]:
    bus = await Bus.connect(around.nats_url, instance)
    changed: list[Callable[[str, Game | Poll | Board | None], None]] = []
    catalog = CatalogWatch(bus, lambda *change: [hear(*change) for hear in changed] and None)
    await catalog.start()
    database = connect(around.redis_url)
    evaluator = Evaluator(
        bus, ResultStore(database), catalog, instance, Quotas(database), catalog.clock.now_s
    )
    changed.append(evaluator.changed)
    try:
        async with evaluator.open():
            yield Evaluating(bus, evaluator, instance)
    finally:
        await catalog.stop()
        await database.aclose()
        await bus.close()


@contextlib.asynccontextmanager
async def playing(around: Stores) -> AsyncIterator[Played]:
    """A new game; it ends with the body."""
    bus = await Bus.connect(around.nats_url, "played")
    catalog = CatalogWatch(bus)
    await catalog.start()  # so that the bucket is there
    with contextlib.suppress(BadRequestError):  # it is there
        await bus.js.add_stream(
            js_api.StreamConfig(
                name=subjects.NOTICES_STREAM,
                subjects=[subjects.NOTICES_ALL],
                discard=js_api.DiscardPolicy.NEW,
                max_bytes=10**8,
            )
        )
    with redis.Redis.from_url(around.redis_url) as store:
        played = Played(bus, store)
        try:
            yield played
        finally:
            bucket = await bus.js.key_value(subjects.CATALOG_BUCKET)
            await bucket.delete(subjects.game_key(played.game_id))
            await catalog.stop()
            await bus.close()
