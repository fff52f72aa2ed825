"""Merging pulses: totals and panes add up, and the rate slides with the reader's clock.

A pane is shown only where every partition may still hold it: one that is ahead of the others
has let its oldest panes go, and their sums would be too small. So the bound on panes is applied
to the merge as it is to one fold, and both give the same panes.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandstand.aggregate.v1.aggregate_pb2 import KindRate, PulsePane, PulseResult
from grandstand.internal.v1.internal_pb2 import PulsePartial
from mesh import limits


def merge_pulse(partials: Sequence[PulsePartial], now_s: float, *, full: bool = False) -> PulseResult:
    """Totals, panes, and the rate over the last RATE_WINDOW_S seconds before `now_s`.

    A pane of one second counts with the part of it that lies inside the sliding window
    (now - RATE_WINDOW_S, now]; events are taken as even within a pane.
    """
    kinds = sorted({kind for pulse in partials for kind in pulse.kinds})
    place = {kind: i for i, kind in enumerate(kinds)}
    totals = [0] * len(kinds)
    recent = [0.0] * len(kinds)
    panes: dict[tuple[int, int], list[int]] = {}
    oldest_s = _oldest_s(partials)
    opens_at_s = now_s - limits.RATE_WINDOW_S
    for pulse in partials:
        places = [place[kind] for kind in pulse.kinds]
        for at, total in zip(places, pulse.totals, strict=True):
            totals[at] += total
        for pane in pulse.panes:
            if pane.starts_at_s < oldest_s[pane.width_s]:
                continue
            share = min(1.0, pane.starts_at_s + 1 - opens_at_s) if pane.width_s == 1 else 0.0
            counts = panes.setdefault((pane.width_s, pane.starts_at_s), [0] * len(kinds))
            for at, count in zip(places, pane.counts, strict=True):
                counts[at] += count
                if share > 0:
                    recent[at] += share * count
    result = PulseResult(
        kinds=[
            KindRate(kind=kind, total=totals[at], rate_per_s=round(recent[at] / limits.RATE_WINDOW_S, 2))
            for at, kind in enumerate(kinds)
        ],
        late=sum(pulse.late for pulse in partials),
    )
    for (width_s, starts_at_s), counts in sorted(panes.items()):
        if full or starts_at_s >= (int(now_s) // width_s - 1) * width_s:
            shown = PulsePane(width_s=width_s, counts=counts)
            shown.starts_at.FromSeconds(starts_at_s)
            result.panes.append(shown)
    return result


def pulse_moves_at_s(pulse: PulsePartial, now_s: float) -> float | None:
    """When its value changes next, if nothing comes: at once while its rate is not zero, else when a
    subscription shows one of its panes no more; None: never."""
    moves_at_s = None
    for pane in pulse.panes:
        if pane.width_s == 1 and pane.starts_at_s + limits.RATE_WINDOW_S + 1 >= now_s:
            return now_s
        until_s = float(pane.starts_at_s + 2 * pane.width_s)
        if until_s > now_s and (moves_at_s is None or until_s < moves_at_s):
            moves_at_s = until_s
    return moves_at_s


def _oldest_s(partials: Sequence[PulsePartial]) -> dict[int, int]:
    """For each width the start of the oldest pane that every partition still holds."""
    newest_s: dict[int, int] = {}
    for pulse in partials:
        for pane in pulse.panes:
            newest_s[pane.width_s] = max(newest_s.get(pane.width_s, 0), pane.starts_at_s)
    return {
        width_s: newest - (limits.PULSE_PANES_KEPT.get(width_s, 1) - 1) * width_s
        for width_s, newest in newest_s.items()
    }
