"""The C-core's clients, synchronous and not, find a gRPC server in `mesh.http2`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grandstand.wire.errors import Exhausted, Forbidden
from mesh.http2.call import Call, Handler, Metadata
from mesh.http2.health import Health
from mesh.http2.server import Http2Server
from mesh.http2.unary import unary
from tests.support.games import until
from tests.support.http2_service import ECHO, PATIENCE_S, Calls, Echo, serving, stuck

REVERSE = "/test.Test/Reverse"
UNICODE = "Grüße, 100 % — 你好 🎉 " * 100


def reverse(request: bytes, metadata: Metadata) -> bytes:
    if request == b"forbidden":
        raise Forbidden(UNICODE)
    if request == b"metadata":
        return dict(metadata)["x-name"].encode()
    if request == b"broken":
        raise RuntimeError("secret")
    return request[::-1]


@contextlib.asynccontextmanager
async def service(
    channel_options: tuple[tuple[str, int], ...] = (),
) -> AsyncIterator[tuple[Http2Server, Calls, grpc.aio.Channel, str]]:
    calls = Calls(Echo)
    async with serving({ECHO: calls.accept, REVERSE: unary(reverse)}) as (server, address):
        options = (("grpc.use_local_subchannel_pool", 1), *channel_options)
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            yield server, calls, channel, address


async def read_all(call: grpc.aio.StreamStreamCall) -> list[bytes]:
    return [message async for message in call]


def test_unary_calls_answer() -> None:
    async def scenario() -> None:
        async with service() as (server, _, channel, _):
            ask = channel.unary_unary(REVERSE)
            assert await ask(b"abc") == b"cba"
            assert await ask(b"") == b""
            assert await ask(b"metadata", metadata=(("x-name", "of it"),)) == b"of it"
            with pytest.raises(grpc.aio.AioRpcError) as forbidden:
                await ask(b"forbidden")
            assert forbidden.value.code() == grpc.StatusCode.PERMISSION_DENIED
            details = forbidden.value.details() or ""
            # Cut at a bound, between two characters.
            assert details.endswith("…")
            assert UNICODE.startswith(details[:-1])
            assert len(details) > 1_000
            with pytest.raises(grpc.aio.AioRpcError) as broken:
                await ask(b"broken")
            assert broken.value.code() == grpc.StatusCode.INTERNAL
            assert "secret" not in (broken.value.details() or "")
            await asyncio.gather(*(ask(b"%d" % number) for number in range(500)))
            assert server.streams == 0
            assert server.streams_opened == 505
            assert server.messages_received == 505

    asyncio.run(scenario())


def test_a_refusal_says_when_to_come_again() -> None:
    """By the service as it accepts a call, and by a unary method."""

    def full(_: Call) -> Handler:
        raise Exhausted(UNICODE, retry_after_s=2.5)

    def busy(_: bytes, __: Metadata) -> bytes:
        raise Exhausted(UNICODE, retry_after_s=2.5)

    async def scenario() -> None:
        async with (
            serving({ECHO: full, REVERSE: unary(busy)}) as (_, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            for path in (ECHO, REVERSE):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(path)(b"x")
                assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
                details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
                status, info = Status.FromString(details), RetryInfo()
                assert (status.code, len(status.details)) == (8, 1)
                assert UNICODE.startswith(status.message.removesuffix("…"))
                assert status.details[0].Unpack(info)
                assert info.retry_delay.ToMilliseconds() == 2_500

    asyncio.run(scenario())


def test_a_method_that_takes_one_request_takes_one() -> None:
    async def scenario() -> None:
        async with service() as (_, _, channel, _):
            for requests in ([], [b"1", b"2"]):
                call = channel.stream_stream(REVERSE)()
                with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                    for request in requests:
                        await call.write(request)
                    await call.done_writing()
                assert await call.code() == grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_unknown_methods_are_unimplemented() -> None:
    async def scenario() -> None:
        async with service() as (_, _, channel, _):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary("/test.Test/Nothing")(b"x")
            assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
            assert "/test.Test/Nothing" in (error.value.details() or "")

    asyncio.run(scenario())


def test_a_megabyte_in_small_messages_comes_back() -> None:
    async def scenario() -> None:
        async with service() as (server, calls, channel, _):
            sent = [b"%08d" % number * 5 for number in range(25_000)]

            async def write(call: grpc.aio.StreamStreamCall) -> None:
                for each in sent:
                    await call.write(each)
                await call.done_writing()

            call = channel.stream_stream(ECHO)()
            writing = asyncio.create_task(write(call))
            assert await read_all(call) == sent
            await writing
            assert (calls.half_closed, calls.gone) == (1, 0)
            assert server.messages_received == len(sent)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_messages_of_all_sizes_come_back(compression: grpc.Compression) -> None:
    async def scenario() -> None:
        chance = random.Random(3)
        sent = [chance.randbytes(size) for size in (0, 1, 5, 16_379, 16_380, 65_535, 262_144, 3)]
        async with service() as (_, _, channel, _):
            call = channel.stream_stream(ECHO)(iter(sent), compression=compression)
            assert await read_all(call) == sent

    asyncio.run(scenario())


def test_a_message_beyond_the_bound_is_refused_by_its_size() -> None:
    async def scenario() -> None:
        async with service() as (_, calls, channel, _):
            call = channel.stream_stream(ECHO)()
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await call.write(b"x" * 262_145)
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call.read()
            assert await call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "262145" in await call.details()
            assert "262144" in await call.details()
            assert calls.gone == 1

    asyncio.run(scenario())


def test_deadlines_end_calls_on_both_sides() -> None:
    async def scenario() -> None:
        async with service() as (server, calls, channel, _):
            call = channel.stream_stream(ECHO)(timeout=0.2)
            await call.write(b"x")
            assert await call.read() == b"x"
            assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: calls.gone == 1, "the handler hears of it")
            assert server.streams == 0
            call = channel.stream_stream(ECHO)(timeout=60)
            await call.write(b"x")
            await call.done_writing()
            assert await read_all(call) == [b"x"]
            assert calls.gone == 1

    asyncio.run(scenario())


def test_a_client_that_cancels_or_goes_is_gone() -> None:
    async def scenario() -> None:
        async with service() as (server, calls, channel, address):
            call = channel.stream_stream(ECHO)()
            await call.write(b"x")
            assert await call.read() == b"x"
            call.cancel()
            await until(lambda: calls.gone == 1, "a cancel is heard")
            async with grpc.aio.insecure_channel(
                address, options=(("grpc.use_local_subchannel_pool", 1),)
            ) as another:
                others = [another.stream_stream(ECHO)() for _ in range(50)]
                for each in others:
                    await each.write(b"x")
                    assert await each.read() == b"x"
                assert server.connections == 2
            await until(lambda: calls.gone == 51, "a connection that closes is heard by all its calls")
            assert server.streams == 0

    asyncio.run(scenario())


def test_metadata_comes_whole() -> None:
    async def scenario() -> None:
        async with service() as (_, calls, channel, _):
            sent = (
                ("authorization", "Bearer " + "x" * 7_000),
                ("key", "1"),
                ("key", "2"),
                ("a-bin", b"\0\xff"),
            )
            call = channel.stream_stream(ECHO)(metadata=sent)
            await call.done_writing()
            assert await read_all(call) == []
            got = calls.metadata
            assert [value for name, value in got if name == "key"] == ["1", "2"]
            assert dict(got)["authorization"] == "Bearer " + "x" * 7_000
            assert dict(got)["a-bin"] == "AP8"
            assert not any(name.startswith(":") for name, _ in got)

    asyncio.run(scenario())


def test_a_client_that_does_not_read_holds_up_nobody_but_itself() -> None:
    async def scenario() -> None:
        async with service() as (server, calls, channel, _):
            slow, quick = channel.stream_stream(ECHO)(), channel.stream_stream(ECHO)()
            async with stuck(slow, calls):
                for number in range(100):
                    await quick.write(b"%d" % number * 4_000)
                    assert await quick.read() == b"%d" % number * 4_000
            quick.cancel()
            assert server.connections == 1

    asyncio.run(scenario())


def test_a_synchronous_client_on_many_threads() -> None:
    def talk(address: str, seed: int) -> str:
        chance = random.Random(seed)
        sent = [chance.randbytes(chance.randrange(3_000)) for _ in range(300)]
        with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            requests: Iterator[bytes] = iter(sent)
            got = hashlib.sha256()
            for each in channel.stream_stream(ECHO)(requests, timeout=PATIENCE_S):
                got.update(each)
            assert got.digest() == hashlib.sha256(b"".join(sent)).digest()
            return channel.unary_unary(REVERSE)(b"%d" % seed, timeout=PATIENCE_S).decode()

    async def scenario() -> None:
        async with service() as (server, _, _, address):
            seeds = range(10, 18)
            answers = await asyncio.gather(*(asyncio.to_thread(talk, address, seed) for seed in seeds))
            assert answers == [str(seed)[::-1] for seed in seeds]
            await until(lambda: server.streams == 0, "all is over")

    asyncio.run(scenario())


# Health.


def test_health_is_checked_and_watched() -> None:
    async def scenario() -> None:
        health = Health()
        health.set("", True)
        health.set("grandstand.ingest.v1.IngestService", False)
        async with (
            serving(health.methods()) as (server, address),
            grpc.aio.insecure_channel(address) as channel,
        ):
            stub = health_pb2_grpc.HealthStub(channel)

            async def check(name: str) -> int:
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                return int(answer.status)

            serving_status = health_pb2.HealthCheckResponse.SERVING
            not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
            assert await check("") == serving_status
            assert await check("grandstand.ingest.v1.IngestService") == not_serving
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await check("nothing")
            assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
            name = "grandstand.ingest.v1.IngestService"
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=name))
            later = stub.Watch(health_pb2.HealthCheckRequest(service="later"))
            assert (await watch.read()).status == not_serving
            assert (await later.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            health.set(name, True)
            health.set("later", True)
            assert (await watch.read()).status == serving_status
            assert (await later.read()).status == serving_status
            health.all_not_serving()
            assert (await watch.read()).status == not_serving
            watch.cancel()
            later.cancel()
            await until(lambda: server.streams == 0, "the watches are over")
            health.set(name, True)
            bad = channel.unary_unary("/grpc.health.v1.Health/Check")
            with pytest.raises(grpc.aio.AioRpcError) as invalid:
                await bad(b"\xff\xff")
            assert invalid.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(scenario())


# Going away.


def test_a_drained_server_lets_calls_end_and_takes_no_new_ones() -> None:
    async def scenario() -> None:
        async with service() as (server, calls, channel, _):
            call = channel.stream_stream(ECHO)()
            await call.write(b"1")
            assert await call.read() == b"1"
            closing = asyncio.create_task(server.close(PATIENCE_S))
            await until(lambda: not server.is_listening, "it takes no new calls")
            await call.write(b"2")
            assert await call.read() == b"2"
            code = grpc.StatusCode.OK
            while code == grpc.StatusCode.OK:
                # Until the client has heard GOAWAY, and finds nobody who listens.
                code = await channel.unary_unary(REVERSE)(b"x").code()
            assert code == grpc.StatusCode.UNAVAILABLE
            assert not closing.done()
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            await closing
            assert (calls.gone, server.connections) == (0, 0)

    asyncio.run(scenario())


def test_what_is_open_after_the_grace_is_cut_with_a_status() -> None:
    async def scenario() -> None:
        async with service() as (server, calls, channel, _):
            call = channel.stream_stream(ECHO)()
            await call.write(b"1")
            assert await call.read() == b"1"
            await server.close(0.05)
            assert await call.code() == grpc.StatusCode.UNAVAILABLE
            assert "going away" in await call.details()
            assert (calls.gone, server.connections, server.streams) == (1, 0, 0)

    asyncio.run(scenario())


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    async def scenario() -> None:
        another = Http2Server({}, message_bytes_max=1)
        async with service() as (_, _, _, address):
            with pytest.raises(OSError, match=address):
                await another.start(address)

    asyncio.run(scenario())


class Silent(Echo):
    def __init__(self, call: Call) -> None:
        super().__init__(call)
        call.end(9, "not now")


def test_a_call_that_ends_while_it_is_accepted_says_its_status() -> None:
    async def scenario() -> None:
        async with serving({ECHO: Silent}) as (_, address), grpc.aio.insecure_channel(address) as channel:
            call = channel.stream_stream(ECHO)()
            assert await call.code() == grpc.StatusCode.FAILED_PRECONDITION

    asyncio.run(scenario())
