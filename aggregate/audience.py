"""The fold of presence: who watches now, and how many ever did.

Up to AUDIENCE_EXACT_MAX actors of a partition it is exact: it holds for each actor when it was
last heard, and whether it was there or gone. Of two presences of an actor the one with the later
stamp stands, so blocks that are stored out of order change nothing; of equal stamps the later
in the stream. An actor is a viewer while the last one says HERE and is not older than PRESENCE_S.

Above, it becomes sketches (aggregate.cardinality), for good: one of all that were ever seen,
and one for each pane of AUDIENCE_PANE_S of those who said HERE in it. Then GONE takes nobody
out; who has left stops to count when PRESENCE_S has passed.

Either way the partial is the number of actors last seen in each pane that may still count, and
uniques, so that viewers fade in the merge with the reader's clock and no event has to come. In
sketches the number is what a pane adds to the union of those after it, never less than 0.

The state is a log. While exact, its rows are an actor's key and when it was heard; of sketches,
the registers that rose.

Bounds: AUDIENCE_EXACT_MAX actors and those of one more block, or 11 sketches of 16 KiB; the log
is compacted when it is three times as long as necessary.

Rejected: forgetting actors that are long gone. Uniques would count who comes back twice.
"""

from __future__ import annotations

import numpy as np

from aggregate import bounds, cardinality
from aggregate.cardinality import U8, U16, U64
from aggregate.fold import Append, Change, FoldState, Replace
from aggregate.rows import Rows
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE
from grandstand.internal.v1.internal_pb2 import AudienceLog, AudiencePartial, AudienceRows
from mesh import limits

_PART = ""
_PANE_US = limits.AUDIENCE_PANE_S * 1_000_000
_PANES = int(limits.PRESENCE_S) // limits.AUDIENCE_PANE_S + 1
"""How many panes may count at once."""
_EVER = 0
"""Stands for a pane in sketches: all that were ever seen."""


class Exact:
    """Actor's key -> when last heard, in microseconds, doubled; plus 1 if it was there."""

    def __init__(self) -> None:
        self.heard: dict[bytes, int] = {}
        self.newest = 0
        """The newest pane in which anybody was heard; panes are numbered by their start / width."""
        self._seen: dict[int, int] = {}
        """Pane -> viewers last seen in it."""
        self._changed: dict[bytes, int] = {}

    @classmethod
    def of(cls, log: AudienceLog) -> Exact:
        made = cls()
        for rows in log.rows:
            made.heard.update(
                zip(_split(rows.actors), np.frombuffer(rows.heard, "<u8").tolist(), strict=True)
            )
        for heard in made.heard.values():
            pane = heard // 2 // _PANE_US
            made.newest = max(made.newest, pane)
            if heard & 1:
                made._seen[pane] = made._seen.get(pane, 0) + 1
        return made

    def hear(self, keys: U64, here: list[bool], at_us: int) -> bool:
        """True if anything is known that was not."""
        pane = at_us // _PANE_US
        self.newest = max(self.newest, pane)
        changed = False
        for key, is_here in zip(_split(keys.tobytes()), here, strict=True):
            known, now = self.heard.get(key, 0), at_us * 2 + is_here
            if known >> 1 > at_us or known == now:
                continue
            changed = True
            self.heard[key] = self._changed[key] = now
            if known & 1:
                was_in = known // 2 // _PANE_US
                self._seen[was_in] -= 1
                if not self._seen[was_in]:
                    del self._seen[was_in]
            if is_here:
                self._seen[pane] = self._seen.get(pane, 0) + 1
        return changed

    def numbers(self) -> dict[int, int]:
        """Pane -> actors last seen in it, of the panes that may count."""
        panes = range(self.newest - _PANES + 1, self.newest + 1)
        return {pane: self._seen[pane] for pane in panes if pane in self._seen}

    def uniques(self) -> int:
        return len(self.heard)

    def take_changed(self) -> AudienceLog:
        changed, self._changed = self._changed, {}
        return self._log(changed)

    def all(self) -> AudienceLog:
        return self._log(dict(sorted(self.heard.items())))

    def least_bytes(self) -> int:
        """How long a log of all is, near enough."""
        return 24 * len(self.heard)

    @staticmethod
    def _log(heard: dict[bytes, int]) -> AudienceLog:
        if not heard:
            return AudienceLog()
        last = np.array(list(heard.values()), "<u8").tobytes()
        return AudienceLog(rows=[AudienceRows(actors=b"".join(heard), heard=last)])


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
        keys = np.frombuffer(b"".join(exact.heard), np.uint64).reshape(-1, 2)
        heard = np.array(list(exact.heard.values()), np.uint64)
        panes = (heard >> np.uint64(1)) // np.uint64(_PANE_US)
        made.see(_EVER, keys)
        here = (heard & np.uint64(1)).astype(bool)
        for pane in np.unique(panes[here]).tolist():
            made.see(pane, keys[here & (panes == pane)])
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
    """State: one or the other, and how long its log is."""

    __slots__ = ("_held", "_log_bytes", "_rewrite")

    def __init__(self, held: Exact | Sketched, log_bytes: int) -> None:
        self._held = held
        self._log_bytes = log_bytes
        self._rewrite = False

    @classmethod
    def from_state(cls, definition: catalog.Game, state: FoldState) -> Audience:
        stored = state.logs.get(_PART, b"")
        log = AudienceLog.FromString(stored)
        is_sketch = any(rows.registers for rows in log.rows)
        return cls(Sketched.of(log) if is_sketch else Exact.of(log), len(stored))

    def fold(self, rows: Rows) -> bool:
        """True also if nothing but when somebody was heard is new: it is to be stored (I4)."""
        states = rows.value.view(np.int64)
        known = (states == PRESENCE_STATE_HERE) | (states == PRESENCE_STATE_GONE)
        keys, here = rows.keys[known], states[known] == PRESENCE_STATE_HERE
        if isinstance(self._held, Sketched):
            rose = self._held.see(_EVER, keys)
            return self._held.see(rows.at_us // _PANE_US, keys[here]) or rose
        changed = self._held.hear(keys, here.tolist(), rows.at_us) if len(keys) else False
        if self._held.uniques() > bounds.AUDIENCE_EXACT_MAX:
            self._held = Sketched.of_exact(self._held)
            self._rewrite = True
        return changed

    def advance(self, at_us: int) -> bool:
        return False

    def partial(self) -> AudiencePartial:
        numbers = sorted(self._held.numbers().items())
        return AudiencePartial(
            pane_starts_at_s=[pane * limits.AUDIENCE_PANE_S for pane, _ in numbers],
            last_seen=[number for _, number in numbers],
            uniques=self._held.uniques(),
            exact=isinstance(self._held, Exact),
        )

    def parts(self) -> list[str]:
        return [_PART]

    def delta(self) -> list[Change]:
        added = self._held.take_changed().SerializeToString()
        if not added:
            return []
        self._log_bytes += len(added)
        too_long = self._log_bytes >= bounds.LOG_BYTES_MIN
        if self._rewrite or (too_long and self._log_bytes >= 3 * self._held.least_bytes()):
            self._rewrite = False
            log = self._held.all().SerializeToString()
            self._log_bytes = len(log)
            return [Replace(_PART, log)]
        return [Append(_PART, added)]

    def encode(self) -> list[Change]:
        return [Replace(_PART, self._held.all().SerializeToString())]


def _split(keys: bytes) -> list[bytes]:
    return [keys[at : at + 16] for at in range(0, len(keys), 16)]
