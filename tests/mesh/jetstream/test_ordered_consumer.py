"""What is stored already is brought first, and meanwhile a server that sends is not taken for dead."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.js import api as js_api

from mesh.jetstream.client import NatsClient
from mesh.jetstream.ordered_consumer import Delivered, OrderedConsumer
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run, until

STORED = 300


def test_what_was_stored_is_loaded_until_its_last_message_has_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            await bus.js.add_stream(js_api.StreamConfig(name="LOADED", subjects=["loaded.*"]))
            for at in range(STORED):
                await bus.client.publish(f"loaded.{at}", b"x")
            last = await bus.js.publish("loaded.last", b"x")
            loads: list[bool] = []

            def hear(_: Delivered) -> None:
                loads.append(consumer in bus.loads)

            consumer = OrderedConsumer(bus, hear, pytest.fail)
            assert await consumer.open("LOADED", ["loaded.*"]) == last.seq
            await until(lambda: len(loads) == last.seq, "all has come")
            assert not bus.loads
            await bus.js.publish("loaded.more", b"x")
            await until(lambda: len(loads) > last.seq, "what came later")
            assert not any(loads[-2:])

            broken = OrderedConsumer(bus, hear, pytest.fail)
            broken._number = -1  # so that what has come is never all of it
            await broken.open("LOADED", ["loaded.none"])
            assert broken in bus.loads
            await broken.close()
            assert not bus.loads

    run(scenario())


@pytest.mark.parametrize(
    ("loads", "heard", "outstanding"), [(True, 5, 0), (True, 4, 3), (False, 5, 3)], ids=str
)
def test_a_server_that_answers_no_pings_is_alive_only_while_it_brings_what_was_stored(
    loads: bool, heard: int, outstanding: int
) -> None:
    async def scenario() -> None:
        client: Any = NatsClient()
        written: list[bytes] = []
        client._transport = SimpleNamespace(write=written.append)
        client._flush_pending = lambda: asyncio.sleep(0)
        client.stats["in_msgs"] = 4
        await client._send_ping()
        client.stats["in_msgs"] = heard
        client._pings_outstanding = 3
        client.loads = {"a consumer"} if loads else set()
        await cast(NatsClient, client)._send_ping()
        assert client._pings_outstanding == outstanding
        assert len(written) == 2

    run(scenario())
