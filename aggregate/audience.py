"""The fold of presence: who watches now, and how many ever did.

An actor may watch in several places at once: each presence has a source, such as a gateway (0 where none is
named), and says HERE or GONE for that source alone. Up to AUDIENCE_EXACT_MAX actors of a partition the fold
is exact: of each actor and source it holds the presence with the latest stamp, so blocks that are stored out
of order change nothing; of equal stamps the later in the stream stands. An actor is one viewer while any of
its sources says HERE and did so within PRESENCE_S. Of an actor the SOURCES_MAX newest presences are kept, and
of these none so old that it could not count beside the newest.

Above, it becomes sketches (aggregate.cardinality), for good: one of all that were ever seen,
and one for each pane of AUDIENCE_PANE_S of those who said HERE in it. Then GONE takes nobody
out; who has left stops to count when PRESENCE_S has passed.

Either way the partial is the number of actors last seen in each pane that may still count, and
uniques, so that viewers fade in the merge with the reader's clock and no event has to come. In
sketches the number is what a pane adds to the union of those after it, never less than 0.

Guests are counted twice: among all, and in a crowd of their own (`AudiencePartial.guests`).

The state is a log. While exact, its rows are an actor's key, a source and when it was heard (rows of older
versions have no source); of sketches, the registers that rose.

Bounds, of everybody and again of the guests: AUDIENCE_EXACT_MAX actors and those of one more block, or 11
sketches of 16 KiB; the log is compacted when it is three times as long as necessary. An actor with one
source takes some 240 bytes, each further source 60 to 130.

Rejected: forgetting actors that are long gone. Uniques would count who comes back twice.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from aggregate import bounds, cardinality
from aggregate.cardinality import U8, U16, U64
from aggregate.fold import Append, Change, FoldState, Replace
from aggregate.rows import Rows
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE
from grandstand.internal.v1.internal_pb2 import AudienceLog, AudiencePartial, AudienceRows
from mesh import limits

Mask = NDArray[np.bool_]

_PART = ""
_PANE_US = limits.AUDIENCE_PANE_S * 1_000_000
_PANES = int(limits.PRESENCE_S) // limits.AUDIENCE_PANE_S + 1
"""How many panes may count at once."""
_MATTERS_US = int(limits.PRESENCE_S + limits.AUDIENCE_PANE_S) * 1_000_000
_SOURCE_MAX = 2**32 - 1
_EVER = 0
"""Stands for a pane in sketches: all that were ever seen."""


class Exact:
    """Of each actor's key its presences, one for each source."""

    def __init__(self) -> None:
        self.newest = 0
        """The newest pane in which anybody was heard; panes are numbered by their start / width."""
        self._heard: dict[bytes, int] = {}
        """The newest presence, as `_said` packs it."""
        self._others: dict[bytes, tuple[int, ...]] = {}
        """The other ones, newest first, of actors with several sources."""
        self._seen: dict[int, int] = {}
        """Pane -> viewers last seen in it."""
        self._changed: dict[bytes, None] = {}

    @classmethod
    def of(cls, log: AudienceLog) -> Exact:
        made = cls()
        for rows in log.rows:
            heard = np.frombuffer(rows.heard, "<u8").tolist()
            sources = np.frombuffer(rows.sources, "<u4").tolist() if rows.sources else [0] * len(heard)
            for key, last, source in zip(_split(rows.actors), heard, sources, strict=True):
                made._hear(key, _said(last >> 1, source, last & 1))
        made._changed.clear()
        return made

    def hear(self, keys: U64, sources: list[int], here: list[bool], at_us: int) -> bool:
        """True if anything is known that was not."""
        changed = False
        for key, source, is_here in zip(_split(keys.tobytes()), sources, here, strict=True):
            changed = self._hear(key, _said(at_us, source, is_here)) or changed
        return changed

    def _hear(self, key: bytes, said: int) -> bool:
        before = self._presences(key)
        after = _heard_too(before, said)
        if after == before:
            return False
        self.newest = max(self.newest, _at_us(said) // _PANE_US)
        if before:
            self._count(before, -1)
        self._count(after, 1)
        self._heard[key] = after[0]
        if len(after) > 1:
            self._others[key] = after[1:]
        elif len(before) > 1:
            del self._others[key]
        self._changed[key] = None
        return True

    def _presences(self, key: bytes) -> tuple[int, ...]:
        """Newest first; empty for an unknown actor."""
        newest = self._heard.get(key)
        return () if newest is None else (newest, *self._others.get(key, ()))

    def _count(self, presences: tuple[int, ...], by: int) -> None:
        at_us = _last_here_us(presences)
        if at_us is not None:
            pane = at_us // _PANE_US
            self._seen[pane] = self._seen.get(pane, 0) + by
            if not self._seen[pane]:
                del self._seen[pane]

    def numbers(self) -> dict[int, int]:
        """Pane -> actors last seen in it, of the panes that may count."""
        panes = range(self.newest - _PANES + 1, self.newest + 1)
        return {pane: self._seen[pane] for pane in panes if pane in self._seen}

    def uniques(self) -> int:
        return len(self._heard)

    def actors(self) -> bytes:
        """The keys of all."""
        return b"".join(self._heard)

    def last_here_us(self) -> list[int]:
        """When each of `actors` last was here; 0 if it is gone."""
        return [_last_here_us(self._presences(key)) or 0 for key in self._heard]

    def take_changed(self) -> AudienceLog:
        changed, self._changed = self._changed, {}
        return self._log(changed)

    def all(self) -> AudienceLog:
        return self._log(sorted(self._heard))

    def least_bytes(self) -> int:
        """How long a log of all is, near enough."""
        return 24 * (len(self._heard) + sum(map(len, self._others.values())))

    def _log(self, keys: Iterable[bytes]) -> AudienceLog:
        rows = [(key, said) for key in keys for said in self._presences(key)]
        if not rows:
            return AudienceLog()
        sources = np.array([_source(said) for _, said in rows], "<u4")
        last = np.array([_at_us(said) << 1 | (said & 1) for _, said in rows], "<u8")
        logged = AudienceRows(actors=b"".join(key for key, _ in rows), heard=last.tobytes())
        if sources.any():
            logged.sources = sources.tobytes()
        return AudienceLog(rows=[logged])


def _said(at_us: int, source: int, is_here: int) -> int:
    """A presence as one number: the later is the greater, whatever it says."""
    return at_us << 33 | source << 1 | is_here


def _at_us(said: int) -> int:
    return said >> 33


def _source(said: int) -> int:
    return said >> 1 & _SOURCE_MAX


def _heard_too(before: tuple[int, ...], said: int) -> tuple[int, ...]:
    """An actor's presences, newest first, after one more is heard.

    Which are kept depends on their order by time and source only, and no source's place in it ever falls: so
    what was forgotten cannot be missed later, and a log that is read again makes the same state (I4).
    """
    if not before:
        return (said,)
    source = _source(said)
    for known in before:
        if _source(known) == source:
            if _at_us(known) > _at_us(said):
                return before
            if len(before) == 1:
                return (said,)
    kept = sorted((said, *(each for each in before if _source(each) != source)), reverse=True)
    oldest_us = _at_us(kept[0]) - _MATTERS_US
    return tuple(each for each in kept[: bounds.SOURCES_MAX] if _at_us(each) >= oldest_us)


def _last_here_us(presences: tuple[int, ...]) -> int | None:
    """Of presences, newest first; None if the actor is gone."""
    return next((_at_us(said) for said in presences if said & 1), None)


class Sketched:
    """Pane -> sketch of those seen in it; _EVER -> of all."""

    def __init__(self) -> None:
        self.newest = 0
        self._registers: dict[int, U8] = {_EVER: cardinality.empty()}
        self._changed: dict[int, list[U16]] = {}

    @classmethod
    def of(cls, log: AudienceLog) -> Sketched:
        made = cls()
        made.newest = max(rows.pane_starts_at_s // limits.AUDIENCE_PANE_S for rows in log.rows)
        for rows in log.rows:
            pane = rows.pane_starts_at_s // limits.AUDIENCE_PANE_S
            if pane == _EVER or pane > made.newest - _PANES:
                at = np.frombuffer(rows.registers, "<u2").astype(np.uint16)
                made._take(pane, at, np.frombuffer(rows.ranks, np.uint8))
        made._changed.clear()
        return made

    @classmethod
    def of_exact(cls, exact: Exact) -> Sketched:
        """What the sketches would be, had they been there from the start."""
        made = cls()
        keys = np.frombuffer(exact.actors(), np.uint64).reshape(-1, 2)
        here_us = np.array(exact.last_here_us(), np.uint64)
        panes = here_us // np.uint64(_PANE_US)
        made.see(_EVER, keys)
        for pane in np.unique(panes[here_us > 0]).tolist():
            made.see(pane, keys[panes == pane])
        return made

    def see(self, pane: int, keys: U64) -> bool:
        """True if a register rose. A pane that cannot count any more is not kept."""
        if not len(keys):
            return False
        if pane != _EVER:
            if pane <= self.newest - _PANES:
                return False
            self.newest = max(self.newest, pane)
        return self._take(pane, *cardinality.place(keys))

    def numbers(self) -> dict[int, int]:
        numbers = {}
        union = cardinality.empty()
        counted = 0
        for pane in sorted(self._registers.keys() - {_EVER}, reverse=True):
            np.maximum(union, self._registers[pane], out=union)
            together = max(counted, round(cardinality.estimate(union)))
            numbers[pane] = together - counted
            counted = together
        return numbers

    def uniques(self) -> int:
        return round(cardinality.estimate(self._registers[_EVER]))

    def take_changed(self) -> AudienceLog:
        changed, self._changed = self._changed, {}
        return AudienceLog(
            rows=[self._rows(pane, np.unique(np.concatenate(rose))) for pane, rose in sorted(changed.items())]
        )

    def all(self) -> AudienceLog:
        return AudienceLog(
            rows=[
                self._rows(pane, np.flatnonzero(registers).astype(np.uint16))
                for pane, registers in sorted(self._registers.items())
            ]
        )

    def least_bytes(self) -> int:
        """How long a log of all is, near enough."""
        return 3 * sum(int(np.count_nonzero(registers)) for registers in self._registers.values())

    def _take(self, pane: int, at: U16, ranks: U8) -> bool:
        if pane not in self._registers:
            self._registers[pane] = cardinality.empty()
            for old in [p for p in self._registers if p != _EVER and p <= self.newest - _PANES]:
                del self._registers[old]
                self._changed.pop(old, None)
        rose = cardinality.raise_to(self._registers[pane], at, ranks)
        if len(rose):
            self._changed.setdefault(pane, []).append(rose)
        return len(rose) > 0

    def _rows(self, pane: int, at: U16) -> AudienceRows:
        return AudienceRows(
            pane_starts_at_s=pane * limits.AUDIENCE_PANE_S,
            registers=at.astype("<u2").tobytes(),
            ranks=self._registers[pane][at].tobytes(),
        )


class Audience:
    """State: everybody, the guests among them, and how long the log of both is."""

    __slots__ = ("_all", "_guests", "_log_bytes", "_rewrite")

    def __init__(self, everybody: Exact | Sketched, guests: Exact | Sketched, log_bytes: int) -> None:
        self._all = everybody
        self._guests = guests
        self._log_bytes = log_bytes
        self._rewrite = False

    @classmethod
    def from_state(cls, definition: catalog.Game, state: FoldState) -> Audience:
        stored = state.logs.get(_PART, b"")
        rows = AudienceLog.FromString(stored).rows
        everybody, guests = ([row for row in rows if row.guests == whose] for whose in (False, True))
        return cls(_held(everybody), _held(guests), len(stored))

    def fold(self, rows: Rows) -> bool:
        """True also if nothing but when somebody was heard is new: it is to be stored (I4)."""
        states, sources = rows.value & np.uint64(0xFF), rows.value >> np.uint64(8)
        known = (states == PRESENCE_STATE_HERE) | (states == PRESENCE_STATE_GONE)
        known &= sources <= _SOURCE_MAX
        keys, sources, here = rows.keys[known], sources[known], states[known] == PRESENCE_STATE_HERE
        self._all, changed = self._heard(self._all, keys, sources, here, rows.at_us)
        if rows.guests:
            self._guests, more = self._heard(self._guests, keys, sources, here, rows.at_us)
            changed = changed or more
        return changed

    def _heard(
        self, crowd: Exact | Sketched, keys: U64, sources: U64, here: Mask, at_us: int
    ) -> tuple[Exact | Sketched, bool]:
        """What the crowd becomes, and whether it changed."""
        if isinstance(crowd, Sketched):
            rose = crowd.see(_EVER, keys)
            return crowd, crowd.see(at_us // _PANE_US, keys[here]) or rose
        changed = crowd.hear(keys, sources.tolist(), here.tolist(), at_us)
        if crowd.uniques() > bounds.AUDIENCE_EXACT_MAX:
            self._rewrite = True
            return Sketched.of_exact(crowd), changed
        return crowd, changed

    def advance(self, at_us: int) -> bool:
        return False

    def partial(self) -> AudiencePartial:
        partial = _partial(self._all)
        if self._guests.uniques():
            partial.guests.CopyFrom(_partial(self._guests))
        return partial

    def parts(self) -> list[str]:
        return [_PART]

    def delta(self) -> list[Change]:
        added = _joined(self._all.take_changed(), self._guests.take_changed())
        if not added:
            return []
        self._log_bytes += len(added)
        too_long = self._log_bytes >= bounds.LOG_BYTES_MIN
        least_bytes = self._all.least_bytes() + self._guests.least_bytes()
        if self._rewrite or (too_long and self._log_bytes >= 3 * least_bytes):
            self._rewrite = False
            log = self._whole()
            self._log_bytes = len(log)
            return [Replace(_PART, log)]
        return [Append(_PART, added)]

    def encode(self) -> list[Change]:
        return [Replace(_PART, self._whole())]

    def _whole(self) -> bytes:
        return _joined(self._all.all(), self._guests.all())


def _held(rows: list[AudienceRows]) -> Exact | Sketched:
    log = AudienceLog(rows=rows)
    return Sketched.of(log) if any(row.registers for row in rows) else Exact.of(log)


def _joined(everybody: AudienceLog, guests: AudienceLog) -> bytes:
    """Both as one log."""
    for row in guests.rows:
        row.guests = True
    return everybody.SerializeToString() + guests.SerializeToString()


def _partial(crowd: Exact | Sketched) -> AudiencePartial:
    numbers = sorted(crowd.numbers().items())
    return AudiencePartial(
        pane_starts_at_s=[pane * limits.AUDIENCE_PANE_S for pane, _ in numbers],
        last_seen=[number for _, number in numbers],
        uniques=crowd.uniques(),
        exact=isinstance(crowd, Exact),
    )


def _split(keys: bytes) -> list[bytes]:
    return [keys[at : at + 16] for at in range(0, len(keys), 16)]
