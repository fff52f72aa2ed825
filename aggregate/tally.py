"""The votes of all polls of a partition, in one table.

One vote an actor: the key of a row is the poll's key and the actor's, mixed. A block's votes
are folded at once, whatever the number of polls they are for, so a thousand small polls
cost what one big one does.

Guests' votes are counted among the others and beside them: the greatest bit of a vote's weight says whose
it is, in the table and in its log.

A vote of a final poll counts if it is its actor's first. In a changeable poll a later vote
replaces the earlier one: later in the stream, save that votes of one origin go by their
numbers: an origin's older vote never replaces what its newer one has set, also when another
origin's has come in between (see aggregate.superseded).

A voided vote leaves its row without an option, so that what is older than it does not come back; the actor's
next vote counts, in a final poll too. A row is a voter's or voided: the sum of the two never shrinks.

A poll is told apart from one of the same name in an earlier game by its generation, in the rows' keys and in
the log: rows that are still there of a game that was forgotten are nobody's.

Bounds: a row for each actor of each open poll, some 60 bytes, 48 in the log. One whose vote was
ever replaced by another origin's has a packed entry beside, some 180 to 250 bytes of memory and 20
in the log for each origin remembered. A sealed poll leaves its count and no rows: they are taken
out when half of the table is such, and its number when most polls are.

Rejected: a table for each poll, a dict from actor to vote. The first costs forty numpy calls
a poll and tick; the second an object a vote.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import iter_unpack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate import encoded_partials, superseded
from aggregate.keyindex import I64, U64, KeyIndex, grown, joined_keys, key_columns
from aggregate.option_counts import I32, U32, Mask, OptionCounts
from aggregate.vote_cells import FewVotes, VoteCells, logged, logged_as, of_generation
from grandstand.catalog.v1.catalog_pb2 import Poll
from grandstand.internal.v1.internal_pb2 import VoteLog, VoteRows
from grandstand.wire import ids

_ROW_BYTES = 48
_FEW_ASKED = 32
"""Up to this many actors are looked up one by one."""
_ROWS_DEAD_MIN = 4_096
_POLLS_DEAD_MIN = 256


class Tallies:
    """The polls of a partition by number; `number` gives one, and a sealed poll has none."""

    def __init__(self, salt: int = 0) -> None:
        self._salt = salt
        self._clear()

    def _clear(self) -> None:
        self._index = KeyIndex(self._salt)
        self._topic: I32 = np.zeros(0, dtype=np.int32)
        self._options: U64 = np.zeros(0, dtype=np.uint64)
        self._weight: U32 = np.zeros(0, dtype=np.uint32)
        self._tag: U64 = np.zeros(0, dtype=np.uint64)
        self._sequence: U64 = np.zeros(0, dtype=np.uint64)
        self._mark: I64 = np.zeros(0, dtype=np.int64)
        self._touched: list[I64] = []
        self._pieces: list[bytes] = []
        """Of the log: the votes of small blocks since the last delta. Rows of `_touched` come after them."""
        self._superseded: dict[int, bytes] = {}
        """By row, of those whose vote replaced another origin's: see aggregate.superseded."""
        self._superseded_bytes = 0
        self._superseded_touched: set[int] = set()
        # By poll.
        self._numbers: dict[tuple[str, str], int] = {}
        self._names: list[tuple[str, str]] = []
        self._log_names: list[str] = []
        """How the log names polls."""
        self._logged: dict[str, int] = {}
        """The numbers of open polls by how the log names them."""
        self._polls: list[bytes] = []
        """Encoded: decoded ones take ten times the memory."""
        self._shapes: list[tuple[bytes, int, int, bool]] = []
        """Its options' ids, encoded; where its options begin and end; whether votes have weights."""
        self._key: tuple[U64, U64] = (np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint64))
        self._allowed: U64 = np.zeros(0, dtype=np.uint64)
        self._choices: NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self._changeable: Mask = np.zeros(0, dtype=np.bool_)
        self._voters: I64 = np.zeros(0, dtype=np.int64)
        self._counts = OptionCounts()
        self._voided: I64 = np.zeros(0, dtype=np.int64)
        self._dead_rows = 0
        self._cells: VoteCells | None = None

    def __len__(self) -> int:
        """Votes held."""
        return len(self._index)

    @property
    def encoded_bytes(self) -> int:
        """About how long `encode` is."""
        entries = self._superseded_bytes // superseded.ENTRY.size
        return _ROW_BYTES * (len(self._index) - self._dead_rows) + superseded.LOGGED.itemsize * entries

    def number(self, game_id: str, topic: str) -> int:
        """The poll's number, for `fold` and `partial`; -1 for an unknown or sealed one."""
        return self._numbers.get((game_id, topic), -1)

    def name(self, number: int) -> tuple[str, str]:
        """(game_id, topic)"""
        return self._names[number]

    def open(self, game_id: str, topic: str, poll: Poll) -> int:
        """A new poll's number; the known one's if it is known."""
        known = self._numbers.get((game_id, topic))
        if known is not None:
            return known
        self._cells = None
        number = self._numbers[game_id, topic] = len(self._names)
        self._log_names.append(logged_as(game_id, topic, poll.generation))
        self._logged[self._log_names[number]] = number
        self._names.append((game_id, topic))
        self._polls.append(poll.SerializeToString())
        options = len(poll.options)
        first = self._counts.open(options)
        encoded = encoded_partials.options([option.option_id for option in poll.options])
        self._shapes.append((encoded, first, first + options, poll.weight_max > 1))
        low, high = key_columns(ids.topic_key(game_id, of_generation(topic, poll.generation)))
        self._key = (np.append(self._key[0], low), np.append(self._key[1], high))
        self._allowed = np.append(self._allowed, np.uint64((1 << options) - 1))
        self._choices = np.append(self._choices, np.uint8(poll.choices_max or 1))
        self._changeable = np.append(self._changeable, poll.changeable)
        self._voters = np.append(self._voters, 0)
        self._voided = np.append(self._voided, 0)
        return number

    def seal(self, game_id: str, topic: str) -> None:
        """Nothing changes this poll any more; take its last partial before."""
        number = self._numbers.pop((game_id, topic))
        del self._logged[self._log_names[number]]
        self._allowed[number] = 0
        self._dead_rows += int(self._voters[number] + self._voided[number])
        few_live = self._dead_rows > max(_ROWS_DEAD_MIN, len(self._index) // 2)
        few_open = len(self._names) > 2 * len(self._numbers) + _POLLS_DEAD_MIN
        if few_live or few_open:
            self._compact()

    def _compact(self) -> None:
        """Rebuilds the tables from the open polls alone. Numbers change."""
        log, untaken = self._encode(self._live_rows(), self._superseded), self.delta()
        opened = [(*self._names[number], self._polls[number]) for number in self._numbers.values()]
        self._clear()
        for game_id, topic, poll in opened:
            self.open(game_id, topic, Poll.FromString(poll))
        self.load(log)
        # What was not yet told is told by the next delta, once more.
        for rows in VoteLog.FromString(untaken).rows:
            untold = self._rows_of(rows)[1]
            self._touched.append(untold)
            self._superseded_touched.update(self._superseded.keys() & set(untold.tolist()))

    def fold(
        self,
        topic: I64,
        actors: tuple[U64, U64],
        options: U64,
        weight: U32 | None,
        tag: U64,
        sequence: U64,
        before: U64,
    ) -> set[int]:
        """Folds votes in their order; returns the numbers of the polls whose count changed.

        All columns have one entry a vote: the poll's number, the actor's key, the options as
        bits, what it weighs (as `with_guests` makes it; None: 1), a tag equal for votes of one
        origin, the origin's number, and the highest one it had before this block. A vote for no
        option, for one that the poll has not, or for too many changes nothing.
        """
        if weight is None:
            weight = np.ones(len(topic), dtype=np.uint32)
        allowed = self._allowed[topic]
        good = (options != 0) & ((options & ~allowed) == 0)
        several = np.bitwise_count(options)
        good &= several <= self._choices[topic]
        if not good.all():
            topic, options, weight, tag = topic[good], options[good], weight[good], tag[good]
            sequence, before = sequence[good], before[good]
            actors = (actors[0][good], actors[1][good])
            if not len(topic):
                return set()
        low, high = actors[0] ^ self._key[0][topic], actors[1] ^ self._key[1][topic]
        rows_before = len(self._index)
        row = self._rows(low, high)
        place = np.arange(len(row))
        self._mark[row[::-1]] = place[::-1]
        first = self._mark[row] == place
        takes = first & ((row >= rows_before) | self._changeable[topic])
        again = ~first & self._changeable[topic]
        if self._voided.any():
            voided = (row < rows_before) & (self._options[row] == 0)
            takes |= first & voided
            again |= ~first & voided
        changed = self._take(
            row[takes],
            row[takes] >= rows_before,
            topic[takes],
            options[takes],
            weight[takes],
            tag[takes],
            sequence[takes],
            (sequence < before)[takes] if self._superseded else None,
        )
        # An actor's further votes in this block, one after the other.
        for at in np.flatnonzero(again).tolist():
            one = slice(at, at + 1)
            if self._options[row[at]] and not self._changeable[topic[at]]:
                continue
            seen_before: Mask = np.zeros(1, dtype=np.bool_)
            behind = None
            if int(row[at]) in self._superseded:
                own = (row[:at] == row[at]) & (tag[:at] == tag[at]) & (sequence[:at] > sequence[at])
                behind = (sequence[one] < before[one]) | own.any()
            changed |= self._take(
                row[one], seen_before, topic[one], options[one], weight[one], tag[one], sequence[one], behind
            )
        return changed

    def fold_few(self, votes: FewVotes) -> Collection[int] | None:
        """As `fold`, of few votes. None, and nothing has changed: left to `fold` (see VoteCells)."""
        index = self._index
        index.reserve(len(votes.number))
        self._grow()
        cells = self._cells or self._make_cells()
        taken = cells.judged(index, votes)
        if not taken:
            return None if taken is None else set()
        cells.take(index, votes, taken)
        if len(taken) < len(votes.number):
            votes = votes.some([place for place, *_ in taken])
        self._pieces.append(logged(votes, self._log_names))
        return votes.number

    def _make_cells(self) -> VoteCells:
        counts = self._counts
        columns: tuple[NDArray[Any], ...] = (
            *(self._topic, self._options, self._weight, self._tag, self._sequence),
            *(*self._key, self._allowed, self._choices, self._changeable, self._voters, self._voided),
            *(counts.first, counts.guest_voters, counts.votes, counts.weights, counts.guest_votes),
        )
        self._cells = VoteCells(*(column.data for column in columns))
        return self._cells

    def _take(
        self,
        row: I64,
        new: Mask,
        topic: I64,
        options: U64,
        weight: U32,
        tag: U64,
        sequence: U64,
        behind: Mask | None,
    ) -> set[int]:
        """Votes of different actors, each its actor's first or of one that may vote again. `behind`: which
        came behind a later one of their origin; None if no row has replaced another origin's vote yet."""
        adds_voter = new
        if not new.all():
            same = self._tag[row] == tag
            overtaken = ~new & same & (self._sequence[row] > sequence)
            for at in np.flatnonzero(~new & ~same).tolist():
                vote = int(tag[at]), int(sequence[at])
                overtaken[at] = not self._replaces(
                    int(row[at]), vote, behind is not None and bool(behind[at])
                )
            if overtaken.any():
                kept = ~overtaken
                row, new, topic, options = row[kept], new[kept], topic[kept], options[kept]
                weight, tag, sequence = weight[kept], tag[kept], sequence[kept]
            adds_voter = self._options[row] == 0
            self._count_rows(row[~adds_voter], -1)
            self._voided -= np.bincount(topic[adds_voter & ~new], minlength=len(self._voided))
        if not len(row):
            return set()
        self._topic[row] = topic
        self._options[row] = options
        self._weight[row] = weight
        self._tag[row] = tag
        self._sequence[row] = sequence
        self._counts.count(topic, options, weight, 1)
        self._voters += np.bincount(topic[adds_voter], minlength=len(self._voters))
        self._touched.append(row)
        return set(np.flatnonzero(np.bincount(topic)).tolist())

    def _replaces(self, row: int, vote: tuple[int, int], behind: bool) -> bool:
        """Whether a vote of another origin replaces the row's; then the row remembers whose it had."""
        past = self._superseded.get(row, b"")
        had = int(self._tag[row]), int(self._sequence[row])
        now = superseded.replaced(past, had, vote, lambda: behind)
        if now is None:
            return False
        self._superseded[row] = now
        self._superseded_bytes += len(now) - len(past)
        self._superseded_touched.add(row)
        return True

    def void(self, number: int, actor: bytes) -> bool:
        """The actor's vote (a key of 16 bytes) counts no more; False if none does."""
        low, high = key_columns(actor)
        row = self._index.find(low ^ self._key[0][number], high ^ self._key[1][number])
        if row[0] < 0 or not self._options[row[0]]:
            return False
        self._count_rows(row, -1)
        self._options[row] = self._weight[row] = 0
        self._voters[number] -= 1
        self._voided[number] += 1
        self._touched.append(row)
        return True

    def _count_rows(self, row: I64, sign: int) -> None:
        self._counts.count(self._topic[row], self._options[row], self._weight[row], sign)

    def _rows(self, low: U64, high: U64) -> I64:
        rows = self._index.rows(low, high)
        self._grow()
        return rows

    def _grow(self) -> None:
        capacity = self._index.capacity
        if len(self._topic) < capacity:
            self._cells = None
            self._topic = grown(self._topic, capacity)
            self._options = grown(self._options, capacity)
            self._weight = grown(self._weight, capacity)
            self._tag = grown(self._tag, capacity)
            self._sequence = grown(self._sequence, capacity)
            self._mark = grown(self._mark, capacity)

    def voted(self, number: int, actors: bytes) -> bytes:
        """Of actors (keys of 16 bytes, joined), who has a vote that counts in the poll: 1 or 0 for each."""
        if len(actors) <= _FEW_ASKED * 16:
            cells, find = self._cells or self._make_cells(), self._index.find_one
            key_low, key_high, options = cells.key_low[number], cells.key_high[number], cells.options
            rows = [find(low ^ key_low, high ^ key_high) for low, high in iter_unpack("<QQ", actors)]
            return bytes([row >= 0 and options[row] != 0 for row in rows])
        low, high = key_columns(actors)
        row = self._index.find(low ^ self._key[0][number], high ^ self._key[1][number])
        found = row >= 0
        found[found] = self._options[row[found]] != 0
        return found.tobytes()

    def is_final(self, number: int) -> bool:
        return not self._changeable[number]

    def partial(self, key: tuple[str, str]) -> bytes:
        """The poll's TallyPartial, encoded."""
        number = self._numbers[key]
        options, first, past, weighted = self._shapes[number]
        cells = self._cells or self._make_cells()
        guest_voters = cells.guest_voters[number]
        return encoded_partials.tally(
            options,
            cells.votes[first:past].tolist(),
            cells.voters[number],
            cells.weights[first:past].tolist() if weighted else (),
            cells.guest_votes[first:past].tolist() if guest_voters else (),
            guest_voters,
            cells.voided[number],
        )

    def delta(self) -> bytes:
        """The votes that changed since the last delta, as a piece of log; b"" if none did."""
        pieces, self._pieces = self._pieces, []
        if self._touched:
            rows = np.unique(np.concatenate(self._touched))
            self._touched = []
            rows = rows[self._allowed[self._topic[rows]] != 0]
            changed, self._superseded_touched = self._superseded_touched, set()
            if len(rows):
                pieces.append(self._encode(rows, changed))
        return b"".join(pieces)

    def encode(self) -> bytes:
        """All votes of open polls; counts as a delta taken."""
        self._touched = []
        self._pieces = []
        self._superseded_touched = set()
        return self._encode(self._live_rows(), self._superseded)

    def _live_rows(self) -> I64:
        topic = self._topic[: len(self._index)]
        if not len(topic):
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self._allowed[topic])

    def _encode(self, rows: I64, replaced: Collection[int]) -> bytes:
        """`rows` ascend; `replaced`: of which of them, and perhaps of others, to say whose votes theirs
        replaced. What is not said stays as it was said before: it never becomes nothing."""
        topic = self._topic[rows]
        numbers, topic_column = np.unique(topic, return_inverse=True)
        low = self._index.low[rows] ^ self._key[0][topic]
        high = self._index.high[rows] ^ self._key[1][topic]
        encoded = VoteRows(
            topics="\n".join([self._log_names[number] for number in numbers.tolist()]),
            topic=topic_column.astype("<u4").tobytes(),
            actor=joined_keys(low, high),
            options=self._options[rows].astype("<u8", copy=False).tobytes(),
            weight=self._weight[rows].astype("<u4", copy=False).tobytes(),
            origin_tag=self._tag[rows].astype("<u8", copy=False).tobytes(),
            origin_seq=self._sequence[rows].astype("<u8", copy=False).tobytes(),
            superseded=superseded.encode(rows, replaced, self._superseded),
        )
        return VoteLog(rows=[encoded]).SerializeToString()

    def load(self, log: bytes) -> None:
        """Takes what `encode` and later `delta`s said, joined, into a new table whose polls are
        open; votes of others are left out. Raises DecodeError."""
        for rows in VoteLog.FromString(log).rows:
            kept, row = self._rows_of(rows)
            self._options[row] = np.frombuffer(rows.options, dtype="<u8")[kept]
            self._weight[row] = np.frombuffer(rows.weight, dtype="<u4")[kept]
            self._tag[row] = np.frombuffer(rows.origin_tag, dtype="<u8")[kept]
            self._sequence[row] = np.frombuffer(rows.origin_seq, dtype="<u8")[kept]
            if rows.superseded:
                self._superseded.update(superseded.decode(rows.superseded, kept, row))
        self._superseded_bytes = sum(map(len, self._superseded.values()))
        count = len(self._index)
        if count:
            topic, cast = self._topic[:count], self._options[:count] != 0
            self._count_rows(np.flatnonzero(cast), 1)
            self._voters += np.bincount(topic[cast], minlength=len(self._voters))
            self._voided += np.bincount(topic[~cast], minlength=len(self._voided))

    def _rows_of(self, encoded: VoteRows) -> tuple[Mask, I64]:
        """Which of the encoded rows are of open polls, and the table's rows for those."""
        names = encoded.topics.split("\n")
        numbers = np.array([self._logged.get(name, -1) for name in names], dtype=np.int64)
        topic = numbers[np.frombuffer(encoded.topic, dtype="<u4")]
        kept: Mask = topic >= 0
        topic = topic[kept]
        low, high = key_columns(encoded.actor)
        row = self._rows(low[kept] ^ self._key[0][topic], high[kept] ^ self._key[1][topic])
        self._topic[row] = topic
        return kept, row
