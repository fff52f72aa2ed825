"""Sessions and viewers through killed and stopped services, on a mesh of their own: I1, I2 and I5."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import grpc
import pytest

from grandstand.client import ClientError, Publisher, Refused, includes, open_channel
from grandstand.event.v1.event_pb2 import Event, Score
from tests.support.games import GameClient, new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh, running


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """One of each service: what is killed here is missed."""
    with running(tmp_path_factory.mktemp("fragile") / "home") as started:
        yield started


def score(game: GameClient, actor_id: str, points: int) -> Event:
    return Event(game_id=game.game_id, actor_id=actor_id, score=Score(board_id="top", points=points))


@pytest.mark.parametrize("victim", ["ingest-1", "envoy", "nats", "valkey", "aggregate-1"])
def test_i2_every_acked_event_counts_once_though_a_service_is_killed(
    fragile: RunningMesh, victim: str
) -> None:
    async def scenario() -> None:
        async with new_game(fragile.edge, fragile.mesh) as game:
            await game.open_board()
            async with Publisher(game.edge, producer=True) as publisher:
                receipts = []
                for number in range(600):
                    receipts.append(await publisher.submit(score(game, f"{victim}-{number % 5}", 1)))
                    if number == 200:
                        await receipts[-1]
                        old_pid = await asyncio.to_thread(fragile.kill, victim)
                    await asyncio.sleep(0)
                settled = await asyncio.gather(*receipts)
            await asyncio.to_thread(fragile.wait_restarted, victim, old_pid)
            positions = {p.partition: p for receipt in settled for p in receipt.positions}
            backend = game.backend
            state = (await backend.read(game.game_id, ["board/top"], positions.values())).topics[0]
            assert {entry.actor_id: entry.points for entry in state.board.entries} == {
                f"{victim}-{number}": 120 for number in range(5)
            }

    run(scenario(), within_s=90)


def test_i5_a_viewer_whose_gateway_is_killed_resumes_and_never_sees_older_state(fragile: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(fragile.edge, fragile.mesh) as game:
            await game.open_poll()
            async with game.watching("poll/*") as viewer, Publisher(game.edge, producer=True) as publisher:
                for number in range(20):
                    await publisher.send(game.vote(f"before-{number}"))
                await until(lambda: votes_of(viewer.states["poll/mvp"])["red"] == 20, "the votes are seen")
                old_pid = await asyncio.to_thread(fragile.kill, "gateway-1")
                receipt = await publisher.send(game.vote("after"))
                await until(
                    lambda: includes(viewer.states["poll/mvp"].cursor, receipt.positions), "the vote after"
                )
                assert votes_of(viewer.states["poll/mvp"])["red"] == 21
                assert (viewer.cache.went_back, viewer.resumed) == (0, 1)
            await asyncio.to_thread(fragile.wait_restarted, "gateway-1", old_pid)

    run(scenario())


def test_a_sender_beyond_its_credit_waits_until_ingest_answers_again(fragile: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(fragile.edge, fragile.mesh) as game:
            await game.open_board()
            async with Publisher(game.edge, actor_id="ann", buffer_events_max=0) as publisher:
                await publisher.send(score(game, "ann", 1))
                fragile.send_signal("ingest-1", signal.SIGSTOP)
                try:
                    receipts = []
                    while (receipt := publisher.try_submit(score(game, "ann", 1))) is not None:
                        receipts.append(receipt)
                    assert len(receipts) == publisher.unsettled == 64
                    waiting = asyncio.create_task(publisher.submit(score(game, "ann", 1)))
                    done, _ = await asyncio.wait([waiting], timeout=0.3)
                    assert not done, "there is no room"
                finally:
                    fragile.send_signal("ingest-1", signal.SIGCONT)
                receipts.append(await waiting)
                positions = (await receipts[-1]).positions
            state = await game.topic("board/top", positions)
            assert state.board.entries[0].points == 66

    run(scenario())


def test_one_refused_event_disturbs_none_of_its_neighbours(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            async with Publisher(game.edge, producer=True) as publisher:
                receipts = [
                    await publisher.submit(game.vote(f"a{n}", "green" if n % 3 == 0 else "red"))
                    for n in range(9)
                ]
                settled = await asyncio.gather(*receipts, return_exceptions=True)
            refused = [one for one in settled if isinstance(one, Refused)]
            assert [settled.index(one) for one in refused] == [0, 3, 6]
            assert {one.code for one in refused} == {grpc.StatusCode.NOT_FOUND}
            assert not any(one.maybe_stored for one in refused)
            assert publisher.counts.refused == 3
            last = settled[-1]
            assert not isinstance(last, BaseException)
            assert votes_of(await game.topic("poll/mvp", last.positions))["red"] == 6

    run(scenario())


def test_a_session_outlives_its_origin(mesh: RunningMesh) -> None:
    """It is a day old: the mesh gives another one, and what was never sent goes there."""

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            publisher = Publisher(game.edge, producer=True)
            named = publisher._session.origin_id = "p" + "6a000000" + "0" * 24
            publisher.start()
            receipt = await publisher.send(game.vote("ann"))
            assert receipt.origin_id == publisher.origin_id != named
            assert votes_of(await game.topic("poll/mvp", receipt.positions))["red"] == 1
            await publisher.aclose()

    run(scenario())


def test_a_mesh_that_is_not_there_is_said_within_the_time_given() -> None:
    async def scenario() -> None:
        async with open_channel("127.0.0.1:9") as channel:
            publisher = Publisher(channel, actor_id="ann")
            publisher.start()
            with pytest.raises(ClientError, match=r"UNAVAILABLE: no session after 0\.5 s"):
                await publisher.connected(0.5)
            await publisher.aclose()

    run(scenario())
