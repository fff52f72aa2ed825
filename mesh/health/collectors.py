"""What a process knows of its dependencies, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.health.check import Check
from mesh.health.clock_watch import ClockWatch
from mesh.jetstream.bus import Bus
from mesh.metrics import declarations
from mesh.metrics.registry import MetricRegistry


def collect_health(
    registry: MetricRegistry, bus: Bus, checks: Sequence[Check], now_s: Callable[[], float]
) -> None:
    """`now_s`: of the checks' clock."""
    trips = {check.name: check for check in checks if check.is_round_trip}
    registry.value(
        declarations.DEPENDENCY_OK,
        lambda: {check.name: float(not check.problem(now_s())) for check in checks},
    )
    registry.value(
        declarations.DEPENDENCY_FAILURES, lambda: {name: each.failures for name, each in trips.items()}
    )
    registry.histogram(
        declarations.DEPENDENCY_SECONDS, lambda: {name: each.seconds for name, each in trips.items()}
    )
    stats = bus.client.stats
    registry.value(declarations.NATS_MESSAGES, lambda: {"in": stats["in_msgs"], "out": stats["out_msgs"]})
    registry.value(declarations.NATS_BYTES, lambda: {"in": stats["in_bytes"], "out": stats["out_bytes"]})
    registry.value(declarations.NATS_RECONNECTS, lambda: stats["reconnects"])


def collect_clock(registry: MetricRegistry, clock: ClockWatch) -> None:
    """And the catalog, whose watch measures it."""

    def offset_s() -> float | None:
        offset = clock.offset()
        return None if offset is None else offset.best_s

    catalog: CatalogWatch = clock.catalog
    view = catalog.view
    registry.value(declarations.CLOCK_OFFSET, offset_s)
    registry.value(declarations.CATALOG_DEFINITIONS, lambda: len(view))
    registry.value(declarations.CATALOG_GAMES, lambda: {"live": view.games_live, "all": view.games_known})
    registry.value(declarations.CATALOG_CHANGES, lambda: view.changes)
    registry.value(declarations.CATALOG_AGE, lambda: boot_s() - catalog.freshness.anchor_s)
