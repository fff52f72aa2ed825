"""The NATS connection: where it connects to, and how many servers hold what it makes."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from grandstand.wire.errors import NotNow
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus, first_sequence
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from toolbox.local.ports import Ports

pytestmark = EACH_NATS


async def last_sequence(bus: Bus) -> int:
    return (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.last_seq


def test_of_several_servers_one_that_answers_is_enough(tmp_path: Path) -> None:
    async def scenario() -> None:
        with closing(Ports()) as ports:
            async with on_nats(tmp_path) as (nats, first, _):
                dead = f"nats://127.0.0.1:{ports.take()}"
                bus = await Bus.connect(f"{dead}, {nats.url},", "test")
                _, last = await bus.events_stream()
                assert last == await last_sequence(first)
                await bus.close()

    run(scenario())


def test_replicas_without_a_cluster_are_refused_with_the_way_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, first, _):
            await first.js.delete_stream(subjects.EVENTS_STREAM)
            bus = await Bus.connect(nats.url, "test", replicas=3)
            with pytest.raises(NotNow, match=r"3 replicas .* NATS cluster .* --replicas 1"):
                await bus.ensure_events_stream()
            await bus.close()

    run(scenario())


def test_a_stream_that_exists_keeps_its_replicas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, _, _):
            bus = await Bus.connect(nats.url, "test", replicas=3)
            await bus.ensure_events_stream()
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).config.num_replicas == 1
            assert "keeps its replicas: 1, not 3" in caplog.text
            await bus.close()

    run(scenario())


def test_the_event_stream_that_is_made_anew_has_the_room_it_was_given(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, _, _):
            bus = await Bus.connect(nats.url, "test")
            for bytes_max in (2**20, None):
                await bus.js.delete_stream(subjects.EVENTS_STREAM)
                await bus.ensure_events_stream(bytes_max)
                assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).config.max_bytes == 2**20
            await bus.close()

    run(scenario())


def test_a_stream_made_anew_begins_beyond_the_one_before_whoever_dies_meanwhile(tmp_path: Path) -> None:
    """Else a purge or a position of the former one would mean its blocks."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, _):
            other = await Bus.connect(nats.url, "other")

            async def publish(times: int = 1) -> int:
                for _ in range(times):
                    ack = await bus.js.publish(subjects.events(1), b"x")
                return ack.seq

            first = await publish()
            before = await publish(2)
            assert first + 2 == before < 2**52
            nats.kill()
            nats.start()
            await bus.await_events_stream()
            state = (await bus.js.stream_info(subjects.EVENTS_STREAM)).state
            assert (state.first_seq, state.last_seq) == (first, before), "a restart takes nothing"
            await bus.js.delete_stream(subjects.EVENTS_STREAM)
            await asyncio.gather(*(each.events_stream() for each in (bus, other)))
            nats.kill()
            nats.start()
            await bus.await_events_stream()
            assert before < await publish() < 2**52
            await other.close()

    run(scenario())


def test_a_stream_that_was_left_half_made_is_finished_and_loses_nothing_twice(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            await bus.js.delete_stream(subjects.EVENTS_STREAM)
            made = await bus.js.add_stream(name=subjects.EVENTS_STREAM)
            waits = asyncio.create_task(bus.await_events_stream())
            identity, last = await bus.events_stream()
            await waits
            assert made.created is not None
            assert identity == made.created.isoformat()
            assert last + 1 == first_sequence(made.created)
            ack = await bus.js.publish(subjects.events(1), b"x")
            # Another process found it half-made too, and is late.
            await bus.js.purge_stream(subjects.EVENTS_STREAM, seq=last + 1)
            assert (await bus.js.get_msg(subjects.EVENTS_STREAM, ack.seq)).data == b"x"

    run(scenario())
