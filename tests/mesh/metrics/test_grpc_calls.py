"""Calls of a grpc.aio listener are counted as those of our own engine, however they answer and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.listener import GrpcListener, Http2Listener
from mesh.metrics.rpc_counts import RpcCounts
from tests.support.games import until
from toolbox.local.ports import Ports

CHECK, WATCH = "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"


@pytest.fixture
def address() -> Iterator[str]:
    ports = Ports()
    yield f"127.0.0.1:{ports.take()}"
    ports.close()


async def _aborts(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "so")
    raise AssertionError


async def _fails(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    raise RuntimeError("a fault")


async def _yields(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
    yield b"one"
    await asyncio.Event().wait()


def ended(counts: RpcCounts) -> dict[tuple[str, str], int]:
    return dict(counts.ended_by_code())


def test_each_call_of_grpc_aio_ends_with_its_code(address: str) -> None:
    listener_of = {
        "Aborts": grpc.unary_unary_rpc_method_handler(_aborts),
        "Fails": grpc.unary_unary_rpc_method_handler(_fails),
        "Yields": grpc.unary_stream_rpc_method_handler(_yields),
    }

    async def scenario() -> None:
        listener = GrpcListener(["test.Test"], 1024)
        handlers = grpc.method_handlers_generic_handler("test.Test", listener_of)
        listener.server.add_generic_rpc_handlers((handlers,))
        await listener.start(address)
        async with grpc.aio.insecure_channel(address) as channel:
            for method in ("Aborts", "Fails"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary(f"/test.Test/{method}")(b"", timeout=20)
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            yields = channel.unary_stream("/test.Test/Yields")(b"")
            assert await yields.read() == b"one"
            opened = dict(listener.rpc.opened_by_method())
            assert opened == {"test.Test/Aborts": 1, "test.Test/Fails": 1, "test.Test/Yields": 1, WATCH: 1}
            watch.cancel()
            yields.cancel()
            await until(lambda: len(ended(listener.rpc)) == 4, "all have ended")
        await listener.stop(0)
        assert ended(listener.rpc) == {
            ("test.Test/Aborts", "FAILED_PRECONDITION"): 1,
            ("test.Test/Fails", "UNKNOWN"): 1,
            ("test.Test/Yields", "CANCELLED"): 1,
            (WATCH, "CANCELLED"): 1,
        }
        assert sum(each.count for each in listener.rpc.seconds_by_method().values()) == 4

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [GrpcListener, Http2Listener])
def test_both_listeners_tell_a_part_apart_from_the_whole(
    kind: type[GrpcListener] | type[Http2Listener], address: str
) -> None:
    async def scenario() -> None:
        listener = kind(["test.Test"], 1024)
        await listener.start(address)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name, is_ok in (("dependency/redis", False), ("dependency/nats", True)):
                await listener.set_part(name, is_ok)
                request = health_pb2.HealthCheckRequest(service=name)
                status = (await stub.Check(request, timeout=20)).status
                assert status == (1 if is_ok else 2)
            assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)).status == 1
        await until(lambda: ended(listener.rpc) == {(CHECK, "OK"): 3}, "they are counted")
        await listener.stop(0)

    asyncio.run(scenario())
