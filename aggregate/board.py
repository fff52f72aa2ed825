"""The fold of a leaderboard: its seasons, and what of them is shown and stored.

A board without seasons is one part named "". With seasons a part is named by the season's
number, and at most two are held: the current one, and the one before it.

The time of the stream is the partition's watermark (aggregate.watermark), told by `advance`. Once
it is in a later season that one is current: the old current becomes the previous one if it is the
one directly before (otherwise an empty one does), and whatever is older is dropped, from memory and
from Redis.

    season 3 ────────────────│ season 4 ──────────────────────────────│ season 5
                             │◀─ SEAL_GRACE_S ─▶ 3 is sealed          │ 3 is dropped
      scores of season 3 stored here count ─▲

No score is dropped. The watermark is at most PUBLISH_DEADLINE_S ahead of a score's time, which is
less than the grace, so a score belongs to the current season or to an unsealed previous one. Where
the board's own end moves a score back into a season that is sealed (closers were all away for the
grace, and their close came late), it counts in the current one. The grace is shorter than the
shortest season: a season is sealed before it is dropped. Only the game's owner takes a standing away, by a
control (`remove`), and from a season that is not sealed.

That a season has begun, and that it is sealed, is all that time changes here. Both are stored
with its standings, as fields of names no actor can have, so that a fold which is read back
goes on exactly as this one (I4).
"""

from __future__ import annotations

from aggregate import bounds
from aggregate.fold import Change, Drop, FoldState, SetFields
from aggregate.rows import Rows
from aggregate.standings import Standings, stored_names, stored_standings
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.internal.v1.internal_pb2 import BoardPartial
from mesh import limits, seasons

_BEGUN = "!begun"
_SEALED = "!sealed"

_GRACE_US = int(limits.SEAL_GRACE_S * 1e6)
assert limits.SEAL_GRACE_S < limits.SEASON_MIN_S, "a season is sealed before it is dropped"


class Board:
    """Implements aggregate.fold.Fold. State: a standing for each actor of at most two seasons."""

    @classmethod
    def from_state(cls, definition: catalog.Board, state: FoldState) -> Board:
        return cls(definition, state)

    def __init__(self, definition: catalog.Board, state: FoldState) -> None:
        self._mode = definition.mode
        self._top = definition.top or bounds.BOARD_TOP_DEFAULT
        self._season: catalog.Season | None = None
        if definition.HasField("season"):  # a copy: a part of a message keeps all of it in memory
            self._season = catalog.Season()
            self._season.CopyFrom(definition.season)
        self._dropped: list[str] = []
        self._marks: list[tuple[str, str]] = []
        self._previous: Standings | None = None
        self._sealed = False
        if self._season is None:
            self._number = self._first = 0
            self._current = self._stored("", state)
            return
        # Seasons that ended before the board was opened never were.
        self._first = seasons.number_at(self._season, definition.opened_at.ToMicroseconds())
        begun = [int(part) for part, fields in state.hashes.items() if _BEGUN.encode() in fields]
        self._number = max(begun, default=self._first)
        self._current = self._stored(str(self._number), state)
        if self._number > self._first:
            before = str(self._number - 1)
            self._previous = self._stored(before, state)
            self._sealed = _SEALED.encode() in state.hashes.get(before, {})

    def _stored(self, part: str, state: FoldState) -> Standings:
        fields = state.hashes.get(part, {})
        standings, names = stored_standings(fields.items()), stored_names(fields.items())
        return Standings(part, self._mode, self._top, standings, names)

    def fold(self, rows: Rows) -> bool:
        past = self._previous
        if self._season is None or past is None or self._sealed:
            return self._current.fold(rows)
        is_past = seasons.number_at(self._season, rows.at_us) < self._number
        return (past if is_past else self._current).fold(rows)

    def remove(self, actor: str, season: int) -> bool:
        """Takes an actor off a season, 0 without seasons; False if that changes nothing."""
        if season == self._number:
            return self._current.remove(actor)
        past = self._previous
        is_past = past is not None and season == self._number - 1 and not self._sealed
        return past is not None and is_past and past.remove(actor)

    def advance(self, at_us: int) -> bool:
        if self._season is None:
            return False
        moved = False
        number = seasons.number_at(self._season, at_us)
        if number > self._number:
            self._begin(number)
            moved = True
        if self._previous is not None and not self._sealed:
            ended_us = seasons.ends_at_us(self._season, self._number - 1)
            if at_us >= ended_us + _GRACE_US:
                self._sealed = moved = True
                self._marks.append((self._previous.part, _SEALED))
        return moved

    def _begin(self, number: int) -> None:
        if self._previous is not None:
            self._dropped.append(self._previous.part)
        if number == self._number + 1:
            self._previous = self._current
        else:
            self._dropped.append(self._current.part)
            self._previous = self._begun(number - 1)
        self._number = number
        self._current = self._begun(number)
        self._sealed = False

    def _begun(self, number: int) -> Standings:
        standings = Standings(str(number), self._mode, self._top)
        self._marks.append((standings.part, _BEGUN))
        return standings

    def partial(self) -> BoardPartial:
        partial = BoardPartial(
            mode=self._mode, top=self._top, current=self._current.share(self._number, sealed=False)
        )
        if self._season is not None:
            partial.season.CopyFrom(self._season)
        if self._previous is not None:
            partial.previous.CopyFrom(self._previous.share(self._number - 1, sealed=self._sealed))
        return partial

    def parts(self) -> list[str]:
        return [standings.part for standings in self._held()]

    def delta(self) -> list[Change]:
        held = self.parts()
        changes: list[Change] = [Drop(part) for part in self._dropped]
        changes += (SetFields(part, [mark, b"1"]) for part, mark in self._marks if part in held)
        self._dropped, self._marks = [], []
        for standings in self._held():
            changes += standings.delta()
        return changes

    def encode(self) -> list[Change]:
        """As changes to nothing. Deltas that go on from here are those after a delta taken now:
        a ranking is told which of the members it holds go."""
        changes: list[Change] = []
        for standings in self._held():
            if standings.part and int(standings.part) > self._first:
                changes.append(SetFields(standings.part, [_BEGUN, b"1"]))
            if standings is self._previous and self._sealed:
                changes.append(SetFields(standings.part, [_SEALED, b"1"]))
            changes += standings.encode()
        return changes

    def _held(self) -> list[Standings]:
        return [self._current] if self._previous is None else [self._previous, self._current]
