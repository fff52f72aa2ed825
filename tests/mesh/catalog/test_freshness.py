"""A view's anchor never lies: against a bucket that keeps one entry a key and delivers when it likes."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from mesh import limits
from mesh.catalog.freshness import SILENCE_S, Freshness
from mesh.catalog.mesh_clock import MeshClock

CLOSED, SEALED = 1, 2


class Bucket:
    """One entry a key; the watch goes through it in the order of its sequences."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[int, int]] = {}
        self.last = 0
        self.at = 0

    def put(self, key: str, value: int) -> None:
        self.last += 1
        self.entries[key] = (self.last, value)

    def deliver(self) -> tuple[str, int] | None:
        ahead = [
            (sequence, key, value) for key, (sequence, value) in self.entries.items() if sequence > self.at
        ]
        if not ahead:
            return None
        self.at, key, value = min(ahead)
        return key, value


@given(st.lists(st.sampled_from(["probe", "close", "deliver", "watch"]), max_size=40))
@example(["close", "probe", "close", "deliver"])  # the probe comes before what replaced the older entry
def test_i9_what_is_open_in_the_view_was_not_closed_at_its_anchor(steps: list[str]) -> None:
    """Time is the number of the step. A topic goes from OPEN to CLOSED to SEALED; entries that were
    replaced are never delivered, and a watch may be replaced at any time."""
    bucket, freshness, shown = Bucket(), Freshness(), 0
    closed_at = math.inf
    for now, step in enumerate(steps):
        match step:
            case "probe":
                bucket.put("probe", freshness.sent(now))
            case "close" if bucket.entries.get("topic", (0, 0))[1] < SEALED:
                stage = bucket.entries.get("topic", (0, 0))[1] + 1
                bucket.put("topic", stage)
                closed_at = min(closed_at, now)
            case "watch":
                freshness.watch_began()
                bucket.at = 0
            case "deliver":
                match bucket.deliver():
                    case ("probe", number):
                        freshness.heard(number)
                    case (_, value):
                        shown = value
        assert freshness.anchor_s <= now
        if not shown:
            assert freshness.anchor_s <= closed_at


def test_a_view_is_anchored_where_the_last_probe_but_one_was_sent_and_ages_from_there() -> None:
    freshness = Freshness()
    first, second = freshness.sent(10.0), freshness.sent(10.5)
    assert freshness.heard(first) == 10.0
    assert freshness.has_answer
    assert not freshness.is_anchored
    assert freshness.heard(second) == 10.5
    assert freshness.anchor_s == 10.0
    assert freshness.is_fresh(10.0 + limits.VIEW_FRESH_S)
    assert not freshness.is_fresh(10.1 + limits.VIEW_FRESH_S)
    assert freshness.heard(second) is None, "delivered again"
    assert freshness.heard(99) is None, "never sent"


def test_receipt_makes_no_view_fresh() -> None:
    """A process that was stopped for a minute reads what had come before."""
    freshness = Freshness()
    probes = [freshness.sent(at_s) for at_s in (10.0, 10.5, 11.0)]
    for probe in probes:
        freshness.heard(probe)
    assert not freshness.is_fresh(71.0)


def test_a_probe_that_another_has_replaced_is_not_waited_for() -> None:
    freshness = Freshness()
    freshness.sent(10.0)
    freshness.heard(freshness.sent(10.5))
    assert not freshness.is_silent(10.0 + 2 * SILENCE_S)
    freshness.sent(20.0)
    freshness.sent(20.5)
    assert not freshness.is_silent(20.0 + SILENCE_S - 0.1)
    assert freshness.is_silent(20.0 + SILENCE_S)
    freshness.watch_began()
    assert not freshness.is_silent(99.0)


@given(
    st.lists(
        st.tuples(st.floats(0.1, 60.0), st.floats(0.0, 90.0), st.floats(0.0, 1.0)), min_size=1, max_size=30
    )
)
def test_the_mesh_clock_is_never_behind_and_ahead_by_no_more_than_its_best_trip(
    samples: list[tuple[float, float, float]],
) -> None:
    """The server's clock runs evenly, 1,000,000 s ahead; trips last up to 90 s, stored anywhere in them."""
    clock, now_s, best_s = MeshClock(), 100.0, math.inf
    assert not clock.is_known
    for wait_s, trip_s, share in samples:
        now_s += wait_s
        clock.sample(now_s, now_s + trip_s, now_s + trip_s * share + 1e6)
        best_s = min(best_s + wait_s * 0.011, trip_s)
        now_s += trip_s
        best_s += trip_s * 0.011
        assert clock.is_known
        assert -1e-3 <= clock.at_s(now_s) - (now_s + 1e6) <= best_s + 1e-3


def test_a_server_whose_clock_was_set_is_followed() -> None:
    clock = MeshClock()
    clock.sample(10.0, 10.001, 500.0)
    clock.sample(10.5, 10.504, 800.5)
    assert clock.at_s(11.0) == 801.0
    clock.sample(11.0, 71.0, 861.0)
    assert clock.at_s(71.0) == 861.0, "a trip of a minute tells nothing"


def test_a_watch_that_still_loads_is_not_silent_and_one_that_has_loaded_and_leaves_a_probe_is() -> None:
    freshness = Freshness()
    freshness.watch_began()
    freshness.sent(0.0)
    freshness.brought(2 * SILENCE_S)
    assert not freshness.is_silent(2.9 * SILENCE_S), "it brings what there is, and that is much"
    assert freshness.is_silent(3 * SILENCE_S)
    freshness.heard(freshness.sent(10.0))
    freshness.sent(11.0)
    freshness.brought(11.0 + SILENCE_S)
    assert freshness.is_silent(11.0 + SILENCE_S), "entries alone say nothing of the probe"
