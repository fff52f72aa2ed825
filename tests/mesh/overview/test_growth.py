"""Rates and quantiles of one process, whatever it says, forgets or says twice."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from grandstand.internal.v1.internal_pb2 import GameLoad, ProcessLoad
from mesh.metrics import declarations
from mesh.metrics.histogram import Histogram
from mesh.metrics.registry import MetricRegistry
from mesh.overview.growth import KEPT_S, RATES_S, SAMPLES_MAX, Growth
from mesh.overview.loads import FAMILIES, FRESHNESS, GAMES_MAX, VALUE_MAX, checked, load_of
from mesh.overview.quantiles import quantile

BOUNDS = [0.1, 0.2, math.inf]
anything = st.floats(allow_nan=True, allow_infinity=True)


def said(at: float, began: float = 1.0, **fields: Any) -> ProcessLoad:
    return checked(ProcessLoad(at=at, began=began, **fields))


def heard(*loads: ProcessLoad) -> Growth:
    growth = Growth()
    for load in loads:
        growth.hear(load)
    return growth


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=12),
    st.floats(0.2, 2.0),
    st.integers(0, 10**9),
)
def test_a_rate_is_what_a_counter_grew_by_over_the_time_it_took(
    steps: list[int], every_s: float, start: int
) -> None:
    growth, total = heard(said(0, stored=start)), start
    for number, step in enumerate(steps, 1):
        total += step
        growth.hear(said(number * every_s, stored=total))
    inside = [step for number, step in enumerate(steps, 1) if (len(steps) - number + 1) * every_s <= RATES_S]
    expected = sum(inside) / (len(inside) * every_s)
    assert math.isclose(growth.rate("stored") or 0.0, expected, rel_tol=1e-6, abs_tol=1e-6)


def test_a_counter_that_began_again_is_no_negative_rate() -> None:
    assert heard(said(0, stored=900), said(1, stored=1_000), said(2, stored=30)).rate("stored") == 65


def test_another_life_and_a_clock_that_went_back_begin_a_new_window() -> None:
    before = said(0, stored=900), said(1, stored=1_000)
    for later in (said(2, began=2.0, stored=5), said(0.5, stored=2_000)):
        growth = heard(*before, later)
        assert growth.rate("stored") is None
        growth.hear(said(later.at + 1, began=later.began, stored=later.stored + 7))
        assert growth.rate("stored") == 7


def test_a_value_that_is_missing_or_no_number_is_no_step() -> None:
    growth = heard(said(0, stored=100), said(1, stored=110))
    for at, value in ((2, math.nan), (3, None), (4, math.inf), (5, -1.0)):
        growth.hear(said(at, **({} if value is None else {"stored": value})))
        assert growth.rate("stored") is None
    growth.hear(said(6, stored=1_000))
    growth.hear(said(7, stored=1_010))
    assert growth.rate("stored") == 20 / 7


def test_what_is_said_twice_is_heard_once() -> None:
    growth = heard(said(0, stored=0), said(1, stored=10))
    assert not growth.hear(said(1, stored=10))
    assert growth.rate("stored") == 10
    assert Growth().rate("stored") is None
    assert heard(said(5, stored=1)).rate("stored") is None


def test_freshness_is_of_the_last_minute_and_begins_again_with_the_buckets() -> None:
    growth = Growth()
    for at in range(100):
        growth.hear(said(at, freshness_bounds=BOUNDS, freshness_counts=[at, at, at], votes_unseen=at))
    assert growth.buckets()[1] == [KEPT_S] * 3
    assert growth.grown("votes_unseen") == KEPT_S
    growth.hear(said(100, freshness_bounds=BOUNDS, freshness_counts=[1, 2, 2]))
    assert growth.buckets()[1] == [KEPT_S, KEPT_S + 1, KEPT_S + 1]
    growth.hear(said(101, freshness_bounds=[0.5, math.inf], freshness_counts=[1, 2]))
    assert growth.buckets()[1] == [0, 0]


@given(
    st.lists(
        st.builds(
            ProcessLoad,
            at=anything,
            began=st.sampled_from([0.0, 1.0, math.nan]),
            stored=anything,
            votes_unseen=anything,
            lag_seconds=anything,
            freshness_bounds=st.lists(anything, max_size=3),
            freshness_counts=st.lists(anything, max_size=3),
            games=st.lists(st.builds(GameLoad, viewers=anything), max_size=3),
        ),
        max_size=20,
    )
)
def test_whatever_is_said_rates_are_numbers_that_are_not_negative(loads: list[ProcessLoad]) -> None:
    growth = Growth()
    for load in loads:
        growth.hear(checked(load))
        for value in (growth.rate("stored") or 0.0, growth.grown("votes_unseen"), growth.lag_peak()):
            assert value >= 0
        bounds, counts = growth.buckets()
        found = quantile(0.99, bounds, counts)
        assert found is None or 0 <= found < math.inf


def test_what_is_kept_is_bounded() -> None:
    growth = Growth()
    for step in range(10 * SAMPLES_MAX):
        growth.hear(said(step / 1_000, stored=step, votes_not_acked=0))
    assert len(growth._samples) == SAMPLES_MAX


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=60),
    st.floats(0.01, 1.0),
)
def test_a_quantile_is_in_the_bucket_of_the_value_it_stands_for(values: list[float], q: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    counts = [float(sum(histogram.counts[: at + 1])) for at in range(len(histogram.counts))]
    bounds = [*histogram.bounds, math.inf]
    found = quantile(q, bounds, counts)
    assert found is not None
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    at = min(bisect_left(histogram.bounds, exact), len(histogram.bounds) - 1)
    assert (histogram.bounds[at - 1] if at else 0.0) <= found * (1 + 1e-9)
    assert found <= histogram.bounds[at] * (1 + 1e-9)
    assert found <= (quantile(min(1.0, q + 0.1), bounds, counts) or 0.0) * (1 + 1e-9)


def test_no_values_have_no_quantile() -> None:
    assert quantile(0.5, (), []) is None
    assert quantile(0.5, BOUNDS, [0, 0, 0]) is None
    assert quantile(0.5, [math.inf], [3]) is None
    assert quantile(0.5, BOUNDS, [0, 0, 3]) == 0.2


def test_a_load_is_the_same_from_the_process_and_from_its_scrape() -> None:
    registry = MetricRegistry()
    registry.value(declarations.INGEST_STORED, lambda: 7)
    registry.value(declarations.INGEST_REJECTED, lambda: {"Invalid": 2, "Forbidden": 3})
    registry.value(declarations.AGGREGATE_LAG_SECONDS, lambda: {"0": 0.5, "1": 2.5})
    registry.value(declarations.INGEST_GAME_RATE, lambda: {"final": 9.5, "idle": 0.0, "other": 3.0})
    registry.value(declarations.GATEWAY_GAME_VIEWERS, lambda: {"final": 4.0})
    registry.value(declarations.INGEST_EVENTS, lambda: math.nan)
    load = load_of(registry.families(FAMILIES), 3.0)
    assert (load.stored, load.refused, load.lag_seconds) == (7, 5, 2.5)
    assert not load.HasField("received")
    assert (load.HasField("shed"), load.shed) == (True, 0)
    assert not load.HasField("viewers")
    assert list(load.games) == [GameLoad(game_id="final", events_per_second=9.5, viewers=4)]
    text = (
        "# TYPE grandstand_ingest_events_stored counter\ngrandstand_ingest_events_stored_total 7.0\n"
        "grandstand_ingest_events_stored_created 1.7e9\n"
        f"# TYPE {FRESHNESS} histogram\n"
        f'{FRESHNESS}_bucket{{le="0.1"}} 2\n{FRESHNESS}_bucket{{le="+Inf"}} 3\n{FRESHNESS}_count 3\n'
        f"{FRESHNESS}_sum 4\n# EOF\n"
    )
    scraped = load_of(text_string_to_metric_families(text), 3.0)
    assert scraped.stored == 7
    assert (list(scraped.freshness_bounds), list(scraped.freshness_counts)) == ([0.1, math.inf], [2, 3])
    assert load_of([], 1.0) == ProcessLoad(at=1.0)


def test_a_load_that_is_too_large_is_cut() -> None:
    games = [GameLoad(game_id=f"g{number}", viewers=1) for number in range(3 * GAMES_MAX)]
    load = checked(ProcessLoad(at=1, games=[GameLoad(game_id="x" * 1_000), *games], stored=2 * VALUE_MAX))
    assert [each.game_id for each in load.games] == [f"g{number}" for number in range(2 * GAMES_MAX)]
    assert not load.HasField("stored")
    family = GaugeMetricFamily(declarations.GATEWAY_GAME_VIEWERS.name, "", labels=["game"])
    for number in range(3_000):
        family.add_metric([f"g{number}"], number)
    assert len(load_of([family], 1.0).games) == GAMES_MAX
