"""The mesh as operators see it, from processes that come, go, stand still and lie."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from grandstand.internal.v1.internal_pb2 import GameLoad, ProcessLoad
from grandstand.operator.v1.operator_pb2 import (
    PROCESS_STATE_FAILING,
    PROCESS_STATE_SILENT,
    PROCESS_STATE_WELL,
    Overview,
)
from mesh.health.board import FORGOTTEN_S, PROCESSES_MAX
from mesh.overview.mesh_overview import POINTS_MAX, PROCESSES_SHOWN_MAX, SLOT_S, MeshOverview

WALL_S = 1_800_000_000.0
BOUNDS = [0.1, 0.2, math.inf]


class Mesh:
    """A clock, and processes that count by their own rate each second."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.wall_ahead_s = WALL_S
        self.overview = MeshOverview()
        self.rates: dict[str, dict[str, float]] = {}
        """By instance and counter."""
        self.gauges: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, str] = {}

    def turn(self, seconds: int = 1) -> Overview:
        for _ in range(seconds):
            self.now_s += 1.0
            for name, rates in self.rates.items():
                fields = {field: rate * self.now_s for field, rate in rates.items()}
                load = ProcessLoad(at=self.now_s, began=1.0, **fields, **self.gauges.get(name, {}))
                self.say(name, load)
            self.overview.look(self.now_s, self.wall_s)
        return self.overview.overview(self.now_s, self.wall_s, lambda game_id: f"The {game_id}")

    @property
    def wall_s(self) -> float:
        return self.wall_ahead_s + self.now_s

    def say(self, name: str, load: ProcessLoad) -> None:
        failing = self.failing.get(name, "")
        self.overview.hear(name.partition("-")[0], name, load, failing, self.now_s)


def test_rates_are_added_and_what_nobody_tells_is_unset() -> None:
    mesh = Mesh()
    mesh.rates = {"ingest-1": {"stored": 5}, "ingest-2": {"stored": 7}, "gateway-1": {"frames": 100}}
    mesh.gauges = {"gateway-1": {"viewers": 3.0, "overload_level": 2.0}}
    view = mesh.turn(3)
    assert view.rates.stored == 12
    assert view.rates.frames == 100
    assert not view.rates.HasField("folded")
    assert not view.HasField("lag_seconds")
    assert not view.HasField("freshness")
    assert (view.viewers, view.overload_level) == (3, 2)
    assert [each.instance for each in view.processes] == ["gateway-1", "ingest-1", "ingest-2"]


def test_an_empty_mesh_is_no_error() -> None:
    mesh = Mesh()
    view = mesh.turn(2 * SLOT_S)
    assert not view.processes
    assert not view.hottest
    assert not view.rates.ListFields()
    assert all(not point.rates.ListFields() for point in mesh.overview.points())


def test_a_process_that_vanishes_is_shown_as_silent_without_its_numbers_then_forgotten() -> None:
    mesh = Mesh()
    mesh.rates = {"ingest-1": {"stored": 5}, "ingest-10": {"stored": 7}}
    mesh.gauges = {"ingest-10": {"memory_bytes": 1e6}}
    mesh.failing = {"ingest-1": "event log: no space"}
    view = mesh.turn(3)
    assert [each.state for each in view.processes] == [PROCESS_STATE_FAILING, PROCESS_STATE_WELL]
    del mesh.rates["ingest-10"]
    view = mesh.turn(6)
    gone = view.processes[1]
    assert (gone.state, gone.HasField("memory_bytes")) == (PROCESS_STATE_SILENT, False)
    assert "not heard for" in gone.reason
    assert view.rates.stored == 5
    view = mesh.turn(int(FORGOTTEN_S) + 1)
    assert [each.instance for each in view.processes] == ["ingest-1"]


def test_what_was_not_heard_while_the_hearer_stood_still_is_no_silence() -> None:
    mesh = Mesh()
    mesh.rates = {"ingest-1": {"stored": 5}}
    mesh.turn(3)
    mesh.now_s += 60
    mesh.overview.look(mesh.now_s, mesh.wall_s)
    view = mesh.overview.overview(mesh.now_s, mesh.wall_s)
    assert view.processes[0].state == PROCESS_STATE_WELL
    assert mesh.turn(3).rates.stored == 5


def test_an_hour_of_points_stands_at_whole_slots() -> None:
    mesh = Mesh()
    mesh.rates = {"ingest-1": {"stored": 5}, "aggregate-1": {"folded": 4}}
    mesh.gauges = {"aggregate-1": {"lag_seconds": 1.5}}
    mesh.turn(3_700)
    points = mesh.overview.points()
    assert len(points) == POINTS_MAX
    at = [point.at.ToSeconds() for point in points]
    assert at == list(range(at[0], at[0] + POINTS_MAX * SLOT_S, SLOT_S))
    assert at[-1] % SLOT_S == 0
    assert (points[-1].rates.stored, points[-1].lag_seconds) == (5, 1.5)


def test_a_lag_between_two_points_is_in_the_later_one() -> None:
    mesh = Mesh()
    mesh.rates = {"aggregate-1": {"folded": 4}}
    mesh.gauges = {"aggregate-1": {"lag_seconds": 0.0}}
    mesh.turn(SLOT_S - int(mesh.wall_s % SLOT_S) + 2)
    mesh.gauges = {"aggregate-1": {"lag_seconds": 9.0}}
    mesh.turn(2)
    mesh.gauges = {"aggregate-1": {"lag_seconds": 0.0}}
    mesh.turn(SLOT_S)
    assert mesh.overview.points()[-1].lag_seconds == 9


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 0, -3_600, 25, 7_200])), max_size=8))
def test_points_ascend_whatever_the_wall_clock_does(steps: list[tuple[int, int]]) -> None:
    mesh = Mesh()
    mesh.rates = {"ingest-1": {"stored": 5}}
    for seconds, jump_s in steps:
        mesh.turn(seconds)
        mesh.wall_ahead_s += jump_s
        mesh.turn(1)
        at = [point.at.ToSeconds() for point in mesh.overview.points()]
        assert at == sorted(set(at))
        assert not at or mesh.wall_s - 3_600 - SLOT_S <= at[0]
        assert not at or at[-1] <= mesh.wall_s


def test_freshness_adds_the_canaries_and_tells_incidents() -> None:
    mesh = Mesh()
    for second in range(30):
        mesh.now_s += 1
        for name in ("canary-1", "canary-2"):
            counts = [second, second, second + 0.0]
            load = ProcessLoad(at=mesh.now_s, began=1, freshness_bounds=BOUNDS, freshness_counts=counts)
            load.incident_open, load.incidents, load.votes_unseen = name == "canary-2", 2, second
            mesh.say(name, load)
        mesh.overview.look(mesh.now_s, mesh.wall_s)
    found = mesh.overview.overview(mesh.now_s, mesh.wall_s).freshness
    assert (found.seen, found.unseen, found.incident_open, found.incidents) == (58, 58, True, 4)
    assert 0 < found.p50_seconds <= found.p99_seconds <= 0.1
    assert mesh.overview.points()[-1].freshness_p99_seconds <= 0.1


def test_the_hottest_games_are_those_of_all_processes_together() -> None:
    mesh = Mesh()
    mesh.rates = {"ingest-1": {}, "ingest-2": {}, "gateway-1": {}}
    hot = {"games": [GameLoad(game_id="a", events_per_second=4), GameLoad(game_id="b", events_per_second=5)]}
    mesh.gauges = {
        "ingest-1": hot,
        "ingest-2": {"games": [GameLoad(game_id="a", events_per_second=4)]},
        "gateway-1": {"games": [GameLoad(game_id=f"v{number}", viewers=number) for number in range(1, 20)]},
    }
    games = mesh.turn().hottest
    assert [each.game_id for each in games[:3]] == ["a", "b", "v19"]
    assert (games[0].events_per_second, games[0].title) == (8, "The a")
    assert not games[0].HasField("viewers")
    assert len(games) == 10


def test_a_large_mesh_is_bounded_and_shows_first_what_needs_attention() -> None:
    mesh = Mesh()
    for number in range(PROCESSES_MAX + 10):
        name = f"gateway-{number}"
        mesh.failing[name] = "Redis: away" if number % 1_000 == 999 else ""
        mesh.say(name, ProcessLoad(at=mesh.now_s))
    view = mesh.turn()
    assert view.processes_known == PROCESSES_MAX
    assert len(view.processes) == PROCESSES_SHOWN_MAX
    assert sum(each.state == PROCESS_STATE_FAILING for each in view.processes) == 4
