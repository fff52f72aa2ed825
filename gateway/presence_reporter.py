"""Reports who watches through this gateway: Presence events, sent through the relay.

Each report is an event of an origin of this gateway, numbered without gaps, for the actor who watches (I2: an
event that the relay resends is counted once), and names the gateway as its source: who watches through
several counts once, until the last of them says that it has gone (aggregate.audience). What a killed gateway
said stops counting after PRESENCE_S. Reports that cannot be sent now wait; a newer report replaces an older
one of the same actor and game. Viewers without a token are not reported, nor are games that count no
audience, by the current catalog.

A report that was refused, shed or lost is not sent again: the next regular one says the same, and an actor
that is not reported stops counting after PRESENCE_S. So presence never delays anything else (I7).

Bounds: PRESENCES_MAX waiting reports; on overflow the newest report is dropped. REPORTS_AT_ONCE in one round,
a round each ROUND_S, PRESENCES_UNANSWERED_MAX unanswered, and their sequence numbers span less than the
origin's credit.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

from gateway import bounds
from gateway.presence import Key, Presence
from grandstand.event.v1 import event_pb2 as pb
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted, GrandstandError, OriginRefused, Unknown
from mesh import limits, wall_clock
from mesh.catalog.view import CatalogView

log = logging.getLogger(__name__)

ROUND_S = 0.05
# Some milliseconds of the loop's time.
REPORTS_AT_ONCE = 200
# After the relay had no room.
FULL_WAIT_S = 1.0
ORIGIN_RENEW_S = wire_bounds.ORIGIN_AGE_MAX_S / 2
COMPLAIN_EVERY_S = 60.0

assert REPORTS_AT_ONCE <= bounds.PRESENCES_UNANSWERED_MAX
assert REPORTS_AT_ONCE / ROUND_S > 2 * limits.VIEWERS_MAX / bounds.PRESENCE_REPORT_S, "regular reports fit"


class Submits(Protocol):
    """The part of the relay that is used here."""

    def submit(self, event: Event, on_answer: Callable[[Position | GrandstandError], None]) -> object:
        """Calls `on_answer` once, after it has returned. Raises GrandstandError if it takes no event."""
        ...


class PresenceReporter:
    """Runs on the running loop. `stop` it when the gateway begins to drain, before the streams end: other
    gateways report the viewers as present, and reports from here would contradict that."""

    def __init__(
        self,
        relay: Submits,
        catalog: CatalogView,
        gateway: str,
        presence: Presence | None = None,
        now: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`now`: Unix seconds."""
        self._now = now
        self._relay = relay
        self._source = source_of(gateway)
        self._catalog = catalog
        self._presence = presence or Presence()
        self._loop = asyncio.get_running_loop()
        self._waiting: OrderedDict[Key, bool] = OrderedDict()
        self._unanswered: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._origin_id = ""
        self._renew_at_s = 0.0
        self._seq = 0
        self._timer: asyncio.TimerHandle | None = None
        self._round_again_s = 0.0
        self._blocked_until_s = 0.0
        self._stopped = False
        self._failed = 0
        self._complain_at_s = 0.0

    def enter(self, game_id: str, actor_id: str | None, guest: bool = False) -> None:
        """A viewer's stream opened; `actor_id` None or "" without a token."""
        if actor_id and not self._stopped:
            self._presence.enter(game_id, actor_id, self._loop.time(), guest)
            self._plan()

    def leave(self, game_id: str, actor_id: str | None, guest: bool = False) -> None:
        """One that had entered closed."""
        if actor_id and not self._stopped:
            self._presence.leave(game_id, actor_id, self._loop.time(), guest)
            self._plan()

    def stop(self) -> None:
        """No more reports are sent."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        """Sets the timer to the next round, if that is sooner than the one it is set to."""
        at_s = self._presence.next_at_s
        if self._waiting:
            at_s = self._blocked_until_s
        if at_s is None or self._stopped:
            return
        at_s = max(at_s, self._round_again_s)
        if self._timer is not None:
            if self._timer.when() <= at_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at_s, self._round)

    def _round(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        self._gather(now_s)
        self._send(now_s)
        # From the end of this one: a slow machine's loop has time for others between two rounds.
        self._round_again_s = self._loop.time() + ROUND_S
        self._plan()

    def _gather(self, now_s: float) -> None:
        counted: dict[str, bool] = {}
        for game_id, actor_id, present, guest in self._presence.due(now_s):
            counts = counted.get(game_id)
            if counts is None:
                counts = counted[game_id] = self._counts_audience(game_id)
            key = (game_id, actor_id, guest)
            if counts and (key in self._waiting or len(self._waiting) < bounds.PRESENCES_MAX):
                self._waiting[key] = present

    def _counts_audience(self, game_id: str) -> bool:
        try:
            return self._catalog.game(game_id).audience
        except Unknown:
            return False

    def _send(self, now_s: float) -> None:
        """Sends as many reports as one round allows."""
        if now_s < self._blocked_until_s:
            return
        for _ in range(min(len(self._waiting), REPORTS_AT_ONCE)):
            number = self._next_number()
            if number is None:
                return
            key, present = self._waiting.popitem(last=False)
            game_id, actor_id, guest = key
            event = Event(origin_id=number[0], origin_seq=number[1], game_id=game_id, actor_id=actor_id)
            event.guest = guest
            event.presence.state = pb.PRESENCE_STATE_HERE if present else pb.PRESENCE_STATE_GONE
            event.presence.source = self._source
            try:
                self._relay.submit(event, functools.partial(self._answered, number))
            except GrandstandError as error:
                self._waiting[key] = present
                self._waiting.move_to_end(key, last=False)
                self._blocked_until_s = now_s + (error.retry_after_s or FULL_WAIT_S)
                self._complain(error)
                return
            self._seq = number[1]
            self._unanswered[number] = None

    def _next_number(self) -> tuple[str, int] | None:
        """The identity of the next event; None while as many are unanswered as may be."""
        if len(self._unanswered) >= bounds.PRESENCES_UNANSWERED_MAX:
            return None
        now_s = self._now()
        if now_s >= self._renew_at_s:
            self._origin_id = ids.new_origin(producer=True, now_s=now_s, entropy=os.urandom(12))
            self._renew_at_s = now_s + ORIGIN_RENEW_S
            self._seq = 0
        number = (self._origin_id, self._seq + 1)
        if self._unanswered:
            origin_id, oldest = next(iter(self._unanswered))
            if number[1] - (oldest if origin_id == number[0] else 1) >= ids.origin_credit(number[0]):
                return None
        return number

    def _answered(self, number: tuple[str, int], answer: Position | GrandstandError) -> None:
        self._unanswered.pop(number, None)
        if isinstance(answer, OriginRefused) and number[0] == self._origin_id:
            self._renew_at_s = 0.0
        # Presence is the first kind to be shed or rate limited: no reason to log.
        if isinstance(answer, GrandstandError) and not isinstance(answer, Exhausted):
            self._complain(answer)

    def _complain(self, error: GrandstandError) -> None:
        self._failed += 1
        if self._loop.time() >= self._complain_at_s:
            log.warning(
                "%d reports of who watches were not taken; the next ones make up for it. The last: %s",
                self._failed,
                error,
            )
            self._complain_at_s = self._loop.time() + COMPLAIN_EVERY_S
            self._failed = 0


def source_of(gateway: str) -> int:
    """The source of a gateway's reports, 1 to 2^32-1, by its instance's name: the same after a restart, so
    that what is said of an actor that comes back replaces what was said before."""
    return int.from_bytes(blake2b(gateway.encode(), digest_size=4).digest(), "little") or 1
