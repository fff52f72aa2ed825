"""Incidents in JetStream, where a restart of everything finds them.

The stream INCIDENTS holds a message for each, replaced when it changes. While NATS is away, or its disk full,
changes wait here and are written once it stores again; what was not written is lost with this process.

Bounds: INCIDENTS_MAX incidents in the stream, of at most BYTES_MAX, and here; the oldest give way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable

from nats.errors import Error as NatsError
from nats.js import api as js_api

from mesh.canary.incidents import INCIDENTS_MAX, Incident, IncidentEnd, from_json
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.walk import walk

log = logging.getLogger(__name__)

BYTES_MAX = 2 * 1024 * 1024
_AGAIN_S = 1.0
_ASK_S = 2.0


class IncidentLog:
    def __init__(self) -> None:
        self._held: dict[str, Incident] = {}
        self._unsaved: dict[str, Incident] = {}
        self._changed = asyncio.Event()

    @property
    def incidents(self) -> list[Incident]:
        """The oldest first."""
        return [self._held[incident_id] for incident_id in sorted(self._held)]

    @property
    def unsaved(self) -> int:
        return len(self._unsaved)

    def keep(self, incident: Incident) -> None:
        self._hold(incident)
        self._unsaved[incident.incident_id] = incident
        while len(self._unsaved) > INCIDENTS_MAX:
            del self._unsaved[min(self._unsaved)]
        self._changed.set()

    def _hold(self, incident: Incident) -> None:
        self._held[incident.incident_id] = incident
        while len(self._held) > INCIDENTS_MAX:
            del self._held[min(self._held)]

    async def run(self, url: str, replicas: int) -> None:
        """Until cancelled."""
        bus = None
        try:
            while bus is None:
                try:
                    bus = await Bus.connect(url, "canary", replicas)
                except (NatsError, OSError) as error:
                    log.warning("no NATS to keep incidents in: %s", str(error) or type(error).__name__)
                    await asyncio.sleep(_AGAIN_S)
            await self._until_done(bus, self._load)
            while True:
                await self._until_done(bus, self._save)
                await self._changed.wait()
        finally:
            if bus is not None:
                await bus.close()

    async def _until_done(self, bus: Bus, step: Callable[[Bus], Awaitable[None]]) -> None:
        while True:
            try:
                await step(bus)
            except (NatsError, TimeoutError) as error:
                log.info("incidents wait for NATS: %s", str(error) or type(error).__name__)
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _load(self, bus: Bus) -> None:
        """What is stored; an incident that another life of the canary left open ends as unobserved."""
        await self._ensure(bus)
        async with contextlib.aclosing(
            walk(bus, subjects.INCIDENTS_STREAM, [subjects.INCIDENTS_ALL])
        ) as stored:
            async for batch, _ in stored:
                for each in batch:
                    try:
                        found = from_json(json.loads(each.data))
                    except (ValueError, KeyError, TypeError) as error:
                        log.warning("an incident that cannot be read is left out: %r", error)
                        continue
                    if found.incident_id in self._held:
                        continue
                    if found.end is IncidentEnd.OPEN:
                        self.keep(found.unobserved())
                    else:
                        self._hold(found)

    async def _save(self, bus: Bus) -> None:
        self._changed.clear()
        for incident_id, incident in sorted(self._unsaved.items()):
            try:
                await bus.js.publish(
                    subjects.incident(incident_id), json.dumps(incident.as_json()).encode(), timeout=_ASK_S
                )
            except NatsError:
                # Somebody may have deleted the stream.
                await self._ensure(bus)
                raise
            if self._unsaved.get(incident_id) is incident:
                del self._unsaved[incident_id]

    async def _ensure(self, bus: Bus) -> None:
        config = js_api.StreamConfig(
            name=subjects.INCIDENTS_STREAM,
            subjects=[subjects.INCIDENTS_ALL],
            storage=js_api.StorageType.FILE,
            discard=js_api.DiscardPolicy.OLD,
            max_msgs_per_subject=1,
            max_msgs=INCIDENTS_MAX,
            max_bytes=BYTES_MAX,
            num_replicas=bus.replicas,
        )
        await bus.js.add_stream(config)
