"""Hears every process and partition, and answers /healthz and /livez: the shell of mesh.health.board, and of
mesh.overview.mesh_overview, which is told the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import HealthReport
from grandstand.operator.v1.operator_pb2 import Overview, OverviewPoint
from grandstand.wire import tasks
from mesh import wall_clock
from mesh.health.board import HealthBoard, MeshHealth
from mesh.health.check import REASON_CHARACTERS_MAX, Check
from mesh.http2.call import PAGE_BYTES_MAX, Page
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.overview.loads import checked
from mesh.overview.mesh_overview import MeshOverview

JUDGE_S = 0.25


class HealthWatch:
    """`nats`: the check of this process's own connection, without which it hears nobody."""

    def __init__(self, bus: Bus, instance: str, nats: Check) -> None:
        self._bus = bus
        self._instance = instance
        self._nats = nats
        self._loop = asyncio.get_running_loop()
        self._board = HealthBoard(self._loop.time())
        self._overview = MeshOverview()
        self._health = self._judge()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hears and judges while the body runs."""
        client = self._bus.client
        await client.subscribe(subjects.HEALTH_ALL, cb=self._on_report)
        await client.subscribe(subjects.PARTITION_STATUS_ALL, cb=self._on_status)
        judging = asyncio.create_task(self._keep_judging())
        try:
            yield
        finally:
            await tasks.end(judging)

    def pages(self) -> dict[str, Callable[[], Page]]:
        return {"/healthz": self._healthz, "/livez": _livez}

    def hear(self, report: HealthReport) -> None:
        now_s = self._loop.time()
        self._board.hear(report, now_s)
        failing = "; ".join(
            f"{check.name}: {check.reason or 'fails'}" for check in report.checks if not check.ok
        )
        load = checked(report.load)
        self._overview.hear(report.service, report.instance, load, failing[:REASON_CHARACTERS_MAX], now_s)

    def overview(self, title: Callable[[str], str]) -> Overview:
        """`title`: of a game."""
        view = self._overview.overview(self._loop.time(), wall_clock.now_s(), title)
        add_promises(view, self._health)
        return view

    def points(self) -> list[OverviewPoint]:
        """Of the last hour."""
        return self._overview.points()

    def _judge(self) -> MeshHealth:
        now_s = self._loop.time()
        problem = self._nats.problem(now_s)
        deaf = f"{self._instance}: NATS: {problem}" if problem else ""
        wall_s = wall_clock.now_s()
        self._overview.look(now_s, wall_s)
        return self._board.judge(now_s, wall_s, deaf)

    async def _keep_judging(self) -> None:
        """However often, and whether, somebody asks."""
        while True:
            self._health = self._judge()
            await asyncio.sleep(JUDGE_S)

    def _healthz(self) -> Page:
        health = self._health
        content = json.dumps(health.as_json()).encode() + b"\n"
        assert len(content) <= PAGE_BYTES_MAX, "reasons are bounded"
        return Page(200 if health.ok else 503, content)

    async def _on_report(self, message: Msg) -> None:
        with contextlib.suppress(DecodeError):
            self.hear(HealthReport.FromString(message.data))

    async def _on_status(self, message: Msg) -> None:
        with contextlib.suppress(DecodeError):
            self._board.hear_partition(PartitionStatus.FromString(message.data), self._loop.time())


def add_promises(view: Overview, health: MeshHealth) -> None:
    for name, promise in (("stored", health.stored), ("folded", health.folded), ("shown", health.shown)):
        told = view.promises.add(name=name, ok=promise.ok, reason=promise.reason)
        if promise.since_s is not None:
            told.since.FromMicroseconds(round(promise.since_s * 1e6))


def _livez() -> Page:
    return Page(200, b'{"ok": true}\n')
