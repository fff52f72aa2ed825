"""Follows what is kept of the event stream during a run: checkpoints that come, blocks that are purged."""

from __future__ import annotations

import asyncio
import contextlib

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

_LOOK_S = 0.5
_CHECKPOINTS_STREAM = f"OBJ_{subjects.CHECKPOINTS_BUCKET}"
_CHECKPOINTS = f"$O.{subjects.CHECKPOINTS_BUCKET}.M.>"


class RoomWatch:
    """Counts what it sees twice a second; what comes and goes in between is missed."""

    def __init__(self, nats: str) -> None:
        self._nats = nats
        self._checkpoints: set[str] = set()
        self.purges = 0
        """How often the blocks of a partition became fewer."""
        self._blocks: dict[str, int] = {}

    @property
    def checkpoints(self) -> int:
        return len(self._checkpoints)

    async def run(self) -> None:
        """Until cancelled."""
        bus = await Bus.connect(self._nats, "chaos")
        try:
            while True:
                with contextlib.suppress(NatsError, TimeoutError, OSError):
                    await self._look(bus)
                await asyncio.sleep(_LOOK_S)
        finally:
            await bus.close()

    async def _look(self, bus: Bus) -> None:
        info = await bus.js.stream_info(subjects.EVENTS_STREAM, subjects_filter=subjects.EVENTS_ALL)
        now = dict(info.state.subjects or {})
        self.purges += sum(now.get(subject, 0) < before for subject, before in self._blocks.items())
        self._blocks = now
        with contextlib.suppress(NotFoundError):
            stored = await bus.js.stream_info(_CHECKPOINTS_STREAM, subjects_filter=_CHECKPOINTS)
            self._checkpoints.update(stored.state.subjects or {})
