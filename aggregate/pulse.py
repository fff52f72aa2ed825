"""The fold of reactions: totals by kind, and tumbling panes of event time.

Event time is the block's stamp, but never beyond the partition's time (aggregate.watermark): what
comes late still finds the pane of its moment. The watermark here is the greatest such time of a
block with reactions of this pulse; a row more than LATENESS_S behind it is late: it counts in the
totals and as late, and no pane changes any more. A row within that corrects its panes, shown or not.

Bounds: PULSE_PANES_KEPT panes of each width, the watermark's and those before it; KINDS_MAX
kinds, in the order in which they first came.

Rejected: the partition's watermark in its place. Blocks of senders whose clocks are behind would
make their reactions late, and a pulse nobody reacts to has no use for it.
"""

from __future__ import annotations

import numpy as np

from aggregate import bounds
from aggregate.fold import Change, FoldState, Replace
from aggregate.rows import Rows
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.internal.v1.internal_pb2 import PanePartial, PulseLog, PulsePartial
from grandstand.wire import bounds as wire_bounds
from mesh import limits

_PART = ""


class Pulse:
    """State: a total for each kind, and for each pane the counts by kind."""

    __slots__ = ("_changed", "_kinds", "_late", "_panes", "_totals", "_watermark_us")

    def __init__(self, log: PulseLog) -> None:
        stored = log.partial
        self._kinds: dict[str, int] = {kind: i for i, kind in enumerate(stored.kinds)}
        self._totals: list[int] = list(stored.totals)
        self._late = stored.late
        self._watermark_us = log.watermark_us
        self._panes: dict[int, dict[int, list[int]]] = {width_s: {} for width_s in limits.PULSE_PANES_KEPT}
        """Width -> start -> counts by kind; kinds that came later are missing at the end."""
        for pane in stored.panes:
            self._panes[pane.width_s][pane.starts_at_s] = list(pane.counts)
        self._changed = False

    @classmethod
    def from_state(cls, definition: catalog.Pulse, state: FoldState) -> Pulse:
        return cls(PulseLog.FromString(state.logs.get(_PART, b"")))

    def fold(self, rows: Rows) -> bool:
        added = self._added(rows)
        if not added:
            return False
        self._changed = True
        for at, count in added.items():
            self._totals[at] += count
        if rows.stamped_us < self._watermark_us - bounds.LATENESS_S * 1_000_000:
            self._late += sum(added.values())
            return True
        self._watermark_us = max(self._watermark_us, rows.stamped_us)
        for width_s, panes in self._panes.items():
            starts_at_s = rows.stamped_us // 1_000_000 // width_s * width_s
            counts = panes.setdefault(starts_at_s, [])
            counts.extend([0] * (len(self._kinds) - len(counts)))
            for at, count in added.items():
                counts[at] += count
            newest_s = self._watermark_us // 1_000_000 // width_s * width_s
            oldest_s = newest_s - (limits.PULSE_PANES_KEPT[width_s] - 1) * width_s
            for old_s in [s for s in panes if s < oldest_s]:
                del panes[old_s]
        return True

    def advance(self, at_us: int) -> bool:
        return False

    def partial(self) -> PulsePartial:
        width = len(self._kinds)
        return PulsePartial(
            kinds=list(self._kinds),
            totals=self._totals,
            late=self._late,
            panes=[
                PanePartial(
                    width_s=width_s,
                    starts_at_s=starts_at_s,
                    counts=counts + [0] * (width - len(counts)),
                )
                for width_s, panes in self._panes.items()
                for starts_at_s, counts in sorted(panes.items())
            ],
        )

    def parts(self) -> list[str]:
        return [_PART]

    def delta(self) -> list[Change]:
        changes = self.encode() if self._changed else []
        self._changed = False
        return changes

    def encode(self) -> list[Change]:
        log = PulseLog(partial=self.partial(), watermark_us=self._watermark_us)
        return [Replace(_PART, log.SerializeToString(deterministic=True))]

    def _added(self, rows: Rows) -> dict[int, int]:
        """How many of each kind these rows bring, by the kind's place. Rows without a kind or
        with a count that nobody may send bring none."""
        counts = rows.value.view(np.int64)
        if rows.label is None:
            return {}
        fine = (rows.label < len(rows.labels)) & (counts >= 1) & (counts <= wire_bounds.REACTION_COUNT_MAX)
        sums = np.bincount(rows.label[fine], counts[fine])  # exact: far below 2^53
        added: dict[int, int] = {}
        for label in np.flatnonzero(sums).tolist():
            kind = rows.labels[label]
            at = self._kinds.get(kind)
            if at is None:
                if len(self._kinds) == bounds.KINDS_MAX:
                    continue
                at = self._kinds[kind] = len(self._kinds)
                self._totals.append(0)
            added[at] = added.get(at, 0) + int(sums[label])
        return added
