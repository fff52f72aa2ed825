"""Bots that act: each an origin of its own on a Publish stream, all paced to one rate.

Kinds do not mix on a stream, so the positions of an Ack are those of its own kind: a vote is then on screen
when the poll's cursor holds them. Votes come from producers that name a new actor for
each (see `ledger` for why); scores from one actor to each bot, reactions likewise.

A bot whose credit is used up is passed over. When all are, the schedule waits, and what was not
sent is reported as held back: pushed back, never dropped on the way (I7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import grpc.aio

from grandstand.client import Publisher, Receipt, Refused, SessionLost, Shed, Token
from grandstand.event.v1.event_pb2 import Event
from toolbox.load.ledger import Account
from toolbox.load.pace import Pacer

# Wake at most this often: below it, what is due is sent together.
TICK_MIN_S = 0.002


@dataclass(frozen=True, slots=True)
class Cast:
    """An event to send, and what it adds to its result."""

    event: Event
    units: int = 1


class BotPool:
    """Bots of one kind. `make(bot, number)` writes the event that a bot sends next."""

    def __init__(
        self,
        publishers: list[Publisher],
        make: Callable[[int, int], Cast],
        on_acked: Callable[[Receipt, float], None] | None = None,
    ) -> None:
        self.account = Account()
        self.held_back = 0
        self.lost: SessionLost | None = None
        self.newest: dict[int, int] = {}
        self._publishers = publishers
        self._make = make
        self._on_acked = on_acked
        self._turn = 0
        self._number = 0

    @property
    def resumed(self) -> int:
        """How often a stream stood again after one broke."""
        return sum(publisher.counts.resumed for publisher in self._publishers)

    async def run(self, pacer: Pacer, until_s: float) -> None:
        """Sends at the pacer's rate until the loop's clock reads `until_s`, or a session is lost."""
        loop = asyncio.get_running_loop()
        while (now_s := loop.time()) < until_s and self.lost is None:
            for _ in range(pacer.due(now_s)):
                if not self._send_one(loop.time()):
                    self.held_back += 1
            next_s = min(until_s, max(pacer.next_s, now_s + TICK_MIN_S))
            await asyncio.sleep(next_s - now_s)

    async def drain(self, timeout_s: float) -> int:
        """Waits until every event is settled; returns how many are not after `timeout_s`."""
        return sum(await asyncio.gather(*(publisher.drain(timeout_s) for publisher in self._publishers)))

    async def close(self) -> None:
        """Ends the sessions; whatever is not settled yet is given up, and in the account as that."""
        await asyncio.gather(*(publisher.aclose() for publisher in self._publishers))
        # Receipts reach the account by callbacks of the loop's next turn.
        await asyncio.sleep(0)

    def _send_one(self, now_s: float) -> bool:
        for _ in range(len(self._publishers)):
            bot = self._turn
            self._turn = (self._turn + 1) % len(self._publishers)
            cast = self._make(bot, self._number)
            try:
                receipt = self._publishers[bot].try_submit(cast.event)
            except SessionLost as lost:
                self.lost = lost
                return False
            if receipt is not None:
                self._number += 1
                self.account.on_sent(cast.units)
                receipt.add_done_callback(partial(self._settled, now_s, cast.units))
                return True
        return False

    def _settled(self, sent_s: float, units: int, receipt: asyncio.Future[Receipt]) -> None:
        error = receipt.exception()
        if error is None:
            self.account.on_acked(units)
            stored = receipt.result()
            for position in stored.positions:
                if self.newest.get(position.partition, 0) < position.sequence:
                    self.newest[position.partition] = position.sequence
            if self._on_acked is not None:
                self._on_acked(stored, sent_s)
        elif isinstance(error, Refused):
            self.account.on_refused(error.code.name, maybe_stored=error.maybe_stored, units=units)
        elif isinstance(error, Shed):
            self.account.on_shed(maybe_stored=error.maybe_stored, units=units)
        else:
            self.account.on_lost_sight()


def producers(
    channels: list[grpc.aio.Channel], count: int, client: str, token: Token | None = None
) -> list[Publisher]:
    """`count` started sessions in the producer role, spread over the channels.

    Without a buffer: what the credit does not allow is held back, and known to be.
    """
    publishers = [
        Publisher(
            channels[number % len(channels)], producer=True, client=client, token=token, buffer_events_max=0
        )
        for number in range(count)
    ]
    for publisher in publishers:
        publisher.start()
    return publishers
