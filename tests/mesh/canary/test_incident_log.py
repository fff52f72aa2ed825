"""Incidents outlive everything that is restarted, and wait while NATS is away."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, closing, suppress
from dataclasses import replace
from pathlib import Path

from mesh.canary.incident_log import IncidentLog
from mesh.canary.incidents import INCIDENTS_MAX, IncidentEnd
from mesh.jetstream import subjects
from tests.mesh.jetstream.test_publish_pipeline import Nats
from tests.support.games import run, until
from tests.toolbox.cli.test_canary import INCIDENT
from toolbox.local.ports import Ports


class Running:
    """A log at work until it is closed."""

    def __init__(self, url: str) -> None:
        self.log = IncidentLog()
        self._task = asyncio.create_task(self.log.run(url, 1))

    async def aclose(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


def test_what_was_kept_while_nats_was_away_is_found_by_the_next_life(tmp_path: Path) -> None:
    async def scenario() -> None:
        with closing(Ports()) as ports:
            port = ports.take()
        nats = Nats(tmp_path, port)
        nats.kill()
        try:
            opened = replace(INCIDENT, incident_id="2", end=IncidentEnd.OPEN, recovered_after_s=None)
            async with aclosing(Running(nats.url)) as first:
                first.log.keep(opened)
                first.log.keep(INCIDENT)
                first.log.keep(replace(opened, without_acks_s=9.0))
                assert first.log.unsaved == 2
                nats.start()
                await until(lambda: not first.log.unsaved, "they are stored")
                nats.kill()
                nats.start()
                first.log.keep(replace(INCIDENT, incident_id="3"))
                await until(lambda: not first.log.unsaved, "the third is stored")
            async with aclosing(Running(nats.url)) as second:
                await until(lambda: len(second.log.incidents) == 3, "they are found")
                ended = replace(opened, without_acks_s=9.0).unobserved()
                assert second.log.incidents == [INCIDENT, ended, replace(INCIDENT, incident_id="3")]
                await until(lambda: not second.log.unsaved, "that nobody saw its end is stored")
                await _stored_are_bounded_and_what_is_damaged_is_left_out(nats.url)
            async with aclosing(Running(nats.url)) as third:
                await until(lambda: len(third.log.incidents) == 3, "the damaged one is left out")
        finally:
            nats.kill()

    run(scenario())


async def _stored_are_bounded_and_what_is_damaged_is_left_out(url: str) -> None:
    from mesh.jetstream.bus import Bus

    bus = await Bus.connect(url, "test")
    found = await bus.js.stream_info(subjects.INCIDENTS_STREAM)
    assert found.state.messages == 3, "one for each incident, however often it changed"
    assert found.config.max_msgs == INCIDENTS_MAX
    assert found.config.max_bytes
    for number, damaged in enumerate((b"{", b"[]", json.dumps({"kind": "x"}).encode())):
        await bus.js.publish(subjects.incident(f"0{number}"), damaged)
    await bus.close()


def test_the_oldest_give_way() -> None:
    log = IncidentLog()
    for number in range(INCIDENTS_MAX + 5):
        log.keep(replace(INCIDENT, incident_id=f"{number:05d}"))
    assert len(log.incidents) == log.unsaved == INCIDENTS_MAX
    assert log.incidents[0].incident_id == "00005"
