"""One partition's state, a pure function of its stream (I4), and what a flush must write.

`fold` takes the stream's blocks in their order and reads no clock: time is what they say, see
aggregate.watermark.
It notes what changed; `take_flush` turns the notes into writes and partials. A worker folds
any number of blocks between two flushes.

    block ──decode──▶ columns ──Origins.admit──▶ new rows ──┬──▶ Tallies (all polls at once)
                                                            └──▶ the Fold of each other topic

A block that makes no sense is set aside whole, a section whose topic is unknown here alone,
and every other row is counted: `fold` returns them as dead letters and never raises. A section
that a custom fold fails on is set aside too. The events of a set-aside section are not taken as
seen, so that they count when they are sent again once the fault is mended, as long as their
origins' windows still hold them. Of a sealed topic they are: what comes after the seal is
told in `uncounted`, once, and never counts (I9).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aggregate import definition_merge, topics
from aggregate.block import BadBlock, DecodedEvents, decode
from aggregate.changes import Changes, StateLog
from aggregate.custom import CustomFoldFailed
from aggregate.fold import Change, State
from aggregate.keyindex import I64
from aggregate.origins import Admitted, Origins
from aggregate.tally import Tallies
from aggregate.topics import Topic, TopicKey
from aggregate.watermark import Watermark
from aggregate.window import Mask
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Game, Poll
from grandstand.internal.v1.internal_pb2 import (
    BlockIdentity,
    Control,
    DeadLetter,
    Partial,
    PartitionState,
    StoredTopic,
    VotedQuestion,
    VotedRequest,
    VotedResponse,
)
from mesh import limits
from mesh.errors import Invalid
from mesh.redis.layout import Write

_ORIGINS = "origins"
_VOTES = "votes"
_FORGET_EVERY_S = 3_600


@dataclass(frozen=True)
class Flush:
    """What one atomic step writes, and the partials to publish once it is done."""

    before: int
    state: PartitionState
    writes: Sequence[Write]
    partials: Sequence[Partial]
    events: int

    @property
    def after(self) -> int:
        """The sequence that is applied when it is done."""
        return self.state.applied


@dataclass(frozen=True)
class Loaded:
    """The stored state of a partition, as it was read."""

    state: PartitionState = field(default_factory=PartitionState)
    topics: Mapping[TopicKey, StoredTopic] = field(default_factory=dict)
    """By topic; a game's own definition under ("<game>", "")."""
    states: Mapping[TopicKey, State] = field(default_factory=dict)
    origins: bytes = b""
    votes: bytes = b""


class Partition:
    def __init__(self, index: int, loaded: Loaded, salt: int = 0) -> None:
        """`salt`: see aggregate.keyindex. Raises DecodeError for a state that is none."""
        self.index = index
        self.folded = loaded.state.applied
        self.uncounted = 0
        self.unflushed_events = 0
        self._flushed = loaded.state.applied
        self._last: tuple[int, bytes] = (0, b"")
        """When the stream stored the last block that was folded, and its data."""
        self._watermark = Watermark(loaded.state.watermark_us, loaded.state.newest_stamp_us)
        self._forgot_at_s = 0
        self._topics: dict[TopicKey, Topic] = {}
        self._games: dict[str, Game] = {}
        self._origins = Origins(loaded.origins, salt)
        self._tallies = Tallies(salt)
        self._logs = {_ORIGINS: StateLog(len(loaded.origins)), _VOTES: StateLog(len(loaded.votes))}
        self._defined: set[TopicKey] = set()
        self._changed: dict[TopicKey, int] = {}
        """Which topics' shares changed since the last flush, and at which sequence last: a partial
        carries that, not where its flush happened to end, so that a state folded anew from the
        stream is never behind what a viewer has seen of it (I4, I5)."""
        self._sealed: dict[TopicKey, tuple[Partial, list[Change]]] = {}
        for key, stored in loaded.topics.items():
            self._load(key, stored, loaded.states)
        self._tallies.load(loaded.votes)

    def _load(self, key: TopicKey, stored: StoredTopic, states: Mapping[TopicKey, State]) -> None:
        control = stored.control
        match control.WhichOneof("definition"):
            case "game":
                self._games[key[0]] = control.game
                for name in topics.topics_of_game(control.game):
                    state = states.get((key[0], name), State())
                    self._topics[key[0], name] = Topic(topics.fold_of_game(control.game, name, state))
            case "poll":
                self._topics[key] = Topic(None, control, control.poll.stage)
                if control.poll.stage != STAGE_SEALED:
                    self._tallies.open(*key, control.poll)
            case "board":
                topic = self._topics[key] = Topic(None, control, control.board.stage, tuple(stored.parts))
                topic.lasts_until_us = topics.lasts_until_us(control.board)
                if control.board.stage != STAGE_SEALED:
                    topic.fold = topics.fold_of_board(control.board, states.get(key, State()))
        if key[1]:
            self._topics[key].closed_at_us = stored.closed_at_us

    def fold(self, sequence: int, data: bytes, stored_at_us: int | None = None) -> list[DeadLetter]:
        """Folds one block; returns what of it had to be set aside. Never raises; a sequence that
        was folded before changes nothing.

        `stored_at_us`: when the stream stored it, which is as much a part of the stream as the stamp
        (I4); None: at its stamp. A block that cannot be decoded moves no time.
        """
        if sequence <= self.folded:
            return []
        self.folded = sequence
        self._last = (stored_at_us or 0, data)
        try:
            block = decode(data)
            self._watermark.pass_block(block.at_us, block.at_us if stored_at_us is None else stored_at_us)
            if isinstance(block.content, Control):
                self._fold_control(block.content)
                reasons: list[str] = []
            else:
                reasons = self._fold_events(block.content, block.at_us)
        except BadBlock as error:
            reasons = [str(error)]
        else:
            self._forget_dead_origins(self._watermark.at_us // 1_000_000)
        return [
            DeadLetter(partition=self.index, sequence=sequence, reason=reason, block=data)
            for reason in reasons
        ]

    def _fold_control(self, control: Control) -> None:
        try:
            topics.check_control(control)
        except Invalid as error:
            raise BadBlock(error.message) from None
        match control.WhichOneof("definition"):
            case "game":
                self._define_game(control)
            case "poll":
                self._define_topic(control, control.poll)
            case "board":
                self._define_topic(control, control.board)

    def _define_game(self, control: Control) -> None:
        """Adds to what is known: controls of two changes may come in any order (see
        aggregate.definition_merge)."""
        known = self._games.get(control.game.game_id, Game())
        game = definition_merge.united(known, control.game)
        self._games[game.game_id] = game
        self._defined.add((game.game_id, ""))
        for name in topics.topics_of_game(game):
            key = (game.game_id, name)
            # Another configuration follows only on a change that was never admitted: no event is in.
            if key not in self._topics or topics.is_reconfigured(known, game, name):
                self._topics[key] = Topic(topics.fold_of_game(game, name, State()))
                self._changed[key] = self.folded

    def _define_topic(self, control: Control, definition: Poll | Board) -> None:
        """A control that comes before its time counts as the stage that is due (see topics.stage_due):
        of a topic that has that stage it changes nothing. Its sender looks whether it was taken."""
        key = topics.key_of(definition)
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = Topic()
            if isinstance(definition, Poll):
                self._tallies.open(*key, definition)
            else:
                topic.fold = topics.fold_of_board(definition, State())
        elif topic.stage == STAGE_SEALED:
            return
        stage = topics.stage_due(definition, topic, self._watermark.at_us)
        if stage > topic.stage:  # only from what is stored below (I4)
            topic.lasts_until_us = topics.lasts_until_us(definition)
        self._advance(key, topic)
        if stage <= topic.stage:  # said before, overtaken, or too early
            return
        topic.control = topics.control_at(control, stage)
        topic.stage = stage
        if stage == STAGE_CLOSED:
            topic.closed_at_us = max(self._watermark.at_us, definition.closes_at.ToMicroseconds())
        self._changed[key] = self.folded
        self._defined.add(key)
        if stage == STAGE_SEALED:
            self._seal(key, topic)

    def _advance(self, key: TopicKey, topic: Topic) -> None:
        """Lets the stream's time pass for one topic, but not beyond its end."""
        now_us = min(self._watermark.at_us, topic.lasts_until_us)
        if topic.fold is not None and topic.fold.advance(now_us):
            self._changed[key] = self.folded

    def _seal(self, key: TopicKey, topic: Topic) -> None:
        """The last partial stays; what made it goes (a board's standings stay readable in Redis)."""
        last = self._partial(key, topic)
        if topic.fold is None:
            self._sealed[key] = (last, [])
            self._tallies.seal(*key)
        else:
            self._sealed[key] = (last, topic.fold.delta())
            topic.parts = tuple(topic.fold.parts())
            topic.fold = None
        self._changed.pop(key, None)

    def _fold_events(self, events: DecodedEvents, stamped_us: int) -> list[str]:
        """Returns why sections were set aside."""
        reasons: list[str] = []
        numbers: list[int] = []
        others: list[int] = []
        aside: list[int] = []
        sealed: list[int] = []
        for at, section in enumerate(events.sections):
            key = (section.game_id, section.topic)
            topic = self._topics.get(key)
            number = -1
            if topic is None:
                aside.append(at)
                reasons.append(self._unknown(*key))
            elif topic.stage == STAGE_SEALED:
                sealed.append(at)
            elif topic.fold is None:
                number = self._tallies.number(*key)
            else:
                others.append(at)
            numbers.append(number)
        lengths = np.diff(events.starts)
        admitted = self._admit(events, np.repeat(np.isin(np.arange(len(numbers)), aside), lengths))
        self.unflushed_events += len(admitted.new)
        for at in sealed:
            self.uncounted += int(admitted.new[events.starts[at] : events.starts[at + 1]].sum())
        if len(others) + len(aside) + len(sealed) < len(numbers):
            self._fold_votes(events, np.repeat(np.array(numbers, dtype=np.int64), lengths), admitted)
        for at in others:
            reason = self._fold_section(events, at, admitted, stamped_us)
            if reason:
                reasons.append(reason)
        return reasons

    def _unknown(self, game_id: str, topic: str) -> str:
        if any(game == game_id for game, _ in self._topics) or game_id in self._games:
            return f"topic {topic[:80]!r} of game {game_id[:80]!r} is not known in partition {self.index}"
        return f"game {game_id[:80]!r} is not known in partition {self.index}"

    def _admit(self, events: DecodedEvents, aside: Mask) -> Admitted:
        if not aside.any():
            return self._origins.admit(events.viewers, events.producers, events.origin, events.origin_seq)
        admitted = Admitted(np.zeros(len(aside), dtype=np.bool_), np.zeros(len(aside), dtype=np.uint64))
        kept = ~aside
        admitted.new[kept], admitted.before[kept] = self._origins.admit(
            events.viewers, events.producers, events.origin[kept], events.origin_seq[kept]
        )
        return admitted

    def _fold_votes(self, events: DecodedEvents, number: I64, admitted: Admitted) -> None:
        takes = admitted.new & (number >= 0)
        weight = events.weights()
        low, high = events.actor_keys
        if takes.all():
            actor = events.actor
            columns = (events.value, weight, events.origin_tag, events.origin_seq, admitted.before)
        else:
            number, actor = number[takes], events.actor[takes]
            columns = (
                events.value[takes],
                None if weight is None else weight[takes],
                events.origin_tag[takes],
                events.origin_seq[takes],
                admitted.before[takes],
            )
        if len(number):
            changed = self._tallies.fold(number, (low[actor], high[actor]), *columns)
            self._changed.update((self._tallies.name(each), self.folded) for each in changed)

    def _fold_section(self, events: DecodedEvents, at: int, admitted: Admitted, stamped_us: int) -> str:
        """Folds a section that is no poll's; returns why it could not be, or ""."""
        section = events.sections[at]
        key = (section.game_id, section.topic)
        topic = self._topics[key]
        fold = topic.fold
        assert fold is not None, "a topic that is neither a poll nor sealed has a fold"
        rows = events.rows(
            at,
            admitted,
            min(self._watermark.event_time_us(stamped_us), topic.lasts_until_us),
            stamped_us=min(stamped_us, self._watermark.at_us),
            block_us=stamped_us,
        )
        if rows is None:
            return ""
        self._advance(key, topic)
        try:
            if fold.fold(rows):
                self._changed[key] = self.folded
        except CustomFoldFailed as error:
            self._give_back(events, at, admitted)
            return f"topic {section.topic!r} of game {section.game_id!r}: {error}"
        return ""

    def _give_back(self, events: DecodedEvents, at: int, admitted: Admitted) -> None:
        """So that a section's rows count when they are sent again."""
        rows = events.starts[at] + np.flatnonzero(admitted.new[events.starts[at] : events.starts[at + 1]])
        self._origins.give_back(
            events.viewers, events.producers, events.origin[rows], events.origin_seq[rows]
        )

    def _forget_dead_origins(self, stamped_at_s: int) -> None:
        """Once an hour of the stream's time."""
        if stamped_at_s < self._forgot_at_s + _FORGET_EVERY_S:
            return
        self._forgot_at_s = stamped_at_s
        if self._origins.forget(stamped_at_s - limits.ORIGIN_WINDOW_LIFE_S):
            self._logs[_ORIGINS].make_anew()

    def second_votes(self, request: VotedRequest) -> VotedResponse:
        """Who of the actors asked for has voted, this being no resend of that vote."""
        return VotedResponse(second=[self._second(question) for question in request.questions])

    def _second(self, question: VotedQuestion) -> bytes:
        count = len(question.actors) // 16
        number = self._tallies.number(question.game_id, question.topic)
        columns = (len(question.producer), len(question.origins) // 16, len(question.origin_seqs) // 8)
        if number < 0 or not self._tallies.is_final(number) or columns != (count, count, count):
            return bytes(count)
        voted = self._tallies.voted(number, question.actors)
        if voted.any():
            producer = np.frombuffer(question.producer, dtype=np.uint8) != 0
            sequence = np.frombuffer(question.origin_seqs, dtype="<u8")
            voted &= ~self._origins.seen(producer, question.origins, sequence)
        return voted.astype(np.uint8).tobytes()

    def take_flush(self) -> Flush | None:
        """Everything since the last flush, or None. What is taken counts as flushed."""
        if self.folded == self._flushed:
            return None
        changes = Changes(self.index)
        changes.log(_ORIGINS, self._logs[_ORIGINS], self._origins)
        changes.log(_VOTES, self._logs[_VOTES], self._tallies)
        partials = [self._partial(key) for key in self._changed]
        for key in self._changed:
            self._say_fold(key, changes)
        for key, (last, delta) in self._sealed.items():
            partials.append(last)
            changes.fold(key, delta)
        for key in self._defined:
            changes.topic(key, self._stored(key))
        changes.results(partials)
        flush = Flush(self._flushed, self._state(), changes.writes, partials, self.unflushed_events)
        self._flushed = self.folded
        self.unflushed_events = 0
        self._changed = {}
        self._defined = set()
        self._sealed = {}
        return flush

    def _state(self) -> PartitionState:
        stored_at_us, data = self._last
        digest = hashlib.blake2b(data, digest_size=16).digest()
        bound = BlockIdentity(sequence=self.folded, stored_at_us=stored_at_us, digest=digest)
        return PartitionState(
            applied=self.folded,
            bound=bound,
            watermark_us=self._watermark.at_us,
            newest_stamp_us=self._watermark.newest_stamp_us,
        )

    def _say_fold(self, key: TopicKey, changes: Changes) -> None:
        topic = self._topics[key]
        if topic.fold is None:
            return
        changes.fold(key, topic.fold.delta())
        parts = tuple(topic.fold.parts())
        if topic.control is not None and parts != topic.parts:
            topic.parts = parts
            self._defined.add(key)

    def _stored(self, key: TopicKey) -> StoredTopic:
        if not key[1]:
            return StoredTopic(control=Control(game=self._games[key[0]]))
        topic = self._topics[key]
        return StoredTopic(control=topic.control, parts=topic.parts, closed_at_us=topic.closed_at_us)

    def _partial(self, key: TopicKey, topic: Topic | None = None) -> Partial:
        topic = topic or self._topics[key]
        if topic.fold is None:
            value: Any = self._tallies.partial(self._tallies.number(*key))
        else:
            value = topic.fold.partial()
        return Partial(
            game_id=key[0],
            topic=key[1],
            partition=self.index,
            sequence=self._changed[key],
            stage=topic.stage,
            **{topics.value_field(key[1]): value},
        )
