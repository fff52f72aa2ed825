"""I5 and I8 in the gateway's cores: newest state, never older, one buffer for many viewers."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import snapshot_topics
from gateway.cohort import NOTES_KEPT, Cohort, CohortKey
from gateway.frame_counts import FrameCounts
from gateway.overload import Tier
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.gateway.v1.gateway_pb2 import Heartbeat, SubscribeResponse
from grandstand.internal.v1.internal_pb2 import (
    AudiencePartial,
    BoardPartial,
    PanePartial,
    Partial,
    PulsePartial,
    SeasonShare,
    TallyPartial,
)
from grandstand.wire import delta
from grandstand.wire.topics import TopicPatterns
from mesh import limits
from mesh.http2.shared_message import Shared
from mesh.results_feed.view import GameView
from tests.support.seats import WIDE, Line

NOW_S = 1_790_000_000
EVERYTHING = TopicPatterns([])


def partial(topic: str, sequence: int, votes: int, partition: int = 0) -> Partial:
    tally = TallyPartial(option_ids=["a"], votes=[votes], voters=votes)
    return Partial(topic=topic, partition=partition, sequence=sequence, tally=tally)


def board(sequence: int, points: dict[str, int]) -> Partial:
    ranked = sorted(points.items(), key=lambda each: -each[1])
    share = SeasonShare(
        actor_ids=[actor for actor, _ in ranked],
        points=[value for _, value in ranked],
        reached=range(len(ranked)),
        actors=len(ranked),
    )
    return Partial(topic="board/x", sequence=sequence, board=BoardPartial(top=10, current=share))


class Show:
    """A view, a cohort of it, viewers on one line, and what each of them has on its screen."""

    def __init__(self, *patterns: str, rate: int = 20, deltas: bool = False, window: int = WIDE) -> None:
        self.view = GameView()
        self.line = Line(window)
        key = CohortKey("g", TopicPatterns(patterns), rate, Tier.VIEWER, deltas)
        self.asked = 0
        self.counts = FrameCounts()
        self.cohort = Cohort(key, self.view, self._on_room, NOW_S, counts=self.counts)
        self.screens: dict[int, dict[str, TopicState]] = {}
        self.kinds: dict[int, list[str]] = {}

    def _on_room(self) -> None:
        self.asked += 1

    def join(self, *, ahead: bool = False) -> int:
        (call,) = self.line.open()
        stream = self.line.streams[-1]
        self.screens[stream], self.kinds[stream] = {}, []
        self.cohort.join(call, ahead=ahead, at_s=0.0)
        return stream

    def tick(self) -> None:
        if self.cohort.frames.is_behind():
            self.cohort.tick(0.0, NOW_S)

    def flush(self) -> None:
        self.cohort.flush(0.0, NOW_S)

    def read(self) -> None:
        for stream in self.screens:
            for response in self.responses(stream):
                self._apply(stream, response)

    def responses(self, stream: int) -> Iterator[SubscribeResponse]:
        for message in self.line.messages(stream):
            response = SubscribeResponse.FromString(message)
            self.kinds[stream].append(str(response.WhichOneof("message")))
            yield response

    def _apply(self, stream: int, response: SubscribeResponse) -> None:
        screen = self.screens[stream]
        if response.HasField("snapshot") and not response.snapshot.more:
            assert set(screen) <= {state.topic for state in response.snapshot.topics}
        states = [*response.snapshot.topics, *response.update.topics]
        states += [delta.apply(screen[each.topic], each) for each in response.update.deltas]
        for state in states:
            shown = screen.get(state.topic)
            if shown is not None:
                before = {each.partition: each.sequence for each in shown.cursor.positions}
                now = {each.partition: each.sequence for each in state.cursor.positions}
                assert all(now[p] >= sequence for p, sequence in before.items()), "I5"
            screen[state.topic] = state

    def voters(self, stream: int) -> dict[str, int]:
        self.read()
        return {topic: state.tally.voters for topic, state in self.screens[stream].items()}

    def truth(self) -> dict[str, TopicState]:
        topics = self.view.changed(self.cohort.key.patterns, 0)
        return {topic: self.view.shown(topic, NOW_S).state for topic in topics}


def test_frames_conflations_and_stalled_viewers_are_counted() -> None:
    show = Show(window=100)
    show.view.offer(partial("poll/x", 1, 5))
    slow, quick = show.join(), show.join()
    show.flush()
    counts = show.counts
    assert (counts.ticks, counts.updates, counts.snapshots, show.cohort.stalled()) == (0, 0, 2, 0)
    show.line.widen(quick, WIDE - 100)
    ticks = 0
    while not show.cohort.stalled():
        ticks += 1
        show.view.offer(partial("poll/x", 1 + ticks, 5 + ticks))
        show.tick()
    # The last of them found the slow one's window closed.
    assert counts.ticks == ticks
    assert (counts.updates, counts.conflated) == (2 * ticks - 1, 1)
    show.view.offer(partial("poll/x", 2 + ticks, 6 + ticks))
    show.tick()
    assert (counts.updates, counts.conflated) == (2 * ticks, 2)
    show.line.widen(slow, WIDE - 100)
    show.read()
    show.flush()
    assert (counts.snapshots, counts.conflated, show.cohort.stalled()) == (3, 2, 0)
    assert show.voters(slow) == show.voters(quick)


def test_joiners_of_one_tick_share_one_snapshot_and_one_buffer() -> None:
    show = Show()
    show.view.offer(partial("poll/x", 1, 5))
    show.tick()
    streams = [show.join() for _ in range(100)]
    show.line.writes()  # response headers
    show.flush()
    assert show.line.writes() == 1
    assert all(show.voters(stream) == {"poll/x": 5} for stream in streams)
    assert {tuple(kinds) for kinds in show.kinds.values()} == {("snapshot",)}


def test_a_tick_is_one_buffer_for_all_who_have_the_one_before() -> None:
    show = Show()
    streams = [show.join() for _ in range(100)]
    show.flush()
    show.read()
    for sequence in (1, 2, 3):
        show.view.offer(partial("poll/x", sequence, sequence))
        show.tick()
        assert show.line.writes() == 1
    assert all(show.voters(stream) == {"poll/x": 3} for stream in streams)
    assert set(map(tuple, show.kinds.values())) == {("snapshot", "update", "update", "update")}


def test_who_joins_between_ticks_is_shown_the_last_one_then_goes_on_with_the_others() -> None:
    show = Show()
    show.view.offer(partial("poll/x", 1, 1))
    show.tick()
    show.view.offer(partial("poll/x", 2, 2))
    late = show.join()
    show.flush()
    assert show.voters(late) == {"poll/x": 1}
    show.tick()
    assert show.voters(late) == {"poll/x": 2}
    assert show.kinds[late] == ["snapshot", "update"]


def test_who_has_seen_more_than_the_last_tick_is_shown_what_there_is_now() -> None:
    show = Show(deltas=True)
    show.view.offer(partial("poll/x", 1, 1))
    show.tick()
    show.view.offer(partial("poll/x", 2, 2))
    ahead = show.join(ahead=True)
    show.flush()
    assert show.voters(ahead) == {"poll/x": 2}
    show.view.offer(partial("poll/x", 3, 3))
    show.tick()
    assert show.voters(ahead) == {"poll/x": 3}
    # A delta against the tick before would not fit what it has.
    assert show.kinds[ahead] == ["snapshot", "snapshot"]
    show.view.offer(partial("poll/x", 4, 4))
    show.tick()
    assert show.voters(ahead) == {"poll/x": 4}
    assert show.kinds[ahead] == ["snapshot", "snapshot", "update"]


def test_a_viewer_that_fell_behind_gets_one_snapshot_of_the_newest_when_it_reads_again() -> None:
    show = Show(window=200)
    slow, quick = show.join(), show.join()
    show.flush()
    show.read()
    for sequence in range(1, 50):
        show.view.offer(partial(f"poll/{sequence % 3}", sequence, sequence))
        show.tick()
        show.line.widen(quick, 1000)
        show.flush()
    assert show.voters(quick) == {"poll/0": 48, "poll/1": 49, "poll/2": 47}
    before = len(show.kinds[slow])
    asked = show.asked
    show.line.widen(slow, 2000)
    show.flush()
    assert show.asked > asked
    assert show.voters(slow) == {"poll/0": 48, "poll/1": 49, "poll/2": 47}
    # What had begun before it stopped reading, then one snapshot, not the forty that it missed.
    assert show.kinds[slow][before:][-1] == "snapshot"
    assert len(show.kinds[slow]) - before <= 2


def test_a_cohort_hears_only_of_its_topics() -> None:
    show = Show("poll/*")
    stream = show.join()
    show.view.offer(board(1, {"ann": 3}))
    assert show.cohort.frames.due_at_s() is None
    show.view.offer(partial("poll/x", 2, 1))
    show.tick()
    show.flush()
    assert show.voters(stream) == {"poll/x": 1}


def test_ticks_keep_to_the_cohorts_rate_with_a_leading_edge() -> None:
    show = Show(rate=4)
    show.view.offer(partial("poll/x", 1, 1))
    assert show.cohort.frames.due_at_s() == float("-inf")
    show.cohort.tick(100.0, NOW_S)
    assert show.cohort.frames.due_at_s() is None
    show.view.offer(partial("poll/x", 2, 2))
    assert show.cohort.frames.due_at_s() == 100.25


def test_deltas_say_what_changed_and_no_more() -> None:
    show = Show(deltas=True)
    stream = show.join()
    points = {f"actor-{i}": 1000 - i for i in range(50)}
    show.view.offer(board(1, points))
    show.tick()
    show.flush()
    show.read()
    show.view.offer(board(2, points | {"actor-40": 2000}))
    show.tick()
    (response,) = show.responses(stream)
    assert not response.update.topics
    assert response.ByteSize() < 120
    show._apply(stream, response)
    assert show.screens[stream] == show.truth()


def test_a_sealed_result_is_marked() -> None:
    show = Show(deltas=True)
    stream = show.join()
    show.view.offer(partial("poll/x", 1, 1))
    show.tick()
    show.flush()
    sealed = partial("poll/x", 2, 1)
    sealed.stage = STAGE_SEALED
    show.view.offer(sealed)
    show.tick()
    show.read()
    assert show.screens[stream]["poll/x"].stage == STAGE_SEALED


def test_a_new_rate_is_said_and_stands_in_snapshots() -> None:
    show = Show(rate=20)
    stream = show.join()
    show.flush()
    (first,) = show.responses(stream)
    assert first.snapshot.updates_per_s == 20
    assert show.cohort.render(5.0, "hot", 1.0, NOW_S)
    assert not show.cohort.render(5.0, "hot", 1.0, NOW_S)
    (said,) = show.responses(stream)
    assert (said.rendition.updates_per_s, said.rendition.reason) == (5.0, "hot")
    show.cohort.tick(10.0, NOW_S)
    show.view.offer(partial("poll/x", 1, 1))
    assert show.cohort.frames.due_at_s() == 10.2
    late = show.join()
    show.flush()
    (newcomer,) = show.responses(late)
    assert newcomer.snapshot.updates_per_s == 5


def test_who_had_no_room_hears_the_last_announcements_in_order_and_no_newcomer_hears_old_ones() -> None:
    show = Show(window=60)
    stream = show.join()
    show.flush()
    show.read()
    notes = [
        SubscribeResponse(heartbeat=Heartbeat()).SerializeToString() + b"\x9a\x06\x01%c" % i
        for i in range(40)
    ]
    for note in notes:
        show.cohort.note(note, 0.0)
    show.line.widen(stream, 10_000)
    show.flush()
    heard = show.line.messages(stream)
    assert heard[-NOTES_KEPT:] == notes[-NOTES_KEPT:]
    assert heard == sorted(heard)
    late = show.join()
    show.flush()
    assert [
        SubscribeResponse.FromString(each).WhichOneof("message") for each in show.line.messages(late)
    ] == ["snapshot"]


def test_the_first_message_of_a_stream_is_its_snapshot_whatever_else_there_is_to_say() -> None:
    show = Show()
    stream = show.join()
    show.cohort.note(b"", 0.0)
    show.cohort.send_heartbeat(Shared(b""), 1.0, 2.0)
    assert show.line.messages(stream) == []
    assert not show.cohort.has_begun(show.line.calls[stream])
    show.flush()
    assert show.cohort.has_begun(show.line.calls[stream])
    show.read()
    assert show.kinds[stream][0] == "snapshot"


def test_a_rate_is_shown_sinking_to_zero_while_nothing_comes() -> None:
    view = GameView()
    panes = [PanePartial(width_s=1, starts_at_s=NOW_S, counts=[5])]
    pulse = PulsePartial(kinds=["fire"], totals=[5], panes=panes)
    view.offer(Partial(topic="pulse/x", partition=0, sequence=1, pulse=pulse))
    rates = [view.shown("pulse/x", NOW_S).state.pulse.kinds[0].rate_per_s]
    for second in range(1, limits.RATE_WINDOW_S + 4):
        since = view.version
        if view.let_time_pass(NOW_S + second):
            assert view.changed(EVERYTHING, since) == ["pulse/x"]
            rates.append(view.shown("pulse/x", NOW_S + second).state.pulse.kinds[0].rate_per_s)
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0
    assert not view.let_time_pass(NOW_S + 60)


def test_viewers_fade_while_nothing_comes_and_nobody_is_told_what_they_know() -> None:
    view = GameView()
    audience = AudiencePartial(pane_starts_at_s=[NOW_S, NOW_S + 5], last_seen=[3, 4], uniques=9, exact=True)
    view.offer(Partial(topic="audience", partition=0, sequence=1, audience=audience))
    shown = [view.shown("audience", NOW_S + 6).state.audience.viewers]
    shown += [
        view.shown("audience", NOW_S + second).state.audience.viewers
        for second in range(7, 120)
        if view.let_time_pass(NOW_S + second)
    ]
    assert shown == [7, 4, 0]


def test_what_passes_unwatched_is_shown_as_it_is_when_somebody_asks() -> None:
    view = GameView()
    audience = AudiencePartial(pane_starts_at_s=[NOW_S], last_seen=[3], uniques=3, exact=True)
    view.offer(Partial(topic="audience", partition=0, sequence=1, audience=audience))
    assert not view.let_time_pass(NOW_S + 300)
    assert view.shown("audience", NOW_S + 300).state.audience.viewers == 0


@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize("topics_max", [1, 128])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_viewer_ever_goes_back_and_in_the_end_all_have_exactly_the_newest(
    deltas: bool, topics_max: int, data: st.DataObject
) -> None:
    """Partials in any order, ticks, viewers that come, stall, read by bits and go: every state on a screen is
    as new or newer, and in the end what the view shows, byte for byte; with Snapshots of one topic, of every
    topic that changes once more."""
    with mock.patch.object(snapshot_topics, "SNAPSHOT_TOPICS_MAX", topics_max):
        partials_in_any_order(deltas, data)


def partials_in_any_order(deltas: bool, data: st.DataObject) -> None:
    show = Show(deltas=deltas, window=data.draw(st.sampled_from([0, 20, 300, 5000, WIDE])))
    source = [partial(f"poll/{t}", s, s, p) for t in "xy" for p in (0, 1) for s in range(1, 8)]
    source += [board(s, {f"a{i}": (i * s * 7) % 13 for i in range(12)}) for s in range(1, 8)]
    for _ in range(data.draw(st.integers(1, 60))):
        match data.draw(st.sampled_from(["offer", "offer", "tick", "join", "flush", "widen", "go"])):
            case "offer":
                show.view.offer(data.draw(st.sampled_from(source)))
            case "tick":
                show.tick()
            case "join":
                show.join(ahead=data.draw(st.booleans()))
            case "flush":
                show.flush()
            case "widen" if show.screens:
                stream = data.draw(st.sampled_from(list(show.screens)))
                show.line.widen(stream, data.draw(st.sampled_from([1, 30, 700])))
            case "go" if show.screens:
                stream = data.draw(st.sampled_from(list(show.screens)))
                show.read()
                show.line.reset(stream)
                del show.screens[stream]
        show.read()
    for sequence in (9, 10):
        for topic in ("poll/x", "poll/y"):
            for p in (0, 1):
                show.view.offer(partial(topic, sequence, sequence, p))
        show.view.offer(board(sequence, {"a1": sequence}))
        show.tick()
        for _ in range(3):
            for stream in show.screens:
                show.line.widen(stream, 100_000)
            show.flush()
            show.read()
    for screen in show.screens.values():
        assert screen == show.truth()
