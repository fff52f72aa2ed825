"""The rules of one game: what each has told of which topic, and what is to be told now. Pure.

A firing is one message of the subject of its rule and topic, published with the sequence of the last one
there, which the stream checks. So of all who judge a game one fires, whatever each of them believes: the
others are refused, take over what was stored (`adopt`) and go on from there. A firing has a number (ordinal)
and the state to go on from. So it is told once, however often it is sent, and whoever takes over goes on from
the last one.

    judge ──▶ Firing ──publish──▶ stored ──▶ judge again: there may be more
                            └───▶ refused ──▶ adopt the last message ──▶ judge again

Nothing is judged before the last messages were adopted and the game's results are known whole. And nothing is
judged by results that are older than those the last firing was judged by: the state names their positions.

A message of an earlier generation of the game counts for its sequence alone; one of a later generation means
that what is known here of the catalog is old: its rule rests until that comes.

Bound: one slot for each rule and topic of the game; a slot has one firing under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Board, Game, Poll, Rule
from grandstand.internal.v1.internal_pb2 import RuleState, StoredNotice
from mesh import limits
from mesh.jetstream import subjects
from mesh.pseudonyms import UNKEYED, PublicId
from mesh.results_feed.view import GameView
from notify.rules.found import Judged
from notify.rules.kinds import JUDGES
from notify.rules.notice import stored_notice
from notify.rules.results import Results, closes_at_s

Define = Callable[[str], Poll | Board | None]
"""A poll or board of the game by its topic, if it was opened."""


class _Slot:
    """One rule on one topic."""

    __slots__ = (
        "fired_at_s",
        "generation",
        "is_firing",
        "is_stored",
        "ordinal",
        "rule_id",
        "seen",
        "sequence",
        "state",
        "topic",
    )

    def __init__(self, rule_id: str, topic: str) -> None:
        self.rule_id = rule_id
        self.topic = topic
        self.state = RuleState()
        self.sequence = 0
        """Of the last message of its subject; 0 for none."""
        self.ordinal = 0
        self.generation = 0
        """Of the game that the last message is of."""
        self.is_stored = False
        """There is a state of this generation in the stream."""
        self.fired_at_s = float("-inf")
        self.is_firing = False
        self.seen: list[tuple[int, int]] = []
        """Positions that the results do not include yet, as far as is known."""


class Firing(NamedTuple):
    """To be published on `subject` if its last sequence is `sequence`."""

    subject: str
    sequence: int
    stored: StoredNotice
    slot: _Slot
    state: RuleState


class Said(NamedTuple):
    firings: list[Firing]
    look_at_s: float | None
    """Judge the topic again then, though nothing comes; Unix seconds."""


class GameRules:
    """`view`: the game's results, with the actors' own ids."""

    def __init__(self, game: Game, view: GameView, define: Define, public: PublicId = UNKEYED) -> None:
        self._view = view
        self._define = define
        self._public = public
        self._slots: dict[tuple[str, str], _Slot] = {}
        self.redefine(game)

    def redefine(self, game: Game) -> None:
        """The definition has changed, within its generation."""
        self.game = game
        self._rules = {rule.rule_id: rule for rule in game.rules}
        self._by_topic: dict[str, list[Rule]] = {}
        for rule in game.rules:
            if not rule.paused:
                self._by_topic.setdefault(rule.topic, []).append(rule)

    @property
    def slots(self) -> int:
        return len(self._slots)

    def topics(self, opened: Iterable[str]) -> Iterator[str]:
        """What there is to judge. `opened`: the topics of polls and boards that were ever opened."""
        yield from (topic for topic in self._by_topic if not topic.endswith("/*"))
        for topic in opened:
            if topic not in self._by_topic and self._rules_of(topic):
                yield topic

    def concerns(self, topic: str) -> bool:
        return topic in self._by_topic or f"{topic.partition('/')[0]}/*" in self._by_topic

    def judge(self, topic: str, now_s: float) -> Said:
        """All rules of a topic that have no firing under way; `topic`: "" for the game itself."""
        said = Said([], None)
        rules = self._rules_of(topic)
        if not rules:
            return said
        results = self._results(topic)
        if results is None:
            return said
        look_at_s: float | None = None
        for rule in rules:
            slot = self._slot(rule.rule_id, topic)
            if slot.is_firing or self._rests(slot, results, rule):
                continue
            judged = self._judge(rule, slot, results, now_s, said.firings)
            at_s = judged.look_at_s
            if at_s is not None and (look_at_s is None or at_s < look_at_s):
                look_at_s = at_s
        return said._replace(look_at_s=look_at_s)

    def stored(self, firing: Firing, sequence: int) -> None:
        slot = firing.slot
        slot.is_firing = False
        slot.sequence = sequence
        slot.state = firing.state
        slot.is_stored = True
        slot.generation = self.game.generation
        slot.ordinal = firing.stored.firing.ordinal
        if firing.stored.HasField("notice"):
            slot.fired_at_s = firing.stored.sent_at.ToNanoseconds() / 1e9

    def failed(self, firing: Firing) -> None:
        """It is not known whether it was stored."""
        firing.slot.is_firing = False

    def adopt(self, sequence: int, stored: StoredNotice) -> None:
        """The last message of the subject of some rule and topic."""
        slot = self._slot(stored.firing.rule_id, stored.firing.topic)
        slot.is_firing = False
        slot.sequence = sequence
        slot.generation = stored.generation
        if stored.generation != self.game.generation:
            return
        slot.state = RuleState.FromString(stored.rule_state)
        slot.ordinal = stored.firing.ordinal
        slot.is_stored = True
        slot.seen = [(position.partition, position.sequence) for position in slot.state.seen]
        slot.state.ClearField("seen")
        if stored.HasField("notice"):
            slot.fired_at_s = stored.sent_at.ToNanoseconds() / 1e9

    def lost(self, firing: Firing) -> None:
        """Its subject has no message: the stream was made anew, or let it go. What is known here stands."""
        firing.slot.is_firing = False
        firing.slot.sequence = 0

    def began_anew(self) -> None:
        """Nobody looked for a while: what has lasted since before is not known."""
        for slot in self._slots.values():
            if slot.state.candidate:
                slot.state.candidate, slot.state.candidate_since_us = "", 0

    @property
    def is_firing(self) -> bool:
        return any(slot.is_firing for slot in self._slots.values())

    def _judge(
        self, rule: Rule, slot: _Slot, results: Results, now_s: float, firings: list[Firing]
    ) -> Judged:
        kind = rule.WhichOneof("when")
        judged = JUDGES[kind](rule, slot.state, results, now_s) if kind in JUDGES else Judged(slot.state)
        keeps = judged.keep and not slot.is_stored
        if judged.found is not None and self._is_held_back(rule, slot, now_s):
            judged = judged._replace(found=None)
        if judged.found is None and not keeps:
            slot.state = judged.state
            return judged
        state = RuleState()
        state.CopyFrom(judged.state)
        for partial in results.partials:
            state.seen.add(partition=partial.partition, sequence=partial.sequence)
        stored = stored_notice(
            *(self.game, rule, results.topic, slot.ordinal + (judged.found is not None), judged.found, state),
            *(results.definition, self._public, now_s),
        )
        slot.is_firing = True
        subject = subjects.notice_fired(self.game.game_id, rule.rule_id, results.topic)
        firings.append(Firing(subject, slot.sequence, stored, slot, judged.state))
        return judged

    def _is_held_back(self, rule: Rule, slot: _Slot, now_s: float) -> bool:
        """Of rank_taken that is said of each actor (notify.rules.rank_taken)."""
        if not rule.HasField("at_most_every") or rule.HasField("rank_taken"):
            return False
        return now_s < slot.fired_at_s + rule.at_most_every.ToNanoseconds() / 1e9

    def _rests(self, slot: _Slot, results: Results, rule: Rule) -> bool:
        if slot.generation > self.game.generation:
            return True
        while slot.seen and self._view.includes(*slot.seen[-1], topic=slot.topic):
            slot.seen.pop()
        if slot.seen:
            return True
        # What was over before the rule was added, or ceased to be paused, is not told.
        at_s = closes_at_s(results.definition)
        return (
            at_s is not None
            and isinstance(results.definition, Poll | Board)
            and results.definition.stage == STAGE_SEALED
            and at_s + limits.SEAL_GRACE_S < rule.since.ToNanoseconds() / 1e9
        )

    def _rules_of(self, topic: str) -> list[Rule]:
        exact = self._by_topic.get(topic)
        kind, slash, _ = topic.partition("/")
        each = self._by_topic.get(f"{kind}/*") if slash else None
        if exact is None or each is None:
            return exact or each or []
        return exact + each

    def _results(self, topic: str) -> Results | None:
        """None of what is not known whole."""
        view = self._view
        if topic.startswith(("poll/", "board/")):
            definition: Game | Poll | Board | None = self._define(topic)
            if definition is None:
                return None
        else:
            definition = self.game
        if not topic:
            return Results(topic, definition)
        if view.unloaded() is not None:
            return None
        merge = view.merge_of(topic)
        if merge is None:
            return Results(topic, definition)
        return Results(topic, definition, merge.partials(), merge.stage(len(view.partitions)))

    def _slot(self, rule_id: str, topic: str) -> _Slot:
        slot = self._slots.get((rule_id, topic))
        if slot is None:
            slot = self._slots[rule_id, topic] = _Slot(rule_id, topic)
        return slot
