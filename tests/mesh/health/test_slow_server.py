"""A server that answers, but after seconds, proves nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from nats.js import api as js_api

from grandstand.wire import tasks
from mesh.health import proofs
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.proxy import proxy_to
from tests.support.servers import Stores, eventually, stores

DELAY_S = 1.2
"""Each way: an answer takes longer than ATTEMPT_S, and the connection is not left for it."""

assert 2 * DELAY_S > proofs.ATTEMPT_S


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("servers")) as started:
        yield started


def test_answers_after_seconds_fail_the_checks_and_prompt_ones_mend_them(servers: Stores) -> None:
    async def scenario() -> None:
        port = urlsplit(servers.nats_url).port
        assert port is not None
        async with proxy_to(port) as proxy:
            bus = await Bus.connect(f"nats://127.0.0.1:{proxy.port}", "a")
            found = [proofs.nats_echo(bus), proofs.event_log(bus, "ingest", "a name. with *", lambda: 0)]
            proving = [asyncio.create_task(proofs.keep_proving(proof)) for proof in found]
            now_s = asyncio.get_running_loop().time

            async def are_well() -> bool:
                return all(
                    proof.check.is_decided(now_s()) and not proof.check.problem(now_s()) for proof in found
                )

            async def fail() -> bool:
                return all("did not answer for" in proof.check.problem(now_s()) for proof in found)

            await eventually(are_well, "both are proven")
            proxy.delay_s = DELAY_S
            await eventually(fail, "both fail")
            assert proxy.connections == 1
            proxy.delay_s = 0.0
            await eventually(are_well, "both are proven again")
            await tasks.end(*proving)
            await bus.close()

    asyncio.run(scenario())


def test_a_probes_stream_that_is_stuck_alone_is_made_anew(servers: Stores) -> None:
    """Without acks it is as one whose disk was full; the blocks that are stored meanwhile prove the log."""

    async def scenario() -> None:
        bus = await Bus.connect(servers.nats_url, "a")
        stuck = js_api.StreamConfig(name=subjects.PROBES_STREAM, subjects=[subjects.PROBES_ALL], no_ack=True)
        await bus.js.add_stream(stuck)
        blocks = itertools.count()
        log = proofs.event_log(bus, "ingest", "a", lambda: 0)
        with pytest.raises(TimeoutError):
            await log.prove()
        busy = proofs.event_log(bus, "ingest", "a", lambda: next(blocks))
        await busy.prove()
        await log.prove()
        assert not (await bus.js.stream_info(subjects.PROBES_STREAM)).config.no_ack
        await bus.close()

    asyncio.run(scenario())
