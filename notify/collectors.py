"""What notify measures: read at a scrape from the counters that its parts keep."""

from __future__ import annotations

import asyncio

from mesh.metrics import declarations as d
from mesh.metrics.registry import MetricRegistry
from notify.announcing import Announcing
from notify.evaluator import Evaluator
from notify.keeper import Keeper
from notify.scheduler import Scheduler
from notify.sending import Sender


def collect(
    registry: MetricRegistry,
    sender: Sender,
    scheduler: Scheduler,
    evaluator: Evaluator,
    announcing: Announcing,
    keeper: Keeper,
) -> None:
    now_s = asyncio.get_running_loop().time
    registry.value(
        d.NOTIFY_NOTICES, lambda: {**sender.stored, "schedule": scheduler.sent, "rule": evaluator.fired}
    )
    registry.value(d.NOTIFY_SCHEDULED, scheduler.scheduled)
    registry.value(d.NOTIFY_GAMES, lambda: evaluator.games)
    registry.value(d.NOTIFY_ANNOUNCED, lambda: announcing.announced)
    registry.value(d.NOTIFY_KEEPS, lambda: float(bool(keeper.followers)))
    registry.value(
        d.NOTIFY_APPLIED, lambda: {each.stream: each.applied.sequence for each in keeper.followers}
    )
    registry.value(d.NOTIFY_HEARD, lambda: {each.stream: now_s() - each.heard_s for each in keeper.followers})
