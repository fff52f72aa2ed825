"""I5 and I8 in the gateway's cores: newest state, never older, one encoding for many viewers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.cohort import Cohort, CohortKey
from gateway.view import GameView
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.internal.v1.internal_pb2 import (
    AudiencePartial,
    PanePartial,
    Partial,
    PulsePartial,
    TallyPartial,
)
from mesh import limits
from mesh.topics import TopicPatterns

NOW_S = 1_790_000_000


def partial(topic: str, sequence: int, votes: int, partition: int = 0) -> Partial:
    tally = TallyPartial(option_ids=["a"], votes=[votes], voters=votes)
    return Partial(topic=topic, partition=partition, sequence=sequence, tally=tally)


def cohort_of(view: GameView, *patterns: str, rate: int = 20) -> Cohort:
    return Cohort(CohortKey("g", TopicPatterns(patterns), rate), view)


def topics_in(encoded: bytes) -> dict[str, int]:
    response = SubscribeResponse.FromString(encoded)
    message = response.snapshot if response.HasField("snapshot") else response.update
    return {state.topic: state.tally.voters for state in message.topics}


def test_joiners_of_one_moment_share_one_snapshot() -> None:
    view = GameView()
    view.offer(partial("poll/x", 1, 5))
    cohort = cohort_of(view)
    assert cohort.snapshot(NOW_S) is cohort.snapshot(NOW_S)
    view.offer(partial("poll/x", 2, 6))
    assert topics_in(cohort.snapshot(NOW_S).encoded) == {"poll/x": 6}


def test_viewers_of_one_version_share_one_encoding() -> None:
    view = GameView()
    cohort = cohort_of(view)
    view.offer(partial("poll/x", 1, 5))
    cohort.tick(1.0)
    frame = cohort.update(0, NOW_S)
    assert frame is not None
    assert cohort.update(0, NOW_S) is frame
    assert cohort.update(frame.version, NOW_S) is None


def test_a_viewer_that_fell_behind_gets_one_frame_with_the_newest_of_all_it_missed() -> None:
    view = GameView()
    cohort = cohort_of(view)
    for sequence in range(1, 50):
        view.offer(partial(f"poll/{sequence % 3}", sequence, sequence))
        cohort.tick(sequence)
    frame = cohort.update(0, NOW_S)
    assert frame is not None
    assert topics_in(frame.encoded) == {"poll/0": 48, "poll/1": 49, "poll/2": 47}


def test_a_cohort_hears_only_of_its_topics() -> None:
    view = GameView()
    polls = cohort_of(view, "poll/*")
    view.offer(partial("board/x", 1, 1))
    assert polls.due_at_s() is None
    view.offer(partial("poll/x", 2, 1))
    polls.tick(0)
    frame = polls.update(0, NOW_S)
    assert frame is not None
    assert topics_in(frame.encoded) == {"poll/x": 1}


def test_ticks_keep_to_the_cohorts_rate_with_a_leading_edge() -> None:
    view = GameView()
    cohort = cohort_of(view, rate=4)
    view.offer(partial("poll/x", 1, 1))
    assert cohort.due_at_s() == float("-inf")
    cohort.tick(100.0)
    assert cohort.due_at_s() is None
    view.offer(partial("poll/x", 2, 2))
    assert cohort.due_at_s() == 100.25


def test_a_rate_is_shown_sinking_to_zero_while_nothing_comes() -> None:
    view = GameView()
    everything = TopicPatterns([])
    panes = [PanePartial(width_s=1, starts_at_s=NOW_S, counts=[5])]
    pulse = PulsePartial(kinds=["fire"], totals=[5], panes=panes)
    view.offer(Partial(topic="pulse/x", partition=0, sequence=1, pulse=pulse))
    rates = [view.states(everything, 0, NOW_S)[0].pulse.kinds[0].rate_per_s]
    for second in range(1, limits.RATE_WINDOW_S + 4):
        since = view.version
        if view.let_time_pass(NOW_S + second):
            (state,) = view.states(everything, since, NOW_S + second)
            rates.append(state.pulse.kinds[0].rate_per_s)
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0
    assert not view.let_time_pass(NOW_S + 60)


def test_viewers_fade_while_nothing_comes_and_nobody_is_told_what_they_know() -> None:
    view = GameView()
    everything = TopicPatterns([])
    audience = AudiencePartial(pane_starts_at_s=[NOW_S, NOW_S + 5], last_seen=[3, 4], uniques=9, exact=True)
    view.offer(Partial(topic="audience", partition=0, sequence=1, audience=audience))
    shown = [view.states(everything, 0, NOW_S + 6)[0].audience.viewers]
    for second in range(7, 120):
        since = view.version
        if view.let_time_pass(NOW_S + second):
            (state,) = view.states(everything, since, NOW_S + second)
            shown.append(state.audience.viewers)
    assert shown == [7, 4, 0]


def test_what_passes_unwatched_is_shown_as_it_is_when_somebody_asks() -> None:
    view = GameView()
    audience = AudiencePartial(pane_starts_at_s=[NOW_S], last_seen=[3], uniques=3, exact=True)
    view.offer(Partial(topic="audience", partition=0, sequence=1, audience=audience))
    assert not view.let_time_pass(NOW_S + 300)
    assert view.states(TopicPatterns([]), 0, NOW_S + 300)[0].audience.viewers == 0


@given(st.data())
def test_no_viewer_ever_goes_back_and_in_the_end_all_have_the_newest(data: st.DataObject) -> None:
    """Partials, ticks and reads in any order; three viewers that read when they like."""
    view = GameView()
    cohort = cohort_of(view)
    source = [partial(f"poll/{t}", s, s, p) for t in "xy" for p in (0, 1) for s in range(1, 8)]
    versions = dict.fromkeys("abc", 0)
    shown: dict[str, dict[str, int]] = {name: {} for name in versions}

    def read(name: str) -> None:
        frame = cohort.update(versions[name], NOW_S)
        if frame is None:
            return
        assert frame.version > versions[name]
        versions[name] = frame.version
        for topic, voters in topics_in(frame.encoded).items():
            assert voters >= shown[name].get(topic, 0)
            shown[name][topic] = voters

    for at in range(data.draw(st.integers(1, 60))):
        match data.draw(st.sampled_from(["offer", "tick", "read"])):
            case "offer":
                view.offer(data.draw(st.sampled_from(source)))
            case "tick":
                cohort.tick(at)
            case "read":
                read(data.draw(st.sampled_from("abc")))
    cohort.tick(1e9)
    final = {state.topic: state.tally.voters for state in view.states(TopicPatterns([]), 0, NOW_S)}
    for name in versions:
        read(name)
        assert shown[name] == final
