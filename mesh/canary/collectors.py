"""What the canary measures, as metrics, and the page that says it to the command line."""

from __future__ import annotations

import json

from mesh.canary.canary import Canary
from mesh.catalog.mesh_clock import boot_s
from mesh.metrics import declarations as d
from mesh.metrics.admin import AdminReply, Route
from mesh.metrics.registry import MetricRegistry


def collect(registry: MetricRegistry, canary: Canary) -> None:
    measured, watch = canary.measurements, canary.watch
    registry.value(d.READY, lambda: float(not canary.problem))
    registry.histogram(d.CANARY_FRESHNESS, measured.freshness)
    registry.value(d.CANARY_VOTES, lambda: measured.votes)
    registry.value(d.CANARY_UNSEEN, lambda: measured.unseen)
    registry.value(d.SLO_BURN_RATE, lambda: measured.burn_rates(boot_s()))
    registry.value(d.INCIDENT_OPEN, lambda: float(watch.open is not None))
    registry.value(d.INCIDENTS, lambda: watch.detected)


def page(canary: Canary) -> Route:
    async def said() -> AdminReply:
        return AdminReply(200, json.dumps(canary.said()).encode() + b"\n")

    return said
