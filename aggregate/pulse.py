"""The fold of reactions: totals, and tumbling panes of one second by the block's stamp.

Bounds: the newest PANES_KEPT panes; what is stamped before them counts in the totals only.
The kinds are those the catalog allows, so their number is bounded too.
"""

from __future__ import annotations

from grandstand.internal.v1.internal_pb2 import PulsePane, PulsePartial
from mesh import limits


class Pulse:
    """State: a total for each kind, and counts by kind for each pane."""

    def __init__(self, partial: PulsePartial | None = None) -> None:
        partial = partial or PulsePartial()
        self._totals: dict[str, int] = dict(zip(partial.kinds, partial.totals, strict=True))
        self._panes: dict[int, dict[str, int]] = {
            pane.starts_at_s: {kind: n for kind, n in zip(partial.kinds, pane.counts, strict=False) if n}
            for pane in partial.panes
        }

    def react(self, kind: str, count: int, at_s: int) -> None:
        self._totals[kind] = self._totals.get(kind, 0) + count
        pane = self._panes.get(at_s)
        if pane is None:
            newest = max(self._panes, default=at_s)
            if at_s <= newest - limits.PANES_KEPT:
                return
            pane = self._panes[at_s] = {}
            for old in [s for s in self._panes if s <= max(newest, at_s) - limits.PANES_KEPT]:
                del self._panes[old]
        pane[kind] = pane.get(kind, 0) + count

    def partial(self) -> PulsePartial:
        kinds = list(self._totals)
        return PulsePartial(
            kinds=kinds,
            totals=[self._totals[kind] for kind in kinds],
            panes=[
                PulsePane(starts_at_s=at_s, counts=[self._panes[at_s].get(kind, 0) for kind in kinds])
                for at_s in sorted(self._panes)
            ],
        )
