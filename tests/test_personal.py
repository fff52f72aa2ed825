"""Personal topics over a real NATS and Valkey: what a viewer is told of its own place and inbox, and when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import pytest
import redis

from gateway.personal import Personal, Watch
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_BEST, STAGE_OPEN, Board, Game
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.internal.v1.internal_pb2 import Inbox
from grandstand.notify.v1.notify_pb2 import InboxResult, Notification
from mesh import ids, layout, limits, subjects
from mesh.bus import Bus
from mesh.catalog import CatalogView
from mesh.database import Database
from mesh.errors import Unknown
from mesh.topics import PersonalTopics
from notify.inboxes import Inboxes
from tests.boards import Blk, Score, board
from tests.games import run, until
from tests.servers import Stores, stores
from tests.stored_board import StoredBoard

SPREAD = 3


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("personal")) as started:
        yield started


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
    inboxes: Inboxes
    game_id: str

    def board(self, board_id: str = "top", *, is_open: bool = True) -> StoredBoard:
        definition = board(BOARD_MODE_BEST)
        definition.board_id = board_id
        stored = StoredBoard(self.database, self.game_id, definition, SPREAD)
        if is_open:
            self.opened(definition)
        return stored

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
        positions: Sequence[Position] = (),
        cursors: Sequence[tuple[str, Sequence[Position]]] = (),
    ) -> Watch:
        topics = PersonalTopics(inbox=inbox, boards=frozenset(boards))
        return self.personal.watch(
            self.game_id, actor, topics, screen.tell, positions=positions, cursors=cursors
        )


@contextlib.asynccontextmanager
async def rig(servers: Stores, game_id: str) -> AsyncIterator[Rig]:
    database = Database(servers.redis_url)
    bus = await Bus.connect(servers.nats_url, "test")
    view = CatalogView()
    game = Game(game_id=game_id, title="Personal", spread=SPREAD)
    view.put(subjects.game_key(game_id), 1, game.SerializeToString())
    personal = Personal(bus, database, view)
    personal.start()
    try:
        yield Rig(servers, personal, view, database, bus, Inboxes(bus, database), game_id)
    finally:
        await personal.stop()
        await bus.close()
        await database.aclose()


def note(notification_id: str, title: str = "hello") -> Notification:
    return Notification(notification_id=notification_id, title=title)


# One's own place.


def test_an_own_place_is_told_at_once_and_when_it_changes_and_only_then(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "own-place") as r:
            top = r.board()
            await r.score(top, ("bob", 5), ("cleo", 3))
            screen, other = Screen(), Screen()
            r.watch(screen, "top")
            await until(lambda: screen.states, "the first state comes")
            assert screen.place() == (0, 0, 2)
            assert not screen.states["standing/top"].standing.HasField("standing")
            assert screen.states["standing/top"].stage == STAGE_OPEN
            r.watch(other, "top", actor="bob")
            await until(lambda: other.states, "bob has one")
            assert other.place() == (1, 5, 2)
            await r.score(top, ("ann", 4))
            await until(lambda: screen.place() == (2, 4, 3), "ann is second")
            await until(lambda: other.place() == (1, 5, 3), "bob has one more below")
            # What changes nothing for ann is not told: the next she hears of is what does.
            heard = len(screen.messages)
            await r.score(top, ("ann", 1))
            await r.score(top, ("bob", 9))
            await until(lambda: other.place() == (1, 9, 3), "bob is told")
            await r.score(top, ("ann", 10))
            await until(lambda: screen.place() == (1, 10, 3), "ann leads")
            assert len(screen.messages) == heard + 1

    run(scenario())


def test_no_place_is_told_on_a_board_that_nobody_has_opened_until_somebody_does(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "no-board") as r:
            later = r.board("later", is_open=False)
            screen = Screen()
            r.watch(screen, "later")
            await until(lambda: screen.states, "the first state comes")
            assert screen.place("later") == (0, 0, 0)
            r.opened(later.oracle.definition)
            await r.score(later, ("ann", 7))
            await until(lambda: screen.place("later") == (1, 7, 1), "ann has a place")

    run(scenario())


def test_the_first_place_includes_the_positions_and_cursors_it_is_watched_with(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "barrier") as r:
            top = r.board()
            await r.score(top, ("ann", 1), ("bob", 1))
            known = Screen()
            r.watch(known, "top")
            await until(lambda: known.states, "a place is known")
            # It changes, and the gateway hears nothing of it: who hands in a position is shown it anyway.
            await r.fold(top, ("ann", 8))
            (own,) = [p for p in top.applied if p == top.partition_of("ann")]
            position = Position(partition=own, sequence=top.applied[own])
            elsewhere = Position(partition=(own + SPREAD) % limits.PARTITIONS, sequence=10**9)
            by_position, by_cursor = Screen(), Screen()
            r.watch(by_position, "top", positions=[position, elsewhere])
            await until(lambda: by_position.states, "the place comes")
            assert by_position.place() == (1, 8, 2)
            await until(lambda: known.place() == (1, 8, 2), "who shares the reading is told as well")
            r.watch(by_cursor, "top", cursors=[("standing/top", [position])])
            assert by_cursor.place() == (1, 8, 2), "what is known includes it: it is told at once"
            # One that the store does not hold is waited for, and nothing older is told.
            ahead = Position(partition=own, sequence=top.applied[own] + 1)
            waiting, resuming = Screen(), Screen()
            r.watch(waiting, "top", positions=[ahead])
            r.watch(resuming, "top", cursors=[("standing/top", [ahead])])
            looked_up = r.looked_up()
            await until(lambda: r.looked_up() > looked_up, "the place is looked up")
            assert not waiting.states
            assert not resuming.states
            await r.fold(top, ("ann", 9))
            await until(lambda: waiting.states and resuming.states, "the place comes")
            assert waiting.messages == resuming.messages == [["standing/top"]]
            assert waiting.place() == resuming.place() == (1, 9, 2)

    run(scenario())


def test_a_rebuilt_store_shows_nobody_an_older_place(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "rebuilt") as r:
            r.empty()
            top = r.board()
            for points in range(1, 6):
                await r.score(top, ("ann", points), ("bob", 3))
            screen = Screen()
            r.watch(screen, "top")
            await until(lambda: screen.states, "the first state comes")
            assert screen.place() == (1, 5, 2)
            # Redis is emptied, and folded anew from the beginning. No gateway is told of what it knows.
            r.empty()
            again = r.board()
            await r.score(again, ("ann", 1), ("bob", 3))
            newcomer = Screen()
            r.watch(newcomer, "top", actor="bob")
            looked_up = r.looked_up()
            await until(lambda: r.looked_up() >= looked_up + 3 * SPREAD, "both places were looked up")
            assert not newcomer.states
            for points in range(2, 6):
                await r.fold(again, ("ann", points))
            await until(lambda: newcomer.states, "the store has come as far as before")
            assert newcomer.place() == (2, 3, 2)
            assert screen.messages == [["standing/top"]]
            await r.score(again, ("ann", 6))
            await until(lambda: screen.place() == (1, 6, 2), "it goes on from there")

    run(scenario())


def test_places_stay_while_redis_is_away_and_go_on_when_it_is_back(
    servers: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with rig(servers, "away") as r:
            top = r.board()
            await r.score(top, ("ann", 1))
            screen, late = Screen(), Screen()
            r.watch(screen, "top", inbox=True)
            await until(lambda: len(screen.states) == 2, "the first states come")
            servers.valkey.kill()
            try:
                r.watch(late, "top", actor="bob", inbox=True)
                await until(lambda: "standings are not read" in caplog.text, "it is noticed")
                await until(lambda: "inboxes are not loaded" in caplog.text, "it is noticed")
            finally:
                servers.valkey.start()
            await until(lambda: len(late.states) == 2, "who came meanwhile is told")
            assert late.place() == (0, 0, 1)
            await r.score(top, ("ann", 2), ("bob", 5))
            await until(lambda: screen.place() == (2, 2, 2), "what changes is told again")
            await until(lambda: "standings are read again" in caplog.text, "it is said")
            assert caplog.text.count("standings are not read") == 1
            assert caplog.text.count("inboxes are not loaded") == 1

    with caplog.at_level("INFO"):
        run(scenario(), within_s=120)


def test_a_broken_ranking_spoils_nobody_elses_place(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "broken") as r:
            top = r.board()
            await r.score(top, ("ann", 1), ("bob", 2))
            key = layout.part_hash_key(top.partition_of("ann"), r.game_id, "board/top", "")
            with redis.Redis.from_url(r.servers.redis_url) as client:
                client.hset(key, "ann", "torn")
            ann, bob = Screen(), Screen()
            r.watch(ann, "top")
            r.watch(bob, "top", actor="bob")
            await until(lambda: bob.states, "bob's place comes")
            assert bob.place() == (1, 2, 2)
            assert not ann.states
            await r.score(top, ("ann", 3))
            await until(lambda: ann.states, "ann's comes when it is written anew")
            assert ann.place() == (1, 3, 2)

    run(scenario())


def test_a_game_that_is_not_known_is_named_and_leaves_nothing_watched(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "known") as r:
            with pytest.raises(Unknown, match="game 'no-such' is not known"):
                r.personal.watch("no-such", "ann", PersonalTopics(boards=frozenset({"top"})), Screen().tell)
            assert len(r.personal.standings) == 0

    run(scenario())


# The inbox.


def test_an_inbox_is_told_at_once_also_an_empty_one_and_pushed_from_then_on(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "inbox") as r:
            await r.inboxes.deliver("i-bob", note("n1"))
            ann, bob, both = Screen(), Screen(), Screen()
            r.watch(ann, actor="i-ann", inbox=True)
            r.watch(bob, actor="i-bob", inbox=True)
            await until(lambda: ann.states and bob.states, "the first states come")
            assert (list(ann.inbox.newest), ann.inbox.unread) == ([], 0)
            assert (list(bob.inbox.newest), bob.inbox.unread) == ([note("n1")], 1)
            r.watch(both, actor="i-bob", inbox=True)
            assert both.inbox == bob.inbox, "what is known is told at once"
            await r.inboxes.deliver("i-bob", note("n2"))
            await until(lambda: bob.inbox.unread == both.inbox.unread == 2, "both viewers of bob's are told")
            assert list(bob.inbox.newest) == [note("n2"), note("n1")]
            assert ann.messages == [["inbox"]]
            # Delivered once more, as who is unsure does: nothing is new.
            await r.inboxes.deliver("i-bob", note("n2"))
            await r.inboxes.deliver("i-bob", note("n3"))
            await until(lambda: bob.inbox.unread == 3, "the third comes")
            assert len(bob.messages) == 3

    run(scenario())


def test_a_push_that_is_lost_is_healed_by_what_is_stored(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "healed") as r:
            screen = Screen()
            r.watch(screen, actor="h-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            stored = Inbox(version=7, value=InboxResult(newest=[note("n1")], unread=1))
            with redis.Redis.from_url(r.servers.redis_url) as client:
                client.set(layout.inbox_key("h-ann"), stored.SerializeToString())
            await until(lambda: screen.inbox.unread == 1, "it is found")
            # An older one does not come back, whichever way it comes; what cannot be read is left alone.
            older = Inbox(version=6, value=InboxResult(unread=9)).SerializeToString()
            newer = Inbox(version=8, value=InboxResult(unread=2)).SerializeToString()
            for push in (older, b"\xff\xff", newer):
                await r.bus.client.publish(subjects.inbox("h-ann"), push)
            await until(lambda: screen.inbox.unread == 2, "the newer one comes")
            assert len(screen.messages) == 3

    run(scenario())


def test_an_inbox_seen_elsewhere_is_not_shown_as_it_was_before(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "seen") as r:
            await r.inboxes.deliver("s-ann", note("n1"))
            screen, back = Screen(), Screen()
            r.watch(screen, actor="s-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            (seen,) = screen.states["inbox"].cursor.positions
            ahead = Position(sequence=seen.sequence + 1)
            r.watch(back, actor="s-ann", inbox=True, cursors=[("inbox", [ahead])])
            assert not back.states
            await r.inboxes.deliver("s-ann", note("n2"))
            await until(lambda: back.states, "a newer one comes")
            assert back.inbox.unread == 2

    run(scenario())


def test_what_is_delivered_is_pushed_as_it_is_stored(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "pushed") as r:
            pushes = await r.bus.client.subscribe(subjects.inbox("p-ann"))
            await r.bus.client.flush()
            for n in ("n1", "n1", "n2"):
                await r.inboxes.deliver("p-ann", note(n))
                push = await pushes.next_msg(timeout=20)
                assert push.data == await r.database.string(layout.inbox_key("p-ann"))
                assert Inbox.FromString(push.data).value.newest[0] == note(n)

    run(scenario())


def test_two_notifies_at_once_lose_no_notification(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "race") as r:
            screen = Screen()
            r.watch(screen, actor="r-ann", inbox=True)
            other = Inboxes(r.bus, r.database)
            sent = [note(f"n{n:02d}") for n in range(12)]
            await asyncio.gather(
                *(r.inboxes.deliver("r-ann", each) for each in sent[::2]),
                *(other.deliver("r-ann", each) for each in sent[1::2]),
            )
            await until(lambda: screen.states and screen.inbox.unread == 12, "all have come")
            assert list(screen.inbox.newest) == sent[::-1]

    run(scenario())


def test_who_comes_back_soon_finds_the_inbox_as_it_was_left_and_still_listened_to(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "linger") as r:
            screen, back = Screen(), Screen()
            watch = r.watch(screen, actor="l-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            watch.close()
            watch.close()
            await r.inboxes.deliver("l-ann", note("n1"))

            def is_known() -> bool:
                probe = Screen()
                r.watch(probe, actor="l-ann", inbox=True).close()
                return probe.inbox.unread == 1

            await until(is_known, "it was pushed while nobody watched")
            r.watch(back, actor="l-ann", inbox=True)
            assert back.inbox.unread == 1, "at once"
            assert screen.inbox.unread == 0, "who has left is told nothing"

    run(scenario())


def test_pushes_go_on_when_nats_was_away(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "nats") as r:
            screen, late = Screen(), Screen()
            r.watch(screen, actor="n-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            servers.nats.kill()
            try:
                r.watch(late, actor="n-bob", inbox=True)
                await until(lambda: late.states, "an inbox is loaded without NATS")
                await r.inboxes.deliver("n-ann", note("n1"))
                await until(lambda: screen.inbox.unread == 1, "what is stored meanwhile is found")
            finally:
                servers.nats.start()
            await until(lambda: r.bus.client.is_connected, "NATS is back")
            pushed = Inbox(version=10**18, value=InboxResult(unread=5)).SerializeToString()

            async def is_told(actor: str, viewer: Screen) -> None:
                while viewer.inbox.unread != 5:  # until the server has the subscription again
                    await r.bus.client.publish(subjects.inbox(actor), pushed)
                    await asyncio.sleep(0.05)

            await is_told("n-ann", screen)
            await is_told("n-bob", late)

    run(scenario())


# Both.


def _has_scored(screen: Screen, points: int) -> bool:
    return len(screen.states) == 3 and screen.place()[1] == points


def test_a_viewer_that_takes_nothing_for_a_while_is_told_the_newest_of_everything_in_one_message(
    servers: Stores,
) -> None:
    async def scenario() -> None:
        async with rig(servers, "slow") as r:
            top, laps = r.board(), r.board("laps")
            await r.score(top, ("ann", 1))
            await r.score(laps, ("ann", 1))
            slow, quick = Screen(is_open=False), Screen()
            watch = r.watch(slow, "top", "laps", inbox=True)
            r.watch(quick, "top", "laps", inbox=True)
            for n in range(2, 5):
                await r.score(top, ("ann", n))
                await r.inboxes.deliver("ann", note(f"n{n}"))
                await until(lambda: _has_scored(quick, n), f"the quick one sees {n}")  # noqa: B023
            await until(lambda: quick.inbox.unread == 3, "and all of its inbox")
            assert (slow.refused, slow.messages) == (1, []), "who has no room is not asked again and again"
            watch.writable()
            assert slow.refused == 2
            slow.is_open = True
            watch.writable()
            assert [sorted(message) for message in slow.messages] == [
                ["inbox", "standing/laps", "standing/top"]
            ]
            assert slow.states == quick.states
            watch.writable()
            assert len(slow.messages) == 1
            await r.score(laps, ("ann", 3))
            await until(lambda: slow.place("laps") == (1, 3, 1), "from then on it is told at once")

    run(scenario())


def test_who_has_left_is_told_nothing_and_nothing_is_kept_of_it(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "left") as r:
            top = r.board()
            await r.score(top, ("ann", 1))
            gone, stays = Screen(), Screen()
            first = r.watch(gone, "top", inbox=True)
            second = r.watch(stays, "top", inbox=True)
            await until(lambda: len(gone.states) == len(stays.states) == 2, "the first states come")
            first.close()
            told = len(gone.messages)
            await r.score(top, ("ann", 2))
            await until(lambda: stays.place() == (1, 2, 1), "who stays is told")
            first.writable()
            assert len(gone.messages) == told
            assert (len(r.personal.standings), len(r.personal.inboxes)) == (1, 1)
            second.close()
            assert len(r.personal.standings) == 0

    run(scenario())


assert len(ids.partitions_of("game", SPREAD)) == SPREAD
