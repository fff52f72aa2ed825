"""Merging audiences: shares add up, and viewers who were not heard from again go with time."""

from __future__ import annotations

from collections.abc import Iterable

from grandstand.aggregate.v1.aggregate_pb2 import AudienceResult
from grandstand.internal.v1.internal_pb2 import AudiencePartial
from mesh import limits


def merge_audience(partials: Iterable[AudiencePartial], now_s: float) -> AudienceResult:
    """Viewers: who was last seen in a pane that ended less than PRESENCE_S before `now_s`."""
    merged = AudienceResult(exact=True)
    for partial in partials:
        merged.uniques += partial.uniques
        merged.exact = merged.exact and partial.exact
        merged.viewers += _viewers(partial, now_s)
        merged.guest_viewers += _viewers(partial.guests, now_s)
        merged.guest_uniques += partial.guests.uniques
    merged.relative_error = 0.0 if merged.exact else limits.AUDIENCE_RELATIVE_ERROR
    return merged


def _viewers(partial: AudiencePartial, now_s: float) -> int:
    panes = zip(partial.pane_starts_at_s, partial.last_seen, strict=True)
    return sum(last_seen for starts_at_s, last_seen in panes if _counts(starts_at_s, now_s))


def audience_moves_at_s(audience: AudiencePartial, now_s: float) -> float | None:
    """When somebody who counts as a viewer stops to, if nothing comes; None if nobody does."""
    panes = (*audience.pane_starts_at_s, *audience.guests.pane_starts_at_s)
    return min(
        (_until_s(starts_at_s) for starts_at_s in panes if _until_s(starts_at_s) > now_s), default=None
    )


def _counts(starts_at_s: int, now_s: float) -> bool:
    return _until_s(starts_at_s) > now_s


def _until_s(starts_at_s: int) -> float:
    return starts_at_s + limits.AUDIENCE_PANE_S + limits.PRESENCE_S
