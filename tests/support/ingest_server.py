"""An IngestService in the test's own process, behind a real gRPC port, on a real nats-server.

For what a test wants to see inside, or to make quick: its limits can be patched, its token is any
Identity. Whole processes are `tests.support.lone_ingest` and `tests.support.mesh_fixture`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc

from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Heartbeat, Hello, PublishRequest, PublishResponse
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import tasks
from ingest import service as ingest_service
from ingest.admission import Admission
from ingest.backlog import BacklogWatch
from ingest.check import Checker
from ingest.coalesce import Coalescer
from ingest.intake import Intake, Ticket
from ingest.log_capacity import LogCapacity, watch_capacity
from ingest.pressure import Pressure
from ingest.publisher import BlockPublisher
from ingest.response_scheduler import ResponseScheduler
from ingest.service import PUBLISH, IngestService
from ingest.stream import StreamContext
from ingest.votes import CastVotes
from mesh import limits
from mesh.addresses import AddressKeys
from mesh.auth import Identity
from mesh.catalog.view import Definition
from mesh.catalog.watch import CatalogWatch
from mesh.http2.server import Http2Server
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from mesh.runtime import Runtime
from mesh.stream_limits import StreamLimits
from mesh.token_ends import keep_ending
from tests.mesh.jetstream.test_publish_pipeline import Nats, on_nats
from tests.support.blocks import origins_of_tests
from tests.support.intake import UNLIMITED
from tests.support.lone_ingest import GAME, definitions


class Conversation:
    """One Publish stream, from the client's side."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.heard: list[PublishResponse] = []

    async def say(self, **fields: Any) -> None:
        await self._call.write(PublishRequest(**fields))

    async def hello(self, **fields: Any) -> None:
        await self.say(hello=Hello(**fields))
        assert (await self.hear()).HasField("welcome")

    async def score(self, *numbers: int, **fields: Any) -> None:
        events = [
            Event(**({"game_id": GAME, "origin_seq": n, "score": Score(board_id="top", points=1)} | fields))
            for n in numbers
        ]
        await self.say(events=EventBatch(events=events))

    async def heartbeat(self) -> None:
        await self.say(heartbeat=Heartbeat())

    async def half_close(self) -> None:
        await self._call.done_writing()

    async def hear(self) -> PublishResponse:
        response = await asyncio.wait_for(self._call.read(), 15)
        assert response is not grpc.aio.EOF, await self.ending()
        self.heard.append(response)
        return cast(PublishResponse, response)

    async def until(self, kind: str) -> PublishResponse:
        """The next message of a kind; the others are in `heard`."""
        while (response := await self.hear()).WhichOneof("message") != kind:
            pass
        return response

    async def acked(self, origin_seq: int) -> PublishResponse:
        while (response := await self.until("ack")).ack.origin_seq < origin_seq:
            pass
        return response

    async def ending(self) -> tuple[grpc.StatusCode, str]:
        """Hears the rest, and how the stream ended."""
        try:
            while (response := await asyncio.wait_for(self._call.read(), 15)) is not grpc.aio.EOF:
                self.heard.append(response)
        except grpc.aio.AioRpcError:
            pass
        return await self._call.code(), await self._call.details()

    def cancel(self) -> None:
        self._call.cancel()


@dataclass
class Served:
    service: IngestService
    draining: asyncio.Event
    pressure: Pressure
    publisher: BlockPublisher
    nats: Nats
    bus: Bus
    pipeline: PublishPipeline
    catalog: CatalogWatch
    identity: Identity
    _channels: list[grpc.aio.Channel] = field(default_factory=list)
    port: int = 0

    def stream(self) -> Conversation:
        """On a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options)
        self._channels.append(channel)
        return Conversation(IngestServiceStub(channel).Publish())

    async def define(self, key: str, definition: Definition) -> None:
        await self.catalog.bucket.put(key, definition.SerializeToString())
        before = self.catalog.view.changes
        await self.catalog.refresh(key)
        assert self.catalog.view.changes >= before

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


@asynccontextmanager
async def serving(
    tmp_path: Path,
    *,
    admission: Admission | None = None,
    identity: Identity | None = None,
    bytes_max: int = 10**8,
    looks_for_room: bool = True,
) -> AsyncIterator[Served]:
    """`identity`: whom every token says; a producer otherwise. `bytes_max`: of the event log."""
    async with on_nats(tmp_path, bytes_max) as (nats, bus, pipeline):
        catalog = CatalogWatch(bus, probe_s=limits.VIEW_PROBE_S)
        await catalog.start()
        for key, definition in definitions().items():
            await catalog.bucket.put(key, definition.SerializeToString())
            await catalog.refresh(key)
        checker, coalescer, pressure, capacity = (
            Checker(catalog.view),
            Coalescer[Ticket](),
            Pressure(),
            LogCapacity(),
        )
        publisher = BlockPublisher(pipeline, CastVotes(bus), checker, coalescer, pressure, "t", catalog)
        admission = admission or Admission(UNLIMITED, UNLIMITED, UNLIMITED)
        intake = Intake(checker, coalescer, admission, pressure)
        context = StreamContext(
            *(intake, publisher, ResponseScheduler(), catalog, pressure, origins_of_tests()),
            asyncio.get_running_loop(),
        )
        draining = asyncio.Event()
        who = identity or Identity("", True, None, time.time() + 3600, of_mesh=True)
        runtime = cast(Runtime, SimpleNamespace(draining=draining))
        stream_limits = StreamLimits(ingest_service.STREAM_BOUNDS, random=random.random)
        service = IngestService(
            *(runtime, context, lambda authorization, now_s: who, stream_limits, AddressKeys()),
            revocations=catalog.revocations,
        )
        publisher.on_room(service.resume_streams)
        server = Http2Server(
            {PUBLISH: service.accept}, message_bytes_max=wire_bounds.INGEST_MESSAGE_BYTES_MAX
        )
        port = await server.start("127.0.0.1:0")
        backlog = BacklogWatch(bus)
        await backlog.start()
        running = [
            asyncio.create_task(service.look_after_streams()),
            asyncio.create_task(keep_ending(service.tokens, time.time)),
            asyncio.create_task(service.look_at_pressure(publisher, pipeline, capacity, backlog)),
            asyncio.create_task(service.drain()),
        ]
        if looks_for_room:
            running.append(asyncio.create_task(watch_capacity(capacity, bus)))
        served = Served(service, draining, pressure, publisher, nats, bus, pipeline, catalog, who, port=port)
        try:
            yield served
        finally:
            await served.close()
            await server.close(0.0)
            for task in running:
                await tasks.end(task)
            await catalog.stop()
            await pipeline.close()
