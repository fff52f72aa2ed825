"""Real processes whose clocks are shifted: they judge by the mesh's time, and say whose clock is off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.msg import Msg

from grandstand.gateway.v1.gateway_pb2 import IssueOriginRequest
from grandstand.ingest.v1.ingest_pb2 import Hello
from grandstand.internal.v1.internal_pb2 import HealthReport
from grandstand.wire import bounds as wire_bounds
from mesh import wall_clock
from mesh.health.clock_watch import OFF_AFTER_S
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.games import run, until
from tests.support.lone_gateway import lone_gateway
from tests.support.lone_ingest import CONNECTION, LoneIngest, RawStream, lone_ingest, score

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def shift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the clocks of the processes that start now are shifted by."""
    file = tmp_path / "shift"
    monkeypatch.setenv(wall_clock.SHIFT_VARIABLE, str(file))
    return file


def in_time(path: Path, shift_s: float) -> None:
    path.write_text(str(shift_s))


async def status(address: str) -> int:
    async with grpc.aio.insecure_channel(address, CONNECTION) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return int(answer.status)


async def until_status(address: str, wanted: int, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while await status(address) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def reports(nats_url: str) -> AsyncIterator[dict[str, HealthReport]]:
    """The newest of each instance."""
    heard = dict[str, HealthReport]()

    async def on_report(message: Msg) -> None:
        report = HealthReport.FromString(message.data)
        heard[report.instance] = report

    bus = await Bus.connect(nats_url, "test")
    await bus.client.subscribe(subjects.HEALTH_ALL, cb=on_report)
    yield heard
    await bus.close()


async def counts_a_score(ingest: LoneIngest) -> None:
    """With a token that was minted this moment."""
    with ingest.channel() as channel:
        async with RawStream(channel, ingest.token("ann")) as stream:
            stream.request(hello=Hello())
            assert (welcome := await stream.hear()) is not None, (await stream.ending())[:2]
            assert welcome.HasField("welcome")
            stream.events(score(1))
            while (response := await stream.hear()) is not None and response.ack.origin_seq < 1:
                assert not response.HasField("reject"), response
            assert response is not None


def test_an_ingest_15_s_slow_takes_fresh_tokens_says_that_its_clock_is_off_and_recovers(
    tmp_path: Path, shift: Path
) -> None:
    in_time(shift, -15.0)

    async def scenario(ingest: LoneIngest) -> None:
        await counts_a_score(ingest)
        assert await status(ingest.address) == SERVING
        async with reports(ingest.nats_url) as heard:
            await until_status(ingest.address, NOT_SERVING, OFF_AFTER_S + 5)
            await until(lambda: heard["ingest-1"].out_of_service, "its report says so")
            assert heard["ingest-1"].clock_offset_ms == pytest.approx(-15_000, abs=500)
            reasons = [check.reason for check in heard["ingest-1"].checks if not check.ok]
            assert reasons == [
                "this server's clock is 15.0 s behind JetStream's; at most 2 s is allowed; set it (NTP)"
            ]
            await counts_a_score(ingest)
            in_time(shift, 0.0)
            await until_status(ingest.address, SERVING, 5)
            in_time(shift, 0.5)
            await counts_a_score(ingest)

    with lone_ingest(tmp_path) as ingest:
        run(scenario(ingest))


def test_a_gateway_that_is_fast_issues_origins_of_the_meshs_time_and_takes_fresh_tokens(
    tmp_path: Path, shift: Path
) -> None:
    in_time(shift, 15.0)

    async def scenario(gateway: Any) -> None:
        async with gateway.stub() as stub:
            answer = await stub.IssueOrigin(IssueOriginRequest(), metadata=gateway.bearer("ann"))
        issued_s = answer.expires_at.ToNanoseconds() / 1e9 - wire_bounds.ORIGIN_AGE_MAX_S
        assert issued_s == pytest.approx(time.time(), abs=3)
        in_time(shift, -60.0)
        async with reports(gateway.stores.nats_url) as heard:

            def jumped() -> bool:
                return "gateway-1" in heard and heard["gateway-1"].clock_offset_ms < -50_000

            await until(jumped, "its clock jumped")
        async with gateway.stub() as stub:
            await stub.IssueOrigin(IssueOriginRequest(), metadata=gateway.bearer("bob"))

    with lone_gateway(tmp_path) as gateway:
        run(scenario(gateway))
