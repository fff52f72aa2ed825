"""Pulling a partition's blocks: what mesh.jetstream.pull.Pull does. One consumer a partition, recreated by
each owner.

More hostile than JetStream: whose consumer was recreated by somebody else may go on for a while, and
blocks that were handed out before come again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mesh.jetstream.pull import PullBroken, Pulled
from tests.simulation.bus import ModelBus
from tests.simulation.stream import Stored

if TYPE_CHECKING:
    from tests.simulation.mesh import Mesh

_BATCH_MAX = 6


class ModelPull:
    def __init__(self, bus: ModelBus, _stream: str, filters: Sequence[str], _durable: str) -> None:
        self._process = bus.process
        self._bus = bus
        self._mesh: Mesh = bus.mesh
        self._partition = int(filters[0].rpartition(".")[2])
        self._arrived = asyncio.Event()
        self.first_at_s = 0.0
        self._at = 0
        self._broken = ""
        self.pending = 0
        self.queued = 0
        self.oldest_queued_at_s: float | None = None

    async def open(self, start_sequence: int) -> None:
        self._at = start_sequence - 1
        await self._bus.ask(self._begin)

    def _begin(self) -> None:
        for other in self._mesh.pulls.setdefault(self._partition, []):
            if self._mesh.world.random.random() < 0.7:
                other.broke("the consumer was recreated")
        self._mesh.pulls[self._partition].append(self)

    async def close(self) -> None:
        with contextlib.suppress(ValueError):
            self._mesh.pulls.get(self._partition, []).remove(self)

    def interrupt(self) -> None:
        self._arrived.set()

    def broke(self, why: str) -> None:
        self._broken = why
        self.arrived()

    def arrived(self) -> None:
        """Something may be there."""
        life = self._process.life
        self._mesh.cuts.through(
            self._process.name,
            "events",
            lambda: self._process.in_turn(lambda: self._process.loop.call_soon(self._arrived.set), life),
            0.003,
        )

    async def next(self, patience_s: float, gathers_until: float = 0.0) -> list[Pulled]:
        if not self._arrived.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()
        self._arrived.clear()
        if self._broken:
            raise PullBroken(self._broken)
        if self._mesh.cuts.left_s(self._process.name, "events"):
            return []
        random = self._mesh.world.random
        ahead = self._mesh.stream.after(self._partition, self._at)
        blocks = list(ahead[: random.randint(1, _BATCH_MAX)])
        if len(blocks) < len(ahead):
            self._arrived.set()
        if not blocks:
            return []
        self._at = blocks[-1].sequence
        self.first_at_s = self._process.loop.time()
        pulled = [_pulled(block) for block in blocks]
        if self._mesh.world.odds(0.05):
            old = random.choice(self._mesh.stream.of(self._partition))
            if old.sequence < blocks[0].sequence:
                pulled.insert(random.randint(0, len(pulled)), _pulled(old))
        return pulled


def _pulled(block: Stored) -> Pulled:
    return Pulled("", block.sequence, block.data, None, block.stored_at_s)
