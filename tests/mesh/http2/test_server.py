"""The server over time and over sockets: who is silent, does not read, is one too many; how it goes away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.call import Call
from mesh.http2.server import ConnectionProtocol, Http2Server
from tests.support.games import until
from tests.support.http2_peer import PATH, Peer, Recorder, codes, data, message, request_fields, split
from tests.support.http2_service import ECHO, HOST, Calls, Echo, serving

# Time.


def test_a_silent_connection_is_asked_and_lives_if_it_answers() -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open_answered()
    for _ in range(10):
        pings = [each for each in peer.pass_time(bounds.KEEPALIVE_S) if each.kind == f.PING]
        assert [(each.flags, len(each.payload)) for each in pings] == [(0, 8)]
        peer.feed(f.frame(f.PING, f.ACK, 0, pings[0].payload))
    assert not peer.is_hung_up
    assert handler.events == []


def test_a_half_open_connection_is_found_within_30_s() -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open_answered()
    said = peer.pass_time(30.0 - bounds.LOOK_S)
    assert [each.kind for each in said] == [f.PING, f.GOAWAY]
    assert peer.is_hung_up
    assert handler.events == ["gone"]


def test_a_connection_that_says_something_is_not_asked() -> None:
    peer = Peer()
    peer.settle()
    peer.open_answered()
    for _ in range(40):
        assert peer.pass_time(bounds.KEEPALIVE_S - bounds.LOOK_S) == []
        peer.feed(data(1, message(b"x")))
    assert not peer.is_hung_up


def test_a_connection_from_which_we_do_not_read_lives_while_it_takes_what_we_write() -> None:
    peer = Peer()
    peer.settle()
    for _ in range(20):
        peer.pass_time(5.0)
        peer.server.peer_reads(peer.now)
    assert not peer.is_hung_up


@pytest.mark.parametrize("said", [b"", f.PREFACE[:10], f.PREFACE, f.PREFACE + f.settings({1: 1})[:-1]])
def test_a_connection_that_never_settles_is_closed(said: bytes) -> None:
    peer = Peer()
    peer.feed(said)
    peer.pass_time(bounds.PREFACE_PATIENCE_S)
    assert not peer.is_hung_up
    peer.pass_time(2 * bounds.LOOK_S)
    assert peer.is_hung_up


# Leaving.


def test_a_drain_takes_what_was_on_its_way_and_then_nothing_new() -> None:
    peer = Peer()
    peer.settle()
    before = peer.open(1)
    peer.server.drain()
    peer.server.drain()
    first, ping = peer.said()
    assert (first.kind, first.code, int.from_bytes(first.payload[:4], "big")) == (f.GOAWAY, 0, 2**31 - 1)
    assert (ping.kind, ping.flags) == (f.PING, 0)
    crossed = peer.open(3)
    (second,) = peer.feed(f.frame(f.PING, f.ACK, 0, ping.payload))
    assert (second.kind, second.code, int.from_bytes(second.payload[:4], "big")) == (f.GOAWAY, 0, 3)
    # Above the last one: not answered, not even when more of it comes.
    assert peer.feed(peer.headers(5) + data(5, message(b"x")) + peer.headers(7)) == []
    assert len(peer.handlers) == 2
    peer.feed(data(1, message(b"1")) + data(3, message(b"3")))
    assert (before.messages, crossed.messages) == ([b"1"], [b"3"])
    before.call.end()
    peer.said()
    assert not peer.is_hung_up
    crossed.call.end()
    assert peer.is_hung_up
    assert codes(peer.said()) == [("RST_STREAM", f.NO_ERROR)]


def test_a_drained_client_that_answers_no_ping_is_told_the_last_stream_all_the_same() -> None:
    peer = Peer()
    peer.settle()
    peer.open(1)
    peer.server.drain()
    peer.said()
    said = peer.pass_time(bounds.GOAWAY_PATIENCE_S + 2 * bounds.LOOK_S)
    assert codes(said) == [("GOAWAY", f.NO_ERROR)]


def test_a_client_that_goes_away_ends_its_calls_first() -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open()
    peer.feed(f.frame(f.GOAWAY, 0, 0, b"\0" * 8))
    assert not peer.is_hung_up
    peer.feed(data(1, message(b"last"), last=True))
    assert handler.messages == [b"last"]
    handler.call.end()
    assert peer.is_hung_up
    assert handler.events == ["half-closed"]


def test_a_deadline_is_forgotten_with_its_call() -> None:
    peer = Peer()
    peer.settle()
    for number, end in ((1, None), (3, f.CANCEL)):
        handler = peer.open(number, ("grpc-timeout", "99999999H"))
        assert peer.alarms == 1
        if end is None:
            handler.call.end()
        else:
            peer.feed(f.rst_stream(number, end))
        assert peer.alarms == 0
    handler = peer.open(5, ("grpc-timeout", "2500m"))
    assert peer.pass_time(2.0) == []
    said = peer.pass_time(1.0)
    assert codes(said) == [("RST_STREAM", f.NO_ERROR)]
    assert peer.read(said[0])["grpc-status"] == "4"
    assert handler.events == ["gone"]


def test_what_is_said_after_the_end_is_ignored() -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open()
    handler.call.end(5, "over")
    peer.said()
    handler.call.send(b"more")
    handler.call.end()
    handler.call.resume()
    assert peer.said() == []
    gone = peer.open(3)
    peer.feed(f.rst_stream(3, f.CANCEL))
    gone.call.send(b"more")
    gone.call.end()
    gone.call.pause()
    gone.call.resume()
    assert peer.said() == []
    assert gone.events == ["gone"]


# Costs.


def test_a_turn_is_announced_once_whatever_is_sent() -> None:
    peer = Peer()
    peer.settle()
    handlers = [peer.open(number) for number in range(1, 200, 2)]
    before = peer.output_ready_calls
    for handler in handlers:
        handler.call.send(b"1")
        handler.call.send(b"2")
    assert peer.output_ready_calls == before + 1
    assert len(split(peer.take())) == 3 * len(handlers)


def test_an_idle_call_costs_little_memory() -> None:
    class Idle(Recorder):
        def __init__(self, call: object) -> None:
            pass

    peer = Peer(Idle, streams_max=10_000)
    peer.settle()
    asked = [("authorization", "Bearer " + "x" * 500)]
    numbers = range(1, 4_000, 2)
    blocks = [peer.headers(number, request_fields(PATH, *asked)) for number in numbers]
    gc.collect()
    tracemalloc.start()
    try:
        for block in blocks:
            peer.server.receive(block, peer.now)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peer.streams == len(numbers)
    assert used / len(numbers) < 1_024


# Sockets.


class Raw:
    """A socket without manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.peer = Peer()

    def say(self, sent: bytes) -> None:
        self.writer.write(sent)

    async def all_said(self) -> bytes:
        """Until the server closes."""
        said = b""
        async with asyncio.timeout(20.0):
            with contextlib.suppress(ConnectionError):
                while some := await self.reader.read(65_536):
                    said += some
        return said


@contextlib.asynccontextmanager
async def raw(address: str, *, is_settled: bool = True) -> AsyncIterator[Raw]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=4_096)
    try:
        found = Raw(reader, writer)
        if is_settled:
            found.say(f.PREFACE + f.settings({f.INITIAL_WINDOW_SIZE: 2**30}) + f.window_update(0, 2**30))
            found.say(f.frame(f.SETTINGS, f.ACK, 0))
        yield found
    finally:
        writer.close()


def protocols(server: Http2Server) -> list[ConnectionProtocol]:
    return list(server._protocols)


async def works(address: str) -> None:
    """A witness: one call, from its start to its end."""
    async with raw(address) as client:
        client.say(client.peer.headers(1, request_fields(ECHO)) + data(1, message(b"witness"), last=True))
        said = b""
        async with asyncio.timeout(20.0):
            while message(b"witness") not in said:
                some = await client.reader.read(65_536)
                assert some
                said += some


def test_who_asks_and_does_not_read_is_read_no_more_and_costs_no_memory() -> None:
    async def scenario() -> None:
        calls = Calls(Echo)
        async with serving({ECHO: calls.accept}) as (server, address), raw(address) as deaf:
            client_sends_max = 64 * 1024 * 1024
            deaf.say(deaf.peer.headers(1, request_fields(ECHO)))
            piece = data(1, message(b"x" * 16_000))
            sent = 0
            # It has given windows of 1 GiB, and takes nothing.
            while deaf.writer.transport.get_write_buffer_size() < 1024 * 1024:
                deaf.say(piece)
                sent += len(piece)
                assert sent < client_sends_max
                await asyncio.sleep(0)
            (protocol,) = protocols(server)
            assert protocol._is_full
            assert protocol._transport is not None
            assert not protocol._transport.is_reading()
            held = protocol._transport.get_write_buffer_size()
            assert held <= bounds.TRANSPORT_HIGH_BYTES + 2 * bounds.FLUSH_BYTES_MAX
            await works(address)
            assert calls.gone == 0
            # It reads again: all that was echoed comes.
            got = b""
            deaf.say(data(1, b"", last=True))
            async with asyncio.timeout(20.0):
                while calls.half_closed == 0 or server.streams:
                    got += await deaf.reader.read(1024 * 1024)
            assert len(got) > bounds.TRANSPORT_HIGH_BYTES

    asyncio.run(scenario())


class Fountain(Echo):
    """Says 64 MiB, as fast as it may, whatever the client does."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.left = 64 * 1024
        asyncio.get_running_loop().call_soon(self.writable)

    def writable(self) -> None:
        while self.left and self.call.is_writable:
            self.left -= 1
            self.call.send(b"x" * 1024)


def test_a_fountain_before_a_client_that_does_not_read_stops_at_its_bound() -> None:
    async def scenario() -> None:
        async with serving({ECHO: Fountain}) as (server, address), raw(address) as deaf:
            deaf.say(deaf.peer.headers(1, request_fields(ECHO)))
            await until(
                lambda: [protocol for protocol in protocols(server) if protocol._is_full],
                "its transport is full",
            )
            await works_beside(server, address)
            (protocol,) = (protocol for protocol in protocols(server) if protocol._is_full)
            assert protocol._transport is not None
            held = protocol._transport.get_write_buffer_size()
            assert held <= bounds.TRANSPORT_HIGH_BYTES + bounds.FLUSH_BYTES_MAX + bounds.FRAME_BYTES_MAX

    asyncio.run(scenario())


async def works_beside(server: Http2Server, address: str) -> None:
    """Another connection gets all its 64 MiB meanwhile."""
    got = 0
    async with raw(address) as client, asyncio.timeout(20.0):
        client.say(client.peer.headers(1, request_fields(ECHO)))
        while got < 64 * 1024 * 1024:
            got += len(await client.reader.read(1024 * 1024))


def test_who_neither_reads_nor_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "KEEPALIVE_S", "KEEPALIVE_PATIENCE_S", "LINGER_S"):
        monkeypatch.setattr(bounds, name, 0.05)

    async def scenario() -> None:
        async with serving({ECHO: Fountain}) as (server, address), raw(address) as deaf:
            deaf.say(deaf.peer.headers(1, request_fields(ECHO)))
            await until(lambda: server.streams, "it has called")
            await until(lambda: not server.connections, "it is cut off")
            assert server.streams == 0

    asyncio.run(scenario())


def test_garbage_costs_its_own_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # It is closed once the goodbye is written, not when patience ends.
    monkeypatch.setattr(bounds, "LINGER_S", 3_600.0)

    async def scenario() -> None:
        async with serving({ECHO: Echo}) as (server, address):
            for sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + b"\0" * 200, b"\0" * 70_000):
                async with raw(address, is_settled=False) as client:
                    client.say(sent)
                    assert codes(split(await client.all_said())) == [("GOAWAY", f.PROTOCOL_ERROR)]
            async with raw(address) as client:
                client.say(f.frame(f.PING, 0, 0, b"12345678") * 100_000)
                assert codes(split(await client.all_said()))[-1] == ("GOAWAY", f.ENHANCE_YOUR_CALM)
            await works(address)
            await until(lambda: server.connections == 0, "all are closed")

    asyncio.run(scenario())


def test_a_connection_that_breaks_off_anywhere_leaves_nothing() -> None:
    async def scenario() -> None:
        calls = Calls(Echo)
        async with serving({ECHO: calls.accept}) as (server, address):
            whole = (
                Peer().headers(1, request_fields(ECHO)) + data(1, message(b"x" * 100)) + f.window_update(1, 5)
            )
            for cut in range(0, len(whole), 7):
                async with raw(address) as client:
                    client.say(whole[:cut])
                    await client.writer.drain()
            await until(lambda: server.connections == 0, "all are closed")
            assert server.streams == 0
            assert calls.gone == calls.accepted > 0
            await works(address)

    asyncio.run(scenario())


def test_connections_beyond_the_bound_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "CONNECTIONS_MAX", 3)

    async def scenario() -> None:
        async with serving({ECHO: Echo}) as (server, address), contextlib.AsyncExitStack() as stack:
            first = [await stack.enter_async_context(raw(address)) for _ in range(3)]
            await until(lambda: server.connections == 3, "three are there")
            async with raw(address) as one_too_many:
                assert await one_too_many.all_said() == b""
            assert server.connections == 3
            first[0].writer.close()
            await until(lambda: server.connections == 2, "one has gone")
            await works(address)

    asyncio.run(scenario())


def test_who_does_not_take_the_goodbye_is_cut_off_all_the_same() -> None:
    async def scenario() -> None:
        calls = Calls(Echo)
        async with serving({ECHO: calls.accept}) as (server, address), raw(address) as deaf:
            deaf.say(deaf.peer.headers(1, request_fields(ECHO)))
            while deaf.writer.transport.get_write_buffer_size() < 1024 * 1024:
                deaf.say(data(1, message(b"x" * 16_000)))
                await asyncio.sleep(0)
            async with asyncio.timeout(2 * bounds.LINGER_S + 5.0):
                await server.close(0.1)
            assert (server.connections, server.streams, calls.gone) == (0, 0, 1)

    asyncio.run(scenario())


def test_a_herd_of_calls_takes_turns_with_others_and_messages_are_read_in_bulk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand calls come at once, then a megabyte on one of them, then calls with messages."""
    opened, sizes = [], []
    real = ConnectionProtocol.buffer_updated

    def buffer_updated(self: ConnectionProtocol, size: int) -> None:
        before = self._server.streams_opened
        real(self, size)
        opened.append(self._server.streams_opened - before)
        sizes.append(size)

    monkeypatch.setattr(ConnectionProtocol, "buffer_updated", buffer_updated)

    async def scenario() -> None:
        async with serving({ECHO: Echo}) as (server, address), raw(address) as herd:
            await until(lambda: sizes, "the connection stands")
            herd.peer.encoder.header_table_size = 0
            calls = [herd.peer.headers(n, request_fields(ECHO)) for n in range(1, 2_001, 2)]
            herd.say(b"".join(calls))
            await until(lambda: server.streams_opened == 1_000, "all are let in")
            assert max(opened) <= 2 * bounds.READ_BYTES_OPENING / min(map(len, calls)) < 1_000 / 4
            sizes.clear()
            herd.say(data(1, message(bytes(1_000))) * 1_000)
            await until(lambda: sum(sizes) > 1_000_000, "it is read")
            assert max(sizes) == bounds.READ_BYTES
            opened.clear()
            more = range(2_001, 4_001, 2)
            sent = [herd.peer.headers(n, request_fields(ECHO)) + data(n, message(bytes(500))) for n in more]
            herd.say(b"".join(sent))
            await until(lambda: server.streams_opened == 2_000, "all are let in")
            fits = bounds.READ_BYTES / min(map(len, sent))
            assert (
                bounds.CALLS_PER_READ / 2
                < sorted(opened)[len(opened) // 2]
                <= 2 * bounds.CALLS_PER_READ
                < fits
            )

    asyncio.run(scenario())


def test_a_server_that_closes_without_calls_closes_at_once() -> None:
    async def scenario() -> None:
        async with serving({ECHO: Echo}) as (server, address), raw(address) as idle:
            await until(lambda: server.connections == 1, "it is there")
            loop = asyncio.get_running_loop()
            began = loop.time()
            await server.close(30.0)
            assert loop.time() - began < 5.0
            assert codes(split(await idle.all_said())) == [("GOAWAY", 0), ("GOAWAY", 0)]
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(HOST, int(address.rpartition(":")[2]))

    asyncio.run(scenario())
