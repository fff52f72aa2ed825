"""The mesh at a moment, and over the last hour, from what its processes say of themselves. Pure.

What is added up is of processes that are heard; one that is silent for SILENT_S is shown as such, without its
numbers, until it is forgotten. A number that nobody tells is unset, never 0.

`now_s` is a monotonic clock, `wall_s` Unix seconds. Points stand at whole SLOT_S of the wall clock, so that
those of several gateways can be put together. A wall clock that goes back takes the points with it that are
ahead of it then; one that jumps ahead leaves a gap. What this process could not hear because it stood still
is no silence of others, as in mesh.health.board.

Bounds: PROCESSES_MAX processes, of which PROCESSES_SHOWN_MAX are shown; what mesh.overview.growth keeps of
each; POINTS_MAX points. On overflow the process that is silent for longest, or the oldest point, goes.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable

from grandstand.internal.v1.internal_pb2 import ProcessLoad
from grandstand.operator.v1.operator_pb2 import (
    PROCESS_STATE_FAILING,
    PROCESS_STATE_SILENT,
    PROCESS_STATE_WELL,
    GameOverview,
    MeshRates,
    Overview,
    OverviewPoint,
    ProcessOverview,
    VoteFreshness,
)
from mesh.health.board import DEAF_S, FORGOTTEN_S, PROCESSES_MAX, SILENT_S
from mesh.overview.growth import Growth
from mesh.overview.loads import GAMES_MAX
from mesh.overview.quantiles import quantile

SLOT_S = 10
POINTS_MAX = 3_600 // SLOT_S
PROCESSES_SHOWN_MAX = 500
RATES = tuple(field.name for field in MeshRates.DESCRIPTOR.fields)
_SUMS = ("lag_blocks", "viewers", "streams")
_GREATEST = ("lag_seconds", "overload_level", "pressure_ratio")
_ORDER = {PROCESS_STATE_FAILING: 0, PROCESS_STATE_SILENT: 1, PROCESS_STATE_WELL: 2}


def _untitled(game_id: str) -> str:
    return ""


class _Process:
    __slots__ = ("failing", "growth", "heard_s", "load")

    def __init__(self) -> None:
        self.growth = Growth()
        self.load = ProcessLoad()
        self.heard_s = -math.inf
        self.failing = ""


class MeshOverview:
    def __init__(self, deaf_s: float = DEAF_S) -> None:
        """`deaf_s`: two looks further apart than this: nothing was heard in between."""
        self._deaf_s = deaf_s
        self._processes: dict[tuple[str, str], _Process] = {}
        self._points: deque[OverviewPoint] = deque(maxlen=POINTS_MAX)
        self._slot = -math.inf
        self._looked_s = math.inf

    def hear(self, service: str, instance: str, load: ProcessLoad, failing: str, now_s: float) -> None:
        """`load`: as mesh.overview.loads makes or checks it; `failing`: why it is not well, "" if it is."""
        process = self._processes.get((service, instance))
        if process is None:
            if len(self._processes) >= PROCESSES_MAX:
                del self._processes[min(self._processes, key=lambda each: self._processes[each].heard_s)]
            process = self._processes[service, instance] = _Process()
        process.heard_s, process.failing, process.load = now_s, failing, load
        process.growth.hear(load)

    def expect(self, service: str, instance: str) -> None:
        """That is there, and may never have been heard."""
        self._processes.setdefault((service, instance), _Process())

    def look(self, now_s: float, wall_s: float) -> None:
        """Called at least once a second: time passes, and a point is taken when one is due."""
        gap_s, self._looked_s = now_s - self._looked_s, now_s
        for name, process in list(self._processes.items()):
            if gap_s > self._deaf_s:
                process.heard_s = min(now_s, process.heard_s + gap_s)
            elif FORGOTTEN_S < now_s - process.heard_s < math.inf:
                del self._processes[name]
        slot = wall_s // SLOT_S
        if slot == self._slot:
            return
        is_first, self._slot = math.isinf(self._slot), slot
        if not is_first:
            self._take_point(slot * SLOT_S, now_s)

    def points(self) -> list[OverviewPoint]:
        return list(self._points)

    def overview(self, now_s: float, wall_s: float, title: Callable[[str], str] = _untitled) -> Overview:
        heard = self._heard(now_s)
        view = Overview(processes_known=len(self._processes), rates=_rates(heard))
        view.at.FromMicroseconds(round(wall_s * 1e6))
        for field in (*_SUMS, *_GREATEST):
            if told := [getattr(each.load, field) for each in heard if each.load.HasField(field)]:
                setattr(view, field, sum(told) if field in _SUMS else max(told))
        if found := _freshness(heard):
            view.freshness.CopyFrom(found)
        view.hottest.extend(_hottest(heard, title))
        view.processes.extend(self._shown(now_s))
        return view

    def _heard(self, now_s: float) -> list[_Process]:
        return [each for each in self._processes.values() if now_s - each.heard_s <= SILENT_S]

    def _take_point(self, at_s: float, now_s: float) -> None:
        while self._points and self._points[-1].at.ToSeconds() >= at_s:
            self._points.pop()
        heard = self._heard(now_s)
        point = OverviewPoint(rates=_rates(heard))
        point.at.FromSeconds(int(at_s))
        viewers = [each.load.viewers for each in heard if each.load.HasField("viewers")]
        lags = [each.growth.lag_peak() for each in heard if each.load.HasField("lag_seconds")]
        if viewers:
            point.viewers = sum(viewers)
        if lags:
            point.lag_seconds = max(lags)
        if (found := _freshness(heard)) and found.HasField("p50_seconds"):
            point.freshness_p50_seconds = found.p50_seconds
            point.freshness_p99_seconds = found.p99_seconds
        self._points.append(point)
        while self._points[0].at.ToSeconds() <= at_s - POINTS_MAX * SLOT_S:
            self._points.popleft()

    def _shown(self, now_s: float) -> list[ProcessOverview]:
        found = []
        for (service, instance), each in self._processes.items():
            shown = ProcessOverview(service=service, instance=instance)
            silent_s = now_s - each.heard_s
            if silent_s > SILENT_S:
                shown.state = PROCESS_STATE_SILENT
                shown.reason = f"not heard for {silent_s:.0f} s" if silent_s < math.inf else "not heard"
            else:
                shown.state = PROCESS_STATE_FAILING if each.failing else PROCESS_STATE_WELL
                shown.reason = each.failing
                if each.load.HasField("memory_bytes"):
                    shown.memory_bytes = each.load.memory_bytes
                if (cpu := each.growth.rate("cpu_seconds")) is not None:
                    shown.cpu_ratio = cpu
            found.append(shown)
        if len(found) > PROCESSES_SHOWN_MAX:
            found = heapq.nsmallest(PROCESSES_SHOWN_MAX, found, key=lambda it: (_ORDER[it.state], _name(it)))
        return sorted(found, key=_name)


def _name(process: ProcessOverview) -> tuple[str, str, str]:
    """Of instances by number: ingest-2 before ingest-10."""
    stem, dash, number = process.instance.rpartition("-")
    return process.service, stem + dash, number.zfill(8) if number.isdecimal() else number


def _rates(heard: Iterable[_Process]) -> MeshRates:
    rates = MeshRates()
    for field in RATES:
        known = [rate for each in heard if (rate := each.growth.rate(field)) is not None]
        if known:
            setattr(rates, field, sum(known))
    return rates


def _freshness(heard: Iterable[_Process]) -> VoteFreshness | None:
    """None without a canary. Of several with the same buckets all are added."""
    canaries = [each for each in heard if each.load.freshness_bounds or each.load.HasField("incident_open")]
    if not canaries:
        return None
    bounds = next((each.load.freshness_bounds for each in canaries if each.load.freshness_bounds), ())
    counts = [0.0] * len(bounds)
    for each in canaries:
        own, grown = each.growth.buckets()
        if list(own) == list(bounds):
            counts = [a + b for a, b in zip(counts, grown, strict=True)]
    found = VoteFreshness(
        seen=counts[-1] if counts else 0.0,
        unseen=sum(each.growth.grown("votes_unseen") for each in canaries),
        not_acked=sum(each.growth.grown("votes_not_acked") for each in canaries),
        incident_open=any(each.load.incident_open for each in canaries),
        incidents=sum(each.load.incidents for each in canaries),
    )
    p50, p99 = quantile(0.5, bounds, counts), quantile(0.99, bounds, counts)
    if p50 is not None and p99 is not None:
        found.p50_seconds, found.p99_seconds = p50, p99
    return found


def _hottest(heard: Iterable[_Process], title: Callable[[str], str]) -> list[GameOverview]:
    """What each process has among its hottest is added: a game that is hot nowhere may be missing."""
    events, viewers = dict[str, float](), dict[str, float]()
    for each in heard:
        for game in each.load.games:
            if game.events_per_second:
                events[game.game_id] = events.get(game.game_id, 0.0) + game.events_per_second
            if game.viewers:
                viewers[game.game_id] = viewers.get(game.game_id, 0.0) + game.viewers
    games = heapq.nsmallest(
        GAMES_MAX,
        events.keys() | viewers.keys(),
        key=lambda it: (-events.get(it, 0), -viewers.get(it, 0), it),
    )
    return [
        GameOverview(
            game_id=game_id,
            title=title(game_id),
            events_per_second=events.get(game_id),
            viewers=viewers.get(game_id),
        )
        for game_id in games
    ]
