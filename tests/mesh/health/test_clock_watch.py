"""A process measures its clock against a real nats-server, and its verdict is acted upon."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grandstand.internal.v1.internal_pb2 import HealthReport
from grandstand.wire.errors import Unauthenticated, Unavailable
from mesh import limits
from mesh.auth import Identity
from mesh.catalog.watch import CatalogWatch
from mesh.config import ServiceConfig, parse
from mesh.health import clock, clock_watch, readiness
from mesh.health.clock_watch import ClockWatch
from mesh.health.reporter import reporting
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.metrics.registry import MetricRegistry
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run, until
from tests.support.nats_cluster import nats_cluster
from tests.support.servers import eventually

ME = Identity("ann", False, None, 2e9)


def config(instance: str) -> ServiceConfig:
    arguments = (
        f"--listen 127.0.0.1:1 --nats nats://x --redis redis://x --mesh 127.0.0.1:2 --instance {instance}"
    )
    return parse("ingest", arguments.split())


class Readiness:
    """Of a process, and its wall clock, which may be shifted."""

    def __init__(self, name: str) -> None:
        self.config = config(name)
        self.draining = asyncio.Event()
        self.is_ready = True
        self.metrics = MetricRegistry()
        self.readiness = readiness.Readiness("aggregate", name)
        self.parts = dict[str, bool]()
        self.shift_s = 0.0

    async def set_ready(self, is_ready: bool) -> None:
        self.is_ready = is_ready

    async def set_part(self, name: str, is_ok: bool) -> None:
        self.parts[name] = is_ok

    def wall(self) -> float:
        return time.time() + self.shift_s


@contextlib.asynccontextmanager
async def process(bus: Bus, name: str, shift_s: float = 0.0) -> AsyncIterator[tuple[ClockWatch, Readiness]]:
    catalog, here = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S), Readiness(name)
    here.shift_s = shift_s
    await catalog.start()
    watch = ClockWatch(bus, here.config, catalog, here.wall)
    async with watch.open(here), reporting(here, bus, [], clock=watch):
        yield watch, here
    await catalog.stop()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_watch, "OFF_AFTER_S", 0.3)
    monkeypatch.setattr(clock_watch, "LOOK_S", 0.02)


def test_one_of_two_whose_clock_is_off_is_not_ready_until_it_is_right_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        heard = dict[str, HealthReport]()
        async with (
            on_nats(tmp_path) as (_, bus, _),
            process(bus, "a") as (_, well),
            process(bus, "b") as (watch, off),
        ):

            async def on_report(message: object) -> None:
                report = HealthReport.FromString(message.data)  # type: ignore[attr-defined]
                heard[report.instance] = report

            await bus.client.subscribe(subjects.HEALTH_ALL, cb=on_report)
            off.shift_s = -15.0
            await until(lambda: not off.is_ready, "the one that is off is not ready")
            await until(lambda: "b" in heard and heard["b"].out_of_service, "and says so")
            assert heard["b"].clock_offset_ms == pytest.approx(-15_000, abs=500)
            (check,) = heard["b"].checks
            assert (check.name, check.ok) == ("clock", False)
            assert check.reason.startswith("this server's clock is 15.0 s behind JetStream's")
            assert abs(watch.now_s() - time.time()) < 0.5, "it goes by the mesh's time"
            assert well.is_ready
            off.shift_s = 0.0
            await until(lambda: off.is_ready, "it is ready again")
            await until(lambda: not heard["b"].out_of_service, "and says so")

    run(scenario())


def test_a_server_that_most_differ_from_is_not_believed_and_all_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with (
            on_nats(tmp_path) as (_, bus, _),
            process(bus, "a", 30.0) as (watch, one),
            process(bus, "b", 30.1) as (_, two),
            process(bus, "c") as (_, three),
        ):
            await until(lambda: watch.verdict.leader_off_s, "the server is accused")
            await until(lambda: one.is_ready and two.is_ready and three.is_ready, "all are ready")
            assert watch.now_s() == pytest.approx(time.time() + 30, abs=1)
            assert "JetStream's clock is 30.1 s behind that of most of our processes" in caplog.text or (
                "JetStream's clock is 30.0 s behind that of most of our processes" in caplog.text
            )

    run(scenario())


def test_a_token_that_only_a_wrong_clock_refuses_may_be_tried_again(tmp_path: Path) -> None:
    class Until:
        """Takes tokens until a moment."""

        def __init__(self, good_until_s: float) -> None:
            self.good_until_s = good_until_s

        def verify(self, authorization: str | None, now_s: float) -> Identity:
            if now_s >= self.good_until_s:
                raise Unauthenticated("token: has expired")
            return ME

    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _), process(bus, "a") as (watch, here):
            tokens = Until(time.time() - 10)
            check = watch.checking(tokens)
            with pytest.raises(Unauthenticated):
                check.verify("x", watch.now_s())
            here.shift_s = -60.0
            with pytest.raises(Unavailable, match=r"this server's clock is 60\.0 s behind JetStream's"):
                check.verify("x", watch.now_s())
            tokens.good_until_s = time.time() + 10
            assert check.verify("x", watch.now_s()) is ME
            tokens.good_until_s = time.time() - 1_000
            with pytest.raises(Unauthenticated):
                check.verify("x", watch.now_s())

    run(scenario())


def test_a_leader_whose_clock_is_off_is_asked_to_hand_over_its_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "STEPDOWN_AFTER_S", 0.2)

    async def leader(bus: Bus, stream: str) -> str | None:
        cluster = (await bus.js.stream_info(stream)).cluster
        return cluster.leader if cluster else None

    async def scenario(url: str) -> None:
        bus = await Bus.connect(url, "test", replicas=3)
        await bus.ensure_events_stream(bytes_max=10**7)
        stream = f"KV_{subjects.CATALOG_BUCKET}"
        async with process(bus, "a") as (_, one), process(bus, "b") as (_, two):
            first = await leader(bus, stream)
            assert first
            one.shift_s = two.shift_s = 30.0

            async def moved() -> bool:
                return await leader(bus, stream) not in (None, first)

            await eventually(moved, "another server leads the bucket")
        await bus.close()

    with nats_cluster(tmp_path) as cluster:
        run(scenario(cluster.url))
