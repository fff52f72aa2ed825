"""grpc.aio's calls whose request does not come, on a real listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh import listener as listeners
from mesh.late_requests import LateRequests
from mesh.listener import GrpcListener

PATIENCE_S = 0.2
HEALTH = "/grpc.health.v1.Health"


async def nothing(forever: asyncio.Event) -> AsyncIterator[bytes]:
    await forever.wait()
    yield b""


def test_silent_calls_end_and_one_that_asked_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "LateRequests", lambda: LateRequests(PATIENCE_S))

    async def scenario(address: str) -> None:
        listener = GrpcListener(["x.X"], 1024)
        await listener.start(address)
        asked = health_pb2.HealthCheckRequest(service="x.X")
        forever = asyncio.Event()
        async with grpc.aio.insecure_channel(address) as channel:
            watch: Any = health_pb2_grpc.HealthStub(channel).Watch(asked)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            # As clients of streams, they send their headers alone.
            silent: list[Any] = [
                *(channel.stream_unary(f"{HEALTH}/Check")(nothing(forever)) for _ in range(50)),
                *(channel.stream_stream(f"{HEALTH}/Watch")(nothing(forever)) for _ in range(50)),
            ]
            codes = await asyncio.wait_for(asyncio.gather(*(call.code() for call in silent)), 20.0)
            assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}
            assert await silent[0].details() == "no request came within 0.2 s; send it with the call"
            await listener.set_ready(False)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
        await listener.stop(0.0)

    with TemporaryDirectory(prefix="gs-") as folder:
        asyncio.run(scenario(f"unix:{Path(folder) / 'socket'}"))
