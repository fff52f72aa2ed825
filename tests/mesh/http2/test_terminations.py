"""What peers are refused and ended for is counted, each under its scope, its code and its cause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from grandstand.wire.errors import Exhausted
from mesh import listener
from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.call import Call, Handler
from mesh.http2.errors import FRAME_CODES, STATUS_CODES, Cause
from mesh.http2.server import Http2Server
from mesh.http2.termination_counts import TerminationCounts
from mesh.http2.tls import TlsFiles
from mesh.listener import Http2Listener
from tests.support.certificates import Certificates
from tests.support.games import until
from tests.support.http2_peer import MESSAGE_BYTES_MAX, PATH, Peer, codes, data, message, request_fields
from tests.support.http2_service import ECHO, HOST, Echo, serving
from toolbox.local.ports import Ports


def counted(terminations: TerminationCounts) -> dict[str, int]:
    return {str(termination): count for termination, count in terminations.items()}


def ask(peer: Peer, *more: tuple[str, str], path: str = PATH) -> None:
    peer.feed(peer.headers(1, request_fields(path, *more), last=True))


def say(peer: Peer, sent: bytes) -> None:
    peer.open(1)
    peer.feed(sent)


def overflow(peer: Peer) -> None:
    handler = peer.open(1)
    handler.call.send(b"x" * bounds.SEND_WAITING_BYTES_MAX)
    peer.said()


def keep_untaken(peer: Peer) -> None:
    peer.open(1).call.pause()
    peer.server.calls.buffered_bytes = bounds.BUFFERED_BYTES_MAX
    peer.feed(data(1, message(b"one too many")))


def outlive(peer: Peer) -> None:
    peer.open(1, ("grpc-timeout", "2S"))
    peer.pass_time(2.0)


def break_down(peer: Peer) -> None:
    def fail(_: bytes) -> None:
        raise RuntimeError

    peer.open(1).on_message = fail
    peer.feed(data(1, message(b"x")))


CALLS: dict[str, Callable[[Peer], object]] = {
    "UNIMPLEMENTED unknown-method": lambda p: ask(p, path="/x/Y"),
    "INTERNAL not-grpc": lambda p: p.feed(p.headers(1, request_fields()[:4], last=True)),
    "UNIMPLEMENTED encoding": lambda p: ask(p, ("grpc-encoding", "br")),
    "INTERNAL grpc-timeout": lambda p: ask(p, ("grpc-timeout", "soon")),
    "RESOURCE_EXHAUSTED header-size": lambda p: ask(p, ("x", "y" * bounds.HEADER_LIST_BYTES_MAX)),
    "RESOURCE_EXHAUSTED message-size": lambda p: say(p, data(1, f.PREFIX.pack(0, MESSAGE_BYTES_MAX + 1))),
    "INTERNAL message": lambda p: say(p, data(1, message(b"x", 2))),
    "RESOURCE_EXHAUSTED unread": overflow,
    "RESOURCE_EXHAUSTED untaken": keep_untaken,
    "DEADLINE_EXCEEDED deadline": outlive,
    "INTERNAL handler-failed": break_down,
    "UNAVAILABLE leaving": lambda p: (p.open(1), p.server.cut()),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_the_engine_ends_counts_once(name: str) -> None:
    peer = Peer()
    peer.settle()
    CALLS[name](peer)
    assert counted(peer.terminations) == {f"call {name}": 1}
    assert peer.streams == 0


def test_a_call_that_the_service_refuses_counts_with_its_code() -> None:
    def full(_: Call) -> Handler:
        raise Exhausted("full", retry_after_s=3.0)

    peer = Peer(full)
    peer.settle()
    ask(peer)
    peer.feed(peer.headers(3, last=True))
    assert counted(peer.terminations) == {"call RESOURCE_EXHAUSTED service": 2}


def test_what_ends_as_it_should_counts_for_nothing() -> None:
    peer = Peer()
    peer.settle()
    peer.open(1).call.end(5, "by its handler")
    peer.open(3)
    peer.feed(f.rst_stream(3, f.CANCEL))
    peer.feed(peer.headers(5, last=True))
    peer.handlers[-1].call.end()
    peer.feed(f.frame(f.GOAWAY, 0, 0, b"\0" * 8))
    assert peer.is_hung_up
    assert counted(peer.terminations) == {}


def test_a_connection_without_a_call_is_asked_to_go() -> None:
    peer = Peer()
    peer.settle()
    peer.open(1).call.end()
    peer.said()

    def live(seconds: float) -> list[tuple[str, int]]:
        """As a client that answers each PING."""
        said = []
        for _ in range(round(seconds)):
            came = peer.pass_time(1.0)
            for each in came:
                if each.kind == f.PING and not each.flags & f.ACK:
                    came += peer.feed(f.frame(f.PING, f.ACK, 0, each.payload))
            said += codes(came)
        return said

    assert live(bounds.IDLE_CONNECTION_S - 2) == []
    # A call that comes and goes between two looks is one.
    peer.open(3).call.end()
    peer.said()
    assert live(bounds.IDLE_CONNECTION_S - 2) == []
    # And one that is open is one for as long as it is.
    staying = peer.open_answered(5)
    assert live(3 * bounds.IDLE_CONNECTION_S) == []
    staying.call.end()
    assert codes(peer.said()) == [("RST_STREAM", f.NO_ERROR)]
    assert live(bounds.IDLE_CONNECTION_S - 2) == []
    assert live(4) == [("GOAWAY", f.NO_ERROR), ("GOAWAY", f.NO_ERROR)]
    assert peer.is_hung_up
    assert counted(peer.terminations) == {"connection NO_ERROR idle": 1}


def test_a_call_on_its_way_to_a_connection_that_idled_is_served() -> None:
    peer = Peer()
    peer.settle()
    said = peer.pass_time(1.0)
    while not any(each.kind == f.GOAWAY for each in said):
        peer.feed(b"".join(f.frame(f.PING, f.ACK, 0, each.payload) for each in said if each.kind == f.PING))
        said = peer.pass_time(1.0)
    handler = peer.open(1)
    peer.feed(f.frame(f.PING, f.ACK, 0, b"draining"))
    peer.feed(data(1, message(b"crossed it"), last=True))
    assert handler.messages == [b"crossed it"]
    handler.call.end()
    assert peer.is_hung_up
    assert counted(peer.terminations) == {"connection NO_ERROR idle": 1}


def test_one_that_falls_silent_counts_as_such() -> None:
    peer = Peer()
    peer.settle()
    peer.pass_time(30.0)
    assert counted(peer.terminations) == {"connection NO_ERROR silence": 1}


def test_keys_are_bounded_whatever_codes_there_are() -> None:
    terminations = TerminationCounts()
    for code in range(10_000):
        terminations.call(code, Cause.SERVICE)
        terminations.stream(code, Cause.MALFORMED)
    assert len(terminations.items()) == len(STATUS_CODES) + len(FRAME_CODES)
    assert terminations.of(Cause.SERVICE) == 10_000


def test_news_are_told_once() -> None:
    terminations = TerminationCounts()
    assert terminations.news() == ""
    terminations.connection(f.ENHANCE_YOUR_CALM, Cause.PING_FLOOD)
    terminations.before_http2(Cause.HANDSHAKE)
    terminations.before_http2(Cause.HANDSHAKE)
    assert terminations.news() == (
        "connection tls-handshake: 2 (of 2), connection ENHANCE_YOUR_CALM ping-flood: 1 (of 1)"
    )
    assert terminations.news() == ""
    terminations.before_http2(Cause.HANDSHAKE)
    assert terminations.news() == "connection tls-handshake: 1 (of 3)"


async def conversation(address: str, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, int(address.rpartition(":")[2]))
    try:
        writer.write(sent)
        async with asyncio.timeout(20.0):
            try:
                return await reader.read()
            except ConnectionError:
                return b""
    finally:
        writer.close()


def test_those_who_never_come_to_speak_http2_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Certificates.made(tmp_path, "x")

    async def scenario() -> None:
        async with serving({ECHO: Echo}, tls=TlsFiles(own.chain, own.key)) as (server, address):
            await conversation(address, b"GET / HTTP/1.1\r\n\r\n")
            await until(lambda: counted(server.terminations) == {"connection tls-handshake": 1}, "it counts")
        async with serving({ECHO: Echo}) as (server, address):
            await conversation(address, b"GET / HTTP/1.1\r\n\r\n")
            assert counted(server.terminations) == {"connection PROTOCOL_ERROR preface": 1}
            monkeypatch.setattr(bounds, "CONNECTIONS_MAX", 0)
            await conversation(address, b"")
            assert server.terminations.of(Cause.NO_ROOM) == 1

    asyncio.run(scenario())


def test_an_operator_reads_of_it_once_a_minute_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "REPORT_S", 0.05)

    def told() -> list[str]:
        return [record.message for record in caplog.records if record.name == "mesh.listener"]

    async def scenario(address: str) -> None:
        serves = Http2Listener(["x.X"], 1024)
        await serves.start(address)
        flood = f.PREFACE + f.settings({}) + f.frame(f.PING, 0, 0, b"12345678") * 5_000
        await conversation(address, flood)
        await until(told, "it is told")
        await conversation(address, flood)
        await until(lambda: len(told()) == 2, "again, as there was one more")
        monkeypatch.setattr(listener, "REPORT_S", 3_600.0)
        await until(lambda: _is_later(serves), "the next line is far away")
        await conversation(address, flood)
        await serves.stop(0.0)

    with caplog.at_level(logging.INFO):
        ports = Ports()
        try:
            asyncio.run(scenario(f"{HOST}:{ports.take()}"))
        finally:
            ports.close()
    line = "ended or refused since the last such line: connection ENHANCE_YOUR_CALM ping-flood: 1 (of {})"
    assert told() == [line.format(1), line.format(2), line.format(3)]


def _is_later(serves: Http2Listener) -> bool:
    assert serves._reporting is not None
    return serves._reporting.when() > asyncio.get_running_loop().time() + 60.0


def test_a_server_has_one_count_for_all_its_connections() -> None:
    async def scenario() -> None:
        async with serving({ECHO: Echo}) as (server, address):
            assert isinstance(server, Http2Server)
            for _ in range(3):
                await conversation(address, b"no preface")
            assert counted(server.terminations) == {"connection PROTOCOL_ERROR preface": 3}

    asyncio.run(scenario())
