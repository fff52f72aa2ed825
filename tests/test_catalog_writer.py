"""A step that a crash cut in two is made good by whoever repeats it. On a real nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aggregate.catalog import CatalogWriter
from aggregate.closing import Step, step_of
from aggregate.controls import Controls
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
from grandstand.internal.v1.internal_pb2 import Block, Control
from mesh import ids, subjects
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.errors import Unavailable
from mesh.store import ResultStore
from tests.games import run
from tests.test_publish_pipeline import on_nats

SPREAD = 3


class Killed(Exception):
    """The process ended here."""


class Instance:
    """One instance of the catalog's writer; it may die before one of its writes to the catalog."""

    def __init__(self, bus: Bus, watch: CatalogWatch, writer: CatalogWriter) -> None:
        self.bus, self.watch, self.writer = bus, watch, writer

    async def close(self) -> None:
        """Both steps of the poll, as if their time had come."""
        while (step := step_of(self.watch.view.poll("g", "p"))) is not None:
            await self.writer.advance(step)

    def dies_at_write(self, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        real = self.watch.bucket.update
        writes = 0

        async def update(*arguments: Any, **options: Any) -> int:
            nonlocal writes
            writes += 1
            if writes == number:
                raise Killed
            return await real(*arguments, **options)

        monkeypatch.setattr(self.watch.bucket, "update", update)


@asynccontextmanager
async def instances(tmp_path: Path, count: int) -> AsyncIterator[list[Instance]]:
    """That nothing folds is what `until_folded` is told at once."""

    async def folded(*_: object) -> list[object]:
        return []

    results = cast(ResultStore, SimpleNamespace(read_at_least=folded))
    async with on_nats(tmp_path) as (_, bus, pipeline):
        made = []
        for _ in range(count):
            watch = CatalogWatch(bus)
            await watch.start()
            made.append(Instance(bus, watch, CatalogWriter(bus, watch, Controls(bus, pipeline, results))))
        yield made
        for instance in made:
            await instance.watch.stop()


async def controls(bus: Bus) -> list[Control]:
    """All that is in the stream, in its order."""
    state = (await bus.js.stream_info(subjects.EVENTS_STREAM)).state
    found = []
    for sequence in range(1, state.last_seq + 1):
        message = await bus.js.get_msg(subjects.EVENTS_STREAM, sequence)
        found.append(Block.FromString(message.data or b"").control)
    return found


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
            first.dies_at_write(1, monkeypatch)
            with pytest.raises(Killed):
                await first.writer.define_game(game("m"))
            assert not (second.watch.view.game("g")).metrics, "nothing is admitted for it yet"
            stored = await controls(first.bus)
            defined, positions = await second.writer.define_game(game("m"))
            assert [metric.metric_id for metric in defined.metrics] == ["m"]
            assert await controls(first.bus) == stored, "the control is in the stream once"
            at = {position.partition: position.sequence for position in positions}
            assert set(at) == set(ids.partitions_of("g", SPREAD))
            assert all(stored[sequence - 1].game == defined for sequence in at.values())
            again, _ = await second.writer.define_game(game("m"))
            assert again == defined

    run(scenario())


def test_another_change_after_a_crash_is_a_control_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            first.dies_at_write(1, monkeypatch)
            with pytest.raises(Killed):
                await first.writer.define_game(game("m"))
            before = len(await controls(first.bus))
            defined, _ = await second.writer.define_game(game("n"))
            assert [metric.metric_id for metric in defined.metrics] == ["n"]
            assert len(await controls(first.bus)) == before + SPREAD

    run(scenario())


def test_a_title_changes_without_a_control(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with instances(tmp_path, 1) as (only,):
            await only.writer.define_game(game("m"))
            stored = await controls(only.bus)
            titled, positions = await only.writer.define_game(game("m", title="New"))
            assert titled.title == "New"
            assert await controls(only.bus) == stored
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
    """Another's change comes between reading and writing, also by the watch: it is not taken away."""

    async def scenario() -> None:
        async with instances(tmp_path, 2) as (first, second):
            await first.writer.define_game(game())
            real = Controls.publish
            interrupted = False

            async def publish(self: Controls, *arguments: Any) -> Any:
                nonlocal interrupted
                answer = await real(self, *arguments)
                if not interrupted:
                    interrupted = True
                    await second.writer.define_game(game("theirs"))
                    await first.watch.refresh(subjects.game_key("g"))
                return answer

            monkeypatch.setattr(Controls, "publish", publish)
            with pytest.raises(Exception, match="'theirs' counts in game 'g' and cannot be taken away"):
                await first.writer.define_game(game("mine"))
            await first.watch.refresh(subjects.game_key("g"))
            assert [metric.metric_id for metric in first.watch.view.game("g").metrics] == ["theirs"]

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
