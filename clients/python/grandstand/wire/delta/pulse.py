"""A pulse's part of a delta: the kinds whose numbers changed, by their place, and its panes. Pure.

A kind that comes for the first time changes the places of the others: no delta can say it.
"""

from __future__ import annotations

from grandstand.aggregate.v1.aggregate_pb2 import PulseResult
from grandstand.gateway.v1.delta_pb2 import PulseDelta, TopicDelta
from grandstand.wire.delta.mismatch import DeltaMismatch


def diff(before: PulseResult, after: PulseResult, delta: TopicDelta) -> bool:
    """Sets `delta.pulse` unless nothing changed. False: it cannot be said."""
    old, new = before.kinds, after.kinds
    if len(old) != len(new):
        return False
    changed = []
    for place, (was, now) in enumerate(zip(old, new, strict=True)):
        if was.kind != now.kind:
            return False
        if was != now:
            changed.append((place, now))
    if not changed and before.late == after.late and before.panes == after.panes:
        return True
    pulse = delta.pulse
    pulse.late = after.late
    for place, now in changed:
        pulse.kinds.add(place=place, rate_per_s=now.rate_per_s, total=now.total)
    pulse.panes.extend(after.panes)
    return True


def apply(pulse: PulseResult, delta: PulseDelta) -> None:
    """Changes `pulse`. Raises DeltaMismatch for a kind it does not have."""
    kinds = pulse.kinds
    for changed in delta.kinds:
        if changed.place >= len(kinds):
            raise DeltaMismatch(f"a delta of kind {changed.place} of {len(kinds)}, from 0; subscribe again")
        kind = kinds[changed.place]
        kind.rate_per_s = changed.rate_per_s
        kind.total = changed.total
    pulse.late = delta.late
    del pulse.panes[:]
    pulse.panes.extend(delta.panes)
