"""Measures this process's clock, says when it is off, and gives the time that most agree on.

The shell of mesh.health.clock. What it decides:

    a clock that is off for OFF_AFTER_S   the process is not ready: gRPC health says NOT_SERVING, Envoy sends
                                          its calls to others, and the health report's check `clock` fails
    the time of tokens                    `now_s`: the mesh's, or that of most processes once the mesh's is
                                          not believed. A token that this time refuses and the own clock does
                                          not is answered UNAVAILABLE, not UNAUTHENTICATED: it may be good
    a server whose clock is off           is asked to hand the catalog's bucket, and the event stream if it
                                          leads it too, to another server of its cluster

OFF_AFTER_S leaves every process, also one that measures calmly, the time to see a server's clock that was
set: otherwise the first ones to see it would take themselves for wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import HealthReport
from grandstand.wire import tasks
from grandstand.wire.errors import Unauthenticated, Unavailable
from mesh import wall_clock
from mesh.auth import Identity, Verifies
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import PROBE_CALMLY_S, CatalogWatch
from mesh.config import ServiceConfig
from mesh.health import proofs
from mesh.health.board import REPORT_S
from mesh.health.clock import ClockBoard, ClockVerdict, Offset, shown
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

LOOK_S = 0.25
OFF_AFTER_S = PROBE_CALMLY_S + REPORT_S + 2 * LOOK_S
_ASK_S = 2.0
_STREAMS = (f"KV_{subjects.CATALOG_BUCKET}", subjects.EVENTS_STREAM)


class Serves(Protocol):
    async def set_ready(self, is_ready: bool) -> None:
        """Whether gRPC health says SERVING."""
        ...


class ClockWatch:
    """Knows its offset from the first probe of `catalog` on."""

    def __init__(
        self,
        bus: Bus,
        config: ServiceConfig,
        catalog: CatalogWatch,
        wall: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`wall`: this process's own clock, Unix seconds."""
        self.wall = wall
        self.verdict = ClockVerdict()
        self.proof = proofs.looked_at("clock", OFF_AFTER_S, lambda: self.verdict.problem or None)
        self.catalog = catalog
        self._bus = bus
        self._board = ClockBoard(f"{config.service}/{config.instance}")
        self._loop = asyncio.get_running_loop()

    @property
    def is_ready(self) -> bool:
        return not self.proof.check.problem(self._loop.time())

    def offset(self) -> Offset | None:
        """None before the mesh's time is known."""
        clock = self.catalog.clock
        if not clock.is_known:
            return None
        # The wall clock is read between the other two: what passes while this process is stopped widens the
        # bounds.
        before_s = clock.at_s(boot_s())
        wall_s = self.wall()
        after_s = clock.at_s(boot_s())
        return Offset(wall_s - after_s, wall_s - before_s + clock.ahead_max_s)

    def now_s(self) -> float:
        """Unix seconds by the mesh's clock, or by that of most processes if they do not believe it."""
        clock = self.catalog.clock
        return clock.now_s() - self.verdict.leader_off_s if clock.is_known else self.wall()

    def least_s(self) -> float:
        """The lesser of `now_s` and the own clock: what has expired by both has expired."""
        return min(self.now_s(), self.wall())

    def checking(self, verifier: Verifies) -> Verifies:
        return _ClockChecked(verifier, self)

    @contextlib.asynccontextmanager
    async def open(self, process: Serves) -> AsyncIterator[None]:
        """Hears the others and judges while the body runs."""
        await self._bus.client.subscribe(subjects.HEALTH_ALL, cb=self._on_report)
        judging = asyncio.create_task(self._keep_judging(process))
        try:
            yield
        finally:
            await tasks.end(judging)

    async def _on_report(self, message: Msg) -> None:
        with contextlib.suppress(DecodeError):
            report = HealthReport.FromString(message.data)
            if report.HasField("clock_offset_ms"):
                name = f"{report.service}/{report.instance}"
                self._board.hear(name, report.clock_offset_ms / 1000, self._loop.time())

    async def _keep_judging(self, process: Serves) -> None:
        was_ready, told = True, ""
        while True:
            own, now_s = self.offset(), self._loop.time()
            self.verdict = self._board.judge(own, now_s)
            if self.is_ready != was_ready:
                was_ready = not was_ready
                log.log(
                    logging.INFO if was_ready else logging.ERROR,
                    "ready again: the clock is right" if was_ready else f"not ready: {self.verdict.problem}",
                )
                await process.set_ready(was_ready)
            problem = self.verdict.leader_problem
            if bool(problem) != bool(told):
                log.error("%s", problem or "JetStream's clock is right again")
                told = problem
            if self._board.asks_leader_to_step_down(own, now_s):
                await self._ask_to_step_down()
            await asyncio.sleep(LOOK_S)

    async def _ask_to_step_down(self) -> None:
        """Of the server that leads the catalog's bucket, both streams if it leads both."""
        accused = None
        try:
            for stream in _STREAMS:
                info = await self._ask(f"STREAM.INFO.{stream}")
                cluster = info.get("cluster") or {}
                leader = cluster.get("leader")
                accused = accused or leader
                if not cluster.get("replicas"):
                    log.error("nobody can take over %s: it has no other replica", stream)
                elif leader == accused:
                    log.error("asking %s, whose clock is off, to hand %s to another server", leader, stream)
                    await self._ask(f"STREAM.LEADER.STEPDOWN.{stream}")
        except (NatsError, TimeoutError, ValueError) as error:
            log.warning("the leader could not be asked to step down: %s", str(error) or type(error).__name__)

    async def _ask(self, request: str) -> dict[str, dict[str, str]]:
        answer = json.loads((await self._bus.client.request(f"$JS.API.{request}", b"", timeout=_ASK_S)).data)
        if "error" in answer:
            raise ValueError(answer["error"].get("description"))
        return dict(answer)


class _ClockChecked:
    def __init__(self, verifier: Verifies, clock: ClockWatch) -> None:
        self._verifier = verifier
        self._clock = clock

    def verify(self, authorization: str | None, now_s: float) -> Identity:
        try:
            return self._verifier.verify(authorization, now_s)
        except Unauthenticated:
            own = self._clock.offset()
            if own is None or not own.is_off or not self._is_good_by_own_clock(authorization):
                raise
        raise Unavailable(
            f"this server's clock is {shown(own.best_s)} JetStream's, and by one of them this token is not "
            "good; try again"
        )

    def _is_good_by_own_clock(self, authorization: str | None) -> bool:
        try:
            self._verifier.verify(authorization, self._clock.wall())
        except Unauthenticated:
            return False
        return True
