"""The gateway asks for a token before anything else: who sends, who watches, who is a guest.

The real service on our engine, called by a client of grpc's; behind it stand-ins keep what comes through.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest

from gateway import bounds
from gateway.guest_limits import GuestLimits
from gateway.guests import Guests
from gateway.service import GatewayService
from gateway.subscribe import SubscribeService, ViewerStream
from grandstand.client import open_channel
from grandstand.event.v1.event_pb2 import Event, Position, Vote
from grandstand.gateway.v1.gateway_pb2 import (
    Heartbeat,
    IssueGuestRequest,
    IssueOriginRequest,
    SendRequest,
    SubscribeRequest,
    SubscribeResponse,
)
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import GrandstandError
from mesh.addresses import AddressKeys
from mesh.auth import NO_KEYS, KeyRing, SigningKey, Trust, Verifier, parse_ring
from mesh.stream_limits import StreamLimits
from tests.support.blocks import origin, origins_of_tests
from tests.support.games import run
from tests.support.http2_service import serving
from tests.support.tokens import base64url, claims_of, jwks, private_jwk, ring, sealed, signing, token

KEY = private_jwk("EdDSA")
Metadata = tuple[tuple[str, str], ...]


class Handed:
    """Relay, and the registry that viewers join: what the service lets through ends here."""

    def __init__(self) -> None:
        self.sent: list[Event] = []
        self.watched: list[str] = []

    def submit(
        self, event: Event, on_answer: Callable[[Position | GrandstandError], None], traceparent: str = ""
    ) -> asyncio.Handle:
        self.sent.append(Event.FromString(event.SerializeToString()))
        answer = Position(partition=1, sequence=len(self.sent))
        return asyncio.get_running_loop().call_soon(on_answer, answer)

    def join(self, viewer: ViewerStream) -> None:
        assert viewer.subscription is not None
        self.watched.append(viewer.subscription.game_id)
        viewer.call.send(SubscribeResponse(heartbeat=Heartbeat()).SerializeToString())
        viewer.call.end()

    def leave(self, viewer: ViewerStream) -> None:
        pass

    def writable(self, viewer: ViewerStream) -> None:
        pass


@dataclass
class Edge:
    """A client of the gateway, and what came through."""

    stub: Any
    handed: Handed

    async def send(self, metadata: Metadata, **fields: Any) -> Position:
        about = {"origin_id": origin_for(metadata), "origin_seq": 1, "game_id": "g"} | fields
        event = Event(vote=Vote(poll_id="p", option_ids=["o"]), **about)
        return (await self.stub.Send(SendRequest(event=event), metadata=metadata)).positions[0]

    async def watch(self, metadata: Metadata, game_id: str = "g") -> str | None:
        async for response in self.stub.Subscribe(SubscribeRequest(game_id=game_id), metadata=metadata):
            return response.WhichOneof("message")
        return None


@contextlib.asynccontextmanager
async def gateway(
    found: KeyRing | None = None, guest_key: SigningKey | None = None, issuer: str | None = None
) -> AsyncIterator[Edge]:
    handed = Handed()
    keys = found or ring(KEY)
    verifier = Verifier(Trust(lambda: keys, issuer=issuer))
    viewer_limits = StreamLimits(bounds.VIEWER_BOUNDS, random=random.random)
    subscribe = SubscribeService(handed, viewer_limits, verifier, AddressKeys())
    guests = Guests(guest_key, verifier, GuestLimits(random.random), issuer)
    service = GatewayService(handed, subscribe.accept, verifier, guests, AddressKeys(), origins_of_tests())
    async with (
        serving(service.methods(), message_bytes_max=wire_bounds.GATEWAY_MESSAGE_BYTES_MAX) as (_, address),
        open_channel(address, own_connection=True) as channel,
    ):
        yield Edge(GatewayServiceStub(channel), handed)


def origin_for(metadata: Metadata) -> str:
    """One of whoever the token says."""
    owner = "ann"
    with contextlib.suppress(IndexError, jwt.PyJWTError):
        claims = jwt.decode(metadata[0][1].removeprefix("Bearer "), options={"verify_signature": False})
        owner = claims.get("sub", owner)
    return origin(0, owner=owner, now_s=time.time())


def shows(encoded: str) -> Metadata:
    return (("authorization", f"Bearer {encoded}"),)


def ann(**changed: Any) -> Metadata:
    return shows(token(KEY, **changed))


@contextlib.asynccontextmanager
async def refused(code: grpc.StatusCode, message: str) -> AsyncIterator[None]:
    with pytest.raises(grpc.aio.AioRpcError) as told:
        yield
    assert (told.value.code(), message in (told.value.details() or "")) == (code, True), told.value.details()


BAD: list[tuple[Metadata, str]] = [
    (ann(exp=int(time.time()) - 5), "token: expired"),
    (ann(aud="other"), "'grandstand' is expected"),
    (shows(token(private_jwk("EdDSA", "k1", 7))), "its signature is not good"),
    (shows(token(KEY, {"kid": "../k1"})), "is not among the 1 keys"),
    (shows(sealed({"alg": "none", "kid": "k1"}, claims_of(), b"")), "alg is 'none'"),
    (shows("nonsense"), "is not a JWT"),
    (shows(f"{base64url(b'x' * 7_000)}.e30.c2ln"), "at most 8192"),
    ((("authorization", "Basic YW5uOmFubg"),), "does not begin with 'Bearer '"),
    (ann() + ann(sub="bob"), "2 authorization metadata"),
]


@pytest.mark.parametrize(("metadata", "why"), BAD)
def test_a_bad_token_is_refused_everywhere_and_nothing_comes_through(metadata: Metadata, why: str) -> None:
    async def scenario() -> None:
        async with gateway(guest_key=signing(KEY)) as edge:
            for call in (
                lambda: edge.send(metadata),
                lambda: edge.watch(metadata),
                lambda: edge.stub.IssueOrigin(IssueOriginRequest(), metadata=metadata),
                lambda: edge.stub.IssueGuest(IssueGuestRequest(), metadata=metadata),
            ):
                async with refused(grpc.StatusCode.UNAUTHENTICATED, why):
                    await call()
            assert not edge.handed.sent
            assert not edge.handed.watched

    run(scenario())


def test_sending_wants_a_token_and_watching_does_not() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            async with refused(grpc.StatusCode.UNAUTHENTICATED, "there is none; get one from the platform"):
                await edge.send(())
            async with refused(grpc.StatusCode.UNAUTHENTICATED, "there is none; get one from the platform"):
                await edge.stub.IssueOrigin(IssueOriginRequest())
            assert await edge.watch(()) == "heartbeat"
            assert (await edge.stub.IssueOrigin(IssueOriginRequest(), metadata=ann())).origin_id
            assert not edge.handed.sent

    run(scenario())


def test_who_sends_is_who_the_token_says() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            assert (await edge.send(ann())).sequence == 1
            await edge.send(ann(), actor_id="ann")
            async with refused(
                grpc.StatusCode.PERMISSION_DENIED, "event.actor_id: 'bob' is not the token's actor 'ann'"
            ):
                await edge.send(ann(), actor_id="bob")
            assert [event.actor_id for event in edge.handed.sent] == ["ann", "ann"]

    run(scenario())


def test_a_producer_acts_for_others_and_cannot_send_if_it_is_nobody() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            nobody = ann(sub=None, roles=["producer"])
            await edge.send(ann(roles=["producer"]), actor_id="cleo")
            await edge.send(ann(roles=["producer"]))
            for call in (
                lambda: edge.send(nobody, actor_id="bob"),
                lambda: edge.stub.IssueOrigin(IssueOriginRequest(), metadata=nobody),
            ):
                async with refused(
                    grpc.StatusCode.PERMISSION_DENIED, "has no sub, and an origin belongs to one"
                ):
                    await call()
            assert [event.actor_id for event in edge.handed.sent] == ["cleo", "ann"]

    run(scenario())


def test_a_token_that_names_games_opens_no_other() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            for bound in (ann(games=["g"]), ann(games=["g"], roles=["producer"])):
                await edge.send(bound)
                assert await edge.watch(bound) == "heartbeat"
                async with refused(grpc.StatusCode.PERMISSION_DENIED, "event.game_id: 'h' is not"):
                    await edge.send(bound, game_id="h")
                async with refused(grpc.StatusCode.PERMISSION_DENIED, "game_id: 'h' is not among"):
                    await edge.watch(bound, "h")
            async with refused(grpc.StatusCode.PERMISSION_DENIED, "game_id: 'g' is not among"):
                await edge.watch(ann(games=[]))
            assert {event.game_id for event in edge.handed.sent} == {"g"}

    run(scenario())


def test_the_token_is_checked_before_the_event() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            async with refused(grpc.StatusCode.UNAUTHENTICATED, "token"):
                await edge.send((), origin_id="nonsense", game_id="\n")
            async with refused(grpc.StatusCode.FAILED_PRECONDITION, "event.origin_id"):
                await edge.send(ann(), origin_id="nonsense", game_id="g")

    run(scenario())


def test_a_guest_is_somebody_new_who_may_send() -> None:
    async def scenario() -> None:
        for issuer in (None, "us"):
            async with gateway(guest_key=signing(KEY), issuer=issuer) as edge:
                guests = [await edge.stub.IssueGuest(IssueGuestRequest()) for _ in range(2)]
                first, second = guests
                assert first.actor_id != second.actor_id
                assert len(first.actor_id) == len("guest-") + 16
                life_s = first.expires_at.ToSeconds() - time.time()
                assert life_s == pytest.approx(12 * 3600, abs=30)
                await edge.send(shows(first.token))
                assert edge.handed.sent[0].actor_id == first.actor_id
                assert edge.handed.sent[0].guest
                # What the event says of it is not believed.
                await edge.send(shows(first.token), guest=False)
                await edge.send(shows(token(KEY, iss=issuer)), guest=True)
                assert [event.guest for event in edge.handed.sent[1:]] == [True, False]
                async with refused(grpc.StatusCode.PERMISSION_DENIED, "is not the token's actor"):
                    await edge.send(shows(first.token), actor_id=second.actor_id)
                # Renewed as the same one; who is no guest gets a guest's all the same.
                again = await edge.stub.IssueGuest(IssueGuestRequest(), metadata=shows(first.token))
                assert again.actor_id == first.actor_id
                named = token(KEY, sub="fan", roles=["guest"], games=["h", "i-*"], name="Fan", iss=issuer)
                fan = await edge.stub.IssueGuest(IssueGuestRequest(), metadata=shows(named))
                claims = jwt.decode(fan.token, options={"verify_signature": False})
                assert claims.items() >= {"sub": "fan", "games": ["h", "i-*"], "name": "Fan"}.items()
                async with refused(grpc.StatusCode.PERMISSION_DENIED, "game_id: 'g' is not among"):
                    await edge.send(shows(fan.token), game_id="g")
                other = await edge.stub.IssueGuest(IssueGuestRequest(), metadata=ann(iss=issuer))
                assert other.actor_id.startswith("guest-")

    run(scenario())


def test_the_guests_of_one_address_are_bounded_and_it_is_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "GUESTS_PER_ADDRESS_BURST", 5)

    async def scenario() -> None:
        async with gateway(guest_key=signing(KEY)) as edge:

            async def guest(address: str) -> str:
                metadata = (("x-forwarded-for", f"198.51.100.9, {address}"),)
                return (await edge.stub.IssueGuest(IssueGuestRequest(), metadata=metadata)).token

            for _ in range(5):
                await guest("192.0.2.7")
            async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "address 192.0.2.7 took 5 guests"):
                await guest("192.0.2.7")
            await guest("192.0.2.8")

    run(scenario())


def test_without_a_key_for_guests_there_are_none() -> None:
    async def scenario() -> None:
        said = refused(grpc.StatusCode.FAILED_PRECONDITION, "sign in with the platform")
        async with gateway() as edge, said:
            await edge.stub.IssueGuest(IssueGuestRequest())

    run(scenario())


def test_a_guest_that_no_service_would_take_is_not_issued() -> None:
    """The guests' key is not among those that tokens are checked with, or another has its kid."""

    async def scenario() -> None:
        for key in (private_jwk("EdDSA", "guests"), private_jwk("EdDSA", "k1", 3)):
            said = refused(grpc.StatusCode.FAILED_PRECONDITION, "add its public part to --keys")
            async with gateway(guest_key=signing(key)) as edge, said:
                await edge.stub.IssueGuest(IssueGuestRequest())

    run(scenario())


def test_guests_of_a_key_of_their_own_are_taken_once_its_public_part_is_published() -> None:
    async def scenario() -> None:
        key = private_jwk("ES256", "guests")
        async with gateway(parse_ring(jwks(KEY, key)), signing(key)) as edge:
            guest = await edge.stub.IssueGuest(IssueGuestRequest())
            await edge.send(shows(guest.token))
            assert edge.handed.sent[0].actor_id == guest.actor_id

    run(scenario())


def test_while_no_keys_could_be_had_a_token_is_answered_unavailable() -> None:
    async def scenario() -> None:
        async with gateway(NO_KEYS) as edge:
            async with refused(grpc.StatusCode.UNAVAILABLE, "cannot be had yet"):
                await edge.send(ann())
            assert await edge.watch(()) == "heartbeat"

    run(scenario())
