"""Streams end with the token that they were opened with, at its end and when it is revoked.

A real gateway on a NATS of its own; a viewer without a token beside, which goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest

from grandstand.client import Viewer, open_channel
from grandstand.gateway.v1.gateway_pb2 import IssueOriginRequest, SubscribeRequest, SubscribeResponse
from mesh.auth import Revocation
from mesh.auth.revocations import key_of
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.games import run
from tests.support.lone_gateway import POLL, LoneGateway, healthy, lone_gateway
from tests.support.lone_ingest import GAME
from toolbox.local import development

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
REQUEST = SubscribeRequest(game_id=GAME, topics=[POLL, "inbox"])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    with lone_gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found


class Watching:
    """A call of Subscribe, read to its end."""

    def __init__(self, call: Any) -> None:
        self.heard: list[str] = []
        self.expires_at_s = 0.0
        self.ended: tuple[grpc.StatusCode, str] | None = None
        self._call = call

    async def read(self) -> None:
        try:
            async for response in self._call:
                self.take(response)
        except grpc.aio.AioRpcError as error:
            self.ended = error.code(), error.details() or ""

    def take(self, response: SubscribeResponse) -> None:
        self.heard.append(response.WhichOneof("message") or "")
        if response.HasField("token_expiring"):
            self.expires_at_s = response.token_expiring.expires_at.ToNanoseconds() / 1e9


async def revoke(gateway: LoneGateway, slot: int, actor_id: str) -> None:
    """As aggregate does."""
    now_s = time.time()
    bus = await Bus.connect(gateway.stores.nats_url, "revoke")
    try:
        bucket = await bus.js.key_value(subjects.CATALOG_BUCKET)
        revocation = Revocation(actor_id, "", now_s + 5, now_s + 3_600, now_s)
        await bucket.put(key_of(slot), revocation.encoded().SerializeToString())
    finally:
        await bus.close()


def test_the_end_of_a_token_ends_its_stream_which_is_told_before(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, gateway.stub() as stub, healthy(gateway, results) as witness:
            short = gateway.bearer("ann", life_s=3.0)
            watching = Watching(stub.Subscribe(REQUEST, metadata=short))
            await watching.read()
            assert watching.ended is not None
            code, details = watching.ended
            assert (code, details) == (
                UNAUTHENTICATED,
                "the token has expired; resume on a new stream with a new one",
            )
            assert watching.heard[0] == "snapshot"
            assert watching.heard.count("token_expiring") == 1
            assert watching.expires_at_s <= time.time() < watching.expires_at_s + 30
            await witness.sees_the_next()

    run(scenario())


def test_a_viewer_renews_by_itself_and_misses_nothing(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        tokens: list[str] = []

        def token() -> str:
            tokens.append(development.development_token(gateway.home, "ann", life_s=2.5))
            return tokens[-1]

        async with gateway.results() as results, open_channel(gateway.address) as channel:
            viewer = Viewer(channel, GAME, topics=[POLL, "inbox"], token=token)
            seen: list[int] = []
            async for _ in viewer:
                if POLL in viewer.states:
                    seen.append(viewer.states[POLL].tally.voters)
                if len(seen) % 2 == 0:
                    await results.show()
                if viewer.resumed:
                    break
            assert seen == sorted(seen), "never backwards (I5)"
            assert (viewer.mismatches, viewer.cache.went_back) == (0, 0)
            assert len(set(tokens)) >= 2

    run(scenario())


def test_a_revocation_ends_an_actors_streams_and_no_others_and_outlives_restarts_of_gateway_and_nats(
    gateway: LoneGateway,
) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, gateway.stub() as stub, healthy(gateway, results) as witness:
            eve, ann = gateway.bearer("eve"), gateway.bearer("ann")
            watching = Watching(stub.Subscribe(REQUEST, metadata=eve))
            beside = stub.Subscribe(REQUEST, metadata=ann)
            await beside.read()
            await revoke(gateway, 0, "eve")
            await watching.read()
            assert watching.ended is not None
            assert watching.ended[0] is UNAUTHENTICATED
            assert "token: was revoked (all of actor 'eve' issued before" in watching.ended[1]
            for call in (
                stub.Subscribe(REQUEST, metadata=eve).read(),
                stub.IssueOrigin(IssueOriginRequest(), metadata=eve),
            ):
                with pytest.raises(grpc.aio.AioRpcError, match="was revoked"):
                    await call
            await witness.sees_the_next()
            assert not beside.done()
            beside.cancel()

        gateway.process.end()
        gateway.stores.nats.kill()
        gateway.stores.nats.start()
        gateway.process.start()
        async with gateway.stub() as stub:

            async def is_refused() -> bool:
                try:
                    await stub.IssueOrigin(IssueOriginRequest(), metadata=eve)
                except grpc.aio.AioRpcError as error:
                    if error.code() in (UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE):
                        return error.code() is UNAUTHENTICATED
                    raise
                raise AssertionError("a revoked token was taken")

            give_up_at_s = time.monotonic() + 30
            while not await is_refused():
                assert time.monotonic() < give_up_at_s, "the gateway is back"
            await stub.IssueOrigin(IssueOriginRequest(), metadata=ann)

    run(scenario())
