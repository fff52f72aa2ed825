"""Inboxes at a gateway: which are loaded when, and what is shown of what was loaded and pushed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway import bounds as gateway_bounds
from gateway.change_times import ChangeTimes
from gateway.game_notices import GameNotices
from gateway.inbox_plan import InboxPlan
from gateway.inbox_view import InboxLooks, InboxView, Seen, seen_of
from gateway.known_notices import KnownNotices
from gateway.own_inbox import OwnInbox
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import CrowdNotice, InboxChange, Reader, StoredNotice
from grandstand.notify.v1.notify_pb2 import Audience, Notice
from mesh.notices import bounds as notice_bounds
from mesh.notices.inbox import notification_id
from mesh.notices.stored import StoredInbox, StreamPosition

BATCH_S = 0.25
LONG = float("-inf")
NOW_S = 1_000.0


# Whose inboxes are held and loaded.


def inbox_plan() -> InboxPlan:
    return InboxPlan(lingering_max=2, batch_s=BATCH_S, new_max=3, again_max=2)


def test_an_inbox_is_loaded_at_once_and_again_in_turn() -> None:
    p = inbox_plan()
    assert p.next_at_s() is None
    for actor in "abcde":
        p.watch(actor)
    assert p.take(1.0).new == ["a", "b", "c"]
    assert p.take(1.0) == ([], [])
    assert p.next_at_s() == 1.0 + BATCH_S
    assert p.take(1.25) == (["d", "e"], [])
    turns = [p.take(2.0 + n * BATCH_S).again for n in range(4)]
    assert turns == [["a", "b"], ["c", "d"], ["e"], []]
    assert p.next_at_s() == 3.0


def test_who_comes_back_soon_finds_the_inbox_as_it_was_left() -> None:
    p = inbox_plan()
    p.watch("a")
    p.watch("a")
    p.take(1.0)
    p.unwatch("a", 1.5)
    assert p.let_go(100.0) == []
    p.unwatch("a", 2.0)
    assert p.let_go(2.0 + gateway_bounds.INBOX_LINGER_S - 0.1) == []
    p.watch("a")
    assert p.take(50.0).new == []
    assert p.let_go(100.0) == []
    p.unwatch("a", 100.0)
    p.take(100.0)
    assert p.let_go(100.0 + gateway_bounds.INBOX_LINGER_S) == ["a"]
    assert (len(p), p.next_at_s()) == (0, None)


def test_of_too_many_that_nobody_watches_the_one_left_longest_ago_goes() -> None:
    p = inbox_plan()
    for actor in "abcd":
        p.watch(actor)
    for at, actor in enumerate("bacd"):
        p.unwatch(actor, at)
    assert p.next_at_s() == LONG
    assert p.let_go(3.0) == ["b", "a"]
    assert len(p) == 2


@given(st.data())
def test_whoever_watches_is_loaded_within_the_bounds_and_who_does_not_is_let_go(data: st.DataObject) -> None:
    p = inbox_plan()
    watches: Counter[str] = Counter()
    loaded: dict[str, float] = {}
    now, batch_at = 0.0, LONG

    def step() -> None:
        nonlocal batch_at
        for actor in p.let_go(now):
            assert not watches[actor]
            loaded.pop(actor, None)
        batch = p.take(now)
        if batch.new or batch.again:
            assert now >= batch_at + BATCH_S
            batch_at = now
        assert len(batch.new) <= 3
        assert len(batch.again) <= 2
        assert not loaded.keys() & set(batch.new)
        assert all(now >= loaded[actor] + gateway_bounds.ANTI_ENTROPY_S for actor in batch.again)
        loaded.update(dict.fromkeys([*batch.new, *batch.again], now))

    for _ in range(data.draw(st.integers(0, 60))):
        actor = data.draw(st.sampled_from("abcdefg"))
        match data.draw(st.sampled_from(["watch", "unwatch", "step"])):
            case "watch":
                watches[actor] += 1
                p.watch(actor)
            case "unwatch" if watches[actor]:
                watches[actor] -= 1
                p.unwatch(actor, now)
            case "step":
                now += data.draw(st.sampled_from([0.0, BATCH_S, 1.0, 5.0]))
                step()
    until = now + 2 * gateway_bounds.INBOX_LINGER_S
    while (due_at := p.next_at_s()) is not None and max(now, due_at) <= until:
        now = max(now, due_at)
        step()
    watched = {actor for actor, count in watches.items() if count}
    assert loaded.keys() == watched
    assert len(p) == len(watched)
    assert all(at > now - 3 * gateway_bounds.ANTI_ENTROPY_S for at in loaded.values())


def test_one_that_is_waited_for_is_loaded_before_its_turn_but_not_all_the_time() -> None:
    p = inbox_plan()
    for actor in "abc":
        p.watch(actor)
    p.want("a")
    assert p.take(1.0) == (["a", "b", "c"], [])
    p.want("c")
    p.want("c")
    due_s = 1.0 + gateway_bounds.INBOX_WANTED_S
    assert p.next_at_s() == due_s
    assert p.take(due_s).again == ["c"]
    assert p.take(2.0).again == ["a", "b"]
    p.want("a")
    p.unwatch("a", 2.0)
    assert p.let_go(100.0) == ["a"]
    assert "a" not in p.take(100.0).again


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 20)), max_size=200))
def test_each_change_by_time_alone_is_due_when_it_was_said_last(puts: list[tuple[str, int | None]]) -> None:
    times: ChangeTimes[str] = ChangeTimes()
    said: dict[str, int] = {}
    for item, at_s in puts:
        times.put(item, at_s)
        said.pop(item, None)
        if at_s is not None:
            said[item] = at_s
        assert len(times) <= 2 * len(said) + 64
    for now_s in range(21):
        due = times.take(now_s)
        assert sorted(due) == sorted(item for item, at_s in said.items() if at_s == now_s)
    assert times.next_at_s() is None


# What is shown.


def stored(sequence: int, *, expires_s: int = 10_000, cancelled: bool = False) -> StoredNotice:
    notice = StoredNotice(cancelled=cancelled)
    if not cancelled:
        notice.notice.CopyFrom(Notice(key=f"k{sequence}", code="c", title=f"number {sequence}"))
    notice.sent_at.FromSeconds(sequence)
    notice.due_at.FromSeconds(sequence)
    notice.expires_at.FromSeconds(expires_s)
    return notice


def inbox_of(*own: int, reader: Reader | None = None, at: int = 0, segments: str = "") -> StoredInbox:
    return StoredInbox({n: stored(n) for n in own}, reader or Reader(), at, frozenset(segments))


def at(notices: int = 0, readers: int = 0, segments: int = 0, stream: str = "s") -> dict[str, StreamPosition]:
    sequences = {"NOTICES": notices, "READERS": readers, "SEGMENTS": segments}
    return {name: StreamPosition(stream, sequence) for name, sequence in sequences.items() if sequence}


class Shown:
    """A view of an inbox and of one crowd."""

    def __init__(self) -> None:
        self.own = OwnInbox()
        self.crowd = KnownNotices(notice_bounds.CROWD_MAX)
        self.view = InboxView(self.own)
        self.view.crowds = [self.crowd]
        self._looks = InboxLooks()

    def look(self, now_s: float = NOW_S) -> bool:
        return self.view.look(self._looks, now_s)

    @property
    def state(self) -> TopicState:
        assert self.view.state is not None
        return TopicState.FromString(self.view.state)

    @property
    def ids(self) -> list[int]:
        return [int(each.notification_id, 16) for each in self.state.inbox.newest]

    @property
    def cursor(self) -> Seen:
        return seen_of(self.state.cursor.positions)


def test_an_inbox_is_shown_when_all_of_it_was_loaded_newest_first_with_a_cursor() -> None:
    shown = Shown()
    shown.own.load(inbox_of(1, 4, reader=Reader(read_up_to=1), at=7), at(4))
    assert not shown.look()
    shown.crowd.load({2: stored(2), 9: stored(9)}, StreamPosition("s", 4))
    assert shown.look()
    assert (shown.ids, shown.state.inbox.unread) == ([9, 4, 2, 1], 3)
    assert [each.read for each in shown.state.inbox.newest] == [False, False, False, True]
    assert list(shown.state.cursor.positions) == [Position(sequence=9), Position(partition=1, sequence=7)]
    assert not shown.look(), "nothing is new"
    assert shown.own.take(InboxChange(reader=Reader(read_up_to=9), reader_sequence=8))
    assert shown.look()
    assert (shown.state.inbox.unread, shown.cursor) == (0, Seen(9, 8))
    assert not shown.own.take(InboxChange(reader=Reader(), reader_sequence=7)), "an older one"


def test_what_expires_or_was_taken_back_goes_and_nothing_else_does() -> None:
    shown = Shown()
    shown.own.load(inbox_of(1, 2, 3, at=5, segments="x"), at(3, 5, 1))
    shown.crowd.load({4: stored(4, expires_s=2_000)}, StreamPosition("s", 4))
    shown.look()
    assert shown.view.changes_at_s == 2_000.0
    assert shown.look(2_000.0)
    assert shown.ids == [3, 2, 1]
    # A Redis that lost all of it.
    shown.own.load(inbox_of(), {})
    shown.crowd.load({}, StreamPosition())
    assert not shown.look(2_000.0)
    assert shown.own.segments == {"x"}
    taken_back = InboxChange(sequences=[2], notices=[stored(2, cancelled=True)])
    assert shown.own.take(taken_back)
    assert not shown.own.take(taken_back)
    assert shown.look(2_000.0)
    shown.own.load(inbox_of(1, 2, 3, at=5), at(3, 5, 2))
    shown.look(2_000.0)
    assert (shown.ids, shown.own.segments) == ([3, 1], frozenset())


def test_another_stream_counts_from_one_again() -> None:
    shown = Shown()
    shown.own.load(inbox_of(7, at=9), at(7, 9))
    shown.crowd.load({8: stored(8)}, StreamPosition("s", 8))
    shown.look()
    shown.own.load(inbox_of(2, at=1), at(2, 1, stream="t"))
    shown.crowd.load({1: stored(1)}, StreamPosition("t", 2))
    shown.look()
    assert shown.ids == [2, 1]
    assert shown.view.includes(Seen(1, 1))
    assert not shown.view.includes(Seen(7, 9))


def test_of_too_many_the_newest_are_known() -> None:
    known = KnownNotices(2)
    assert [known.put(n, stored(n)) for n in (5, 3, 9, 4, 3)] == [True, True, True, False, False]
    assert (sorted(known.by_sequence), known.newest) == ([5, 9], 9)


@given(st.data())
def test_who_changes_gateways_is_never_shown_less_whatever_was_lost(data: st.DataObject) -> None:
    """Notices 1, 2, ... to the actor (odd) and the crowd (even) are stored in Redis in their order, some
    ahead of it; what is pushed may be lost; Redis is emptied, and filled again from the beginning."""
    gateways = [Shown(), Shown()]
    sent = applied = 0
    redis: set[int] = set()
    seen, had = Seen(), set[int]()

    def load(gateway: Shown) -> None:
        gateway.own.load(inbox_of(*(n for n in redis if n % 2)), at(applied))
        gateway.crowd.load({n: stored(n) for n in redis if not n % 2}, StreamPosition("s", applied))

    for step in data.draw(st.lists(st.sampled_from(["send", "store", "load", "empty", "move"]), max_size=40)):
        gateway = data.draw(st.sampled_from(gateways))
        match step:
            case "send" if sent < notice_bounds.INBOX_NEWEST_MAX:
                sent += 1
                if data.draw(st.booleans()):
                    redis.add(sent)
                for each in gateways:
                    if data.draw(st.booleans()):
                        if sent % 2:
                            each.own.take(InboxChange(sequences=[sent], notices=[stored(sent)]))
                        else:
                            each.crowd.put(sent, stored(sent))
            case "store" if applied < sent:
                applied += 1
                redis.add(applied)
            case "empty":
                redis.clear()
                applied = 0
            case "load":
                load(gateway)
            case "move":
                if data.draw(st.booleans()):
                    gateway.look()
                if gateway.view.state is not None and gateway.view.includes(seen):
                    assert had <= set(gateway.ids)
                    assert gateway.cursor.notices >= seen.notices
                    seen, had = gateway.cursor, set(gateway.ids)
    redis, applied = set(range(1, sent + 1)), sent
    for gateway in gateways:
        load(gateway)
        gateway.look()
        assert gateway.view.includes(seen)
        assert gateway.ids == list(range(sent, 0, -1))


def test_what_an_earlier_game_of_an_id_told_its_viewers_is_forgotten_with_the_later_one() -> None:
    known = KnownNotices(4)
    of = {at: stored(at) for at in (1, 2, 3)}
    of[1].generation, of[2].generation = 7, 8
    known.load(of, StreamPosition("s", 3))
    assert not known.begin(7)
    assert sorted(known.by_sequence) == [1, 2, 3], "that of a game not known yet, and of none, is shown"
    before = known.changes
    assert known.begin(8)
    assert sorted(known.by_sequence) == [2, 3]
    assert known.changes > before
    assert not known.load(of, StreamPosition("s", 3))
    assert not known.put(1, of[1])
    assert not known.begin(7), "by a catalog that is late"
    assert (sorted(known.by_sequence), known.newest, known.floor) == ([2, 3], 3, 3)


# What a game's viewers are told.


def test_a_notice_to_a_games_viewers_is_announced_once_and_only_while_it_is_news() -> None:
    told = GameNotices()
    notice = Notice(game_id="g", code="c", title="A goal", audience=Audience(viewers=True))
    fresh = stored(980)
    fresh.notice.CopyFrom(notice)
    pushed = CrowdNotice(sequence=980, stored=fresh)
    announcement = told.announcement("game:g", pushed, NOW_S)
    assert announcement is not None
    assert (announcement.game_id, announcement.announced_at.seconds) == ("g", 980)
    assert announcement.notice.notification_id == notification_id(980)
    assert announcement.notice.title == "A goal"
    assert told.announcement("game:g", pushed, NOW_S) is None
    of_before = CrowdNotice(sequence=984, stored=stored(984))
    of_before.stored.notice.CopyFrom(notice)
    of_before.stored.generation = 7
    assert told.announcement("game:g", of_before, NOW_S, 8) is None
    assert told.announcement("game:g", of_before, NOW_S, 7) is not None
    old = CrowdNotice(sequence=1, stored=stored(1))
    old.stored.notice.CopyFrom(notice)
    expired = CrowdNotice(sequence=981, stored=stored(981, expires_s=999))
    expired.stored.notice.CopyFrom(notice)
    for crowd, other in (
        *(("game:g", old), ("game:g", expired)),
        *(("everyone", CrowdNotice(sequence=982, stored=stored(982))), ("game:h", pushed)),
        ("game:", CrowdNotice(sequence=983, stored=stored(983, cancelled=True))),
    ):
        assert told.announcement(crowd, other, NOW_S) is None
