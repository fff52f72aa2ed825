"""One vote, end to end: through real Envoy, ingest, JetStream, aggregate, Valkey and gateway."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED
from grandstand.client import ClientError, Publisher, includes
from grandstand.event.v1.event_pb2 import Cursor, Event, Position, Reaction, Score
from grandstand.gateway.v1 import gateway_pb2 as gateway
from mesh import limits
from tests.support.games import new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh


def test_a_native_clients_vote_is_on_another_viewers_screen(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            async with game.watching("poll/*") as viewer, Publisher(game.edge, actor_id="ann") as publisher:
                assert votes_of(viewer.states["poll/mvp"]) == {"red": 0, "blue": 0}
                receipt = await publisher.send(game.vote("ann", "blue"))
                await until(lambda: votes_of(viewer.states["poll/mvp"])["blue"] == 1, "the vote is seen")
                assert includes(viewer.states["poll/mvp"].cursor, receipt.positions)

    run(scenario())


def test_a_browsers_vote_is_on_another_viewers_screen(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            async with game.watching() as viewer:
                positions = await game.send(game.vote("ann", "red"))
                await until(
                    lambda: includes(viewer.states["poll/mvp"].cursor, positions),
                    "the update includes the vote",
                )
                assert votes_of(viewer.states["poll/mvp"]) == {"red": 1, "blue": 0}

    run(scenario())


def test_scores_and_reactions_reach_their_topics(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_board()
            async with game.watching("board/*", "pulse/cheer") as viewer:
                for actor, points in (("ann", 5), ("bob", 9), ("ann", 6)):
                    await game.send(
                        Event(
                            game_id=game.game_id, actor_id=actor, score=Score(board_id="top", points=points)
                        )
                    )
                cheer = Reaction(pulse_id="cheer", kind="fire", count=3)
                await game.send(Event(game_id=game.game_id, actor_id="ann", reaction=cheer))
                await until(lambda: viewer.states["pulse/cheer"].pulse.kinds, "the pulse is seen")
                entries = viewer.states["board/top"].board.entries
                assert [(e.rank, e.actor_id, e.points) for e in entries] == [(1, "ann", 11), (2, "bob", 9)]
                (kind,) = viewer.states["pulse/cheer"].pulse.kinds
                assert (kind.kind, kind.total) == ("fire", 3)
                assert kind.rate_per_s > 0

    run(scenario())


def test_i2_a_vote_resent_under_its_identity_is_acked_again_and_counted_once(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            await game.open_board()
            vote = await game.identified(game.vote("ann"))
            points = Score(board_id="top", points=7)
            score = await game.identified(Event(game_id=game.game_id, actor_id="ann", score=points))
            for event in (vote, score):
                first, again, third = [await game.send(event) for _ in range(3)]
                assert first[0].sequence < again[0].sequence < third[0].sequence
            state = await game.topic("poll/mvp", third)
            assert votes_of(state) == {"red": 1, "blue": 0}
            board = await game.topic("board/top", third)
            assert [(e.actor_id, e.points) for e in board.board.entries] == [("ann", 7)]

    run(scenario())


def test_a_hot_game_spread_over_partitions_counts_every_actor_once(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=8) as game:
            await game.open_poll()
            async with game.watching("poll/*") as viewer, Publisher(game.edge, producer=True) as publisher:
                receipts = await asyncio.gather(
                    *(publisher.send(game.vote(f"actor-{n}", "red" if n % 3 else "blue")) for n in range(300))
                )
                partitions = {p.partition for receipt in receipts for p in receipt.positions}
                assert len(partitions) == 8
                await until(lambda: viewer.states["poll/mvp"].tally.voters == 300, "all votes are seen")
                assert votes_of(viewer.states["poll/mvp"]) == {"red": 200, "blue": 100}

    run(scenario())


def test_i6_a_read_given_a_position_includes_it(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            for n in range(20):
                positions = await game.send(game.vote(f"actor-{n}"))
                assert (await game.topic("poll/mvp", positions)).tally.voters == n + 1

    run(scenario())


def test_i6_a_subscription_given_a_position_starts_with_it(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            for n in range(10):
                positions = await game.send(game.vote(f"actor-{n}"))
                async with game.watching("poll/mvp", positions=positions) as viewer:
                    assert viewer.states["poll/mvp"].tally.voters == n + 1

    run(scenario())


def test_i6_a_position_that_never_comes_ends_too_late_and_says_so(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            (position,) = await game.send(game.vote("ann"))
            beyond = Position(partition=position.partition, sequence=position.sequence + 10**12)
            request = gateway.SubscribeRequest(game_id=game.game_id, positions=[beyond])
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await game.gateway.Subscribe(request).read()
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert f"position {beyond.sequence}" in str(caught.value.details())
            assert f"{limits.BARRIER_S:g} s" in str(caught.value.details())

    run(scenario())


def test_i5_a_viewer_that_comes_back_with_its_cursor_is_never_shown_older_state(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            cursor = Cursor()
            for n in range(15):
                sent = asyncio.create_task(game.send(game.vote(f"actor-{n}")))
                request = gateway.SubscribeRequest(
                    game_id=game.game_id,
                    topics=["poll/mvp"],
                    cursors=[gateway.TopicCursor(topic="poll/mvp", cursor=cursor)],
                )
                call = game.gateway.Subscribe(request)
                first = await call.read()
                (state,) = first.snapshot.topics
                assert includes(state.cursor, cursor.positions)
                assert state.tally.voters >= n - 1
                await sent
                while state.tally.voters < n + 1:
                    message = await call.read()
                    for state in message.update.topics:
                        assert includes(state.cursor, cursor.positions)
                cursor = state.cursor
                call.cancel()

    run(scenario())


def test_openings_and_closings_are_announced_and_a_closed_poll_seals(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            news: list[str] = []
            call = game.gateway.Subscribe(gateway.SubscribeRequest(game_id=game.game_id))
            stages: list[int] = []

            async def listen() -> None:
                while (message := await call.read()) is not grpc.aio.EOF:
                    if message.HasField("announcement"):
                        news.append(str(message.announcement.WhichOneof("news")))
                    stages.extend(state.stage for state in message.update.topics)

            await call.read()
            listening = asyncio.create_task(listen())
            await game.open_poll()
            await until(lambda: news == ["poll_opened"], "the opening is announced")
            await game.send(game.vote("ann"))
            closing = await game.backend.close_poll(game.game_id, "mvp")
            assert closing.HasField("closes_at")
            await until(lambda: news == ["poll_opened", "poll_closed"], "the closing is announced")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await game.send(game.vote("late"))
            assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
            assert "closed at" in str(caught.value.details())
            await until(lambda: stages[-1:] == [STAGE_SEALED], "the poll is sealed", limits.SEAL_GRACE_S + 10)
            assert list(dict.fromkeys(stages)) == [STAGE_OPEN, STAGE_CLOSED, STAGE_SEALED]
            with pytest.raises(ClientError, match="is sealed: its result is final") as told:
                await game.backend.void_votes(game.game_id, "mvp", "ann")
            assert told.value.code == grpc.StatusCode.FAILED_PRECONDITION
            assert votes_of(await game.topic("poll/mvp")) == {"red": 1, "blue": 0}
            listening.cancel()

    run(scenario())


def test_a_poll_opened_twice_is_one_poll_and_with_other_options_refused(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            first = await game.open_poll()
            assert await game.open_poll() == first
            with pytest.raises(ClientError, match="exists with another definition") as caught:
                await game.open_poll(options=("x", "y"))
            assert caught.value.code == grpc.StatusCode.ALREADY_EXISTS

    run(scenario())


def test_a_changeable_vote_moves(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll(changeable=True)
            for option in ("red", "blue", "blue"):
                positions = await game.send(game.vote("ann", option))
            assert votes_of(await game.topic("poll/mvp", positions)) == {"red": 0, "blue": 1}

    run(scenario())


def test_a_poll_takes_votes_everywhere_from_the_moment_its_opening_is_answered(mesh: RunningMesh) -> None:
    """Both ingests are asked at once, before their watches can have heard of the poll."""

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            for n in range(40):
                await game.open_poll(f"poll-{n}")
                votes = [game.vote(f"actor-{m}", poll_id=f"poll-{n}") for m in range(4)]
                await asyncio.gather(*(game.send(vote) for vote in votes))

    run(scenario())


def test_a_poll_is_in_every_snapshot_once_its_opening_is_answered(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=4) as game:
            for n in range(10):
                await game.open_poll(f"poll-{n}")
                async with game.watching() as viewer:
                    assert votes_of(viewer.states.get(f"poll/poll-{n}")) == {"red": 0, "blue": 0}

    run(scenario())
