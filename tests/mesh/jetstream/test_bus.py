"""The NATS connection: where it connects to, and how many servers hold what it makes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from grandstand.wire.errors import NotNow
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from toolbox.local.ports import Ports

pytestmark = EACH_NATS


def test_of_several_servers_one_that_answers_is_enough(tmp_path: Path) -> None:
    async def scenario() -> None:
        with closing(Ports()) as ports:
            async with on_nats(tmp_path) as (nats, _, _):
                dead = f"nats://127.0.0.1:{ports.take()}"
                bus = await Bus.connect(f"{dead}, {nats.url},", "test")
                assert (await bus.events_stream())[1] == 0
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
