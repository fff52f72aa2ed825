"""A game ends, is sealed, forgotten and defined again, whoever dies meanwhile. Real writers and folds on a
real nats-server; only the time that has to pass is skipped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from aggregate.catalog import CatalogWriter
from aggregate.closing import forgotten_at_s, game_step_of, step_of
from aggregate.control_publisher import ControlPublisher
from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Game,
    Poll,
    PollOption,
    Pulse,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Block, Partial
from grandstand.wire import ids
from grandstand.wire.errors import NotNow, TooLate, Unknown
from mesh import limits
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.results import ResultStore
from mesh.redis.share import Share
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support import blocks
from tests.support.blocks import origin
from tests.support.games import run, until
from tests.support.partitions import partials_of

SPREAD = 2
HOUR_S = 3600.0


class Killed(Exception):
    """The process ended here."""


@dataclass
class Shown:
    """What Redis would hold of one partition."""

    partition: Partition
    partials: dict[str, dict[str, Partial]] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)

    def fold(self, sequence: int, data: bytes) -> None:
        assert self.partition.fold(sequence, data) == []
        flush = self.partition.take_flush()
        assert flush is not None
        for game_id in flush.forgotten:
            self.partials.pop(game_id, None)
            self.stages.pop(game_id, None)
        for partial in partials_of(flush):
            self.partials.setdefault(partial.game_id, {})[partial.topic] = partial
        for write in flush.writes:
            if "!stage" in write.arguments:
                self.stages[write.key.rpartition(":")[2]] = cast(Stage, int(write.arguments[1]))


class Folds:
    """Real folds of the event stream, for whom the time is what the blocks say."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._last = 0
        self.forget_late = False
        """They come no further than to the next ForgetGame."""
        self.shown = {p: Shown(Partition(p, Loaded())) for p in range(16)}

    async def read(self, game_id: str, spread: int) -> list[Share]:
        await self.fold()
        return [
            Share(
                p,
                shown.partition.folded,
                shown.partials.get(game_id, {}),
                stage=shown.stages.get(game_id, STAGE_UNSPECIFIED),
            )
            for p, shown in self.shown.items()
            if p in ids.partitions_of(game_id, spread)
        ]

    async def until_folded(self, *_: object) -> None:
        await self.fold()

    async def fold(self) -> None:
        last = (await self._bus.js.stream_info(subjects.EVENTS_STREAM)).state.last_seq
        while self._last < last:
            message = await self._bus.js.get_msg(
                subjects.EVENTS_STREAM, self._last + 1, subject=subjects.EVENTS_ALL, next=True
            )
            assert message.seq is not None
            partition = int((message.subject or "").rpartition(".")[2])
            if self.forget_late and Block.FromString(message.data or b"").control.HasField("forget_game"):
                return
            if message.seq > self._last:  # else another has folded it meanwhile
                self._last = message.seq
                self.shown[partition].fold(message.seq, message.data or b"")

    def of(self, game_id: str) -> list[int]:
        """The partitions that know anything of the game."""
        tables = {p: shown.partition._table for p, shown in self.shown.items()}
        return [
            p
            for p, table in tables.items()
            if game_id in table.games
            or any(game == game_id for game, _ in table.topics)
            or self.shown[p].partials.get(game_id)
        ]


class Instance:
    """One instance of the catalog's writer."""

    def __init__(self, bus: Bus, pipeline: Any, folds: Folds) -> None:
        self.bus, self.folds = bus, folds
        self.ahead_s = 0.0
        """By how much what it stamps is ahead."""
        self.watch = CatalogWatch(bus, lambda key, found: self.writer.hear(key, is_gone=found is None))
        controls = ControlPublisher(
            bus, pipeline, cast(ResultStore, folds), lambda: self.watch.clock.now_s() + self.ahead_s
        )
        self.writer = CatalogWriter(bus, self.watch, controls)

    async def live_on(self, game_id: str) -> None:
        """All steps of the game and its topics, as if their time had come, until it is sealed."""
        view = self.watch.view
        while view.game(game_id).stage != STAGE_SEALED:
            self.ahead_s += limits.SEAL_GRACE_S + 1
            for topic in view.topics(game_id):
                if (step := step_of(topic)) is not None:
                    await self.writer.advance(step)
            assert self.ahead_s < 1_000, "it is never sealed"
            if (of_game := game_step_of(view.game(game_id))) is not None:
                with contextlib.suppress(NotNow):  # its polls come first
                    await self.writer.advance(of_game)

    async def forget(self, game_id: str) -> None:
        step = game_step_of(self.watch.view.game(game_id))
        assert step is not None
        assert step.forgets
        await self.writer.advance(step)

    def dies_at_write(self, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of an entry, whether it is put or deleted, or of a tombstone."""
        writes = 0

        def counting(real: Any) -> Any:
            async def write(*arguments: Any, **options: Any) -> Any:
                nonlocal writes
                if arguments[0] == subjects.PSEUDONYM_KEY:  # a background task's
                    return await real(*arguments, **options)
                writes += 1
                if writes == number:
                    raise Killed
                return await real(*arguments, **options)

            return write

        lives = self.writer.lives
        monkeypatch.setattr(self.watch.bucket, "update", counting(self.watch.bucket.update))
        monkeypatch.setattr(self.watch, "delete", counting(self.watch.delete))
        monkeypatch.setattr(lives._tombstones, "put", counting(lives._tombstones.put))


@asynccontextmanager
async def instances(tmp_path: Path, count: int = 1) -> AsyncIterator[list[Instance]]:
    async with on_nats(tmp_path) as (_, bus, pipeline):
        folds = Folds(bus)
        made = [Instance(bus, pipeline, folds) for _ in range(count)]
        for instance in made:
            await instance.watch.start()
        yield made
        for instance in made:
            await instance.watch.stop()


def game(game_id: str, spread: int = SPREAD) -> Game:
    return Game(
        game_id=game_id, title="Test", spread=spread, pulses=[Pulse(pulse_id="cheer", kinds=["fire"])]
    )


def poll(game_id: str, poll_id: str = "p") -> Poll:
    options = [PollOption(option_id=o, label=o) for o in "ab"]
    return Poll(game_id=game_id, poll_id=poll_id, question="Who?", options=options)


async def vote(instance: Instance, game_id: str, number: int, generation: int) -> None:
    """As an ingest would store it."""
    partition = ids.partition_of(game_id, "ann", SPREAD)
    row = blocks.vote("ann", "a", origin(number), 1, "p", game_id=game_id, generation=generation)
    at_s = instance.watch.clock.now_s() + instance.ahead_s
    await instance.bus.js.publish(subjects.events(partition), blocks.block([row], at_s).SerializeToString())


def voters(shares: Iterable[Share], poll_id: str = "p") -> int:
    return sum(share.partials[f"poll/{poll_id}"].tally.voters for share in shares)


async def left(instance: Instance, game_id: str) -> list[str]:
    """The subjects of the bucket that say anything of the game."""
    info = await instance.bus.js.stream_info(subjects.CATALOG_STREAM, subjects_filter="$KV.catalog.>")
    found = []
    for subject in info.state.subjects or {}:
        if game_id in subject.split("."):
            message = await instance.bus.js.get_last_msg(subjects.CATALOG_STREAM, subject)
            found += [subject] * bool(message.data)
    return found


def test_a_game_ends_with_all_its_topics_and_its_id_returns(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path) as (only,):
            writer, lives, view = only.writer, only.writer.lives, only.watch.view
            first, _ = await writer.define_game(game("g"))
            await writer.open_poll(poll("g"))
            await vote(only, "g", 1, first.generation)
            ended = await lives.end_game("g")
            assert (ended.stage, view.poll("g", "p").closes_at) == (STAGE_OPEN, ended.ended_at)
            assert await lives.end_game("g") == ended, "as the first time"
            for refused in (writer.open_poll(poll("g", "q")), writer.define_game(game("g"))):
                with pytest.raises(
                    NotNow, match=r"'g' ended at .* its id is free once .* 25 h after its end"
                ):
                    await refused
            await only.live_on("g")
            assert view.poll("g", "p").stage == STAGE_SEALED
            shares = await only.folds.read("g", SPREAD)
            assert {partial.stage for share in shares for partial in share.partials.values()} == {
                STAGE_SEALED
            }
            assert voters(shares) == 1
            await only.forget("g")
            assert only.folds.of("g") == await left(only, "g") == []
            assert view.get("game.g") is None
            assert not view.topics("g")
            assert (await lives.end_game("g")).ended_at == ended.ended_at, "the tombstone knows"
            with pytest.raises(Unknown):
                await lives.end_game("never")

            again, _ = await writer.define_game(game("g"))
            assert again.generation > first.generation
            await writer.open_poll(poll("g"))
            await vote(only, "g", 2, first.generation)
            assert voters(await only.folds.read("g", SPREAD)) == 0, "to the game before"
            await vote(only, "g", 3, again.generation)
            assert voters(await only.folds.read("g", SPREAD)) == 1

    run(scenario())


def test_a_life_that_a_crash_cut_in_two_is_ended_by_whoever_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (dies, survives):
            number, died = 0, True
            while died:
                number += 1
                game_id = f"g{number}"
                await survives.writer.define_game(game(game_id))
                await survives.writer.open_poll(poll(game_id))
                await dies.watch.refresh(subjects.game_key(game_id))
                await dies.watch.refresh(subjects.poll_key(game_id, "p"))
                with monkeypatch.context() as patch:
                    dies.dies_at_write(number, patch)
                    try:
                        await _whole_life(dies, game_id)
                        died = False
                    except Killed:
                        survives.ahead_s = dies.ahead_s
                        for key in (subjects.game_key(game_id), subjects.poll_key(game_id, "p")):
                            await survives.watch.refresh(key)
                        if survives.watch.view.get(subjects.game_key(game_id)) is not None:
                            await _whole_life(survives, game_id)
                assert survives.folds.of(game_id) == await left(survives, game_id) == []
                dies.ahead_s = survives.ahead_s = max(dies.ahead_s, survives.ahead_s)
            assert number == 10, "ended_at, closes_at; 2 steps of each; a tombstone and 2 entries"

    run(scenario())


async def _whole_life(instance: Instance, game_id: str) -> None:
    await instance.writer.lives.end_game(game_id)
    await instance.live_on(game_id)
    await instance.forget(game_id)


def test_what_another_instance_has_closed_is_not_written_over(tmp_path: Path) -> None:
    """A new revision of the same text fails the step that is under way, and nobody hears of a change."""

    async def scenario() -> None:
        async with instances(tmp_path, 2) as (faster, slower):
            ended, _ = await faster.writer.define_game(game("g"))
            for poll_id in ("p", "q"):
                await faster.writer.open_poll(poll("g", poll_id))
            ended.ended_at.GetCurrentTime()
            keys = [subjects.poll_key("g", poll_id) for poll_id in ("p", "q")]
            await slower.watch.refresh_all(keys)
            update = slower.watch.bucket.update
            revisions: list[int] = []

            async def overtaken(*arguments: Any, **options: Any) -> int:
                if not revisions:
                    await faster.writer.lives._close_topics(ended)
                    await slower.watch.refresh_all(keys)
                    revisions.extend(map(faster.watch.view.revision, keys))
                return await update(*arguments, **options)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(slower.watch.bucket, "update", overtaken)
                await slower.writer.lives._close_topics(ended)
            assert [*map(slower.watch.view.revision, keys)] == revisions
            assert all(topic.closes_at == ended.ended_at for topic in slower.watch.view.topics("g"))

    run(scenario())


def test_only_a_game_in_which_nothing_was_counted_is_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path) as (only,):
            writer, lives, view = only.writer, only.writer.lives, only.watch.view
            for game_id in ("used", "empty"):
                await writer.define_game(game(game_id))
                await writer.open_poll(poll(game_id))
            await vote(only, "used", 1, 0)
            with pytest.raises(NotNow, match=r"'used'.* counted in poll/p.*EndGame"):
                await lives.delete_game("used")
            assert not view.game("used").HasField("ended_at"), "it lives on"
            deleting = asyncio.create_task(lives.delete_game("empty"))
            await until(lambda: view.game("empty").HasField("ended_at"), "it ends first")
            await only.live_on("empty")
            await deleting
            assert only.folds.of("empty") == await left(only, "empty") == []
            # What was on its way when it was found empty is seen after the grace.
            await writer.define_game(game("late"))
            await writer.open_poll(poll("late"))
            deleting = asyncio.create_task(lives.delete_game("late"))
            await until(lambda: view.game("late").HasField("ended_at"), "it ends first")
            await vote(only, "late", 2, 0)
            await only.live_on("late")
            with pytest.raises(NotNow, match="EndGame"):
                await deleting
            assert view.game("late").stage == STAGE_SEALED

    run(scenario())


def test_a_deletion_that_is_under_way_is_no_refusal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path) as (only,):
            await only.writer.define_game(game("g"))
            only.folds.forget_late = True
            deleting = asyncio.create_task(only.writer.lives.delete_game("g"))
            await until(lambda: only.watch.view.game("g").HasField("ended_at"), "it ends first")
            await only.live_on("g")
            with pytest.raises(TooLate, match=r"'g' is being forgotten: partitions .*; ask again"):
                await deleting
            only.folds.forget_late = False
            await only.writer.lives.delete_game("g")
            assert only.folds.of("g") == await left(only, "g") == []

    run(scenario())


def test_a_spread_that_becomes_less_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path) as (only,):
            for spread in (4, 1, 2):
                await only.writer.define_game(Game(game_id="g", title="Test", spread=spread))
            await only.writer.open_poll(poll("g"))
            await only.folds.fold()
            assert only.folds.of("g") == sorted(ids.partitions_of("g", 2))

    run(scenario())


def test_a_game_is_ended_once_it_was_idle_for_so_long(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path) as (only,):
            lives, view = only.writer.lives, only.watch.view
            defined, _ = await only.writer.define_game(game("g"))
            await only.writer.open_poll(poll("g"))
            assert await lives.end_if_idle(view.game("g"), 0.0) >= defined.generation / 1e6
            assert not view.game("g").HasField("ended_at"), "it has an open poll"
            await only.writer.define_game(game("h"))
            only.ahead_s = HOUR_S
            react = blocks.block(
                [blocks.reaction("fire", 1, origin(1), 1, game_id="h")],
                only.watch.clock.now_s() + only.ahead_s,
            )
            await only.bus.js.publish(
                subjects.events(ids.partition_of("h", "someone", SPREAD)), react.SerializeToString()
            )
            active_s = await lives.end_if_idle(view.game("h"), HOUR_S)
            assert active_s == pytest.approx(only.watch.clock.now_s() + HOUR_S, abs=60)
            assert not view.game("h").HasField("ended_at")
            await lives.end_if_idle(view.game("h"), -2 * HOUR_S)
            assert view.game("h").HasField("ended_at")

    run(scenario())


@pytest.mark.parametrize(
    ("retain_s", "forget_after_s", "hours"),
    [(None, None, 25), (0, None, 25), (48 * HOUR_S, None, 48), (48 * HOUR_S, 0.0, 0)],
)
def test_no_game_is_forgotten_while_an_old_origin_can_reach_it(
    retain_s: float | None, forget_after_s: float | None, hours: float
) -> None:
    made = Game(game_id="g", stage=STAGE_CLOSED)
    made.ended_at.FromSeconds(1_000)
    if retain_s is not None:
        made.retain_for.FromSeconds(int(retain_s))
    assert forgotten_at_s(made, forget_after_s) == 1_000 + hours * HOUR_S
