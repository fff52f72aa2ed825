"""Send on our engine, called by a client of grpc: what it is answered, and when the relay is told to forget.

The relay is a stand-in that keeps who waits, so that a test answers when it likes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from gateway.guest_limits import GuestLimits
from gateway.guests import Guests
from gateway.sending import check_event, event_in, response_of
from gateway.service import GatewayService, path_of
from grandstand.client import open_channel
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE, Event, Position, Presence, Vote
from grandstand.gateway.v1.gateway_pb2 import (
    IssueGuestRequest,
    IssueOriginRequest,
    IssueOriginResponse,
    SendRequest,
    SendResponse,
)
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted, GrandstandError, OriginRefused, Unavailable, Unknown
from mesh import telemetry
from mesh.addresses import AddressKeys
from mesh.auth import Games, Identity, Trust, Verifier
from mesh.explain.recent_refusals import RecentRefusals
from mesh.http2.call import Call, Handler
from mesh.tracing.kept import KeptSpans
from tests.support.blocks import origin, origins_of_tests
from tests.support.games import run, until
from tests.support.http2_service import serving
from tests.support.tokens import private_jwk, ring, token

KEY = private_jwk("EdDSA")
NOW_S = time.time()
ORIGIN = origin(0, now_s=NOW_S)
# Long enough for a whole run of the tests, whose modules are all loaded first.
METADATA = (("authorization", f"Bearer {token(KEY, exp=int(time.time()) + 3600)}"),)
PRODUCER_METADATA = (
    ("authorization", f"Bearer {token(KEY, roles=['producer'], exp=int(time.time()) + 3600)}"),
)
Answer = Position | GrandstandError
ORIGINS = origins_of_tests()


@dataclass
class Waiting:
    """One whom the relay owes an answer."""

    event: Event
    answer: Callable[[Answer], None]
    traceparent: str
    has_left: bool = False

    def cancel(self) -> None:
        self.has_left = True


@dataclass
class Relay:
    submitted: list[Waiting] = field(default_factory=list)
    refuses: GrandstandError | None = None

    def submit(self, event: Event, on_answer: Callable[[Answer], None], traceparent: str = "") -> Waiting:
        if self.refuses is not None:
            raise self.refuses
        self.submitted.append(Waiting(event, on_answer, traceparent))
        return self.submitted[-1]


def subscribe(_: Call) -> Handler:
    raise Unavailable("nobody watches here")


@dataclass
class Edge:
    relay: Relay
    channel: grpc.aio.Channel
    refusals: RecentRefusals

    def call(self, request: bytes, method: str = "Send", **options: Any) -> grpc.aio.UnaryUnaryCall:
        return self.channel.unary_unary(path_of(method))(request, **({"metadata": METADATA} | options))

    def send(self, **fields: Any) -> grpc.aio.UnaryUnaryCall:
        options = {name: fields.pop(name) for name in ("metadata", "timeout") if name in fields}
        return self.call(SendRequest(event=vote(**fields)).SerializeToString(), **options)

    async def submitted(self, count: int = 1) -> Waiting:
        """The newest of this many."""
        await until(lambda: len(self.relay.submitted) == count, f"{count} are submitted")
        return self.relay.submitted[-1]


def vote(**fields: Any) -> Event:
    about = {"origin_id": ORIGIN, "origin_seq": 1, "game_id": "g"} | fields
    return Event(**({"vote": Vote(poll_id="p", option_ids=["o"])} | about))


@contextlib.asynccontextmanager
async def gateway(**bounds: int) -> AsyncIterator[Edge]:
    relay, keys = Relay(), ring(KEY)
    verifier = Verifier(Trust(lambda: keys))
    guests = Guests(None, verifier, GuestLimits(lambda: 0.0))
    origins, refusals = origins_of_tests(**bounds), RecentRefusals()
    service = GatewayService(*(relay, subscribe, verifier, guests, AddressKeys(), origins), refusals=refusals)
    async with (
        serving(service.methods(), message_bytes_max=wire_bounds.GATEWAY_MESSAGE_BYTES_MAX) as (_, address),
        open_channel(address, own_connection=True) as channel,
    ):
        yield Edge(relay, channel, refusals)


async def failure_of(call: grpc.aio.UnaryUnaryCall) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await call
    return told.value


def retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if details is None:
        return None
    status, found = Status.FromString(details), RetryInfo()
    assert (status.code, status.message) == (error.code().value[0], error.details())
    assert status.details[0].Unpack(found)
    return found.retry_delay.ToNanoseconds() / 1e9


def test_an_answer_is_the_position_where_the_event_is_stored() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            calls = [edge.send(origin_seq=n) for n in (1, 2)]
            await edge.submitted(2)
            first, second = sorted(edge.relay.submitted, key=lambda waiting: waiting.event.origin_seq)
            second.answer(Position(partition=3, sequence=8))
            assert SendResponse.FromString(await calls[1]).positions[0].sequence == 8
            assert not calls[0].done(), "each call waits for its own answer"
            first.answer(Position(partition=3, sequence=9))
            assert SendResponse.FromString(await calls[0]).positions[0].sequence == 9
            assert not first.has_left, "who was answered need not leave"

    run(scenario())


@pytest.mark.parametrize(
    ("error", "delay_s"),
    [
        (Unknown("game 'g'"), None),
        (Exhausted("shed; wait 0.250 s", retry_after_s=0.25), 0.25),
        (Unavailable("not acked"), None),
    ],
)
def test_a_refusal_says_why_and_when_to_come_again(error: GrandstandError, delay_s: float | None) -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            call = edge.send()
            (await edge.submitted()).answer(error)
            late = await failure_of(call)
            edge.relay.refuses = error
            at_once = await failure_of(edge.send())
            for told in (late, at_once):
                assert (told.code().value[0], told.details()) == (error.code, error.message)
                assert retry_after_s(told) == delay_s

    run(scenario())


def new_origin_in(error: grpc.aio.AioRpcError) -> IssueOriginResponse:
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    found = IssueOriginResponse()
    assert status.details[0].Unpack(found)
    return found


def test_an_origin_that_is_not_taken_is_answered_with_a_new_one_to_go_on_with() -> None:
    """An invented one, another actor's, one that this gateway knows to be over, one that ingest refuses."""

    async def scenario() -> None:
        async with gateway() as edge:
            invented = ids.new_origin(producer=False, now_s=NOW_S, entropy=bytes(12))
            foreign, old = origin(1, owner="eve", now_s=NOW_S), origin(1, now_s=NOW_S - 9e4)
            refusals = [await failure_of(edge.send(origin_id=each)) for each in (invented, foreign, old)]
            assert not edge.relay.submitted, "none of them came through"
            call = edge.send()
            (await edge.submitted()).answer(OriginRefused("event.origin_id: left"))
            refusals.append(await failure_of(call))
            for at, told in enumerate(refusals):
                assert told.code() is grpc.StatusCode.FAILED_PRECONDITION
                new = new_origin_in(told)
                assert (new.credit, new.expires_at.seconds > NOW_S + 80_000) == (64, True)
                call = edge.send(origin_id=new.origin_id)
                (await edge.submitted(at + 2)).answer(Position(partition=1, sequence=1))
                await call

    run(scenario())


def test_what_ingest_does_not_see_is_remembered_of_who_sent_it_and_of_nobody_else() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            await failure_of(edge.send(actor_id="mallory's victim"))
            await failure_of(edge.send(origin_id="", game_id="h"))
            await failure_of(edge.call(b"\xff"))
            edge.relay.refuses = Exhausted("too many wait")
            await failure_of(edge.send(origin_seq=9))
            told = [
                (each.game_id, each.topic, each.origin_seq, each.code)
                for each in edge.refusals.of("ann", "g").refusals
            ]
            assert told == [
                ("g", "poll/p", 1, 7),
                ("h", "poll/p", 1, 3),
                ("", "", 0, 3),
                ("g", "poll/p", 9, 8),
            ]
            assert not edge.refusals.of("mallory's victim", "g").refused
            edge.relay.refuses = None
            call = edge.send()
            (await edge.submitted()).answer(Unknown("ingest's own, which remembers it"))
            await failure_of(call)
            assert edge.refusals.of("ann", "g").refused == 4

    run(scenario())


def test_new_origins_are_bounded_by_actor_whichever_way_they_are_asked_for() -> None:
    async def scenario() -> None:
        async with gateway(actor_max=3) as edge:
            for _ in range(2):
                await edge.call(b"", "IssueOrigin")
            assert new_origin_in(await failure_of(edge.send(origin_id="invented"))).origin_id
            for call in (edge.call(b"", "IssueOrigin"), edge.send(origin_id="invented")):
                told = await failure_of(call)
                assert told.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "'ann' asked for 3 origins, the most it may in a minute" in (told.details() or "")
                assert 15 < (retry_after_s(told) or 0) <= 20
            eve = (("authorization", f"Bearer {token(KEY, sub='eve')}"),)
            await edge.call(b"", "IssueOrigin", metadata=eve)

    run(scenario())


def test_who_goes_away_leaves_the_relay() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            call = edge.send()
            waiting = await edge.submitted()
            call.cancel()
            await until(lambda: waiting.has_left, "it has left")
            late = await failure_of(edge.send(timeout=0.2))
            assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: edge.relay.submitted[1].has_left, "its deadline has passed")

    run(scenario())


def test_i10_a_request_is_not_read_before_its_token() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            told = await failure_of(edge.call(b"\xff nonsense", metadata=()))
            assert told.code() is grpc.StatusCode.UNAUTHENTICATED
            for method in ("Send", "IssueOrigin", "IssueGuest"):
                told = await failure_of(edge.call(b"\xff nonsense", method))
                assert told.code() is grpc.StatusCode.INVALID_ARGUMENT, method
                assert "10 bytes are no" in (told.details() or "")
            assert not edge.relay.submitted

    run(scenario())


def test_one_call_takes_one_request() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            for method in ("Send", "IssueOrigin"):
                for requests in ((), (b"", b"")):
                    call = edge.channel.stream_unary(path_of(method))(iter(requests), metadata=METADATA)
                    told = await failure_of(call)
                    assert told.code() is grpc.StatusCode.UNIMPLEMENTED
                    assert "this method takes one" in (told.details() or "")
            assert not edge.relay.submitted

    run(scenario())


def test_a_call_whose_client_does_not_finish_its_request_is_not_submitted() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            call = edge.channel.stream_unary(path_of("Send"))(metadata=METADATA)
            await call.write(SendRequest(event=vote()).SerializeToString())
            await edge.call(IssueOriginRequest().SerializeToString(), "IssueOrigin")
            assert not edge.relay.submitted
            await call.done_writing()
            await edge.submitted()
            call.cancel()

    run(scenario())


IDENTITY = Identity("ann", producer=False, games=Games.of(["g"]), expires_at_s=2e9)

BAD: list[tuple[dict[str, Any], str]] = [
    ({"actor_id": "bob"}, "event.actor_id: 'bob' is not the token's"),
    ({"game_id": "h"}, "event.game_id: 'h' is not among"),
    ({"origin_id": ""}, "event.origin_id: is empty; ask IssueOrigin for one"),
    ({"origin_id": "mine"}, "event.origin_id: 'mine' is not an origin id"),
    ({"origin_id": origin(0, producer=True, now_s=NOW_S)}, "is a producer's"),
    ({"origin_id": origin(0, now_s=NOW_S - 9e4)}, "25.0 h old"),
    ({"origin_id": origin(0, owner="eve", now_s=NOW_S)}, "was not issued to 'ann' here"),
    ({"origin_seq": 0}, "event.origin_seq: is 0; 1 to"),
    ({"origin_seq": 2**63}, "event.origin_seq: is 9223372036854775808; 1 to"),
    ({"vote": None}, "event.body: is not set"),
    ({"vote": Vote(poll_id="p", weight=2)}, "event.vote.weight: is 2; at most 1"),
    (
        {"vote": None, "presence": Presence(state=PRESENCE_STATE_HERE)},
        "event.presence: is not taken here; the gateway itself tells who watches",
    ),
]


@pytest.mark.parametrize(("fields", "why"), BAD)
def test_each_refusal_names_its_field_the_value_and_the_bound(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(GrandstandError) as told:
        check_event(vote(**fields), IDENTITY, ORIGINS, NOW_S)
    assert why in told.value.message


def test_what_is_wrong_is_named_in_one_order() -> None:
    """Of two faults the earlier of the list is named."""
    for at, (earlier, why) in enumerate(BAD):
        for later, _ in BAD[at + 1 :]:
            if not earlier.keys() & later.keys():
                with pytest.raises(GrandstandError) as told:
                    check_event(vote(**(earlier | later)), IDENTITY, ORIGINS, NOW_S)
                assert why in told.value.message


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_an_event_or_a_domain_error(request_bytes: bytes) -> None:
    try:
        event = event_in(request_bytes)
        check_event(event, IDENTITY, ORIGINS, NOW_S)
    except GrandstandError:
        return
    assert event.actor_id == "ann"


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_a_response_is_what_protobuf_would_have_written(partition: int, sequence: int) -> None:
    position = Position(partition=partition, sequence=sequence)
    assert response_of(position) == SendResponse(positions=[position]).SerializeToString()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """What spans there are, with traces on."""
    kept = KeptSpans("gateway", "gateway-1")
    monkeypatch.setattr(telemetry, "_kept", kept)
    monkeypatch.setattr(telemetry, "has_collector", lambda: True)

    def found() -> list[dict[str, Any]]:
        spans: list[dict[str, Any]] = json.loads(kept.page())["spans"]
        return spans

    return found


def test_a_call_is_a_span_of_its_callers_trace_and_the_event_carries_it_on(
    spans: Callable[[], list[dict[str, Any]]],
) -> None:
    trace_id, sender = f"{0xABC << 64 | 1:032x}", f"{0xDEF:016x}"
    traceparent = ("traceparent", f"00-{trace_id}-{sender}-01")

    async def scenario() -> None:
        async with gateway() as edge:
            call = edge.send(metadata=(*METADATA, traceparent))
            waiting = await edge.submitted()
            waiting.answer(Position(partition=1, sequence=1))
            await call
            refused = edge.send(metadata=(*METADATA, traceparent))
            (await edge.submitted(2)).answer(Unavailable("a test"))
            await failure_of(refused)
            await failure_of(edge.send(metadata=(traceparent,)))
            leaving = edge.send(metadata=(*METADATA, traceparent))
            await edge.submitted(3)
            leaving.cancel()
            await until(lambda: edge.relay.submitted[2].has_left, "it has left")
            await edge.call(b"", "IssueOrigin", metadata=(*METADATA, traceparent))
            await failure_of(edge.call(IssueGuestRequest().SerializeToString(), "IssueGuest"))

            found = spans()
            assert [
                (span["name"].rpartition("/")[2], span["attributes"]["rpc.grpc.status_code"])
                for span in found
            ] == [("Send", 0), ("Send", 14), ("Send", 16), ("Send", 1), ("IssueOrigin", 0)]
            assert [bool(span["error"]) for span in found] == [False, True, False, False, False]
            assert {(span["trace_id"], span["parent_id"]) for span in found} == {(trace_id, sender)}
            first = found[0]
            assert first["name"] == path_of("Send")
            assert first["attributes"]["rpc.service"] == "grandstand.gateway.v1.GatewayService"
            assert waiting.traceparent == f"00-{trace_id}-{first['span_id']}-01"

    run(scenario())


def test_a_trace_is_forced_by_the_context_of_a_trusted_role_alone(
    spans: Callable[[], list[dict[str, Any]]],
) -> None:
    own = ("grandstand-traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
    edges = f"00-{'c' * 32}-{'d' * 16}-0"

    async def scenario() -> None:
        async with gateway() as edge:
            for number, (metadata, flag) in enumerate(
                ((METADATA, "0"), (METADATA, "1"), (PRODUCER_METADATA, "0")), start=1
            ):
                call = edge.send(metadata=(*metadata, own, ("traceparent", edges + flag)), origin_seq=number)
                (await edge.submitted(number)).answer(Position(partition=1, sequence=1))
                await call
            # Of a viewer: nothing, or a link to it from what the edge chose. Of a producer: its trace.
            sampled, forced = spans()
            assert (sampled["trace_id"], sampled["links"]) == ("c" * 32, ["a" * 32])
            assert (forced["trace_id"], forced["parent_id"]) == ("a" * 32, "b" * 16)
            assert forced["links"] == ["c" * 32]
            carried = [waiting.traceparent for waiting in edge.relay.submitted]
            assert carried[0] == ""
            assert all(carried[1:])

    run(scenario())


def test_of_calls_that_are_not_sampled_the_slow_and_the_failed_are_told_afterwards(
    spans: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Position(partition=1, sequence=1)

    async def scenario() -> None:
        async with gateway() as edge:
            for slow_s, answer in (
                (60.0, stored),
                (0.0, stored),
                (60.0, Unavailable("a test")),
                *[(0.0, stored)] * 30,
            ):
                monkeypatch.setattr(telemetry, "SLOW_S", slow_s)
                call = edge.send(metadata=METADATA)
                waiting = await edge.submitted(len(edge.relay.submitted) + 1)
                assert waiting.traceparent == ""
                waiting.answer(answer)
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await call
            slow, failed, *others = spans()
            assert slow["attributes"]["grandstand.kept_because"] == "slow"
            assert (failed["attributes"]["grandstand.kept_because"], failed["error"]) == ("failed", "a test")
            assert len(others) < 30, "they are bounded a second"

    run(scenario())


def test_without_traces_nothing_is_carried() -> None:
    async def scenario() -> None:
        async with gateway() as edge:
            call = edge.send(metadata=(*METADATA, ("traceparent", f"00-{1:032x}-{1:016x}-01")))
            waiting = await edge.submitted()
            assert waiting.traceparent == ""
            call.cancel()

    run(scenario())
