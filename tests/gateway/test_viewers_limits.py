"""How many may watch: bounds by gateway, actor and address, and what those turned away are told."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from gateway import bounds as gateway_bounds
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from mesh import limits
from tests.support.games import run, until
from tests.support.lone_gateway import POLL, LoneGateway, healthy, lone_gateway
from tests.support.lone_ingest import GAME
from tests.support.raw_viewers import Ending, line_to
from tests.support.servers import eventually

PROXY = "192.0.2.9"
HOME = ("x-forwarded-for", f"6.6.6.6, 203.0.113.7, {PROXY}")
OFFICE = ("x-forwarded-for", f"203.0.113.7, 198.51.100.1, {PROXY}")
REQUEST = SubscribeRequest(game_id=GAME, topics=[POLL])
EXHAUSTED = 8
VIEWER_BYTES_MAX = 3 * 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneGateway]:
    """Behind one proxy before Envoy; who comes from this machine itself is exempt."""
    hops = ("--trusted-hops", "1", "--exempt", "127.0.0.0/8")
    with lone_gateway(tmp_path_factory.mktemp("gateway"), addresses=hops) as found:
        yield found


@pytest.fixture(scope="module")
def edge(gateway: LoneGateway) -> str:
    """Of an Envoy before it."""
    found = gateway.envoy()
    return f"{found.host}:{found.port}"


def from_home(n: int) -> tuple[str, str]:
    """What a client says of itself stands before what the proxy saw."""
    return "x-forwarded-for", f"6.6.{n >> 8}.{n & 255}, 203.0.113.7, {PROXY}"


async def turned_away(stub: Any, metadata: Sequence[tuple[str, str]]) -> tuple[str, float]:
    """What a real client is told, and after how many seconds to come again."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(stub.Subscribe(REQUEST, metadata=metadata)))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    details = dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]
    status = Status.FromString(details if isinstance(details, bytes) else base64.b64decode(details))
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert status.message == caught.value.details()
    return status.message, retry.retry_delay.ToNanoseconds() / 1e9


async def let_in(stub: Any, metadata: Sequence[tuple[str, str]] = ()) -> bool:
    call = stub.Subscribe(REQUEST, metadata=metadata)
    try:
        return bool((await anext(aiter(call))).HasField("snapshot"))
    except grpc.aio.AioRpcError:
        return False
    finally:
        call.cancel()


async def until_let_in(stub: Any, metadata: Sequence[tuple[str, str]] = ()) -> None:
    await eventually(lambda: let_in(stub, metadata), "there is room again")


@pytest.mark.parametrize("through_envoy", [False, True], ids=["direct", "envoy"])
def test_an_actor_has_so_many_streams_and_who_comes_then_is_told_when_to_come_again(
    gateway: LoneGateway, edge: str, through_envoy: bool
) -> None:
    address = edge if through_envoy else gateway.address

    async def scenario() -> None:
        ann, bob = gateway.bearer("ann"), gateway.bearer("bob")
        async with (
            gateway.results() as results,
            healthy(gateway, results),
            gateway.stub(address) as stub,
            line_to(address) as line,
        ):
            streams = [line.subscribe(REQUEST, ann) for _ in range(gateway_bounds.VIEWERS_PER_ACTOR_MAX)]
            await until(lambda: all(line.received[stream] for stream in streams), "all of hers are let in")
            waits_s = []
            for _ in range(3):
                message, wait_s = await turned_away(stub, ann)
                assert "actor 'ann' has 32 viewers on this gateway" in message
                assert "close one; come again in" in message
                waits_s.append(wait_s)
            assert (
                limits.STREAM_RETRY_MIN_S <= waits_s[0] < waits_s[1] < waits_s[2] < limits.STREAM_RETRY_MAX_S
            )
            assert await let_in(stub, bob)
            assert await let_in(stub)
            line.reset(streams[0])
            await until_let_in(stub, ann)

    run(scenario())


def test_an_address_has_so_many_and_only_what_the_trusted_proxy_saw_is_believed(gateway: LoneGateway) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results), gateway.stub() as stub:
            async with line_to(gateway.address) as line:
                count = gateway_bounds.VIEWERS_PER_ADDRESS_MAX
                streams = [line.subscribe(REQUEST, [from_home(n)]) for n in range(count)]
                await until(
                    lambda: all(line.received[stream] for stream in streams), "all of these are let in"
                )
                message, wait_s = await turned_away(stub, [from_home(count)])
                assert "address 203.0.113.7 has 2000 viewers on this gateway" in message
                assert limits.STREAM_RETRY_MIN_S <= wait_s < limits.STREAM_RETRY_MIN_S + 1
                assert await let_in(stub, [OFFICE])
                assert await let_in(stub), "this machine is exempt"
                around = [("x-forwarded-for", "198.51.100.2")]
                assert await let_in(stub, around), "who comes around the proxy is itself"
                assert not await let_in(stub, [("x-forwarded-for", f"203.0.113.7, {PROXY}")])
            await until_let_in(stub, [HOME])

    run(scenario())


def test_a_full_gateway_spreads_who_comes_then_costs_little_for_each_and_keeps_all_up_to_date(
    gateway: LoneGateway,
) -> None:
    async def scenario() -> None:
        async with gateway.results() as results, healthy(gateway, results) as viewer, gateway.stub() as stub:
            rss = gateway.rss_bytes()
            async with line_to(gateway.address) as line:
                # One is the healthy one.
                streams = line.watch(GAME, POLL, count=limits.VIEWERS_MAX - 1)
                await until(lambda: all(line.received[stream] for stream in streams), "all are let in")
                assert gateway.rss_bytes() - rss < limits.VIEWERS_MAX * VIEWER_BYTES_MAX
                message, first_s = await turned_away(stub, ())
                assert "this gateway has 15000 viewers, the most it takes; another may have room" in message
                crowd = line.watch(GAME, POLL, count=2_000)
                await until(lambda: all(stream in line.ended for stream in crowd), "a crowd is turned away")
                assert {line.ended[stream].code for stream in crowd} == {EXHAUSTED}
                assert first_s < 1.1
                back_s = sorted(
                    each.at_s + wait_of(each) for each in (line.ended[stream] for stream in crowd)
                )
                assert back_s[-1] - back_s[0] > 0.8 * len(crowd) / gateway_bounds.VIEWER_RETRIES_PER_S
                await viewer.sees_the_next()
                await until(
                    lambda: all(line.received[stream][-1].HasField("update") for stream in streams[::100]),
                    "those who are in see it too",
                )
            await until_let_in(stub)

    run(scenario(), within_s=120)


def wait_of(ending: Ending) -> float:
    return float(ending.message.rpartition("come again in ")[2].removesuffix(" s"))
