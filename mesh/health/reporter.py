"""Says each second, on core NATS, what this process has proven of its dependencies, and how loaded it is.

Nothing is said before every check is decided, and a change is said at once. A process that drains is silent:
it takes no more calls. Without a connection nothing is said: what the client would keep for later is old by
then.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import HealthCheck, HealthReport
from grandstand.wire import tasks
from mesh.config import ServiceConfig
from mesh.health.board import DEAF_S, REPORT_S
from mesh.health.clock_watch import ClockWatch
from mesh.health.collectors import collect_clock, collect_health
from mesh.health.proofs import Proof, keep_proving
from mesh.health.readiness import Readiness, health_name
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.metrics.registry import MetricRegistry
from mesh.overview.loads import FAMILIES, load_of

LOOK_S = 0.25

Hear = Callable[[HealthReport], None]


class Reports(Protocol):
    """The part of mesh.runtime.Runtime that is used here."""

    config: ServiceConfig
    draining: asyncio.Event
    metrics: MetricRegistry
    readiness: Readiness

    async def set_part(self, name: str, is_ok: bool) -> None:
        """What gRPC health says of a part of the process."""


@contextlib.asynccontextmanager
async def reporting(
    process: Reports,
    bus: Bus,
    proofs: Sequence[Proof],
    hear: Hear | None = None,
    clock: ClockWatch | None = None,
) -> AsyncIterator[None]:
    """Proves and reports while the body runs; `hear` is told each report, also without NATS. `clock`: is
    reported with them."""
    if clock is not None:
        proofs = [*proofs, clock.proof]
        collect_clock(process.metrics, clock)
    checks = [proof.check for proof in proofs]
    process.readiness.checks = checks
    collect_health(process.metrics, bus, checks, asyncio.get_running_loop().time)
    running = [asyncio.create_task(keep_proving(proof)) for proof in proofs]
    running.append(asyncio.create_task(_report(process, bus, proofs, hear, clock)))
    try:
        yield
    finally:
        await tasks.end(*running)


async def _report(
    process: Reports, bus: Bus, proofs: Sequence[Proof], hear: Hear | None, clock: ClockWatch | None
) -> None:
    loop = asyncio.get_running_loop()
    config = process.config
    subject = subjects.health(config.service, config.instance)
    told: list[bool] = []
    parts: dict[str, bool] = {}
    told_s, looked_s = -math.inf, loop.time()
    while not process.draining.is_set():
        now_s = loop.time()
        if now_s - looked_s > DEAF_S:
            for proof in proofs:
                proof.check.stalled(now_s - looked_s, now_s)
        looked_s = now_s
        if all(proof.check.is_decided(now_s) for proof in proofs):
            report = report_of(config, proofs, now_s)
            if clock is not None:
                add_clock(report, clock)
            states = [check.ok for check in report.checks]
            for check in report.checks:
                if parts.get(check.name) != check.ok:
                    parts[check.name] = check.ok
                    await process.set_part(health_name(check.name), check.ok)
            if states != told or now_s - told_s >= REPORT_S:
                told, told_s = states, now_s
                report.load.CopyFrom(load_of(process.metrics.families(FAMILIES), now_s))
                if hear is not None:
                    hear(report)
                if bus.client.is_connected:
                    with contextlib.suppress(NatsError):
                        await bus.client.publish(subject, report.SerializeToString())
        await asyncio.sleep(LOOK_S)


def report_of(config: ServiceConfig, proofs: Sequence[Proof], now_s: float) -> HealthReport:
    report = HealthReport(service=config.service, instance=config.instance)
    for proof in proofs:
        problem = proof.check.problem(now_s)
        report.checks.append(HealthCheck(name=proof.check.name, ok=not problem, reason=problem))
    return report


def add_clock(report: HealthReport, clock: ClockWatch) -> None:
    offset = clock.offset()
    if offset is not None:
        report.clock_offset_ms = round(offset.best_s * 1000)
    report.out_of_service = not clock.is_ready
