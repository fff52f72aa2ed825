"""I4: ingest stops before the event log is full, controls still fit, and nothing unstored is acked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import Game, Pulse
from grandstand.event.v1.event_pb2 import Event, Reaction
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse
from ingest.publisher import Publisher
from ingest.room import RESERVE, Room, watch
from ingest.service import IngestService
from ingest.votes import CastVotes
from mesh import ids, subjects
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.errors import Exhausted
from mesh.pipeline import PublishPipeline
from mesh.runtime import Runtime
from tests.games import run, until
from tests.test_publish_pipeline import on_nats

GAME = Game(game_id="g", title="G", spread=1, pulses=[Pulse(pulse_id="cheer", kinds=["fire"])])
BYTES_MAX = 200_000


@given(st.integers(0, 10**10), st.integers(-1, 10**10))
def test_there_is_room_until_less_than_the_reserve_is_left(used: int, bytes_max: int) -> None:
    room = Room()
    assert room.refusal() is None
    room.heard(used, bytes_max)
    full = bytes_max > 0 and (bytes_max - used) / bytes_max < RESERVE
    refusal = room.refusal()
    assert (refusal is not None) == full
    if refusal is not None:
        assert refusal.retryable
        assert f"{used} of at most {bytes_max} bytes" in refusal.message


class Stopped(Exception):
    """The call was aborted."""


class Context:
    """Of a call that ends as the service says."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.details = ""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details = code, details
        raise Stopped


class Stream:
    """One Publish stream to a service in this process, said and heard step by step."""

    def __init__(self, service: IngestService, **hello: Any) -> None:
        self.context = Context()
        self.heard: list[PublishResponse] = []
        self._requests: asyncio.Queue[PublishRequest] = asyncio.Queue()
        self._requests.put_nowait(PublishRequest(hello=Hello(**hello)))
        self._task = asyncio.create_task(self._hear(service))

    async def _hear(self, service: IngestService) -> None:
        responses: Any = service.Publish(self._say(), cast(Any, self.context))
        try:
            async for response in responses:
                self.heard.append(response)
        except Stopped:
            pass

    async def _say(self) -> AsyncIterator[PublishRequest]:
        while True:
            yield await self._requests.get()

    def say(self, *events: Event) -> None:
        self._requests.put_nowait(PublishRequest(events=EventBatch(events=events)))

    @property
    def acked(self) -> int:
        return max((r.ack.origin_seq for r in self.heard if r.HasField("ack")), default=0)

    async def ended(self) -> None:
        await asyncio.wait_for(self._task, 20)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def cheer(seq: int, origin_id: str = "", actor_id: str = "") -> Event:
    return Event(
        game_id="g",
        origin_id=origin_id,
        origin_seq=seq,
        actor_id=actor_id,
        reaction=Reaction(pulse_id="cheer", kind="fire"),
    )


async def service_on(bus: Bus, pipeline: PublishPipeline, room: Room) -> tuple[IngestService, CatalogWatch]:
    catalog = CatalogWatch(bus)
    await catalog.start()
    await catalog.bucket.put(subjects.game_key("g"), GAME.SerializeToString())
    publisher = Publisher(pipeline, CastVotes(bus), "test")
    runtime = cast(Runtime, SimpleNamespace(draining=asyncio.Event()))
    return IngestService(runtime, catalog, publisher, room), catalog


async def fill(pipeline: PublishPipeline, bus: Bus, up_to: float) -> None:
    """Blocks of others, until the log holds this share of its bound."""
    number = 0
    while (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.bytes < up_to * BYTES_MAX:
        await pipeline.publish(subjects.events(9), bytes(1_000), f"fill-{number}")
        number += 1


@pytest.mark.parametrize("relayed", [False, True])
def test_i4_a_nearly_full_log_takes_no_event_and_still_takes_controls(tmp_path: Path, relayed: bool) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path, bytes_max=BYTES_MAX) as (_, bus, pipeline):
            room = Room()
            watching = asyncio.create_task(watch(room, bus))
            service, catalog = await service_on(bus, pipeline, room)
            producer = {"producer": True} if relayed else {"actor_id": "ann"}
            origin_id = (
                ids.new_origin(producer=False, now_s=time.time(), entropy=bytes(12)) if relayed else ""
            )
            actor_id = "ann" if relayed else ""
            stream = Stream(service, **producer)
            stream.say(cheer(1, origin_id, actor_id))
            await until(lambda: any(r.HasField("ack") for r in stream.heard), "the first event is acked")
            await fill(pipeline, bus, 1 - RESERVE + 0.005)
            await until(lambda: room.refusal() is not None, "ingest has seen that the log is nearly full")
            before = (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages
            stream.say(cheer(2, origin_id, actor_id), cheer(3, origin_id, actor_id))
            if relayed:
                await until(
                    lambda: len([r for r in stream.heard if r.HasField("reject")]) == 2, "two refusals"
                )
                rejects = [r.reject for r in stream.heard if r.HasField("reject")]
                assert [(r.origin_id, r.origin_seq, r.code, r.retryable) for r in rejects] == [
                    (origin_id, 2, Exhausted.code, True),
                    (origin_id, 3, Exhausted.code, True),
                ]
                assert f"of at most {BYTES_MAX} bytes" in rejects[0].message
            else:
                await stream.ended()
                assert stream.context.code == grpc.StatusCode.UNAVAILABLE
                assert f"of at most {BYTES_MAX} bytes" in stream.context.details
                assert stream.acked == 1
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == before
            await pipeline.publish(subjects.events(1), bytes(1_000), "control-poll.g.mvp-2-1")
            await bus.js.purge_stream(subjects.EVENTS_STREAM)
            await until(lambda: room.refusal() is None, "ingest has seen that there is room")
            again = Stream(service, **producer)
            again.say(cheer(1, origin_id, actor_id))
            await until(lambda: any(r.HasField("ack") for r in again.heard), "events are taken again")
            for each in (stream, again):
                await each.close()
            watching.cancel()
            await catalog.stop()

    run(scenario())


def test_i1_a_log_that_is_full_all_the_same_ends_the_stream_and_acks_nothing(tmp_path: Path) -> None:
    """The bound was reached between two looks: the block is refused by the log itself."""

    async def scenario() -> None:
        async with on_nats(tmp_path, bytes_max=BYTES_MAX) as (_, bus, pipeline):
            service, catalog = await service_on(bus, pipeline, Room())
            with pytest.raises(Exhausted):
                await fill(pipeline, bus, 2.0)
            stream = Stream(service, actor_id="ann")
            # More than whatever the filling left: no block of its size fits any more.
            stream.say(*(cheer(seq) for seq in range(1, 61)))
            await stream.ended()
            assert stream.context.code == grpc.StatusCode.UNAVAILABLE
            assert "the event log is full" in stream.context.details
            assert stream.acked == 0
            await catalog.stop()

    run(scenario())
