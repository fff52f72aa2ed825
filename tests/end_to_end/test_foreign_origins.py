"""I2: another's origin and invented ones, attacked on a real mesh with a witness who notices nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Any

import grpc
import pytest
import redis
from google.rpc.status_pb2 import Status

from grandstand.client import Publisher, open_channel
from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from mesh import limits
from mesh.redis import layout
from tests.support.games import GameClient, bearing, new_game, run
from tests.support.mesh_fixture import RunningMesh

FAILED, EXHAUSTED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED
# A tenth of the attack that was found: 57,269 in 15 s.
INVENTED = 600


def score(game: GameClient, seq: int = 0, origin_id: str = "") -> Event:
    return Event(
        game_id=game.game_id, origin_id=origin_id, origin_seq=seq, score=Score(board_id="top", points=1)
    )


async def points(game: GameClient, positions: Any = ()) -> dict[str, int]:
    board = (await game.topic("board/top", positions)).board
    return {entry.actor_id: entry.points for entry in board.entries}


async def publish(stub: Any, hello: Hello, *events: Event) -> tuple[list[PublishResponse], grpc.StatusCode]:
    """One stream from its Hello to its end."""
    call = stub.Publish()
    heard: list[PublishResponse] = []
    try:
        await call.write(PublishRequest(hello=hello))
        heard.append(await call.read())
        if events:
            await call.write(PublishRequest(events=EventBatch(events=events)))
        await call.done_writing()
        while heard[-1] is not grpc.aio.EOF:
            heard.append(await call.read())
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass
    return [each for each in heard if each is not grpc.aio.EOF], await call.code()


def window_bytes(mesh: RunningMesh) -> int:
    """What the origins' windows of all partitions take in Redis."""
    with redis.Redis.from_url(mesh.stores().redis) as client:
        keys = [layout.log_key(p, "origins") for p in range(wire_bounds.PARTITIONS)]
        return sum(client.strlen(key) for key in keys)


def invented() -> str:
    return ids.new_origin(producer=False, now_s=time.time(), entropy=os.urandom(12))


def test_nobody_goes_on_with_anothers_origin(mesh: RunningMesh) -> None:
    """Else mallory numbers what ann sends next, and it looks like a resend."""

    async def scenario() -> None:
        async with (
            new_game(mesh.edge, mesh.mesh) as game,
            open_channel(mesh.edge, own_connection=True) as channel,
        ):
            await game.open_board()
            evil = bearing(channel, mesh.viewer("mallory"))
            good: Any = GatewayServiceStub(bearing(channel, mesh.viewer("ann")))
            async with Publisher(channel, token=mesh.viewer("ann")) as ann:
                await ann.send(score(game))
                hello = Hello(origin_id=ann.origin_id, next_origin_seq=1_000)
                heard, code = await publish(IngestServiceStub(evil), hello, score(game, 1))
                welcome = heard[0].welcome
                assert "was not issued to 'mallory'" in welcome.replaced
                assert (welcome.origin_id != ann.origin_id, welcome.next_origin_seq) == (True, 1)
                assert (code, heard[-1].ack.origin_seq) == (grpc.StatusCode.OK, 1), "and it goes on by itself"

                mine = (await good.IssueOrigin(gateway.IssueOriginRequest())).origin_id
                stub: Any = GatewayServiceStub(evil)
                new = gateway.IssueOriginResponse()
                for origin_id in (mine, ann.origin_id):
                    with pytest.raises(grpc.aio.AioRpcError) as told:
                        await stub.Send(gateway.SendRequest(event=score(game, 50, origin_id)))
                    assert told.value.code() is FAILED, told.value
                    details = dict(told.value.trailing_metadata())["grpc-status-details-bin"]
                    assert Status.FromString(details).details[0].Unpack(new)
                await stub.Send(gateway.SendRequest(event=score(game, 1, new.origin_id)))
                await good.Send(gateway.SendRequest(event=score(game, 1, mine)))
                receipt = await ann.send(score(game))
            assert await points(game, receipt.positions) == {"ann": 3, "mallory": 2}

    run(scenario())


def test_invented_origins_leave_nothing_behind_and_new_ones_are_bounded(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with (
            new_game(mesh.edge, mesh.mesh) as game,
            open_channel(mesh.edge, own_connection=True) as channel,
            Publisher(channel, token=mesh.viewer("witness")) as witness,
        ):
            await game.open_board()
            first = await witness.send(score(game))
            assert await points(game, first.positions) == {"witness": 1}
            before = window_bytes(mesh)
            evil = bearing(channel, mesh.viewer("eve"))
            stub: Any = GatewayServiceStub(evil)

            async def one(n: int) -> grpc.StatusCode:
                try:
                    await stub.Send(gateway.SendRequest(event=score(game, n, invented())))
                except grpc.aio.AioRpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

            told = Counter(await asyncio.gather(*(one(n) for n in range(1, INVENTED + 1))))
            assert set(told) == {FAILED, EXHAUSTED}, told
            gateways = sum(each.name.startswith("gateway") for each in mesh.status().services)
            most = gateways * (limits.ORIGINS_PER_ACTOR + 30)
            assert told[FAILED] <= most < INVENTED, "a new one with each of these alone"
            welcomed = 0
            ingest: Any = IngestServiceStub(evil)
            for _ in range(2 * limits.ORIGINS_PER_ACTOR * gateways):
                heard, code = await publish(ingest, Hello(origin_id=invented(), next_origin_seq=9))
                welcomed += bool(heard)
                assert not heard or heard[0].welcome.replaced
                if code is EXHAUSTED:
                    break
            else:
                raise AssertionError("streams with invented origins are not bounded")
            last = await witness.send(score(game))
            assert await points(game, last.positions) == {"witness": 2}
            assert window_bytes(mesh) - before < 20 * 64, "of the witness's events alone"

    run(scenario())
