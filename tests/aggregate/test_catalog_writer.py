"""A step that a crash cut in two is made good by whoever repeats it. On a real nats-server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from aggregate.catalog import CatalogWriter
from aggregate.closing import Step, key_of, step_of
from aggregate.control_publisher import ControlPublisher
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    Board,
    Game,
    Metric,
    Poll,
    PollOption,
)
from grandstand.internal.v1.internal_pb2 import Block, Control, Partial
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted, Invalid, NotNow, Unavailable, Unknown
from mesh import limits
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.results import ResultStore
from mesh.redis.share import Share
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run

SPREAD = 3


class Killed(Exception):
    """The process ended here."""


class Instance:
    """One instance of the catalog's writer; it may die before one of its writes to the catalog."""

    def __init__(self, bus: Bus, watch: CatalogWatch, writer: CatalogWriter, folds: Folds) -> None:
        self.bus, self.watch, self.writer, self.folds = bus, watch, writer, folds

    async def close(self) -> None:
        """Both steps of the poll, as if their time had come."""
        while (step := step_of(self.watch.view.poll("g", "p"))) is not None:
            await self.writer.advance(step)

    def dies_at_write(self, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        real = self.watch.bucket.update
        writes = 0

        async def update(key: str, *arguments: Any, **options: Any) -> int:
            nonlocal writes
            if key == subjects.PSEUDONYM_KEY:  # a background task's
                return await real(key, *arguments, **options)
            writes += 1
            if writes == number:
                raise Killed
            return await real(key, *arguments, **options)

        monkeypatch.setattr(self.watch.bucket, "update", update)


class Folds:
    """What the folds would show: each takes every control as it comes, unless `takes` says that it is too
    early for it. Of an open board's repetitions the first begins season 2, the second seals season 1."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.takes: Callable[[int, int, Control], bool] = lambda partition, sequence, control: True
        self.lags = False
        """Nothing is folded from now on."""

    async def read(self, game_id: str, spread: int) -> list[Share]:
        shares = {p: Share(p, 0, {}) for p in ids.partitions_of(game_id, spread)}
        if self.lags:
            return list(shares.values())
        for sequence, partition, control in await stored(self._bus):
            if partition in shares:
                partials = dict(shares[partition].partials)
                if self.takes(partition, sequence, control):
                    _fold(partials, sequence, control)
                shares[partition] = Share(partition, sequence, partials)
        return list(shares.values())

    async def until_folded(self, *_: object) -> None:
        pass


def _fold(partials: dict[str, Partial], sequence: int, control: Control) -> None:
    if control.HasField("poll"):
        partials[f"poll/{control.poll.poll_id}"] = Partial(stage=control.poll.stage, sequence=sequence)
    elif control.HasField("board"):
        partial = partials.setdefault(f"board/{control.board.board_id}", Partial())
        partial.stage = control.board.stage
        partial.board.previous.sealed = partial.board.current.number == 2
        partial.board.current.number = min(2, partial.board.current.number + 1)


@asynccontextmanager
async def instances(tmp_path: Path, count: int) -> AsyncIterator[list[Instance]]:
    async with on_nats(tmp_path) as (_, bus, pipeline):
        made = []
        for _ in range(count):
            watch, folds = CatalogWatch(bus), Folds(bus)
            await watch.start()
            steps = ControlPublisher(bus, pipeline, cast(ResultStore, folds), watch.clock.now_s)
            made.append(Instance(bus, watch, CatalogWriter(bus, watch, steps), folds))
        yield made
        for instance in made:
            await instance.watch.stop()


async def stored(bus: Bus) -> list[tuple[int, int, Control]]:
    """All that is in the stream, in its order, each with its sequence and its partition."""
    state = (await bus.js.stream_info(subjects.EVENTS_STREAM)).state
    found = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await bus.js.get_msg(subjects.EVENTS_STREAM, sequence)
        partition = int((message.subject or "").rpartition(".")[2])
        found.append((sequence, partition, Block.FromString(message.data or b"").control))
    return found


async def controls(bus: Bus) -> list[Control]:
    return [control for _, _, control in await stored(bus)]


def game(*metrics: str, spread: int = SPREAD, title: str = "G") -> Game:
    return Game(
        game_id="g", title=title, spread=spread, metrics=[Metric(metric_id=metric) for metric in metrics]
    )


def poll() -> Poll:
    return Poll(
        game_id="g",
        poll_id="p",
        question="Q?",
        options=[PollOption(option_id=o, label=o) for o in "ab"],
        open_for={"seconds": 600},
    )


def board() -> Board:
    return Board(game_id="g", board_id="b", title="B", mode=BOARD_MODE_SUM, season={"every": {"seconds": 60}})


def test_a_definition_whose_entry_never_came_is_repeated_at_the_same_sequences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            first.dies_at_write(2, monkeypatch)  # the first was its claim
            with pytest.raises(Killed):
                await first.writer.define_game(game("m"))
            assert not (second.watch.view.game("g")).metrics, "nothing is admitted for it yet"
            told = {sequence: control for sequence, _, control in await stored(first.bus)}
            defined, positions = await second.writer.define_game(game("m"))
            assert [metric.metric_id for metric in defined.metrics] == ["m"]
            assert await controls(first.bus) == list(told.values()), "the control is in the stream once"
            at = {position.partition: position.sequence for position in positions}
            assert set(at) == set(ids.partitions_of("g", SPREAD))
            assert all(told[sequence].game == defined for sequence in at.values())
            again, _ = await second.writer.define_game(game("m"))
            assert again == defined

    run(scenario())


def test_another_change_after_a_crash_completes_the_one_that_was_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            first.dies_at_write(2, monkeypatch)
            with pytest.raises(Killed):
                await first.writer.define_game(game("m"))
            before = len(await controls(first.bus))
            with pytest.raises(NotNow, match="'m' counts in game 'g'"):
                await second.writer.define_game(game("n"))
            defined, _ = await second.writer.define_game(game("m", "n"))
            assert [metric.metric_id for metric in defined.metrics] == ["m", "n"]
            assert len(await controls(first.bus)) == before + SPREAD

    run(scenario())


def test_a_game_without_topics_of_its_own_is_defined_by_one_write_and_no_fold_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            first.dies_at_write(2, monkeypatch)
            defined, positions = await first.writer.define_game(game())
            await second.watch.refresh(subjects.game_key("g"))
            assert second.watch.view.game("g") == defined
            assert await second.writer.define_game(game()) == (defined, positions)
            spread, _ = await second.writer.define_game(game(spread=1))
            assert (spread.spread, spread.generation) == (1, defined.generation)
            assert not positions
            assert not await controls(first.bus)

    run(scenario())


def test_a_game_past_the_bound_of_live_games_is_refused_and_those_that_live_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            monkeypatch.setattr(limits, "GAMES_MAX", 1)
            await only.writer.define_game(game())
            another = Game(game_id="another", title="Another")
            with pytest.raises(Exhausted, match="holds 1 games that have not ended; at most 1 may"):
                await only.writer.define_game(another)
            await only.writer.define_game(game("m"))
            monkeypatch.setattr(limits, "GAMES_MAX", 2)
            monkeypatch.setattr(limits, "GAMES_KEPT_MAX", 1)
            with pytest.raises(Exhausted, match="ended ones included"):
                await only.writer.define_game(another)

    run(scenario())


def test_a_title_changes_without_a_control(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game("m"))
            told = await controls(only.bus)
            titled, positions = await only.writer.define_game(game("m", title="New"))
            assert titled.title == "New"
            assert await controls(only.bus) == told
            assert {position.partition for position in positions} == set(ids.partitions_of("g", SPREAD))

    run(scenario())


@pytest.mark.parametrize("write", [1, 2])
def test_an_opening_that_was_cut_in_two_is_finished_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game("m"))
            first.dies_at_write(write, monkeypatch)
            with pytest.raises(Killed):
                await first.writer.open_board(board())
            opened, _ = await second.writer.open_board(board())
            assert opened.stage == STAGE_OPEN
            told = [control.board for control in await controls(first.bus) if control.HasField("board")]
            assert len(told) == SPREAD
            assert {told_one.season.starts_at.ToNanoseconds() for told_one in told} == {
                opened.season.starts_at.ToNanoseconds()
            }
            again, _ = await second.writer.open_board(board())
            assert again == opened

    run(scenario())


@pytest.mark.parametrize("write", [1, 2])
def test_a_closing_that_was_cut_in_two_is_finished_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """Write 1 is the entry CLOSED, write 2 the entry SEALED: each after its control."""

    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            await first.writer.open_poll(poll())
            first.dies_at_write(write, monkeypatch)
            with pytest.raises(Killed):
                await first.close()
            await second.watch.refresh(subjects.poll_key("g", "p"))
            await second.close()
            assert second.watch.view.poll("g", "p").stage == STAGE_SEALED
            stages = [c.poll.stage for c in await controls(first.bus) if c.HasField("poll")]
            expected = [STAGE_OPEN, STAGE_CLOSED, STAGE_SEALED]
            assert stages == [stage for stage in expected for _ in range(SPREAD)]

    run(scenario())


def test_a_step_taken_by_two_instances_is_taken_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as both:
            await both[0].writer.define_game(game())
            opened, _ = await both[0].writer.open_board(board())
            before = len(await controls(both[0].bus))
            for instance in both:
                await instance.watch.refresh(subjects.board_key("g", "b"))
                (found,) = instance.watch.view.boards()
                await instance.writer.advance(Step(0.0, STAGE_OPEN, found, beat=4))
                await instance.writer.advance(Step(0.0, STAGE_OPEN, found, beat=5))
            told = (await controls(both[0].bus))[before:]
            assert len(told) == 2 * SPREAD, "a beginning and a seal, once in each partition"
            assert all(control.board == opened for control in told)
            assert both[1].watch.view.board("g", "b") == opened, "the entry is as it was"

    run(scenario())


def test_a_change_that_was_made_from_an_older_definition_does_not_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's comes between a claim and its completion: it completes that one, and counts from there."""

    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            real = ControlPublisher.publish
            interrupted = False

            async def publish(self: ControlPublisher, *arguments: Any) -> Any:
                nonlocal interrupted
                answer = await real(self, *arguments)
                if not interrupted:
                    interrupted = True
                    with pytest.raises(NotNow, match="'mine' counts in game 'g' and cannot be taken away"):
                        await second.writer.define_game(game("theirs"))
                return answer

            monkeypatch.setattr(ControlPublisher, "publish", publish)
            defined, _ = await first.writer.define_game(game("mine"))
            assert interrupted
            assert [metric.metric_id for metric in defined.metrics] == ["mine"]
            assert second.watch.view.game("g") == defined

    run(scenario())


def test_without_the_event_log_a_definition_stays_what_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            known, _ = await only.writer.define_game(game("m"))
            await only.bus.js.delete_stream(subjects.EVENTS_STREAM)
            with pytest.raises(Unavailable):
                await only.writer.define_game(game("m", "n"))
            await only.watch.refresh(subjects.game_key("g"))
            assert only.watch.view.game("g") == known

    run(scenario())


def test_a_new_game_is_claimed_without_a_look_and_who_knows_too_little_loses_the_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await second.watch.stop()
            with monkeypatch.context() as patched:
                patched.setattr(first.watch.bucket, "get", None)
                await first.writer.define_game(game("m"))
            assert subjects.game_key("g") not in second.watch.view
            defined, _ = await second.writer.define_game(game("m", "n"))
            assert [metric.metric_id for metric in defined.metrics] == ["m", "n"]
            assert [control.game for control in await controls(first.bus)][-1] == defined

    run(scenario())


def test_a_game_whose_topics_are_deleted_may_be_spread_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game())
            keys = [subjects.poll_key("g", poll_id) for poll_id in ("p", "q")]
            for key in keys:
                claim = Poll(game_id="g", poll_id=key.rpartition(".")[2])
                await only.watch.bucket.put(key, claim.SerializeToString())
            await only.watch.refresh(keys[0])
            await only.watch.delete(keys[0], only.watch.view.revision(keys[0]))
            with pytest.raises(NotNow):
                await only.writer.define_game(game(spread=SPREAD + 1))
            await only.watch.delete(keys[1], only.watch.view.revision(keys[1]))
            defined, _ = await only.writer.define_game(game(spread=SPREAD + 1))
            assert defined.spread == SPREAD + 1

    run(scenario())


def test_a_game_that_is_only_claimed_is_unknown_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            first.dies_at_write(2, monkeypatch)
            with pytest.raises(Killed):
                await first.writer.define_game(game("m"))
            await second.watch.refresh(subjects.game_key("g"))
            assert list(second.watch.view.games()) == []
            with pytest.raises(Unknown):
                await second.writer.open_poll(poll())
            defined, _ = await second.writer.define_game(game("m"))
            assert not defined.HasField("pending")
            assert list(second.watch.view.games()) == [defined]

    run(scenario())


def test_i9_a_control_that_came_too_early_is_sent_again_where_it_was_not_taken(tmp_path: Path) -> None:
    """The fold of one partition finds that its time has not come: the entry waits, and the same control goes
    there, and only there, under another message id."""

    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game())
            await only.writer.open_poll(poll())
            early = ids.partitions_of("g", SPREAD)[1]
            refused: list[int] = []

            def takes(partition: int, sequence: int, control: Control) -> bool:
                if partition == early and control.poll.stage == STAGE_CLOSED and len(refused) < 2:
                    refused.extend([sequence] if sequence not in refused else [])
                return sequence not in refused

            only.folds.takes = takes
            step = step_of(only.watch.view.poll("g", "p"))
            assert step is not None
            for _ in range(2):
                with pytest.raises(NotNow, match=str(early)):
                    await only.writer.advance(step)
                assert only.watch.view.poll("g", "p").stage == STAGE_OPEN
            await only.writer.advance(step)
            assert only.watch.view.poll("g", "p").stage == STAGE_CLOSED
            closed = [p for _, p, control in await stored(only.bus) if control.poll.stage == STAGE_CLOSED]
            assert closed == [*ids.partitions_of("g", SPREAD), early, early]

    run(scenario())


def test_a_control_that_is_not_folded_yet_is_waited_for_and_not_sent_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game())
            await only.writer.open_poll(poll())
            only.folds.lags = True
            step = step_of(only.watch.view.poll("g", "p"))
            assert step is not None
            for _ in range(3):
                with pytest.raises(NotNow):
                    await only.writer.advance(step)
            only.folds.lags = False
            await only.writer.advance(step)
            stages = [control.poll.stage for control in await controls(only.bus)]
            assert stages.count(STAGE_CLOSED) == SPREAD

    run(scenario())


def test_a_control_that_the_stream_has_lost_is_sent_again(tmp_path: Path) -> None:
    """A power cut took the tail of the stream, where it was: no fold comes there any more."""

    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game())
            await only.writer.open_poll(poll())
            step = step_of(only.watch.view.poll("g", "p"))
            assert step is not None
            sent = dict.fromkeys(ids.partitions_of("g", SPREAD), 2**52)
            only.writer._sender._sent[key_of(step.definition)] = step.name, sent
            await only.writer.advance(step)
            stages = [control.poll.stage for control in await controls(only.bus)]
            assert stages.count(STAGE_CLOSED) == SPREAD

    run(scenario())


def test_a_topic_keeps_the_spread_it_was_opened_with(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game())
            opened, _ = await only.writer.open_poll(poll())
            assert opened.spread == SPREAD
            assert (await only.writer.open_poll(poll()))[0] == opened, "it is no part of what is asked for"
            with pytest.raises(NotNow, match="spread"):
                await only.writer.define_game(game(spread=1))

    run(scenario())


@pytest.mark.parametrize("ahead_s", [-9, 9])
def test_i9_moments_are_of_the_meshs_clock_whatever_this_machines_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """A worker whose clock is ahead would close at once, and one behind would write a close in the past."""

    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            real_s, real_ns = time.time, time.time_ns
            monkeypatch.setattr(time, "time", lambda: real_s() + ahead_s)
            monkeypatch.setattr(time, "time_ns", lambda: real_ns() + ahead_s * 10**9)
            await only.writer.define_game(game())
            opened, positions = await only.writer.open_poll(poll())
            closing = await only.writer.close_poll("g", "p")
            monkeypatch.undo()
            assert abs(opened.opened_at.ToNanoseconds() / 1e9 - time.time()) < 2
            left_s = closing.closes_at.ToNanoseconds() / 1e9 - time.time()
            assert -2 < left_s < limits.CLOSE_LEAD_S + 0.5
            assert not [control for control in await controls(only.bus) if control.poll.stage == STAGE_CLOSED]
            message = await only.bus.js.get_msg(subjects.EVENTS_STREAM, positions[0].sequence)
            stamped_s = Block.FromString(message.data or b"").stamped_at.ToNanoseconds() / 1e9
            assert abs(stamped_s - time.time()) < 2

    run(scenario())


def test_a_rule_on_a_poll_comes_after_the_poll_and_folds_are_not_told_of_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            wanted = game()
            wanted.rules.add(rule_id="r", topic="poll/p", opened=True, notice={"title": "It is open"})
            with pytest.raises(Invalid, match=r"game.rules\[0\].topic: 'poll/p' is not there; open it first"):
                await first.writer.define_game(wanted)
            await second.writer.open_poll(poll())
            said = len(await stored(first.bus))
            defined, _ = await first.writer.define_game(wanted)
            assert time.time() - 60 < defined.rules[0].since.seconds < time.time() + 60
            assert (await second.writer.define_game(wanted))[0] == defined, "as the first time"
            assert len(await stored(first.bus)) == said
            wanted.metrics.add(metric_id="m")
            await first.writer.define_game(wanted)
            assert not any(control.game.rules for control in await controls(first.bus))
            with pytest.raises(NotNow, match=r"game.rules: 'r' counts in game 'g' and cannot be taken away"):
                await second.writer.define_game(game("m"))

    run(scenario())
