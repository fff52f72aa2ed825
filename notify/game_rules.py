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

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Board, Game, Poll
from grandstand.internal.v1.internal_pb2 import StoredNotice
from mesh import limits
from mesh.jetstream import subjects
from mesh.merge import TopicMerge
from mesh.pseudonyms import UNKEYED, PublicId
from mesh.results_feed.view import GameView
from mesh.rule_kinds import EACH
from notify.rules.compiled import Compiled
from notify.rules.kinds import JUDGES
from notify.rules.match import Judge, RuleMatch
from notify.rules.notice import stored_notice
from notify.rules.results import Results, closes_at_s
from notify.rules.state import BEGINS, Seen, State, decode, encode

MOVES_LOOK_S = 0.5
"""How often pulses and audiences are looked at."""
_MOVING = ("pulse", "audience")
_NEVER = float("inf")

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
        self.state = BEGINS
        self.sequence = 0
        """Of the last message of its subject; 0 for none."""
        self.ordinal = 0
        self.generation = 0
        """Of the game that the last message is of."""
        self.is_stored = False
        """There is a state of this generation in the stream."""
        self.fired_at_s = float("-inf")
        self.is_firing = False
        self.seen: Seen = []
        """Positions that the results do not include yet, as far as is known."""


class Firing(NamedTuple):
    """To be published on `subject` if its last sequence is `sequence`."""

    subject: str
    sequence: int
    stored: StoredNotice
    slot: _Slot
    state: State


class Said(NamedTuple):
    firings: Sequence[Firing]
    look_at_s: float | None
    """Judge the topic again then, though nothing comes; Unix seconds."""


_NOTHING = Said((), None)


class _Topic:
    """The rules of a topic, and when they were judged last."""

    __slots__ = (
        "definition",
        "is_defined",
        "look_at_s",
        "merge",
        "moves",
        "not_before_s",
        "slots",
        "while_open",
    )

    def __init__(self, kind: str, slots: list[tuple[Compiled, Judge, _Slot]]) -> None:
        self.slots = slots
        self.while_open = [each for each in slots if not each[0].by_definition and each[0].kind != "sealed"]
        """What may be found if neither the definition nor the stage has changed."""
        self.is_defined = kind in EACH
        """It has a definition of its own."""
        self.moves = kind in _MOVING
        """Its value changes with time, and costs more to look at."""
        self.merge: TopicMerge | None = None
        self.begin()

    def begin(self) -> None:
        """Nothing is known to have been judged."""
        self.not_before_s = 0.0
        self.definition: Game | Poll | Board | None = None
        self.look_at_s = -_NEVER
        """Until then, nothing is found that goes by the definition alone."""


class GameRules:
    """`view`: the game's results, with the actors' own ids."""

    def __init__(self, game: Game, view: GameView, define: Define, public: PublicId = UNKEYED) -> None:
        self._view = view
        self._define = define
        self._public = public
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._whole: frozenset[int] | None = None
        """The partitions that are known whole; they stay so."""
        self.redefine(game)

    def redefine(self, game: Game) -> None:
        """The definition has changed, within its generation."""
        self.game = game
        self._by_topic: dict[str, list[Compiled]] = {}
        for rule in game.rules:
            if not rule.paused:
                self._by_topic.setdefault(rule.topic, []).append(Compiled(rule))
        self._judged: dict[str, _Topic] = {}

    @property
    def slots(self) -> int:
        return len(self._slots)

    def topics(self, opened: Iterable[str]) -> Iterator[str]:
        """What there is to judge. `opened`: the topics of polls and boards that were ever opened."""
        yield from (topic for topic in self._by_topic if not topic.endswith("/*"))
        for topic in opened:
            if topic not in self._by_topic and self.concerns(topic):
                yield topic

    def concerns(self, topic: str) -> bool:
        return topic in self._by_topic or f"{topic.partition('/')[0]}/*" in self._by_topic

    def judge(self, topic: str, now_s: float) -> Said:
        """All rules of a topic that have no firing under way; `topic`: "" for the game itself."""
        judged = self._judged.get(topic)
        if judged is None:
            if not self.concerns(topic):
                return _NOTHING
            judged = self._judged[topic] = self._topic(topic)
        if judged.moves:
            if 0.0 < judged.not_before_s - now_s <= MOVES_LOOK_S:  # the clock may be set back
                return Said((), judged.not_before_s)
            judged.not_before_s = now_s + MOVES_LOOK_S
        results = self._results(topic, judged)
        if results is None:
            return _NOTHING
        definition = results.definition
        is_known = definition is judged.definition and now_s < judged.look_at_s
        judged.definition = definition
        over_s = None
        if judged.is_defined and definition.stage == STAGE_SEALED:  # type: ignore[union-attr]
            over_s = _over_s(definition)
        firings: list[Firing] = []
        is_resting = False
        look_at_s = judged.look_at_s if is_known else _NEVER
        is_calm = is_known and results.stage != STAGE_SEALED
        generation = self.game.generation
        for rule, judge, slot in judged.while_open if is_calm else judged.slots:
            if slot.is_firing or (over_s is not None and over_s < rule.since_s):
                continue
            if slot.generation > generation or (slot.seen and self._is_behind(slot)):
                is_resting = True
                continue
            state, found, at_s, keep = judge(rule, slot.state, results, now_s)
            if at_s is not None and at_s < look_at_s:
                look_at_s = at_s
            if found is not None and self._is_held_back(rule, slot, now_s):
                found = None
            if found is not None or (keep and not slot.is_stored):
                firings.append(self._fire(rule, slot, results, found, state, now_s))
            else:
                slot.state = state
        judged.look_at_s = look_at_s
        if is_resting:
            judged.begin()
        if look_at_s == _NEVER and not firings:
            return _NOTHING
        return Said(firings, None if look_at_s == _NEVER else look_at_s)

    def stored(self, firing: Firing, sequence: int) -> None:
        slot = self._settled(firing.slot)
        slot.sequence = sequence
        slot.state = firing.state
        slot.is_stored = True
        slot.generation = self.game.generation
        slot.ordinal = firing.stored.firing.ordinal
        if firing.stored.HasField("notice"):
            slot.fired_at_s = firing.stored.sent_at.ToNanoseconds() / 1e9

    def failed(self, firing: Firing) -> None:
        """It is not known whether it was stored."""
        self._settled(firing.slot)

    def adopt(self, sequence: int, stored: StoredNotice) -> None:
        """The last message of the subject of some rule and topic."""
        slot = self._settled(self._slot(stored.firing.rule_id, stored.firing.topic))
        slot.sequence = sequence
        slot.generation = stored.generation
        if stored.generation != self.game.generation:
            return
        slot.state, slot.seen = decode(stored.rule_state)
        slot.ordinal = stored.firing.ordinal
        slot.is_stored = True
        if stored.HasField("notice"):
            slot.fired_at_s = stored.sent_at.ToNanoseconds() / 1e9

    def lost(self, firing: Firing) -> None:
        """Its subject has no message: the stream was recreated, or let it go. What is known here stands."""
        self._settled(firing.slot).sequence = 0

    def began_anew(self) -> None:
        """Nobody looked for a while: what has lasted since before is not known."""
        for slot in self._slots.values():
            slot.state = slot.state._replace(candidate="", candidate_since_us=0)

    @property
    def is_firing(self) -> bool:
        return any(slot.is_firing for slot in self._slots.values())

    def _fire(
        self,
        rule: Compiled,
        slot: _Slot,
        results: Results,
        found: RuleMatch | None,
        state: State,
        now_s: float,
    ) -> Firing:
        """Without `found`, to store the state alone."""
        game, topic = self.game, results.topic
        encoded = encode(state, ((each.partition, each.sequence) for each in results.partials))
        ordinal = slot.ordinal + (found is not None)
        stored = stored_notice(
            *(game, rule.rule, topic, ordinal, found, encoded, results.definition, self._public, now_s)
        )
        slot.is_firing = True
        subject = subjects.notice_fired(game.game_id, rule.rule_id, topic)
        return Firing(subject, slot.sequence, stored, slot, state)

    def _settled(self, slot: _Slot) -> _Slot:
        """Nothing is under way; all rules of its topic are to be judged."""
        slot.is_firing = False
        judged = self._judged.get(slot.topic)
        if judged is not None:
            judged.begin()
        return slot

    def _is_held_back(self, rule: Compiled, slot: _Slot, now_s: float) -> bool:
        """Of rank_taken that is said of each actor (notify.rules.rank_taken).

        The mesh's clock may be set back: the last firing then lies ahead, and holds back for no longer than
        one that lies behind. A rule without at_most_every is never held back."""
        return abs(now_s - slot.fired_at_s) < rule.every_s and rule.kind != "rank_taken"

    def _is_behind(self, slot: _Slot) -> bool:
        while slot.seen and self._view.includes(*slot.seen[-1], topic=slot.topic):
            slot.seen.pop()
        return bool(slot.seen)

    def _topic(self, topic: str) -> _Topic:
        kind, slash, _ = topic.partition("/")
        rules = [*self._by_topic.get(topic, ()), *(self._by_topic.get(f"{kind}/*", ()) if slash else ())]
        # A later release may know kinds that this one does not.
        known = [rule for rule in rules if rule.kind in JUDGES]
        return _Topic(kind, [(rule, JUDGES[rule.kind], self._slot(rule.rule_id, topic)) for rule in known])

    def _results(self, topic: str, judged: _Topic) -> Results | None:
        """None of what is not known whole."""
        view = self._view
        definition: Game | Poll | Board | None = self._define(topic) if judged.is_defined else self.game
        if definition is None:
            return None
        if not topic:
            return Results(topic, definition)
        whole = view.partitions
        if self._whole is not whole:
            if view.unloaded() is not None:
                return None
            self._whole = whole
        merge = judged.merge
        if merge is None:
            merge = judged.merge = view.merge_of(topic)
            if merge is None:
                return Results(topic, definition)
        partials, partitions = merge.partials(), len(whole)
        stage = partials[0].stage if partitions == len(partials) == 1 else merge.stage(partitions)
        return Results(topic, definition, partials, stage)

    def _slot(self, rule_id: str, topic: str) -> _Slot:
        slot = self._slots.get((rule_id, topic))
        if slot is None:
            slot = self._slots[rule_id, topic] = _Slot(rule_id, topic)
        return slot


def _over_s(definition: Game | Poll | Board | None) -> float | None:
    """When a sealed poll or board was. What was over before a rule was added, or ceased to be paused, is not
    told."""
    at_s = closes_at_s(definition)
    return None if at_s is None else at_s + limits.SEAL_GRACE_S
