"""Personal topics in the streams of viewers, on the running mesh: own places, inboxes, and whose they are."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.client import open_channel
from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from mesh.jetstream.bus import Bus
from mesh.redis.database import Database
from tests.support.games import GameClient, new_game, run, until
from tests.support.mesh_fixture import RunningMesh
from tests.support.stored_notices import StoredNotices

TEXT = "x" * 1_900
DELIVERED = 40


def score(game: GameClient, actor: str, points: int) -> Event:
    return Event(game_id=game.game_id, actor_id=actor, score=Score(board_id="top", points=points))


@contextlib.asynccontextmanager
async def notifying(mesh: RunningMesh) -> AsyncIterator[StoredNotices]:
    """As notify delivers."""
    at = mesh.stores()
    bus, database = await Bus.connect(at.nats, "test"), Database(at.redis)
    try:
        yield StoredNotices(bus, database)
    finally:
        await bus.close()
        await database.aclose()


def test_an_own_place_comes_in_the_same_stream_and_includes_the_own_score(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=4) as game:
            await game.open_board()
            await game.send(score(game, "bob", 5))
            ann = mesh.viewer("ann")
            async with game.watching("board/top", "standing/top", token=ann) as viewer:

                def place() -> tuple[int, int, int]:
                    shown = viewer.states["standing/top"].standing
                    return shown.standing.rank, shown.standing.points, shown.actors

                await until(lambda: "standing/top" in viewer.states, "the first state comes")
                await until(lambda: place() == (0, 0, 1), "there is one actor, who is not ann")
                for points, rank in ((3, 2), (4, 1)):
                    positions = await game.send(score(game, "ann", points))
                    # Whoever subscribes again with the position is shown it first (I6) ...
                    fresh = await first_place(game, ann, positions)
                    assert (fresh.standing.standing.rank, fresh.standing.actors) == (rank, 2)
                    # ... and who is there already, in a moment.
                    await until(lambda: place() == (rank, 3 + 4 * (rank == 1), 2), "it comes")  # noqa: B023
                assert [e.actor_id for e in viewer.states["board/top"].board.entries] == ["ann", "bob"]

    run(scenario())


async def first_place(game: GameClient, token: str, positions: object) -> TopicState:
    """The first that a new stream says of it; nothing personal comes before the Snapshot."""
    request = SubscribeRequest(game_id=game.game_id, topics=["standing/top"], positions=positions)  # type: ignore[arg-type]
    call = game.gateway.Subscribe(request, metadata=(("authorization", f"Bearer {token}"),))
    try:
        snapshot = await call.read()
        assert snapshot.HasField("snapshot")
        assert not snapshot.snapshot.topics, "who names personal topics only is shown no others"
        (state,) = (await call.read()).personal.topics
        assert isinstance(state, TopicState)
        return state
    finally:
        call.cancel()


def test_an_inbox_is_pushed_to_its_actor_and_nobody_else(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, notifying(mesh) as inboxes:
            ann, bob = f"{game.game_id}-ann", f"{game.game_id}-bob"
            async with (
                game.watching("inbox", token=mesh.viewer(ann)) as anns,
                game.watching("inbox", "audience", token=mesh.viewer(bob)) as bobs,
            ):
                await until(
                    lambda: "inbox" in anns.states and "inbox" in bobs.states, "the first states come"
                )
                assert not anns.states["inbox"].inbox.newest
                await inboxes.tell(ann, "You lead")
                await until(lambda: anns.states["inbox"].inbox.unread == 1, "ann is told")
                assert anns.states["inbox"].inbox.newest[0].title == "You lead"
                await inboxes.tell(bob, "You do not")
                await until(lambda: bobs.states["inbox"].inbox.unread == 1, "bob is told")
                assert [n.title for n in bobs.states["inbox"].inbox.newest] == ["You do not"]

    run(scenario())


def test_a_notice_to_a_games_viewers_is_told_to_those_without_a_token_too_and_once_to_all(
    mesh: RunningMesh,
) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, notifying(mesh) as notices:
            await game.open_poll()
            ann = mesh.viewer(f"{game.game_id}-ann")
            async with (
                game.watching("poll/mvp") as nobody,
                game.watching("poll/mvp", "inbox", token=ann) as own,
            ):
                await until(lambda: "poll/mvp" in nobody.states and "inbox" in own.states, "both watch")
                await notices.tell_viewers(game.game_id, "A goal")
                await notices.tell_viewers(game.game_id, "Another")
                told: dict[str, list[str]] = {"nobody": [], "own": []}

                def all_told() -> bool:
                    for name, viewer in (("nobody", nobody), ("own", own)):
                        told[name] += [each.title for each in viewer.take_notifications()]
                    return all(len(titles) >= 2 for titles in told.values())

                await until(all_told, "both are told")
                assert told == {"nobody": ["A goal", "Another"], "own": ["A goal", "Another"]}
                assert own.inbox is not None
                assert own.inbox.unread == 2

    run(scenario())


def test_a_viewer_that_reads_nothing_for_a_while_is_shown_the_newest_inbox_only(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, notifying(mesh) as inboxes:
            actor = f"{game.game_id}-slow"
            metadata = (("authorization", f"Bearer {mesh.viewer(actor)}"),)
            request = SubscribeRequest(game_id=game.game_id, topics=["inbox"])
            # A stream's window of this client is the smallest there is, whatever it could take.
            options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
            async with grpc.aio.insecure_channel(mesh.edge, options) as channel:
                call = GatewayServiceStub(channel).Subscribe(request, metadata=metadata)
                assert (await call.read()).HasField("snapshot")
                for n in range(DELIVERED):
                    await inboxes.tell(actor, f"{n} {TEXT}")
                async with game.watching("inbox", token=mesh.viewer(actor)) as quick:
                    await until(
                        lambda: "inbox" in quick.states and quick.states["inbox"].inbox.unread == DELIVERED,
                        "another viewer of the same actor is up to date",
                    )
                shown: list[int] = []
                while not shown or shown[-1] < DELIVERED:
                    message = await call.read()
                    assert not message.HasField("snapshot")
                    shown += (state.inbox.unread for state in message.personal.topics)
                assert shown == sorted(set(shown))
                assert len(shown) < DELIVERED / 2, "most were conflated"
                call.cancel()

    run(scenario())


@pytest.mark.parametrize("topic", ["inbox", "standing/top"])
def test_a_personal_topic_wants_a_token_of_somebody(mesh: RunningMesh, topic: str) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, open_channel(mesh.edge) as edge:
            call = GatewayServiceStub(edge).Subscribe(SubscribeRequest(game_id=game.game_id, topics=[topic]))
            with pytest.raises(grpc.aio.AioRpcError, match="get a token from the platform") as caught:
                await call.read()
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED

    run(scenario())


def test_of_a_personal_topic_that_is_none_the_viewer_is_told_why(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            for topic, why in (("standing/*", "name each board"), ("inbox/bob", "without a name")):
                request = SubscribeRequest(game_id=game.game_id, topics=[topic])
                with pytest.raises(grpc.aio.AioRpcError, match=why) as caught:
                    await game.gateway.Subscribe(request).read()
                assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    run(scenario())
