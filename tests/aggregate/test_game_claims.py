"""Two writers define one game at once, one step at a time in every order: catalog and event stream agree.

A bucket with compare-and-set and a stream that recognises message ids, both in memory; each of their
operations is a point at which the other writer may go first."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Generator, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.js.errors import KeyWrongLastSequenceError, NotFoundError

from aggregate.catalog import CatalogWriter
from aggregate.control_publisher import ControlPublisher
from grandstand import fold
from grandstand.catalog.v1.catalog_pb2 import CustomTopic, Game
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Control
from grandstand.wire.errors import GrandstandError, NotNow
from mesh.catalog.view import CatalogView
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

KEY = subjects.game_key("g")
# More than one writer needs by itself.
STEPS_MAX = 24


class _Turn:
    def __await__(self) -> Generator[None, None, None]:
        yield


class World:
    """What both writers share."""

    def __init__(self) -> None:
        self.revision = 0
        self.value = b""
        self.controls: dict[str, Control] = {}
        """In their order; by message id."""

    def put(self, value: bytes) -> int:
        self.revision += 1
        self.value = value
        return self.revision

    def in_catalog(self) -> Game:
        return Game.FromString(self.value)

    def in_stream(self) -> list[Game]:
        return [control.game for control in self.controls.values()]


class _Bucket:
    def __init__(self, world: World) -> None:
        self._world = world

    async def update(self, key: str, value: bytes, last: int | None) -> int:
        assert key == KEY
        await _Turn()
        if (last or 0) != self._world.revision:
            raise KeyWrongLastSequenceError(description="it was changed")
        revision = self._world.put(value)
        await _Turn()  # the answer takes its time
        return revision


class _Watch:
    def __init__(self, world: World) -> None:
        self._world = world
        self.view = CatalogView()
        self.bucket = _Bucket(world)
        self.clock = SimpleNamespace(now_s=lambda: 1e-6)

    def wrote(self, key: str, revision: int, value: bytes) -> None:
        self.view.put(key, revision, value)

    async def refresh(self, key: str) -> None:
        await _Turn()
        if self._world.value:
            self.view.put(key, self._world.revision, self._world.value)


class _Controls:
    def __init__(self, world: World) -> None:
        self._world = world

    async def publish(
        self, partitions: Iterable[int], control: Control, name: str, after: Mapping[int, int] | None = None
    ) -> list[Position]:
        found = []
        for partition in partitions:
            await _Turn()
            self._world.controls.setdefault(f"{name}-{partition}", control)
            found.append(Position(partition=partition, sequence=len(self._world.controls)))
        return found

    async def until_folded(self, *_: object) -> None:
        await _Turn()

    async def newest(self, *_: object) -> list[Position]:
        await _Turn()
        return []


async def _no_message(*_: object) -> None:
    await _Turn()
    raise NotFoundError


def writer(world: World) -> CatalogWriter:
    bus = SimpleNamespace(js=SimpleNamespace(get_last_msg=_no_message))
    return CatalogWriter(
        cast(Bus, bus), cast(CatalogWatch, _Watch(world)), cast(ControlPublisher, _Controls(world))
    )


class Run:
    """One call, stepped by hand."""

    def __init__(self, call: Coroutine[Any, Any, tuple[Game, list[Position]]]) -> None:
        self._call = call
        self.answer: Game | None = None
        self.error: GrandstandError | None = None

    @property
    def is_over(self) -> bool:
        return self.answer is not None or self.error is not None

    def step(self) -> None:
        if self.is_over:
            return
        try:
            self._call.send(None)
        except StopIteration as stop:
            self.answer = stop.value[0]
        except GrandstandError as error:
            self.error = error

    def finish(self) -> None:
        while not self.is_over:
            self.step()


def schedules() -> Iterable[tuple[int, int, int]]:
    """The first goes this many steps, then the second, then the first again, and both to their ends."""
    return itertools.product(range(STEPS_MAX), range(STEPS_MAX), (0, 1, 2, 3, STEPS_MAX))


def interleaved(world: World, wanted: list[Game], schedule: tuple[int, int, int]) -> list[Run]:
    runs = [Run(writer(world).define_game(game)) for game in wanted]
    for at, steps in zip((0, 1, 0), schedule, strict=True):
        for _ in range(steps):
            runs[at].step()
    for run in reversed(runs):
        run.finish()
    return runs


@pytest.fixture(autouse=True)
def folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "names", lambda: {"words"})


def game(config: bytes, *more: str) -> Game:
    customs = [CustomTopic(custom_id="x", fold="words", config=config)]
    customs += [CustomTopic(custom_id=each, fold="words") for each in more]
    return Game(game_id="g", title="G", spread=1, customs=customs)


def config_of(found: Game) -> bytes:
    return {each.custom_id: each.config for each in found.customs}["x"]


@pytest.mark.parametrize("is_new", [True, False])
def test_i4_the_loser_of_a_race_over_a_configuration_never_reaches_the_stream(is_new: bool) -> None:
    """Else its control resets a fold later, and events that were acked are gone from the count."""
    for schedule in schedules():
        world = World()
        if not is_new:
            world.put(Game(game_id="g", title="G", spread=1).SerializeToString())
        one, two = interleaved(world, [game(b"1"), game(b"2")], schedule)
        winners = [run for run in (one, two) if run.answer is not None]
        assert len(winners) == 1, schedule
        (loser,) = [run for run in (one, two) if run.error is not None]
        assert isinstance(loser.error, NotNow), schedule
        holds = world.in_catalog()
        assert not holds.HasField("pending"), schedule
        assert winners[0].answer == holds, schedule
        assert {config_of(found) for found in world.in_stream()} == {config_of(holds)}, schedule


def test_two_who_say_the_same_are_both_answered_with_it_and_it_is_one_control() -> None:
    for schedule in schedules():
        world = World()
        runs = interleaved(world, [game(b"1"), game(b"1")], schedule)
        assert [run.answer for run in runs] == [world.in_catalog()] * 2, schedule
        assert len(world.in_stream()) == 1, schedule


def test_the_stream_ends_with_what_the_catalog_says() -> None:
    """Each of the two adds to what it read."""
    for schedule in schedules():
        world = World()
        world.put(game(b"1").SerializeToString())
        runs = interleaved(world, [game(b"1", "a"), game(b"1", "b")], schedule)
        holds = world.in_catalog()
        assert world.in_stream()[-1] == holds, schedule
        assert [run.answer for run in runs if run.answer is not None] == [holds], schedule
