"""Publishes what notify.announcer finds, on core NATS. Of several notify processes the one that judges a
game's rules announces: so viewers are told once.

At most once: an announcement that nobody heard is no loss, the state is elsewhere. Bound: the changes of the
catalog that are under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from nats.errors import Error as NatsError

from grandstand.notify.v1.notify_pb2 import Announcement
from mesh.catalog.view import CatalogView, Definition
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from notify.announcer import Announcer

log = logging.getLogger(__name__)


class Announcing:
    """`now`: Unix seconds of the mesh's clock; `judges`: whether a game is this process's."""

    def __init__(self, bus: Bus, now: Callable[[], float], judges: Callable[[str], bool]) -> None:
        self._bus = bus
        self._now = now
        self._judges = judges
        self._announcer = Announcer()
        self.announced = 0
        self._under_way: set[asyncio.Task[None]] = set()

    def learn(self, view: CatalogView) -> None:
        """What is there is no news."""
        for poll in view.polls():
            self._announcer.learn(subjects.poll_key(poll.game_id, poll.poll_id), poll)
        for board in view.boards():
            self._announcer.learn(subjects.board_key(board.game_id, board.board_id), board)

    def changed(self, key: str, definition: Definition | None) -> None:
        announcement = self._announcer.changed(key, definition, int(self._now() * 1e9))
        if announcement is not None and self._judges(announcement.game_id):
            self.announced += 1
            task = asyncio.create_task(self._publish(announcement))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def stop(self) -> None:
        await asyncio.gather(*self._under_way)

    async def _publish(self, announcement: Announcement) -> None:
        game_id = announcement.game_id
        log.info("game %s: %s", game_id, announcement.WhichOneof("news"), extra={"game": game_id})
        with contextlib.suppress(NatsError):
            await self._bus.client.publish(
                subjects.announcements(announcement.game_id), announcement.SerializeToString()
            )
