"""Real services before real servers: whatever stands still or refuses, /healthz names it, and takes it back.

One set of processes for all tests; each leaves it well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.lone_gateway import lone_gateway
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, Process, Stores, eventually
from toolbox.local import development

NOTICED_WITHIN_S = 5.0
HEALED_WITHIN_S = 10.0
STARTED_WITHIN_S = 60.0
"""Four processes at once on a machine that has other things to do."""
PROMISES = ("stored", "folded", "shown")


@dataclass
class Parts:
    edge: str
    stores: Stores
    ingest: Process
    aggregate: Process
    gateway: Process

    def ask(self, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
        with contextlib.closing(HTTPConnection(self.edge, timeout=5.0)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
            found = json.loads(content) if content.startswith(b"{") else {}
            return response.status, found

    def broken(self) -> dict[str, str]:
        """The reasons of the promises that are not kept."""
        status, found = self.ask()
        reasons = {name: found[name]["reason"] for name in PROMISES if not found[name]["ok"]}
        assert (status == 200) == (not reasons) == found["ok"]
        assert all((found[name]["since"] is not None) == (name in reasons) for name in PROMISES)
        return reasons

    def is_well(self) -> bool:
        return not self.broken()

    @contextlib.contextmanager
    def frozen(self, process: Process) -> Iterator[None]:
        """All is well before, and soon again after."""
        wait_for(self.is_well, "all is well", STARTED_WITHIN_S)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)
        wait_for(self.is_well, "all is well again", HEALED_WITHIN_S)

    def becomes(self, **reasons: str) -> dict[str, str]:
        """Soon these promises are broken for reasons with this text in them."""
        began_s, found = time.monotonic(), dict[str, str]()
        while not all(text in found.get(name, "") for name, text in reasons.items()):
            assert time.monotonic() - began_s < NOTICED_WITHIN_S, found
            time.sleep(0.05)
            found = self.broken()
        return found


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("parts")
    with lone_gateway(folder) as gateway:
        around = gateway.stores
        ingest = Process(
            "ingest-1",
            [
                *(sys.executable, "-m", "ingest", "--instance", "ingest-1"),
                *("--listen", f"{HOST}:{around.ports.take()}", "--mesh", f"{HOST}:1"),
                *("--nats", around.nats_url, "--redis", around.redis_url),
                *("--keys", folder / development.DEVELOPMENT_KEY),
                *("--mesh-key", development.ensure_mesh_key(folder)),
            ],
            folder,
        )
        around.processes.append(ingest)
        ingest.start()
        aggregate = around.worker("aggregate-1")
        edge = gateway.envoy()
        found = Parts(f"{edge.host}:{edge.port}", around, ingest, aggregate, gateway.process)
        yield found


def test_a_frozen_aggregate_breaks_one_promise(parts: Parts) -> None:
    with parts.frozen(parts.aggregate):
        found = parts.becomes(folded="aggregate-1 was not heard for")
        assert "16 of 16 partitions without an owner" in found["folded"]
        assert set(found) == {"folded"}
        assert parts.ask("/livez") == (200, {"ok": True})


def test_a_frozen_ingest_breaks_one_promise(parts: Parts) -> None:
    with parts.frozen(parts.ingest):
        found = parts.becomes(stored="ingest-1 was not heard for")
        assert set(found) == {"stored"}


def test_a_frozen_nats_breaks_them_all_and_no_gateway_is_taken_away_for_it(parts: Parts) -> None:
    with parts.frozen(parts.stores.nats):
        parts.becomes(**dict.fromkeys(PROMISES, "NATS: did not answer for"))
        assert parts.ask("/livez") == (200, {"ok": True})


def test_a_frozen_redis_is_named_by_who_reads_it(parts: Parts) -> None:
    with parts.frozen(parts.stores.valkey):
        found = parts.becomes(shown="gateway-1: Redis: did not answer for", folded="aggregate-1: Redis")
        assert "stored" not in found


def test_a_jetstream_that_refuses_and_a_log_without_room_are_told_in_its_words(parts: Parts) -> None:
    """The probes' stream is made to refuse a second message, the event stream to be nearly full."""
    wait_for(parts.is_well, "all is well")

    async def change(stream: str, **changes: Any) -> None:
        bus = await Bus.connect(parts.stores.nats_url, "operator")
        try:
            reply = await bus.client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=5.0)
            config = json.loads(reply.data)["config"] | changes
            reply = await bus.client.request(
                f"$JS.API.STREAM.UPDATE.{stream}", json.dumps(config).encode(), timeout=5.0
            )
            assert "error" not in json.loads(reply.data), reply.data
        finally:
            await bus.close()

    async def fill() -> None:
        bus = await Bus.connect(parts.stores.nats_url, "operator")
        try:
            await bus.js.publish(subjects.events(0), b"x" * 4_000)
        finally:
            await bus.close()

    asyncio.run(change(subjects.PROBES_STREAM, discard="new", discard_new_per_subject=True))
    found = parts.becomes(stored="ingest-1: event log: JetStream says: maximum messages per subject exceeded")
    assert set(found) == {"stored"}
    asyncio.run(change(subjects.PROBES_STREAM, discard="old", discard_new_per_subject=False))
    wait_for(parts.is_well, "all is well again", HEALED_WITHIN_S)
    asyncio.run(fill())
    with parts.frozen(parts.aggregate):  # it would make room, and ingest look too late
        asyncio.run(change(subjects.EVENTS_STREAM, max_bytes=4_100))
        parts.becomes(stored="ingest-1: room: the event log holds")
    asyncio.run(change(subjects.EVENTS_STREAM, max_bytes=limits.STREAM_BYTES_MAX))
    wait_for(parts.is_well, "all is well again", HEALED_WITHIN_S)


def test_probes_that_are_lost_are_made_anew_and_stay_out_of_the_event_stream(parts: Parts) -> None:
    wait_for(parts.is_well, "all is well")

    async def scenario() -> None:
        bus = await Bus.connect(parts.stores.nats_url, "operator")
        try:
            before = await bus.js.stream_info(subjects.EVENTS_STREAM)
            await bus.js.delete_stream(subjects.PROBES_STREAM)

            async def is_back() -> bool:
                with contextlib.suppress(NotFoundError):
                    found = await bus.js.stream_info(subjects.PROBES_STREAM)
                    # One message a subject, however often it is stored.
                    return found.state.last_seq > 2 and found.state.messages == 1
                return False

            await eventually(is_back, "the probes' stream is back")
            after = await bus.js.stream_info(subjects.EVENTS_STREAM)
            assert after.state.last_seq == before.state.last_seq
        finally:
            await bus.close()

    asyncio.run(scenario())
    assert parts.is_well()
