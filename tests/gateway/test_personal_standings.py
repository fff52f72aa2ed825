"""An own place on a board, over a real NATS and Valkey: what a viewer is told of it, and when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN
from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Unknown
from grandstand.wire.topics import PersonalTopics
from mesh.redis import layout
from tests.support.games import run, until
from tests.support.personal_rig import SPREAD, Screen, rig
from tests.support.servers import Stores, stores


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("personal")) as started:
        yield started


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
            elsewhere = Position(partition=(own + SPREAD) % wire_bounds.PARTITIONS, sequence=10**9)
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
            # Redis is emptied, and folded again from the beginning. No gateway is told of what it knows.
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
            await until(lambda: ann.states, "ann's comes when it is rewritten")
            assert ann.place() == (1, 3, 2)

    run(scenario())


def test_a_game_that_is_not_known_is_named_and_leaves_nothing_watched(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "known") as r:
            with pytest.raises(Unknown, match="game 'no-such' is not known"):
                r.personal.watch("no-such", "ann", PersonalTopics(boards=frozenset({"top"})), Screen().tell)
            assert len(r.personal.standings) == 0

    run(scenario())
