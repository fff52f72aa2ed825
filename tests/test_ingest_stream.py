"""I7: what a stream's client does not read, ingest does not pile up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

from nats.aio.client import Client

from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest
from ingest.publisher import Publisher
from ingest.room import Room
from ingest.service import IngestService
from ingest.votes import CastVotes
from mesh import limits
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.pipeline import PublishPipeline
from mesh.runtime import Runtime
from tests.games import run

BATCHES = 40
SIZE = limits.BATCH_EVENTS_MAX


def service() -> IngestService:
    """Real parts, connected to nothing: events that are refused by their form alone need no more."""
    bus = Bus(Client())
    publisher = Publisher(PublishPipeline(bus), CastVotes(bus), "t")
    return IngestService(
        cast(Runtime, SimpleNamespace(draining=asyncio.Event())), CatalogWatch(bus), publisher, Room()
    )


def test_a_client_that_leaves_its_refusals_unread_is_read_no_further_and_loses_none() -> None:
    taken = 0

    async def requests() -> AsyncIterator[PublishRequest]:
        nonlocal taken
        yield PublishRequest(hello=Hello(producer=True))
        for batch in range(BATCHES):
            taken += 1
            bad = Event(game_id="not an id", actor_id="ann", vote=Vote(poll_id="p", option_ids=["a"]))
            events = []
            for number in range(batch * SIZE + 1, (batch + 1) * SIZE + 1):
                bad.origin_seq = number
                events.append(Event.FromString(bad.SerializeToString()))
            yield PublishRequest(events=EventBatch(events=events))

    async def scenario() -> None:
        responses: Any = service().Publish(requests(), cast(Any, None))
        assert (await anext(responses)).HasField("welcome")
        before = -1
        while taken != before:  # the reader runs until it waits for us
            before = taken
            await asyncio.sleep(0)
        held = limits.ANSWERS_QUEUED_MAX + SIZE
        assert taken * SIZE <= 2 * held + SIZE
        refused = acked = 0
        async for response in responses:
            if response.HasField("reject"):
                refused += 1
                assert response.reject.origin_seq == refused
            else:
                acked = response.ack.origin_seq
        assert (refused, acked, taken) == (BATCHES * SIZE, BATCHES * SIZE, BATCHES)

    run(scenario())
