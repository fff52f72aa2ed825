"""An incident is opened, detected, recovered and closed, with the seconds that it took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.canary.incidents import (
    QUIET_S,
    STALLED_S,
    Flow,
    Incident,
    IncidentEnd,
    IncidentKind,
    IncidentWatch,
    from_json,
    mean_times,
)

STEP_S = 0.25
WALL_S = 1_800_000_000.0


class Stream:
    """A vote a second, on the whole second; it is acked (or shown) unless that second is in an outage."""

    def __init__(self, outages: list[tuple[int, int]]) -> None:
        missed = {second for begins, ends in outages for second in range(begins, ends)}
        self._last: list[int] = []
        """The newest success, by the second."""
        for second in range(400):
            self._last.append(self._last[-1] if second in missed else second)

    def flow(self, now_s: float) -> Flow:
        last = self._last[int(now_s)]
        return Flow(float(last + 1) if last < int(now_s) else None, float(last))


def told(acks: Stream, frames: Stream, seconds: int, watch: IncidentWatch | None = None) -> list[Incident]:
    watch, news = watch or IncidentWatch(), []
    for step in range(int(seconds / STEP_S)):
        now_s = step * STEP_S
        said = watch.step(acks.flow(now_s), frames.flow(now_s), now_s, WALL_S + now_s, "because")
        if said is not None:
            news.append(said)
    return news


def test_an_outage_of_acks_is_measured_from_the_first_vote_to_the_next_ack() -> None:
    opened, closed = told(Stream([(10, 20)]), Stream([(10, 21)]), 40)
    assert opened.end is IncidentEnd.OPEN
    assert opened.detected_after_s == STALLED_S
    assert closed == Incident(
        incident_id=opened.incident_id,
        started_at_s=WALL_S + 10,
        kind=IncidentKind.ACKS,
        reason="because",
        detected_after_s=STALLED_S,
        without_acks_s=10.0,
        without_frames_s=11.0,
        end=IncidentEnd.RECOVERED,
        recovered_after_s=11.0,
    )
    assert from_json(closed.as_json()) == closed


def test_frames_alone_may_stop_and_acks_may_stop_later() -> None:
    (_, closed) = told(Stream([]), Stream([(10, 16)]), 40)
    assert (closed.kind, closed.without_acks_s, closed.without_frames_s) == (IncidentKind.FRAMES, 0.0, 6.0)
    opened, changed, closed = told(Stream([(14, 18)]), Stream([(10, 18)]), 40)
    assert [each.kind for each in (opened, changed, closed)] == ["frames", "acks", "acks"]
    assert (closed.without_acks_s, closed.without_frames_s, closed.recovered_after_s) == (4.0, 8.0, 8.0)


def test_what_stalls_again_at_once_is_one_incident_and_later_another() -> None:
    twice = [(10, 14), (16, 20)]
    (_, closed) = told(Stream(twice), Stream(twice), 40)
    assert (closed.without_acks_s, closed.recovered_after_s) == (8.0, 10.0)
    apart = [(10, 14), (30, 34)]
    watch = IncidentWatch()
    assert len(told(Stream(apart), Stream(apart), 60, watch)) == 4
    assert watch.detected == {IncidentKind.ACKS: 2, IncidentKind.FRAMES: 0}


def test_one_success_among_many_that_wait_counts_no_second_twice() -> None:
    watch, closed = IncidentWatch(), None
    for step in range(40 * 4):
        now_s = step * STEP_S
        flow = (
            Flow(None, now_s)
            if now_s < 10 or now_s >= 25
            else Flow(11.0, 20.0)
            if now_s >= 20
            else Flow(10.0, 9.0)
        )
        closed = watch.step(flow, flow, now_s, WALL_S + now_s, "") or closed
    assert closed is not None
    assert (closed.end, closed.without_acks_s, closed.recovered_after_s) == (
        IncidentEnd.RECOVERED,
        15.0,
        15.0,
    )


def test_less_than_the_bound_is_no_incident() -> None:
    assert told(Stream([(10, 11), (13, 14)]), Stream([]), 30) == []


def test_a_canary_that_did_not_run_ends_what_it_had_open_without_a_recovery() -> None:
    watch = IncidentWatch()
    (opened,) = told(Stream([(10, 99)]), Stream([(10, 99)]), 15, watch)
    assert watch.stalled
    explained = watch.explain("Redis does not answer")
    assert explained is not None
    assert explained.reason == "because; Redis does not answer"
    ended = watch.interrupted()
    assert ended is not None
    assert (ended.incident_id, ended.end) == (opened.incident_id, IncidentEnd.UNOBSERVED)
    assert ended.recovered_after_s is None
    assert ended.without_acks_s == pytest.approx(15 - 10, abs=STEP_S)
    assert watch.open is None
    assert watch.interrupted() is None


def test_a_clock_that_is_set_while_it_lasts_changes_no_seconds() -> None:
    watch, acks = IncidentWatch(), Stream([(10, 20)])
    news = []
    for step in range(200):
        now_s = step * STEP_S
        wall_s = WALL_S + now_s + (86_400 if now_s > 14 else 0)
        news.append(watch.step(acks.flow(now_s), acks.flow(now_s), now_s, wall_s, ""))
    closed = [each for each in news if each is not None][-1]
    assert (closed.started_at_s, closed.recovered_after_s) == (WALL_S + 10, 10.0)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=8))
def test_the_seconds_of_all_incidents_are_those_of_the_outages_that_are_long_enough(
    gaps_and_outages: list[tuple[int, int]],
) -> None:
    outages, at = list[tuple[int, int]](), 1
    for gap, outage in gaps_and_outages:
        outages.append((at + gap, at + gap + outage))
        at += gap + outage
    stream = Stream(outages)
    news = told(stream, stream, at + int(QUIET_S) + 10)
    closed = [each for each in news if each.end is IncidentEnd.RECOVERED]
    long_enough = [b - a for a, b in outages if b - a > STALLED_S]
    assert sum(each.without_acks_s for each in closed) == sum(long_enough)
    assert sum(each.without_frames_s for each in closed) == sum(long_enough)
    opened = [each for each in news if each.end is IncidentEnd.OPEN]
    assert [each.incident_id for each in opened] == [each.incident_id for each in closed]
    for each in closed:
        assert each.recovered_after_s is not None
        assert each.detected_after_s < each.recovered_after_s
        assert each.without_acks_s <= each.recovered_after_s


def test_means_are_over_what_was_seen_to_its_end() -> None:
    (_, first) = told(Stream([(10, 20)]), Stream([(10, 20)]), 40)
    (_, second) = told(Stream([(10, 14)]), Stream([(10, 14)]), 40)
    mean = mean_times(
        [first, second, first.unobserved().__class__(**{**first.as_json(), "recovered_after_s": None})]
    )
    assert (mean.incidents, mean.detect_s, mean.recover_s) == (2, 2.0, 7.0)
    assert mean_times([]).recover_s is None


@pytest.mark.parametrize("damaged", [{}, {"kind": "x"}, {"incident_id": "1"}])
def test_what_is_no_incident_is_told_from_one(damaged: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        from_json(damaged)
