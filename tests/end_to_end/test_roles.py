"""Who may what, attacked on a real mesh: by a stranger, a guest, a producer, another game's owner."""

from __future__ import annotations

import re

import grpc
import pytest

from grandstand.aggregate.v1.aggregate_pb2 import ReadPartitionsRequest
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceStub
from grandstand.catalog.v1 import catalog_pb2 as pb
from grandstand.client import Backend, ClientError, Publisher, Refused, open_channel
from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.wire import bounds as wire_bounds
from mesh.logs.line import in_words
from tests.support.games import GameClient, bearing, new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh
from toolbox.local.development import development_token

DENIED, UNAUTHENTICATED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


async def guest_token(channel: grpc.aio.Channel) -> str:
    issued = await GatewayServiceStub(channel).IssueGuest(gateway.IssueGuestRequest(), timeout=10)
    return str(issued.token)


def test_i10_only_an_owner_of_the_game_changes_the_catalog_and_its_name_is_logged(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        inside = mesh.service("aggregate-1").address
        async with (
            new_game(mesh.edge, mesh.mesh) as game,
            open_channel(mesh.edge) as edge,
            open_channel(mesh.mesh) as listener,
            open_channel(inside) as direct,
        ):
            await game.open_poll()
            attempts = {
                "no token, by Envoy": (listener, None, UNAUTHENTICATED),
                "no token, past Envoy": (direct, None, UNAUTHENTICATED),
                "a guest": (listener, await guest_token(edge), DENIED),
                "a producer": (listener, mesh.producer(), DENIED),
                "another's owner": (
                    listener,
                    development_token(mesh.home, "eve", roles=["owner"], games=["other", "other-*"]),
                    DENIED,
                ),
            }
            for who, (channel, token, code) in attempts.items():
                backend = Backend(channel, token=token)
                for call in (
                    backend.close_poll(game.game_id, "mvp"),
                    backend.define_game(pb.Game(game_id=game.game_id, title="Mine")),
                    backend.open_board(pb.Board(game_id=game.game_id, board_id="b", title="B")),
                ):
                    with pytest.raises(ClientError) as told:
                        await call
                    assert told.value.code is code, who
            # The witness votes, and the poll is open and counts.
            positions = await game.send(game.vote("ann"))
            assert votes_of(await game.topic("poll/mvp", positions)) == {"red": 1, "blue": 0}
            await game.backend.close_poll(game.game_id, "mvp")

            def audited() -> list[str]:
                lines = map(in_words, mesh.log("aggregate-1").splitlines())
                return [line for line in lines if f" {game.game_id} " in line]

            await until(lambda: len(audited()) >= 3, "the log is written")
            audit = audited()
            assert [line.partition(" audit: ")[2].partition(" (")[0] for line in audit] == [
                f"defined game {game.game_id} by tests",
                f"opened poll mvp of game {game.game_id}",
                f"closed poll mvp of game {game.game_id}",
            ]
            # Of a caller over loopback Envoy says this machine's own address.
            by = re.compile(
                r" by tests \(owner\) from '[0-9a-f.:]+' via ipv4:127\.0\.0\.1:\d+ game=\S+ actor=tests$"
            )
            assert all(by.search(line) for line in audit), audit
            assert "eyJ" not in mesh.log("aggregate-1"), "a token is in the log"

    run(scenario())


def test_i10_only_an_operator_reads_the_partitions(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with open_channel(mesh.mesh) as listener, open_channel(mesh.edge) as edge:
            for channel, code in (
                (listener, UNAUTHENTICATED),
                (bearing(listener, await guest_token(edge)), DENIED),
                (bearing(listener, mesh.owner), DENIED),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await AggregateServiceStub(channel).ReadPartitions(ReadPartitionsRequest(), timeout=10)
                assert told.value.code() is code
            for token in (mesh.operator, lambda: development_token(mesh.home, "ops", roles=["operator"])):
                stub = AggregateServiceStub(bearing(listener, token))
                answer = await stub.ReadPartitions(ReadPartitionsRequest(), timeout=10)
                assert len(answer.partitions) == wire_bounds.PARTITIONS

    run(scenario())


def test_a_guest_leads_no_board_that_is_not_for_actors(mesh: RunningMesh) -> None:
    def score(game: GameClient, points: int, board_id: str = "top", actor_id: str = "") -> Event:
        return Event(game_id=game.game_id, actor_id=actor_id, score=Score(board_id=board_id, points=points))

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game, open_channel(mesh.edge) as edge:
            board = pb.Board(game_id=game.game_id, board_id="top", title="T", mode=pb.BOARD_MODE_BEST)
            board.points_max = 1_000
            opened = await game.backend.open_board(board)
            assert opened.writers == pb.WRITERS_PRODUCERS, "the default is written"
            assert await game.backend.open_board(board) == opened
            await game.open_board("fans")
            token = await guest_token(edge)
            guest = GameClient(bearing(edge, token), game.mesh, game.game_id)
            for event, channel in ((score(game, 2**53), guest), (score(game, 5, actor_id="ann"), game)):
                with pytest.raises(grpc.aio.AioRpcError, match="is written by producers only") as told:
                    await channel.send(event)
                assert told.value.code() is DENIED
            async with Publisher(edge, token=token) as publisher:
                with pytest.raises(Refused, match="is written by producers only"):
                    await publisher.send(score(game, 2**53))
            # The witness: the game's server scores for a player, within the board's bounds.
            async with Publisher(edge, producer=True, token=mesh.producer) as server:
                with pytest.raises(Refused, match="1001 is out of range; -9007199254740992 to 1000"):
                    await server.send(score(game, 1_001, actor_id="ann"))
                receipt = await server.send(score(game, 1_000, actor_id="ann"))
            positions = [*receipt.positions, *await guest.send(score(game, 7, "fans"))]
            states = (await game.backend.read(game.game_id, ["board/*"], positions)).topics
            led = {state.topic: [entry.points for entry in state.board.entries] for state in states}
            assert led == {"board/top": [1_000], "board/fans": [7]}

    run(scenario())
