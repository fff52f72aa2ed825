"""The state of one partition: the fold of its blocks, and what a flush writes.

The state is a pure function of the partition's stream (I4). `fold` takes the blocks in the order of the
stream and reads no clock: time is what the blocks say, see aggregate.watermark. It notes what changed, and
`take_flush` turns that into writes and partials. A worker folds any number of blocks between two flushes.

    block ──decode──┬──▶ control ──ControlHandler──▶ TopicTable: what is defined, and at which stage
                    └──▶ events ──OriginWindows.admit──▶ new rows ──┬──▶ Tallies (all polls at once)
                                                                    └──▶ the Fold of each other topic

`fold` never raises. It returns what it cannot count as dead letters, and counts every other row:

- a block that does not decode, as a whole;
- a section whose topic is unknown here, or whose custom fold failed. The origins' windows do not take its
  events as seen: they count when they are sent again after the cause is fixed, as long as the windows still
  reach back to them;
- events of origins that have left (aggregate.origin_retention).

Events that arrive for a sealed topic, or for an earlier generation of a game, are no dead letters. They are
added to `uncounted` once, are taken as seen, and never count (I9).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aggregate import bounds
from aggregate.block import BadBlock, DecodedEvents, decode
from aggregate.changes import Changes, StateLog
from aggregate.control_handler import ControlHandler
from aggregate.custom import CustomFoldFailed
from aggregate.encoded_partials import EncodedPartial
from aggregate.fold import Fold, FoldState
from aggregate.keyindex import I64
from aggregate.option_counts import with_guests
from aggregate.origin_retention import OriginRetention
from aggregate.origins import Admitted, OriginWindows
from aggregate.tally import Tallies
from aggregate.topic_table import TopicTable
from aggregate.topics import Topic, TopicKey
from aggregate.watermark import Watermark
from aggregate.window import Mask
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.internal.v1.internal_pb2 import (
    BlockIdentity,
    Control,
    DeadLetter,
    PartitionState,
    StoredTopic,
    VotedQuestion,
    VotedRequest,
    VotedResponse,
)
from mesh.redis.layout import Write

_ORIGINS = "origins"
_VOTES = "votes"
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Flush:
    """The writes of one atomic step, and the partials to publish after it."""

    before: int
    state: PartitionState
    writes: Sequence[Write]
    partials: Sequence[EncodedPartial]
    events: int
    forgotten: Sequence[str] = ()
    """Games of which nothing is left; `partials` may have some of a new game of the same id."""

    @property
    def after(self) -> int:
        """The applied sequence after the step."""
        return self.state.applied


@dataclass(frozen=True)
class Loaded:
    """The stored state of a partition, as it was read from Redis."""

    state: PartitionState = field(default_factory=PartitionState)
    topics: Mapping[TopicKey, StoredTopic] = field(default_factory=dict)
    """By topic; a game's own definition under ("<game>", "")."""
    states: Mapping[TopicKey, FoldState] = field(default_factory=dict)
    origins: bytes = b""
    votes: bytes = b""


class Partition:
    def __init__(self, index: int, loaded: Loaded, salt: int = 0) -> None:
        """`salt`: see aggregate.keyindex. Raises DecodeError, ValueError for a state that does not decode."""
        self.index = index
        self.folded = loaded.state.applied
        self.uncounted = 0
        self.unflushed_events = 0
        self._flushed = loaded.state.applied
        self._unknown_topic: TopicKey | None = None
        self._last: tuple[int, bytes] = (0, b"")
        """The last block that was folded: when the stream stored it, and its data."""
        self._watermark = Watermark(loaded.state.watermark_us, loaded.state.newest_stamp_us)
        state = loaded.state
        self._forgot_hour = state.watermark_us // _HOUR_US
        self._retention = OriginRetention(
            state.origins_from_s, state.origins_from_next_s, state.origins_from_next_at_s
        )
        self._origins = OriginWindows(loaded.origins, salt, state.origins_from_s)
        self._tallies = Tallies(salt)
        self._logs = {_ORIGINS: StateLog(len(loaded.origins)), _VOTES: StateLog(len(loaded.votes))}
        self._table = TopicTable(index, self._tallies)
        self._controls = ControlHandler(self._table, self._tallies)
        for key, stored in sorted(loaded.topics.items()):  # a game before its topics
            self._table.load(key, stored, loaded.states)
        self._tallies.load(loaded.votes)

    def fold(self, sequence: int, data: bytes, stored_at_us: int | None = None) -> list[DeadLetter]:
        """Folds one block and returns what of it had to be set aside. Never raises. A sequence that was
        folded before changes nothing.

        `stored_at_us`: when the stream stored the block, which is as much a part of the stream as its stamp
        (I4); None: at its stamp. A block that does not decode moves no time.
        """
        if sequence <= self.folded:
            return []
        self.folded = sequence
        self._last = (stored_at_us or 0, data)
        try:
            block = decode(data)
            self._watermark.pass_block(block.at_us, block.at_us if stored_at_us is None else stored_at_us)
            self._table.times_s[sequence] = self._watermark.at_us // 1_000_000
            if isinstance(block.content, Control):
                self._controls.apply(block.content, sequence, self._watermark.at_us)
                reasons: list[str] = []
            else:
                reasons = self._fold_events(block.content, block.at_us)
        except BadBlock as error:
            reasons = [str(error)]
        else:
            self._forget_origins(self._watermark.at_us)
        return [
            DeadLetter(partition=self.index, sequence=sequence, reason=reason, block=data)
            for reason in reasons
        ]

    def _fold_events(self, events: DecodedEvents, stamped_us: int) -> list[str]:
        """Returns the reason for each section that is set aside."""
        reasons: list[str] = []
        numbers: list[int] = []
        others: list[int] = []
        aside: list[int] = []
        sealed: list[int] = []
        topics = self._table.topics
        for at, section in enumerate(events.sections):
            key = (section.game_id, section.topic)
            topic = topics.get(key)
            number = -1
            generation = section.generation
            if generation and self._table.is_past(section.game_id, generation):
                sealed.append(at)
            elif topic is None or generation > topic.generation:
                aside.append(at)
                reasons.append(self._unknown(*key))
                self._unknown_topic = key
            elif topic.stage == STAGE_SEALED:
                sealed.append(at)
            elif topic.fold is None:
                number = self._tallies.number(*key)
            else:
                others.append(at)
            numbers.append(number)
        few = None if aside else self._admit_few(events)
        if few is not None:
            return self._fold_few(events, numbers, others, sealed, few, stamped_us)
        lengths = np.diff(events.starts)
        turned_away = self._origins.turned_away
        admitted = self._admit(events, np.repeat(np.isin(np.arange(len(numbers)), aside), lengths))
        if left := self._origins.turned_away - turned_away:
            reasons.append(
                f"{left} events of origins issued before {self._origins.from_s}, whose windows have left"
            )
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

    def _admit_few(self, events: DecodedEvents) -> tuple[list[bool], list[int]] | None:
        """None: numpy's turn."""
        few, origins = events.few, self._origins
        if few is None or (origins.from_s and origins.has_left(events.viewers + events.producers)):
            return None
        return origins.admit_few(events.viewers, events.producers, few.origin, few.origin_seq)

    def _fold_few(
        self,
        events: DecodedEvents,
        numbers: list[int],
        others: list[int],
        sealed: list[int],
        few: tuple[list[bool], list[int]],
        stamped_us: int,
    ) -> list[str]:
        """As `_fold_events`, of few rows whose topics are all known."""
        new, before = few
        self.unflushed_events += sum(new)
        for at in sealed:
            self.uncounted += sum(new[events.starts[at] : events.starts[at + 1]])
        changed = self._tallies.fold_few(events.votes(numbers, new))
        if changed is not None and not others:
            self._changed(changed)
            return []
        admitted = Admitted(np.array(new), np.array(before, dtype=np.uint64))
        if changed is None:
            lengths = np.diff(events.starts)
            self._fold_votes(events, np.repeat(np.array(numbers, dtype=np.int64), lengths), admitted)
        else:
            self._changed(changed)
        reasons = [self._fold_section(events, at, admitted, stamped_us) for at in others]
        return [reason for reason in reasons if reason]

    def _changed(self, polls: Iterable[int]) -> None:
        """`polls`: their numbers."""
        changed, folded, name = self._table.changed, self.folded, self._tallies.name
        for number in polls:
            changed[name(number)] = folded

    @property
    def lacks(self) -> str:
        """Why acked events are not counted: the catalog has their definition, the stream has not.
        Of the last such topic since this owner began; empty once it is defined."""
        if self._unknown_topic is None or self._unknown_topic in self._table.topics:
            return ""
        return f"events are set aside: {self._unknown(*self._unknown_topic)}, the event stream has lost it"

    def _unknown(self, game_id: str, topic: str) -> str:
        if game_id in self._table.games:
            return f"topic {topic[:80]!r} of game {game_id[:80]!r} is not known in partition {self.index}"
        return f"game {game_id[:80]!r} is not known in partition {self.index}"

    def _admit(self, events: DecodedEvents, aside: Mask) -> Admitted:
        if not aside.any():
            return self._origins.admit(events.viewers, events.producers, events.origin, events.origin_seq)
        return self._origins.admit_some(
            events.viewers, events.producers, events.origin, events.origin_seq, ~aside
        )

    def _fold_votes(self, events: DecodedEvents, number: I64, admitted: Admitted) -> None:
        takes = admitted.new & (number >= 0)
        weight = with_guests(events.weights(), events.guests())
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
            self._changed(changed)

    def _fold_section(self, events: DecodedEvents, at: int, admitted: Admitted, stamped_us: int) -> str:
        """Folds a section of any topic but a poll; returns the reason if it failed, else ""."""
        section = events.sections[at]
        key = (section.game_id, section.topic)
        topic = self._table.topics[key]
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
        if topic.advance(self._watermark.at_us):
            self._table.changed[key] = self.folded
        try:
            if fold.fold(rows):
                self._table.changed[key] = self.folded
        except CustomFoldFailed as error:
            self._give_back(events, at, admitted)
            return f"topic {section.topic!r} of game {section.game_id!r}: {error}"
        return ""

    def _give_back(self, events: DecodedEvents, at: int, admitted: Admitted) -> None:
        """Takes the section's rows back from the origins' windows: they count when they are sent again."""
        rows = events.starts[at] + np.flatnonzero(admitted.new[events.starts[at] : events.starts[at + 1]])
        self._origins.give_back(
            events.viewers, events.producers, events.origin[rows], events.origin_seq[rows]
        )

    @property
    def origins_from_s(self) -> int:
        """Origins issued before this second have left, or will soon; 0: none."""
        return self._retention.announced_s

    def _forget_origins(self, at_us: int) -> None:
        """The dead ones in each hour of the stream's time, and those that must leave before their time."""
        forgets = False
        if at_us // _HOUR_US > self._forgot_hour:
            self._forgot_hour = at_us // _HOUR_US
            forgets = self._origins.forget(self._forgot_hour * 3_600 - bounds.ORIGIN_WINDOW_LIFE_S)
        origins, retention = self._origins, self._retention
        if retention.step(at_us // 1_000_000, origins.encoded_bytes, origins.second_that_keeps):
            origins.from_s = retention.from_s
            forgets |= origins.forget(origins.from_s)
        if forgets:
            self._logs[_ORIGINS].compact()

    def second_votes(self, request: VotedRequest) -> VotedResponse:
        """Which of the votes asked about would be second votes of their actors. A resend is none."""
        return VotedResponse(second=[self._second(question) for question in request.questions])

    def _second(self, question: VotedQuestion) -> bytes:
        count = len(question.actors) // 16
        number = self._tallies.number(question.game_id, question.topic)
        columns = (len(question.producer), len(question.origins) // 16, len(question.origin_seqs) // 8)
        if number < 0 or not self._tallies.is_final(number) or columns != (count, count, count):
            return bytes(count)
        voted = self._tallies.voted(number, question.actors)
        if 1 not in voted:
            return voted
        producer = np.frombuffer(question.producer, dtype=np.uint8) != 0
        sequence = np.frombuffer(question.origin_seqs, dtype="<u8")
        seen = self._origins.seen(producer, question.origins, sequence)
        return (np.frombuffer(voted, dtype=np.bool_) & ~seen).tobytes()

    def take_flush(self) -> Flush | None:
        """Everything since the last flush, or None if no block was folded. What is taken counts as
        flushed."""
        if self.folded == self._flushed:
            return None
        changes = Changes(self.index)
        if self._table.forgotten:
            self._logs[_VOTES].compact()
        changes.log(_ORIGINS, self._logs[_ORIGINS], self._origins)
        changes.log(_VOTES, self._logs[_VOTES], self._tallies)
        table = self._table
        for game_id, gone in table.forgotten.items():
            changes.forget(game_id, gone)
        partials = [table.partial(key) for key in table.changed]
        for key in table.changed:
            topic = table.topics[key]
            if topic.fold is not None:
                self._write_fold(key, topic, topic.fold, changes)
        for key, (last, delta) in table.sealed.items():
            partials.append(last)
            changes.fold(key, delta)
        for key in table.defined:
            changes.topic(key, table.stored(key))
        for game_id, stage in table.ended.items():
            changes.ended(game_id, stage)
        forgotten = tuple(table.forgotten)
        table.flushed()
        changes.results(partials)
        flush = Flush(
            self._flushed, self._state(), changes.writes, partials, self.unflushed_events, forgotten
        )
        self._flushed = self.folded
        self.unflushed_events = 0
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
            origins_from_s=self._retention.from_s,
            origins_from_next_s=self._retention.next_s,
            origins_from_next_at_s=self._retention.next_at_s,
        )

    def _write_fold(self, key: TopicKey, topic: Topic, fold: Fold, changes: Changes) -> None:
        changes.fold(key, fold.delta())
        parts = tuple(fold.parts())
        if topic.control and parts != topic.parts:
            topic.parts = parts
            self._table.defined.add(key)
