"""Personal topics: an actor's inbox and its own places on boards, in the streams of its viewers.

A viewer is told the first state of each topic as soon as there is one, then every change, in `Personal`
messages. What cannot leave at once is kept as the newest state of each topic (I8).

Bounds: those of gateway.standings, gateway.inboxes and gateway.personal_mailbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from gateway import frames
from gateway.game_notices import GameNotices
from gateway.inbox_view import seen_of
from gateway.inboxes import WatchedInboxes
from gateway.personal_mailbox import Mailbox
from gateway.standing_plan import StandingKey
from gateway.standings import WatchedStandings
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import CrowdNotice
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
"""What was seen of a topic; of the inbox, see gateway.inbox_view."""


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
        self._offer(state.topic, state.SerializeToString(), version)

    def offer_inbox(self, state: bytes, version: int) -> None:
        """An encoded TopicState."""
        self._offer(INBOX, state, version)

    def _offer(self, topic: str, state: bytes, version: int) -> None:
        if self._mailbox.offer(topic, state, version):
            self._send()

    def _send(self) -> None:
        states = self._mailbox.waiting
        if self._is_blocked or not states:
            return
        if self._tell(frames.personal(states, wall_clock.now_s())):
            self._mailbox.told()
        else:
            self._is_blocked = True


class Personal:
    """One for each gateway."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        catalog: CatalogView,
        public: PublicId = UNKEYED,
        now: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`public`: under which ids actors are shown; `now`: Unix seconds."""
        self._now = now
        self._catalog = catalog
        self.standings = WatchedStandings(StandingStore(database), catalog, public=public)
        self.inboxes = WatchedInboxes(bus, database, now=now)

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
            generation = self._catalog.generation(game_id)
            inbox_seen = seen_of(seen.get(INBOX, ()))
            self.inboxes.watch(actor_id, game_id, inbox_seen, watch.offer_inbox, generation)
            watch.on_close(partial(self.inboxes.unwatch, actor_id, game_id, watch.offer_inbox))
        watch.writable()
        return watch

    def show(self, game_id: str) -> None:
        """The game has viewers, who are told of its notices; `hide` as often."""
        self.inboxes.show(game_id)

    def hide(self, game_id: str) -> None:
        self.inboxes.hide(game_id)

    def announce_to(self, announce: Callable[[str, bytes], None]) -> None:
        """`announce` is told each notice to a game's viewers: the game, and an encoded Announcement."""

        def on_crowd_notice(crowd: str, pushed: CrowdNotice) -> None:
            generation = self._catalog.generation(pushed.stored.notice.game_id)
            announcement = notices.announcement(crowd, pushed, self._now(), generation)
            if announcement is not None:
                announce(announcement.game_id, announcement.SerializeToString())

        notices = GameNotices()
        self.inboxes.on_crowd_notice = on_crowd_notice

    def board_changed(self, game_id: str, board_id: str) -> None:
        """A partition's share of the board changed, or the whole was loaded again."""
        self.standings.board_changed(game_id, board_id)
