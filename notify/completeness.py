"""Refuses to answer from a Redis that has lost inboxes and is filled again (notify.floors).

What was a part of an inbox would look like all of it. Gateways do not ask here: they go on showing what they
have (gateway.known_notices).

Bound: while Redis is behind, the streams are asked for their ends once in ASKED_EVERY_S, whoever calls.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Collection, Iterable, Mapping

from nats.errors import Error as NatsError

from grandstand.wire.errors import Unavailable
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus, first_sequence
from mesh.notices.stored import StreamPosition
from notify.floors import Floors

log = logging.getLogger(__name__)

ASKED_EVERY_S = 0.5
STREAMS = (subjects.NOTICES_STREAM, subjects.READERS_STREAM, subjects.SEGMENTS_STREAM)


class Completeness:
    def __init__(self, bus: Bus, floors: Floors) -> None:
        self._bus = bus
        self._floors = floors
        self._loop = asyncio.get_running_loop()
        self._asked_s = float("-inf")

    @classmethod
    async def begin(cls, bus: Bus) -> Completeness:
        """Waits for JetStream as long as it takes."""
        return cls(bus, Floors({name: _end(*await bus.await_stream_end(name)) for name in STREAMS}))

    async def check(self, applied: Mapping[str, StreamPosition], streams: Collection[str] = STREAMS) -> None:
        """`applied`: what Redis says; `streams`: of which it has to be whole. Raises Unavailable."""
        behind = self._behind(applied, streams)
        if behind and self._loop.time() >= self._asked_s + ASKED_EVERY_S:
            self._asked_s = self._loop.time()
            await self._learn_ends(behind)
            behind = self._behind(applied, streams)
        if behind:
            done = total = 0
            for at, floor in behind.values():
                base = _base(floor.stream)
                done, total = done + max(0, at - base), total + floor.sequence - base
            raise Unavailable(f"inboxes are being rebuilt: {done} of {total}; try again in a moment")

    def _behind(
        self, applied: Mapping[str, StreamPosition], streams: Collection[str]
    ) -> dict[str, tuple[int, StreamPosition]]:
        return {name: each for name, each in self._floors.below(applied).items() if name in streams}

    async def _learn_ends(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                self._floors.ends(name, _end(*await self._bus.stream_end(name)))
            except (NatsError, TimeoutError) as error:
                log.info("%s does not say where it ends: %s", name, str(error) or type(error).__name__)


def _end(stream: str, sequence: int) -> StreamPosition:
    """Of a stream that never had a message, 0."""
    return StreamPosition(stream, sequence if sequence > _base(stream) else 0)


def _base(stream: str) -> int:
    """The sequence before the first one that the stream gives, by its identity."""
    return first_sequence(datetime.datetime.fromisoformat(stream)) - 1
