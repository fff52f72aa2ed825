"""Personal topics over a real NATS and Valkey: boards, inboxes, and what viewers were told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import redis

from gateway.personal import Personal, PersonalWatch
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_BEST, Board, Game
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.notify.v1.notify_pb2 import Announcement, InboxResult
from grandstand.wire import ids
from grandstand.wire.topics import PersonalTopics
from mesh.catalog.view import CatalogView
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.database import Database
from tests.support.boards import Blk, Score, board
from tests.support.servers import Stores
from tests.support.stored_board import StoredBoard
from tests.support.stored_notices import StoredNotices

SPREAD = 3


class Screen:
    """A viewer that takes messages while it is `open`; it fails if anything it is told goes back."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open
        self.refused = 0
        self.messages: list[list[str]] = []
        self.states: dict[str, TopicState] = {}

    def tell(self, encoded: bytes) -> bool:
        if not self.is_open:
            self.refused += 1
            return False
        response = SubscribeResponse.FromString(encoded)
        assert response.HasField("as_of")
        states = response.personal.topics
        self.messages.append([state.topic for state in states])
        for state in states:
            before = self.states.get(state.topic, TopicState())
            for seen in before.cursor.positions:
                assert sequence_of(state, seen.partition) >= seen.sequence, state.topic
            self.states[state.topic] = state
        return True

    @property
    def inbox(self) -> InboxResult:
        return self.states["inbox"].inbox

    @property
    def titles(self) -> list[str]:
        """Of the inbox; none before it is known."""
        return [each.title for each in self.inbox.newest] if "inbox" in self.states else []

    def place(self, board_id: str = "top") -> tuple[int, int, int]:
        """Rank, points, and how many there are."""
        shown = self.states[f"standing/{board_id}"].standing
        return shown.standing.rank, shown.standing.points, shown.actors


def sequence_of(state: TopicState, partition: int) -> int:
    return next((p.sequence for p in state.cursor.positions if p.partition == partition), 0)


@dataclass
class Rig:
    """A Personal as a gateway has it; each has a game of its own."""

    servers: Stores
    personal: Personal
    catalog: CatalogView
    database: Database
    bus: Bus
    notices: StoredNotices
    announced: list[Announcement]
    game_id: str

    def board(self, board_id: str = "top", *, is_open: bool = True) -> StoredBoard:
        definition = board(BOARD_MODE_BEST)
        definition.board_id = board_id
        stored = StoredBoard(self.database, self.game_id, definition, SPREAD)
        if is_open:
            self.opened(definition)
        return stored

    def define(self, generation: int) -> None:
        """The game, once more."""
        game = Game(game_id=self.game_id, spread=SPREAD, generation=generation)
        self.catalog.put(subjects.game_key(self.game_id), 1 + generation, game.SerializeToString())

    def opened(self, definition: Board) -> None:
        key = subjects.board_key(self.game_id, definition.board_id)
        self.catalog.put(key, 1, definition.SerializeToString())

    def empty(self) -> None:
        with redis.Redis.from_url(self.servers.redis_url) as client:
            client.flushall()

    def looked_up(self) -> int:
        """How often places were, since the store began."""
        with redis.Redis.from_url(self.servers.redis_url) as client:
            return int(client.info("commandstats").get("cmdstat_zcard", {"calls": 0})["calls"])

    async def fold(self, stored: StoredBoard, *scores: tuple[str, int]) -> None:
        """Folded, and stored."""
        at_s = stored.oracle.now_s + 1 if stored.oracle.taken else 1
        stored.feed(Blk(at_s, [Score(actor, points) for actor, points in scores]))
        await stored.flush()

    async def score(self, stored: StoredBoard, *scores: tuple[str, int]) -> None:
        """Folded, stored, and told to the gateway."""
        await self.fold(stored, *scores)
        self.personal.board_changed(self.game_id, stored.oracle.definition.board_id)

    def watch(
        self,
        screen: Screen,
        *boards: str,
        actor: str = "ann",
        inbox: bool = False,
        game_id: str = "",
        positions: Sequence[Position] = (),
        cursors: Sequence[tuple[str, Sequence[Position]]] = (),
    ) -> PersonalWatch:
        topics = PersonalTopics(inbox=inbox, boards=frozenset(boards))
        return self.personal.watch(
            game_id or self.game_id, actor, topics, screen.tell, positions=positions, cursors=cursors
        )


@contextlib.asynccontextmanager
async def rig(servers: Stores, game_id: str) -> AsyncIterator[Rig]:
    database = Database(servers.redis_url)
    bus = await Bus.connect(servers.nats_url, "test")
    view = CatalogView()
    game = Game(game_id=game_id, title="Personal", spread=SPREAD)
    view.put(subjects.game_key(game_id), 1, game.SerializeToString())
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()  # of what was told to everyone
    personal = Personal(bus, database, view)
    announced: list[Announcement] = []
    personal.announce_to(lambda _, encoded: announced.append(Announcement.FromString(encoded)))
    personal.start()
    notices = StoredNotices(bus, database, game_id)
    try:
        yield Rig(*(servers, personal, view, database, bus), notices, announced, game_id)
    finally:
        await personal.stop()
        await bus.close()
        await database.aclose()


assert len(ids.partitions_of("game", SPREAD)) == SPREAD
