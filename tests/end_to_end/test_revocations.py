"""Tokens revoked on a whole mesh with two gateways: what they opened ends, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import grpc
import grpc.aio
import pytest

from grandstand.access.v1.access_pb2 import RevokeRequest
from grandstand.client import Backend, ClientError, Publisher, SessionLost, open_channel
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.gateway.v1.gateway_pb2 import IssueOriginRequest, SubscribeRequest
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from mesh.logs.line import in_words
from tests.support.commands import succeeded
from tests.support.games import new_game, run, until
from tests.support.mesh_fixture import RunningMesh
from tests.support.servers import eventually

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def bearer(token: str) -> Any:
    return (("authorization", f"Bearer {token}"),)


async def ending(call: Any) -> grpc.aio.AioRpcError | None:
    """How a Subscribe ends."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def refusal(stub: Any, token: str) -> str:
    """Why a call is refused, once somebody answers; "" if it is not."""

    async def answer() -> list[str]:
        try:
            await stub.IssueOrigin(IssueOriginRequest(), metadata=bearer(token), timeout=5)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return []
            if error.code() is not UNAUTHENTICATED:
                raise
            return [str(error.details())]
        return [""]

    (why,) = await eventually(answer, "somebody answers")
    return why


def test_a_revoked_actor_is_out_everywhere_within_a_moment_and_nobody_else_is(mesh: RunningMesh) -> None:
    who = f"auth0|eve@{uuid.uuid4().hex[:12]}.example"
    eve, ann = mesh.viewer(who), mesh.viewer(f"not-{who}")

    async def scenario() -> None:
        async with (
            new_game(mesh.edge, mesh.mesh) as game,
            open_channel(mesh.edge) as edge,
            open_channel(mesh.mesh) as listener,
        ):
            await game.open_poll()
            stub: Any = GatewayServiceStub(edge)
            asked = SubscribeRequest(game_id=game.game_id, topics=["poll/mvp", "inbox"])
            # Envoy hands them to both gateways in turn.
            watching = [stub.Subscribe(asked, metadata=bearer(eve)) for _ in range(6)]
            witness = stub.Subscribe(asked, metadata=bearer(ann))
            for call in (*watching, witness):
                await call.read()
            async with Publisher(edge, token=ann) as beside:
                publisher = Publisher(edge, token=eve)
                publisher.start()
                vote = Event(game_id=game.game_id, vote=Vote(poll_id="mvp", option_ids=["red"]))
                await publisher.send(vote)
                ended = [asyncio.ensure_future(ending(call)) for call in watching]
                revoke = ("token", "revoke", "--actor", who)
                said = await asyncio.to_thread(succeeded, mesh.home, *revoke)
                assert f"Tokens of {who} issued before" in said
                for error in await asyncio.gather(*ended):
                    assert error is not None
                    assert error.code() is UNAUTHENTICATED
                    assert f"token: was revoked (all of actor '{who}'" in str(error.details())
                await until(lambda: is_lost(publisher), "who sends is told, and has no other token")
                await publisher.aclose()
                await beside.send(vote)
            for token, refused in ((eve, True), (ann, False)):
                assert ("was revoked" in await refusal(stub, token)) is refused
            with pytest.raises(ClientError, match=r"UNAUTHENTICATED.* was revoked"):
                await Backend(listener, token=eve).read(game.game_id, ["poll/mvp"])
            assert not witness.done()
            witness.cancel()
            listed = await asyncio.to_thread(succeeded, mesh.home, "token", "revocations", "--json")
            assert who in [json.loads(line).get("actorId") for line in listed.splitlines()]
            with pytest.raises(ClientError, match=r"PERMISSION_DENIED.* has not the role operator"):
                await Backend(listener, token=mesh.owner()).revoke(RevokeRequest(actor_id=who))

    run(scenario())
    lines = [
        line
        for line in map(in_words, mesh.log("aggregate-1").splitlines())
        if who in line and "audit: revoked" in line
    ]
    assert len(lines) == 1
    assert f"tokens: all of actor '{who}' issued before" in lines[0]
    assert "(operator) from" in lines[0]


def is_lost(publisher: Publisher) -> bool:
    try:
        publisher.post(Event(game_id="none"), lambda outcome: None)
    except (SessionLost, ClientError):
        return True
    return False
