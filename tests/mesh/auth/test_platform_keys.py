"""A mesh that takes a platform's tokens, in production: the whole path, and keys that rotate under it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from grandstand.client import Publisher, Refused, SessionLost, open_channel
from grandstand.event.v1.event_pb2 import Event, Reaction
from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from mesh.auth import mint, parse_signing_keys
from tests.support.commands import failed, succeeded
from tests.support.games import run
from tests.support.mesh_fixture import RunningMesh, running, wait_for
from tests.support.servers import eventually
from toolbox.local.development import ensure_development_key

ISSUER = "https://platform.example"
ANSWER_S = 20.0


class Platform:
    """Its keys, of which some are published; and the tokens it signs."""

    def __init__(self, published: Path) -> None:
        self.published = published

    def publish(self, *kids: str) -> None:
        jwks = {"keys": [mint.public_jwk(self._jwk(kid)) for kid in kids]}
        self.published.write_text(json.dumps(jwks))

    def token(self, kid: str, actor_id: str = "ann", **claims: Any) -> str:
        (key,) = parse_signing_keys(json.dumps(self._jwk(kid)).encode())
        claims = {"issuer": ISSUER, **claims}
        return mint.token(key, actor_id=actor_id, now_s=time.time(), life_s=600.0, **claims)

    @staticmethod
    def _jwk(kid: str) -> dict[str, str]:
        return mint.ed25519_jwk(kid, kid.encode().ljust(32, b"-"))


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    platform = Platform(tmp_path_factory.mktemp("platform") / "jwks.json")
    platform.publish("first")
    return platform


@pytest.fixture(scope="module")
def platform_mesh(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    home = tmp_path_factory.mktemp("platform-mesh") / "home"
    arguments = ("--keys", str(platform.published), "--issuer", ISSUER, "--production")
    with running(home, *arguments) as mesh:
        define = ("game", "define", "final", "--pulse", "cheer=clap", "--token")
        assert "has not the role owner" in failed(home, *define, platform.token("first", roles=["producer"]))
        elsewhere = platform.token("first", roles=["owner"], games=["semi-*"])
        assert "'final' is not among the games of the token" in failed(home, *define, elsewhere)
        succeeded(home, *define, platform.token("first", roles=["owner"], games=["fin*"]))
        assert "partitions: 16" in succeeded(home, "status"), "this home's operator needs no token"
        yield mesh


async def send(mesh: RunningMesh, token: str | None) -> grpc.StatusCode:
    """One reaction as a browser sends it: how that ends."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    async with open_channel(mesh.edge, own_connection=True) as channel:
        stub: Any = GatewayServiceStub(channel)
        event = Event(
            game_id="final",
            origin_seq=1,
            reaction=Reaction(pulse_id="cheer", kind="clap", count=1),
        )
        try:
            issued = await stub.IssueOrigin(gateway.IssueOriginRequest(), metadata=metadata, timeout=ANSWER_S)
            event.origin_id = issued.origin_id
            await stub.Send(gateway.SendRequest(event=event), metadata=metadata, timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


async def publish(mesh: RunningMesh, token: str) -> grpc.StatusCode:
    """One reaction on a stream of its own, over the mesh listener, where the edge does not help."""
    event = Event(game_id="final", reaction=Reaction(pulse_id="cheer", kind="clap", count=1))
    async with open_channel(mesh.mesh, own_connection=True) as channel:
        publisher = Publisher(channel, token=token)
        publisher.start()
        try:
            async with asyncio.timeout(ANSWER_S):
                await publisher.send(event)
        except (SessionLost, Refused) as error:
            return error.code
        finally:
            await publisher.aclose()
        return grpc.StatusCode.OK


def test_a_platforms_player_sends_and_nobody_else_does(
    platform: Platform, platform_mesh: RunningMesh
) -> None:
    development = ensure_development_key(platform.published.parent)
    (other,) = parse_signing_keys(development.read_bytes())
    refused = {
        "nobody's": None,
        "another issuer's": platform.token("first", issuer="https://evil.example"),
        "an unpublished key's": platform.token("unpublished"),
        "a development key's": mint.token(
            other, actor_id="ann", now_s=time.time(), life_s=60.0, issuer=ISSUER
        ),
    }

    async def scenario() -> None:
        good = platform.token("first")
        assert await send(platform_mesh, good) is grpc.StatusCode.OK
        assert await publish(platform_mesh, good) is grpc.StatusCode.OK
        for name, token in refused.items():
            assert await send(platform_mesh, token) is grpc.StatusCode.UNAUTHENTICATED, name
            if token:
                assert await publish(platform_mesh, token) is grpc.StatusCode.UNAUTHENTICATED, name

    run(scenario())


def test_guests_are_not_admitted(platform_mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with open_channel(platform_mesh.edge) as channel:
            stub: Any = GatewayServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.IssueGuest(gateway.IssueGuestRequest(), timeout=ANSWER_S)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    run(scenario())


def test_keys_that_rotate_in_the_platforms_file_reach_edge_and_services(
    platform: Platform, platform_mesh: RunningMesh
) -> None:
    async def takes(kid: str, wanted: grpc.StatusCode) -> bool:
        token = platform.token(kid)
        return {await send(platform_mesh, token), await publish(platform_mesh, token)} == {wanted}

    async def scenario() -> None:
        assert await takes("second", grpc.StatusCode.UNAUTHENTICATED)
        platform.publish("first", "second")
        await eventually(lambda: takes("second", grpc.StatusCode.OK), "the second key is taken")
        assert await takes("first", grpc.StatusCode.OK)
        platform.publish("second")
        await eventually(lambda: takes("first", grpc.StatusCode.UNAUTHENTICATED), "the first key is not")
        assert await takes("second", grpc.StatusCode.OK)
        platform.publish("first")
        await eventually(lambda: takes("first", grpc.StatusCode.OK), "the first key is taken again")

    run(scenario())


def test_a_file_that_is_no_keys_is_told_of_and_changes_nothing(
    platform: Platform, platform_mesh: RunningMesh
) -> None:
    said = succeeded(platform_mesh.home, "status")
    assert f"tokens: 1 key of {platform.published}, issued by {ISSUER}; no guests; production" in said
    platform.published.write_text('{"keys": [')
    try:
        wait_for(lambda: "is not JSON" in platform_mesh.status().keys, "the status tells of it")
        assert run(send(platform_mesh, platform.token("first"))) is grpc.StatusCode.OK
    finally:
        platform.publish("first")
    wait_for(lambda: "is not JSON" not in platform_mesh.status().keys, "the status tells no more of it")


def test_a_command_wants_a_token_and_takes_one_of_the_platform(
    platform: Platform, platform_mesh: RunningMesh
) -> None:
    react = ("send", "reaction", "clap", "--pulse", "cheer", "--game", "final")
    assert "give --token or GRANDSTAND_TOKEN" in failed(platform_mesh.home, *react)
    assert "Stored at" in succeeded(platform_mesh.home, *react, "--token", platform.token("first"))


def test_production_without_keys_does_not_start(tmp_path: Path) -> None:
    said = failed(tmp_path / "home", "up", "--no-demo", "--production")
    assert said.startswith("grandstand: --production needs --keys FILE_OR_URL")
    development = ensure_development_key(tmp_path)
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [json.loads(development.read_text())]}))
    said = failed(tmp_path / "home", "up", "--production", "--keys", str(jwks))
    assert "'grandstand-development' is the development key, and this is production" in said
