"""What a gateway measures: read at a scrape from the counters that its parts keep."""

from __future__ import annotations

from gateway.fanout import FanOut
from gateway.guests import Guests
from gateway.relay import Relay
from mesh.metrics import declarations as d
from mesh.metrics.hottest import hottest
from mesh.metrics.registry import MetricRegistry
from mesh.stream_limits import StreamLimits


def collect(
    registry: MetricRegistry, fan_out: FanOut, viewer_limits: StreamLimits, relay: Relay, guests: Guests
) -> None:
    counts, overload = fan_out.counts, fan_out.overload
    registry.value(d.GATEWAY_VIEWERS, lambda: fan_out.viewers)
    registry.value(d.GATEWAY_VIEWERS_REFUSED, lambda: viewer_limits.refused)
    registry.value(d.GATEWAY_GAME_VIEWERS, lambda: hottest(fan_out.viewers_by_game()))
    registry.value(d.GATEWAY_GAMES, lambda: fan_out.games)
    registry.value(d.GATEWAY_COHORTS, lambda: len(fan_out.cohorts()))
    registry.value(d.GATEWAY_STALLED, lambda: sum(cohort.stalled() for cohort in fan_out.cohorts()))
    registry.value(
        d.GATEWAY_RENDITIONED,
        lambda: sum(each.frames.updates_per_s < each.key.updates_per_s for each in fan_out.cohorts()),
    )
    registry.value(d.GATEWAY_RENDITIONS, lambda: counts.renditions)
    registry.value(d.GATEWAY_FRAMES, lambda: {"update": counts.updates, "snapshot": counts.snapshots})
    registry.value(d.GATEWAY_CONFLATED, lambda: counts.conflated)
    registry.value(d.GATEWAY_TICKS, lambda: counts.ticks)
    registry.value(d.GATEWAY_TICKS_LATE, lambda: counts.late_turns)
    registry.value(d.GATEWAY_OVERLOAD, lambda: overload.level)
    registry.value(d.GATEWAY_BUSY, lambda: overload.busy)
    registry.histogram(d.GATEWAY_JOIN, fan_out.join_s)
    registry.value(d.GATEWAY_SENDS, lambda: relay.pending)
    registry.value(
        d.GATEWAY_GUESTS, lambda: {"issued": guests.issued, "refused": guests.asked - guests.issued}
    )
    registry.value(d.GATEWAY_PERSONAL, lambda: fan_out.personal_watches)
