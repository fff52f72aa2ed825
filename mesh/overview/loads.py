"""A process's load: the few of its metrics that operators' screens add up, as a ProcessLoad. Pure.

It is made from families of metrics: those of the process itself, each second, to be said with its health; or
those of a scrape, for `top` on the machine of `up`. So both ways show the same numbers.

A value that is no count (NaN, infinite, negative, beyond VALUE_MAX) is unset, as a metric that is missing.
Bounds: GAMES_MAX games by each of two measures, BUCKETS_MAX buckets.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric as Family

from grandstand.internal.v1.internal_pb2 import GameLoad, ProcessLoad
from mesh.metrics import declarations as d
from mesh.metrics.hottest import HOTTEST_MAX, OTHERS

GAMES_MAX = HOTTEST_MAX
BUCKETS_MAX = 40
GAME_ID_MAX = 256
VALUE_MAX = 1e15
"""Beyond it a double counts no more by one."""
STARTED = "process_start_time_seconds"
FRESHNESS = d.CANARY_FRESHNESS.name


@dataclass(frozen=True, slots=True)
class _Taken:
    field: str
    """Of ProcessLoad."""
    family: str
    add: Callable[[Iterable[float]], float] = sum
    """Of the values by label one."""
    apart_from: Mapping[str, str] | None = None
    """Samples with this label are left out."""
    beside: str = ""
    """A field of the same process: one with labels has no sample before the first of them."""


COUNTERS = (
    _Taken("cpu_seconds", "process_cpu_seconds"),
    _Taken("received", d.INGEST_EVENTS.name),
    _Taken("stored", d.INGEST_STORED.name),
    _Taken("refused", d.INGEST_REJECTED.name, beside="received"),
    _Taken("shed", d.INGEST_SHED.name, beside="received"),
    _Taken("folded", d.AGGREGATE_EVENTS.name),
    _Taken("frames", d.GATEWAY_FRAMES.name),
    _Taken("conflated", d.GATEWAY_CONFLATED.name),
    _Taken("viewers_refused", d.GATEWAY_VIEWERS_REFUSED.name, beside="frames"),
    _Taken("votes_not_acked", d.CANARY_VOTES.name, apart_from={"outcome": "acked"}, beside="incident_open"),
    _Taken("votes_unseen", d.CANARY_UNSEEN.name),
    _Taken("incidents", d.INCIDENTS.name, beside="incident_open"),
)
GAUGES = (
    _Taken("memory_bytes", "process_resident_memory_bytes"),
    _Taken("lag_seconds", d.AGGREGATE_LAG_SECONDS.name, max),
    _Taken("lag_blocks", d.AGGREGATE_LAG_BLOCKS.name),
    _Taken("viewers", d.GATEWAY_VIEWERS.name),
    _Taken("streams", d.INGEST_STREAMS.name),
    _Taken("overload_level", d.GATEWAY_OVERLOAD.name, max),
    _Taken("pressure_ratio", d.INGEST_PRESSURE.name, max),
    _Taken("incident_open", d.INCIDENT_OPEN.name, max),
)
_BY_GAME = {d.INGEST_GAME_RATE.name: "events_per_second", d.GATEWAY_GAME_VIEWERS.name: "viewers"}
_TAKEN = {each.family: each for each in (*COUNTERS, *GAUGES)}
FAMILIES = frozenset({*_TAKEN, *_BY_GAME, STARTED, FRESHNESS})
"""The metrics that are read; others may be left out of `load_of`."""


def load_of(families: Iterable[Family], at_s: float) -> ProcessLoad:
    """`at_s`: a clock that never jumps, at which the families were read."""
    load = ProcessLoad(at=at_s)
    games: dict[str, GameLoad] = {}
    told = set[str]()
    for family in families:
        if taken := _TAKEN.get(family.name):
            values = [each.value for each in family.samples if _is_of(each.name, each.labels, taken)]
            if values:
                told.add(taken.field)
                setattr(load, taken.field, taken.add(values))
        elif by := _BY_GAME.get(family.name):
            _take_games(games, family, by)
        elif family.name == STARTED:
            load.began = next((each.value for each in family.samples), 0.0)
        elif family.name == FRESHNESS:
            _take_freshness(load, family)
    for taken in COUNTERS:
        if taken.beside in told and taken.field not in told:
            setattr(load, taken.field, 0.0)
    load.games.extend(games.values())
    return checked(load)


def checked(load: ProcessLoad) -> ProcessLoad:
    """The load without what is no number, and within its bounds: of one that came from elsewhere."""
    for taken in (*COUNTERS, *GAUGES):
        if not is_number(getattr(load, taken.field)):
            load.ClearField(taken.field)
    for field in ("began", "at"):
        if not is_number(getattr(load, field)):
            setattr(load, field, 0.0)
    bounds, counts = list(load.freshness_bounds), list(load.freshness_counts)
    if not (
        len(bounds) == len(counts) <= BUCKETS_MAX
        and bounds == sorted(set(bounds))
        and all(map(is_number, bounds[:-1]))
        and (not bounds or bounds[-1] == math.inf)
        and counts == sorted(counts)
        and all(map(is_number, counts))
    ):
        load.ClearField("freshness_bounds")
        load.ClearField("freshness_counts")
    games = [
        each
        for each in load.games
        if len(each.game_id) <= GAME_ID_MAX and is_number(each.events_per_second) and is_number(each.viewers)
    ]
    if len(games) != len(load.games) or len(games) > 2 * GAMES_MAX:
        del load.games[:]
        load.games.extend(games[: 2 * GAMES_MAX])
    return load


def is_number(value: float) -> bool:
    return 0 <= value <= VALUE_MAX  # False of NaN


def _is_of(name: str, labels: Mapping[str, str], taken: _Taken) -> bool:
    """Whether the sample is the metric itself, not when it was created."""
    if name not in (taken.family, f"{taken.family}_total"):
        return False
    return not (taken.apart_from and taken.apart_from.items() <= labels.items())


def _take_games(games: dict[str, GameLoad], family: Family, measure: str) -> None:
    found = (
        (each.value, each.labels["game"])
        for each in family.samples
        if each.labels.get("game", OTHERS) != OTHERS and is_number(each.value) and each.value
    )
    for value, game_id in heapq.nlargest(GAMES_MAX, found):
        setattr(games.setdefault(game_id, GameLoad(game_id=game_id)), measure, value)


def _take_freshness(load: ProcessLoad, family: Family) -> None:
    """Of one histogram without labels."""
    buckets = [
        (float(each.labels.get("le", "nan")), each.value)
        for each in family.samples
        if each.name == f"{FRESHNESS}_bucket"
    ]
    load.freshness_bounds.extend(le for le, _ in buckets)
    load.freshness_counts.extend(count for _, count in buckets)
