"""What the event log holds after a run: read from its first block to its last, each row by its identity."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import numpy as np
from nats.aio.msg import Msg
from numpy.typing import NDArray

from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire import ids
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from toolbox.local.errors import MeshError

_SILENCE_S = 10.0


class StoredRows(NamedTuple):
    blocks: int
    rows: int
    numbers: dict[str, NDArray[np.uint64]]
    """By origin id: the sequence numbers that are stored, each once, ascending."""


class StoredCounter:
    """Adds up blocks."""

    def __init__(self) -> None:
        self.blocks = 0
        self._places: dict[str, int] = {}
        self._origins: list[NDArray[np.int64]] = []
        self._seqs: list[NDArray[np.uint64]] = []

    def add(self, data: bytes) -> None:
        self.blocks += 1
        events = Block.FromString(data).events
        names = [
            ids.origin_of(keys[at : at + 16], producer=producer)
            for keys, producer in ((events.viewers, False), (events.producers, True))
            for at in range(0, len(keys), 16)
        ]
        places = np.array(
            [self._places.setdefault(name, len(self._places)) for name in names], dtype=np.int64
        )
        self._origins.append(places[np.frombuffer(events.origin, dtype="<u2")])
        self._seqs.append(np.frombuffer(events.origin_seq, dtype="<u8"))

    def stored(self) -> StoredRows:
        if not self.blocks:
            return StoredRows(0, 0, {})
        origins, seqs = np.concatenate(self._origins), np.concatenate(self._seqs)
        order = np.lexsort((seqs, origins))
        bounds = np.searchsorted(origins[order], np.arange(len(self._places) + 1))
        return StoredRows(
            self.blocks,
            len(seqs),
            {
                name: np.unique(seqs[order[bounds[place] : bounds[place + 1]]])
                for name, place in self._places.items()
            },
        )


async def read_stored(nats_url: str) -> StoredRows:
    """Raises MeshError when the log's blocks stop coming before its end."""
    tally = StoredCounter()
    bus = await Bus.connect(nats_url, "bench")
    try:
        wanted = (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages
        came = asyncio.Event()

        async def take(message: Msg) -> None:
            tally.add(message.data)
            came.set()

        subscription = await bus.js.subscribe(subjects.EVENTS_ALL, cb=take, ordered_consumer=True)
        while tally.blocks < wanted:
            came.clear()
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await came.wait()
            except TimeoutError:
                raise MeshError(f"the event log gave {tally.blocks} of its {wanted} blocks") from None
        await subscription.unsubscribe()
    finally:
        await bus.close()
    return tally.stored()
