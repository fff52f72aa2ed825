"""What aggregate measures: read at a scrape from the counters that its parts keep."""

from __future__ import annotations

from collections.abc import Callable

from aggregate.deadletters import DeadLetters
from aggregate.fold_counts import FoldCounts
from aggregate.ownership import Ownership
from aggregate.pace import FlushPace
from aggregate.waiting_reads import WaitingReads
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from mesh.metrics import declarations as d
from mesh.metrics.registry import MetricRegistry


def collect(
    registry: MetricRegistry,
    ownership: Ownership,
    counts: FoldCounts,
    pace: FlushPace,
    letters: DeadLetters,
    reads: WaitingReads,
) -> None:
    def by_partition(read: Callable[[PartitionStatus], float]) -> Callable[[], dict[str, float]]:
        """Of the partitions that are owned here and now."""
        return lambda: {
            str(status.partition): read(status) for status in ownership.statuses() if status.owner
        }

    registry.value(d.AGGREGATE_PARTITIONS, lambda: len(ownership.owned()))
    registry.value(d.AGGREGATE_LAG_SECONDS, by_partition(lambda status: status.lag_ms / 1000))
    registry.value(d.AGGREGATE_LAG_BLOCKS, by_partition(lambda status: status.lag_blocks))
    registry.value(
        d.AGGREGATE_LAG_EVENTS, by_partition(lambda status: counts.waiting_events(status.lag_blocks))
    )
    registry.value(d.AGGREGATE_APPLIED, by_partition(lambda status: status.applied))
    registry.value(d.AGGREGATE_EVENTS, lambda: counts.events)
    registry.value(d.AGGREGATE_BLOCKS, lambda: counts.blocks)
    registry.histogram(d.AGGREGATE_FLUSH, counts.flush_s)
    registry.histogram(d.AGGREGATE_FLUSH_ROWS, counts.flush_rows)
    registry.value(d.AGGREGATE_LATE, lambda: counts.late)
    registry.value(d.AGGREGATE_INTERVAL, lambda: pace.widest_s)
    registry.value(d.AGGREGATE_LEASES, lambda: counts.leases)
    registry.histogram(d.AGGREGATE_TAKEOVER, counts.takeover_s)
    registry.value(d.AGGREGATE_DEAD_LETTERS, lambda: letters.published)
    registry.value(d.AGGREGATE_READS_WAITING, lambda: reads.waiting)
    registry.value(d.AGGREGATE_READS_REFUSED, lambda: reads.refused)
