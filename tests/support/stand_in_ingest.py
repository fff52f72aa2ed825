"""A stand-in for an ingest: real gRPC health, and a Publish that names the instance as the origin."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from grandstand.ingest.v1 import ingest_pb2, ingest_pb2_grpc

SERVICE = "grandstand.ingest.v1.IngestService"


class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    """Welcomes, then acks every batch."""

    def __init__(self, instance: str) -> None:
        self._instance = instance

    async def Publish(
        self, requests: AsyncIterator[ingest_pb2.PublishRequest], _: object
    ) -> AsyncIterator[ingest_pb2.PublishResponse]:
        async for request in requests:
            if request.HasField("hello"):
                welcome = ingest_pb2.Welcome(origin_id=self._instance)
                yield ingest_pb2.PublishResponse(welcome=welcome)
            else:
                yield ingest_pb2.PublishResponse(ack=ingest_pb2.Ack(origin_seq=1))


async def main(instance: str, port: str) -> None:
    server = grpc.aio.server()
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(Ingest(instance), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    for name in ("", SERVICE):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await server.start()
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
