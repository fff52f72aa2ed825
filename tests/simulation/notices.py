"""What is told in a history, and to whom: notices that are sent, and rules that fire.

At the end each notice that was due is in the inbox of each of its people once, and of nobody else: read by
the real ListInbox, compared with what was asked for. Of what rules fired, told by the stream itself:

- the ordinals of a rule on a topic have no gap, and nothing is told twice;
- what the results are in the end is told: a threshold that is reached, its last multiple, a seal.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from grandstand.catalog.v1.catalog_pb2 import (
    Board,
    Game,
    LeadChange,
    Poll,
    RankTaken,
    RateSpike,
    Rule,
    RuleNotice,
    Threshold,
)
from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.wire import ids
from grandstand.wire.errors import GrandstandError, Unknown
from mesh.jetstream import subjects
from mesh.notices.inbox import notification_id
from notify.orders import order_of
from notify.schedule import Plan
from tests.simulation import checks
from tests.simulation.notifiers import Caller, ModelNotify

if TYPE_CHECKING:
    from tests.simulation.history import History

ACTORS = ("fan0", "fan1", "guest0", *(f"crowd{n}" for n in range(4)))
SEGMENT = "vip"
_MEMBERS = ("fan0", "crowd1", "crowd2")
_CLOCKS_OFF_S = 20.0
"""How much later than true time something may be due by the mesh's clock."""
_QUIET_S = 8.0
"""A call that was not answered may come to something for so long, and a scrub bring back what was lost."""
_TOLD_WITHIN_S = 4.0
_REPEAT_S = 1.5
"""In the place of a day."""
_AT, _EACH = 2, 2


def quick_due(plan: Plan, occurrence: int) -> int:
    """Days pass like seconds."""
    first = _DUE_NS(plan, 1)
    return first + int((occurrence - 1) * plan.step * _REPEAT_S * 1e9)


_DUE_NS = Plan.due_ns
PATCHES: Sequence[tuple[object, str, object]] = [(Plan, "due_ns", quick_due)]


def with_rules(game: Game) -> None:
    """Rules of all kinds that can be found in a history."""

    def add(rule_id: str, topic: str, **when: Any) -> None:
        notice = RuleNotice(title="it is so")
        game.rules.append(Rule(rule_id=rule_id, topic=topic, notice=notice, **when))

    for kind in ("poll", "board"):
        each = f"{kind}/*"
        add(f"reached-{kind}", each, threshold=Threshold(at=_AT))
        add(f"each-{kind}", each, threshold=Threshold(at=_EACH, each=True))
        lead = LeadChange()
        lead.hold.FromMilliseconds(500)
        add(f"lead-{kind}", each, lead_changed=lead)
        add(f"opened-{kind}", each, opened=True)
        add(f"sealed-{kind}", each, sealed=True)
    add("season", "board/*", season_closed=True)
    add("rank", "board/*", rank_taken=RankTaken(first=2))
    add("ended", "", game_ended=True)
    if game.audience:
        add("peak", "audience", audience_peak=True)
        add("spike", "pulse/cheer", rate_spike=RateSpike(times=2, at_least=1))


@dataclass
class Asked:
    """A notice that somebody wants to be sent."""

    notice: pb.Notice
    actors: tuple[str, ...]
    """Of a list."""
    people: frozenset[str]
    times: int = 1
    is_answered: bool = False
    cancels: bool = False
    is_cancelled: bool = False
    due_at_s: float = 0.0
    """Of the last occurrence, true time."""
    refused: GrandstandError | None = None


@dataclass
class Play:
    """The notices of one history."""

    history: History
    random: Random
    games: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    read: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    found: dict[tuple[str, str], list[pb.Notification]] = field(default_factory=dict)
    calm_since_s: float = 0.0
    """Or since the last answer: what was said is stored by then, and not in inboxes yet."""
    _looked_at_s: float = 0.0

    def begin(self) -> None:
        history = self.history
        mesh = history.mesh
        self.notifiers = [ModelNotify(mesh, f"notify-{n}") for n in (1, 2)]
        self.caller = Caller(mesh, self.notifiers)
        for actor in _MEMBERS:
            self.caller.ask(lambda at, actor=actor: at.segments.change(SEGMENT, [actor], []))
        for n in range(self.random.randint(5, 9)):
            history.world.after(self.random.uniform(2.0, history.storm_s), lambda n=n: self._send(n))
        for _ in range(6):
            history.world.after(self.random.uniform(3.0, history.storm_s), self._read_some)

    @property
    def processes(self) -> list[Any]:
        return [*self.notifiers, self.caller]

    # What is sent.

    def _send(self, n: int) -> None:
        if not self.games:
            self.history.world.after(0.5, lambda: self._send(n))
            return
        asked = self._wish(n)
        self.asked.append(asked)
        self._ask(asked)
        for _ in range(self.random.choice((0, 0, 1, 2))):  # resends, at whoever, while it goes on
            self.history.world.after(self.random.uniform(0.0, 4.0), lambda: self._ask(asked))

    def _wish(self, n: int) -> Asked:
        random = self.random
        notice = pb.Notice(key=f"key {n}", code="c", title=f"notice {n}", game_id=random.choice(self.games))
        kind = random.choice(("actor", "list", "segment", "viewers", "everyone"))
        people, listed = frozenset(ACTORS), ()
        match kind:
            case "actor":
                notice.audience.actor_id = random.choice(ACTORS)
                people = frozenset((notice.audience.actor_id,))
            case "list":
                listed = tuple(random.sample(ACTORS, 5))
                people = frozenset(listed)
            case "segment":
                notice.audience.segment = SEGMENT
                people = frozenset(_MEMBERS)
            case "viewers":
                notice.audience.viewers = True
            case "everyone":
                notice.audience.everyone = True
        asked = Asked(notice, listed, people)
        world = self.history.world
        if random.random() < 0.4:
            at_s = int(world.now_s + random.uniform(10.0, 16.0))
            asked.due_at_s = at_s
            if random.random() < 0.5:
                notice.schedule.at.FromSeconds(at_s)
            else:
                asked.times = random.randint(2, 4)
                asked.due_at_s = at_s + asked.times * _REPEAT_S
                notice.schedule.local_time = _local(at_s)
                notice.schedule.time_zone = "UTC"
                notice.schedule.repeat.days, notice.schedule.repeat.times = 1, asked.times
        asked.cancels = random.random() < 0.25
        return asked

    def _ask(self, asked: Asked) -> None:
        async def send(at: ModelNotify) -> Any:
            assert at.sender is not None
            if not asked.actors:
                return await at.sender.send(order_of(asked.notice))
            first = pb.SendNoticeToActorsRequest(
                notice=asked.notice, actor_ids=asked.actors, actors=len(asked.actors)
            )
            return await at.sender.send_list(order_of(asked.notice, is_list=True), first, _none())

        self.caller.ask(send, lambda answer: self._sent(asked, answer))

    def _sent(self, asked: Asked, answer: Any) -> None:
        self.calm_since_s = self.history.world.now_s
        if isinstance(answer, Unknown) and "segment" in answer.message and not asked.is_answered:
            self.history.world.after(0.5, lambda: self._ask(asked))  # it is being made
            return
        if isinstance(answer, GrandstandError):
            asked.refused = answer
            return
        told = self.history.mesh.told
        told.repeated_calls += bool(getattr(answer, "repeated_call", False))
        if not asked.is_answered:
            asked.is_answered = True
            told.notices += 1
            if asked.cancels:
                self.history.world.after(self.random.uniform(0.0, 5.0), lambda: self._cancel(asked))

    def _cancel(self, asked: Asked) -> None:
        def cancelled(answer: Any) -> None:
            assert not isinstance(answer, GrandstandError), answer.message
            asked.is_cancelled = True
            self.calm_since_s = self.history.world.now_s
            self.history.mesh.told.cancelled += 1

        async def cancel(at: ModelNotify) -> None:
            assert at.sender is not None
            await at.sender.cancel(asked.notice.game_id, asked.notice.key)

        self.caller.ask(cancel, cancelled)

    # What is read.

    def _read_some(self) -> None:
        """Somebody looks, and has read what is shown."""
        actor = self.random.choice(ACTORS)

        async def read(at: ModelNotify) -> list[str]:
            listed = await at.readers.list_inbox(actor, pb.ListInboxRequest(page_size=3))
            shown = [each.notification_id for each in listed.notifications]
            if shown:
                await at.readers.acknowledge(actor, pb.AcknowledgeNoticesRequest(notification_ids=shown))
            return shown

        def done(answer: Any) -> None:
            if isinstance(answer, list):
                self.read[actor].update(answer)

        self.caller.ask(read, done)

    # Whether all is told.

    def is_settled(self) -> bool:
        world = self.history.world
        due_at_s = max((each.due_at_s for each in self.asked), default=0.0) + _CLOCKS_OFF_S
        if self.caller.unfinished or world.now_s < max(due_at_s, self.calm_since_s + _QUIET_S):
            return False
        if not self._looked_at_s:
            self._look()
        return len(self.found) == len(self.games) * len(ACTORS)

    def unsettled(self) -> list[str]:
        return [f"{self.caller.unfinished} calls of notify"] if self.caller.unfinished else []

    def _look(self) -> None:
        self._looked_at_s = self.history.world.now_s
        for game_id in self.games:
            for actor in ACTORS:

                async def read(at: ModelNotify, actor: str = actor, game_id: str = game_id) -> Any:
                    return await _all(at, actor, game_id)

                def done(answer: Any, key: tuple[str, str] = (game_id, actor)) -> None:
                    assert not isinstance(answer, GrandstandError), answer.message
                    self.found[key] = [] if answer is True else answer

                self.caller.ask(read, done)

    def check(self) -> None:
        for (game_id, actor), notifications in self.found.items():
            self.history.mesh.told.inboxes += 1
            self._check_inbox(game_id, actor, notifications)
        fired: dict[tuple[str, str, str, int], list[StoredNotice]] = defaultdict(list)
        for kept in self.history.mesh.notice_streams[subjects.NOTICES_STREAM].messages.values():
            stored = StoredNotice.FromString(kept.data)
            if stored.HasField("firing"):
                of = stored.firing
                fired[of.game_id, of.rule_id, of.topic, stored.generation].append(stored)
                if stored.HasField("notice") and kept.true_s < self._looked_at_s - _TOLD_WITHIN_S:
                    self._check_told(kept.sequence, stored)
        for key, line in fired.items():
            self._check_line(key, line)
        self._check_missed(fired)

    def _check_inbox(self, game_id: str, actor: str, notifications: Sequence[pb.Notification]) -> None:
        told = Counter(each.title for each in notifications if each.code == "c")
        for asked in self.asked:
            title, of_game = asked.notice.title, asked.notice.game_id == game_id
            count = told.pop(title, 0)
            if not of_game:  # only what is about this game is listed
                assert not count, f"{actor} finds {title!r} of another game"
                continue
            due = asked.times if actor in asked.people else 0
            if asked.is_cancelled or asked.refused is not None:
                least, most = 0, 0 if asked.is_cancelled else due
            else:
                least = most = due
            assert least <= count <= most, (
                f"{actor} finds {title!r} {count} times, not {least} to {most}: {asked}"
            )
            self.history.mesh.told.occurrences += count if asked.due_at_s else 0
        assert not told, f"{actor} finds {told}, which nobody sent"
        seen = Counter(each.notification_id for each in notifications)
        assert not seen or max(seen.values()) == 1, f"{actor} is told {seen} twice"
        unread = {each.notification_id for each in notifications if not each.read}
        lost = unread & self.read[actor]
        assert not lost, f"{actor} has read {sorted(lost)}, which count as unread"

    def _check_told(self, sequence: int, stored: StoredNotice) -> None:
        """A firing is in the inbox of those it is for, and of nobody else."""
        game_id = stored.firing.game_id
        generation = self.history.generations.get(game_id, 0)
        if game_id not in self.games:
            return
        for actor in ACTORS:
            ids_ = {each.notification_id for each in self.found[game_id, actor]}
            is_for = stored.notice.audience.viewers or stored.notice.audience.actor_id == actor
            if stored.generation < generation and stored.notice.audience.viewers:
                is_for = False
            assert (notification_id(sequence) in ids_) == is_for, (
                f"{actor} and firing {stored.firing} at {sequence}: found {not is_for}"
            )

    def _check_line(self, key: tuple[str, str, str, int], line: Sequence[StoredNotice]) -> None:
        _, rule_id, _, _ = key
        told = [each for each in line if each.HasField("notice")]
        self.history.mesh.told.firings += len(told)
        ordinals = [each.firing.ordinal for each in told]
        assert ordinals == list(range(1, len(told) + 1)), f"{key}: ordinals are {ordinals}"
        found = [json.loads(each.notice.data) for each in told]
        if rule_id.startswith(("opened", "sealed", "ended")):
            assert len(told) <= 1, f"{key} is told {len(told)} times"
        seasons = [each.get("season", 0) for each in found]
        values = [(season, each.get("value", 0)) for season, each in zip(seasons, found, strict=True)]
        if rule_id == "season":
            assert seasons == sorted(set(seasons)), f"{key}: seasons are {seasons}"
        elif rule_id.startswith("reached"):
            assert len(set(seasons)) == len(seasons), f"{key} is told twice: {values}"
        elif rule_id.startswith("each"):
            by_season = defaultdict(list)
            for season, value in values:
                by_season[season].append(value)
            assert all(each == sorted(set(each)) for each in by_season.values()), f"{key}: values {values}"
        elif rule_id.startswith("lead-poll"):
            leaders = [each.get("leader") for each in found]
            befores = [each.get("before") for each in found]
            assert befores[1:] == leaders[:-1], f"{key}: {befores} before {leaders}"

    def _check_missed(self, fired: dict[tuple[str, str, str, int], list[StoredNotice]]) -> None:
        history = self.history
        for topic in history.topics:
            game_id = topic.game_id
            if game_id not in self.games or history.lives_twice(game_id):
                continue
            kind = "poll" if isinstance(topic, Poll) else "board"
            name = f"{kind}/{topic.poll_id if isinstance(topic, Poll) else topic.board_id}"

            def told(rule: str, at: tuple[str, Poll | Board] = (name, topic)) -> list[dict[str, Any]]:
                kind = at[0].partition("/")[0]
                line = fired.get((at[1].game_id, f"{rule}-{kind}", at[0], self._of(at[1])), ())
                return [json.loads(each.notice.data) for each in line if each.HasField("notice")]

            since = Game.FromString(history.mesh.bucket.get(subjects.game_key(game_id)).value).rules[0].since
            is_told = topic.opened_at.ToNanoseconds() >= since.ToNanoseconds()  # clocks jump here
            if checks.is_sealed(history.mesh.bucket, topic):
                assert told("sealed") or not is_told, f"{game_id} {name} is sealed, which nobody is told"
            elif topic not in history.closed and is_told:
                assert told("opened"), f"{game_id} {name} was opened, which nobody is told"
            if kind == "poll":
                voters = 0
                for partition in ids.partitions_of(game_id, topic.spread):
                    partial = checks.share(history, game_id, partition).partials.get(name)
                    voters += partial.tally.voters if partial is not None else 0
                if voters >= _AT:
                    assert told("reached"), f"{game_id} {name} has {voters} voters, which nobody is told"
                    last = told("each")[-1]["value"] if told("each") else 0
                    assert last >= voters // _EACH * _EACH, f"{game_id} {name}: {voters} voters, told {last}"

    def _of(self, topic: Poll | Board) -> int:
        return self.history.generations.get(topic.game_id, 0)


async def _none() -> AsyncIterator[pb.SendNoticeToActorsRequest]:
    return
    yield


async def _all(at: ModelNotify, actor: str, game_id: str) -> list[pb.Notification]:
    """Page by page."""
    found: list[pb.Notification] = []
    token = ""
    while True:
        request = pb.ListInboxRequest(game_id=game_id, page_size=4, page_token=token)
        listed = await at.readers.list_inbox(actor, request)
        found += listed.notifications
        token = listed.next_page_token
        if not token:
            return found


def _local(at_s: int) -> str:
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).replace(tzinfo=None).isoformat()
