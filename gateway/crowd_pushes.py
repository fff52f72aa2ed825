"""Hears what notify pushes to crowds: to those that are shown here, and to no other.

A crowd is everyone, a segment, or the viewers of a game (mesh.notices.crowds); each has a subject of its own.
A game is heard while it has viewers, as they are told of its notices whether they watch an inbox or not.

Bound: a NATS subscription (some 5 KiB) for each crowd that is shown.

Rejected: one subscription for all. Every gateway would read what the rules of all games tell.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import CrowdNotice
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)


class CrowdPushes:
    """`on_push`: takes a crowd's name, and what was pushed to it."""

    def __init__(self, bus: Bus, on_push: Callable[[str, CrowdNotice], None]) -> None:
        self._bus = bus
        self._on_push = on_push
        self._wanted: Counter[str] = Counter()
        self._subscriptions: dict[str, Subscription] = {}

    def want(self, name: str) -> None:
        """Once more; `leave` as often."""
        self._wanted[name] += 1

    def leave(self, name: str) -> None:
        self._wanted[name] -= 1
        if not self._wanted[name]:
            del self._wanted[name]

    @property
    def is_behind(self) -> bool:
        return self._wanted.keys() != self._subscriptions.keys() and not self._bus.client.is_closed

    async def settle(self) -> None:
        """Listens to what is wanted now. Raises NatsError."""
        for name in self._subscriptions.keys() - self._wanted.keys():
            subscription = self._subscriptions.pop(name)
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()
        for name in sorted(self._wanted.keys() - self._subscriptions.keys()):
            self._subscriptions[name] = await self._bus.client.subscribe(subjects.crowd(name), cb=self._hear)

    async def stop(self) -> None:
        self._wanted.clear()
        with contextlib.suppress(NatsError):
            await self.settle()

    async def _hear(self, message: Msg) -> None:
        name = message.subject.partition(".")[2].replace(".", ":", 1)
        try:
            pushed = CrowdNotice.FromString(message.data)
        except DecodeError:
            log.warning("a notice to %s cannot be read: %d bytes", name, len(message.data))
            return
        self._on_push(name, pushed)
