"""I1, I9: what is acked is stored in time; what is not stored in time is not acked. On a real nats-server."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from grandstand.wire.errors import Exhausted, Unavailable
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from tests.support.games import run, until
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from toolbox.local import provision
from toolbox.local.ports import Ports

pytestmark = EACH_NATS


class Nats:
    """One nats-server that can be stopped, killed and started again on its port and files."""

    def __init__(self, store: Path, port: int) -> None:
        self._store = store
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        arguments = ("-js", "-sd", str(self._store), "-a", "127.0.0.1", "-p", str(self.port))
        self.process = subprocess.Popen([provision.nats_server(), *arguments], stderr=subprocess.DEVNULL)

    async def stop(self) -> None:
        """SIGSTOP, and waits until every thread stands still: the signal alone takes its time."""
        self.process.send_signal(signal.SIGSTOP)
        await until(self._stands_still, "nats-server stands still")

    def _stands_still(self) -> bool:
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@asynccontextmanager
async def on_nats(tmp_path: Path, bytes_max: int = 10**8) -> AsyncIterator[tuple[Nats, Bus, PublishPipeline]]:
    with closing(Ports()) as ports:
        nats = Nats(tmp_path, ports.take())
        try:
            bus = await Bus.connect(nats.url, "test")
            await bus.ensure_events_stream(bytes_max=bytes_max)
            pipeline = PublishPipeline(bus)
            await pipeline.start()
            yield nats, bus, pipeline
            await pipeline.close()
            await bus.close()
        finally:
            nats.kill()


def test_a_message_id_is_stored_once_however_often_it_is_published(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, pipeline):
            first = await pipeline.publish(subjects.events(1), b"x", "one")
            assert await pipeline.publish(subjects.events(1), b"x", "one") == first
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == 1

    run(scenario())


def test_publishes_under_way_when_nats_dies_are_stored_once_when_it_is_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, pipeline):
            publishes = [
                asyncio.create_task(pipeline.publish(subjects.events(1), b"x", f"m{n}")) for n in range(200)
            ]
            await asyncio.wait(publishes, return_when=asyncio.FIRST_COMPLETED)
            nats.kill()
            nats.start()
            sequences = await asyncio.gather(*publishes)
            first = min(sequences)
            assert sorted(sequences) == list(range(first, first + 200))
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == 200

    run(scenario())


def test_i9_without_an_answer_by_the_deadline_a_publish_fails_and_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, _, pipeline):
            await nats.stop()
            try:
                deadline_at = asyncio.get_running_loop().time() + 0.2
                with pytest.raises(Unavailable, match="did not answer within 5 s"):
                    await pipeline.publish(subjects.events(1), b"x", "late", deadline_at=deadline_at)
            finally:
                nats.process.send_signal(signal.SIGCONT)

    run(scenario())


def test_i9_an_ack_that_is_heard_after_the_deadline_is_none(tmp_path: Path) -> None:
    """As when the process itself is stopped between the publish and its ack."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, pipeline):
            loop = asyncio.get_running_loop()
            deadline_at = loop.time() + 0.2
            publish = asyncio.create_task(
                pipeline.publish(subjects.events(1), b"x", "stalled", deadline_at=deadline_at)
            )
            await asyncio.sleep(0)  # it starts, and then nothing of this loop runs any more
            while loop.time() < deadline_at:
                pass
            with pytest.raises(Unavailable):
                await publish
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages <= 1

    run(scenario())


def test_i4_a_full_stream_refuses_what_is_new_and_keeps_what_was_acked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path, bytes_max=5_000) as (_, bus, pipeline):
            publishes = (pipeline.publish(subjects.events(1), b"x" * 500, f"m{n}") for n in range(20))
            answers = await asyncio.gather(*publishes, return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, Exhausted)]
            assert refused
            assert "the event log is full" in refused[0].message
            acked = len(answers) - len(refused)
            assert acked > 0
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == acked

    run(scenario())
