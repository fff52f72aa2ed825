"""Personal topics: an actor's inbox and its own places on boards, in the streams of its viewers.

A viewer is told the first state of each topic as soon as there is one, then every change, in `Personal`
messages. What cannot leave at once is kept as the newest state of each topic (I8).

Bounds: those of gateway.standings, gateway.inboxes and gateway.personal_mailbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from gateway.inboxes import WatchedInboxes
from gateway.personal_mailbox import Mailbox
from gateway.standing_plan import StandingKey
from gateway.standings import WatchedStandings
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import Personal as PersonalMessage
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.wire.topics import INBOX, PersonalTopics, standing_of
from mesh import wall_clock
from mesh.catalog.view import CatalogView
from mesh.jetstream.bus import Bus
from mesh.pseudonyms import UNKEYED, PublicId
from mesh.redis.database import Database
from mesh.redis.standings import StandingStore

Tell = Callable[[bytes], bool]
"""Sends an encoded SubscribeResponse if it may leave now, and says whether."""
Cursors = Iterable[tuple[str, Sequence[Position]]]
"""What was seen of a topic; of the inbox, its version is the only position's sequence."""


class PersonalWatch:
    """One viewer's personal topics; made by Personal.watch."""

    __slots__ = ("_close", "_is_blocked", "_mailbox", "_tell")

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._mailbox = Mailbox()
        self._is_blocked = True
        self._close: list[Callable[[], None]] = []

    def writable(self) -> None:
        """There is room again."""
        self._is_blocked = False
        self._send()

    def close(self) -> None:
        """Nothing is told any more; idempotent."""
        self._is_blocked = True
        closings, self._close = self._close, []
        for close in closings:
            close()

    def on_close(self, close: Callable[[], None]) -> None:
        self._close.append(close)

    def offer(self, state: TopicState, version: int) -> None:
        if self._mailbox.offer(state, version):
            self._send()

    def _send(self) -> None:
        states = self._mailbox.waiting
        if self._is_blocked or not states:
            return
        response = SubscribeResponse(personal=PersonalMessage(topics=states))
        response.as_of.FromNanoseconds(wall_clock.now_ns())
        if self._tell(response.SerializeToString()):
            self._mailbox.told()
        else:
            self._is_blocked = True


class Personal:
    """One for each gateway."""

    def __init__(
        self, bus: Bus, database: Database, catalog: CatalogView, public: PublicId = UNKEYED
    ) -> None:
        """`public`: under which ids actors are shown."""
        self.standings = WatchedStandings(StandingStore(database), catalog, public=public)
        self.inboxes = WatchedInboxes(bus, database)

    def start(self) -> None:
        self.standings.start()
        self.inboxes.start()

    async def stop(self) -> None:
        await self.standings.stop()
        await self.inboxes.stop()

    def watch(
        self,
        game_id: str,
        actor_id: str,
        topics: PersonalTopics,
        tell: Tell,
        *,
        positions: Sequence[Position] = (),
        cursors: Cursors = (),
    ) -> PersonalWatch:
        """Tells what is known at once and the rest as it comes, until the watch is closed.

        The first state of each topic includes `positions` (I6) and what `cursors` say was seen (I5): the
        caller has waited until the store has them. `tell` may be called before this returns; after it
        answered False it is called again when `writable` is. Raises Unknown for a game that the catalog
        does not know.
        """
        watch = PersonalWatch(tell)
        seen = dict(cursors)
        try:
            for board_id in sorted(topics.boards):
                place = StandingKey(game_id, board_id, actor_id)
                at_least = [*positions, *seen.get(standing_of(board_id), ())]
                self.standings.watch(place, at_least, watch.offer)
                watch.on_close(partial(self.standings.unwatch, place, watch.offer))
        except BaseException:
            watch.close()
            raise
        if topics.inbox:
            version = max((position.sequence for position in seen.get(INBOX, ())), default=0)
            self.inboxes.watch(actor_id, version, watch.offer)
            watch.on_close(partial(self.inboxes.unwatch, actor_id, watch.offer))
        watch.writable()
        return watch

    def board_changed(self, game_id: str, board_id: str) -> None:
        """A partition's share of the board changed, or the whole was loaded anew."""
        self.standings.board_changed(game_id, board_id)
