"""Bytes from someone who means harm: no exception, no growing memory, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandstand.wire.errors import Forbidden
from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.call import Call
from mesh.http2.errors import Cause
from tests.support.games import run
from tests.support.http2_peer import PATH, Peer, Recorder, codes, data, message, request_fields
from tests.support.http2_service import ECHO, Echo, serving
from tests.support.http2_wire import HANDSHAKE, alive, goaway, play

FLOODS = {
    "PING": f.frame(f.PING, 0, 0, b"12345678"),
    "answers to no PING": f.frame(f.PING, f.ACK, 0, b"12345678"),
    "SETTINGS": f.settings({f.INITIAL_WINDOW_SIZE: 1}),
    "empty SETTINGS": f.settings({}),
    "ACKs of no SETTINGS": f.frame(f.SETTINGS, f.ACK, 0),
    "empty DATA": f.frame(f.DATA, 0, 1),
    "DATA of padding alone": data(1, b"", padding=10),
    "PRIORITY": f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0\0"),
    "unknown frames": f.frame(0x42, 0, 0),
    "GOAWAY": f.frame(f.GOAWAY, 0, 0, b"\0" * 8),
    "RST_STREAM of one stream": f.rst_stream(1, f.CANCEL),
    "WINDOW_UPDATE of the connection": f.window_update(0, 1) * 3,
    "WINDOW_UPDATE of a stream": f.window_update(1, 1) * 3,
    "WINDOW_UPDATE of a closed stream": f.rst_stream(1, f.CANCEL) + f.window_update(1, 1) * 10,
}


COUNTED_AS = {
    "PING": "ping-flood",
    "answers to no PING": "ping-flood",
    "SETTINGS": "settings-flood",
    "empty SETTINGS": "settings-flood",
    "ACKs of no SETTINGS": "settings-flood",
    "empty DATA": "empty-frame-flood",
    "DATA of padding alone": "empty-frame-flood",
    "PRIORITY": "idle-frame-flood",
    "unknown frames": "idle-frame-flood",
    "GOAWAY": "idle-frame-flood",
    "RST_STREAM of one stream": "late-frame-flood",
    "WINDOW_UPDATE of the connection": "window-update-flood",
    "WINDOW_UPDATE of a stream": "window-update-flood",
    "WINDOW_UPDATE of a closed stream": "late-frame-flood",
}


def counted(peer: Peer) -> dict[str, int]:
    return {str(termination): count for termination, count in peer.terminations.items()}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_that_say_nothing_is_told_to_be_calm(name: str) -> None:
    peer = Peer()
    peer.settle()
    witness = peer.open(1)
    said = []
    for _ in range(10):
        said += peer.feed(FLOODS[name] * 1_000)
    assert codes(said) == [("GOAWAY", f.ENHANCE_YOUR_CALM)]
    assert witness.events == ["gone"]
    assert peer.is_hung_up
    assert counted(peer) == {f"connection ENHANCE_YOUR_CALM {COUNTED_AS[name]}": 1}


def test_a_flood_on_one_connection_is_nothing_to_another() -> None:
    async def scenario() -> None:
        async with serving({ECHO: Echo}) as (server, address):
            floods = [f.window_update(0, 1) * 25_000, f.rst_stream(1, f.CANCEL) * 1_100]
            opening = Peer().headers(1)
            await asyncio.gather(
                *(
                    play(address, (*HANDSHAKE, opening + flood, goaway(f.ENHANCE_YOUR_CALM)))
                    for flood in floods
                ),
                play(address, HANDSHAKE + (b"", alive) * 20),
            )
            assert server.streams == 0
            assert server.terminations.of(Cause.WINDOW_FLOOD) == server.terminations.of(Cause.LATE_FLOOD) == 1

    run(scenario())


def test_frames_that_say_nothing_are_taken_at_a_rate_that_clients_have() -> None:
    peer = Peer()
    peer.settle()
    for _ in range(120):
        assert codes(peer.feed(FLOODS["PING"] * 100 + FLOODS["SETTINGS"])) == []
        peer.now += 1.0


def test_window_updates_are_taken_at_a_rate_that_clients_have() -> None:
    """Of a stream and of the connection, for each DATA frame of 25,000 small messages a second."""
    peer = Peer()
    peer.settle()
    handler = peer.open(1)
    size = len(message(b"x" * 123))
    for _ in range(60):
        for _ in range(250):
            handler.call.send(b"x" * 123)
        frames = peer.said()
        assert codes(frames) == []
        updates = f.window_update(0, size) + f.window_update(1, size)
        peer.feed(updates * len([each for each in frames if each.kind == f.DATA]))
        peer.now += 0.01
    assert not peer.is_hung_up


def test_a_crowd_may_say_two_things_about_streams_that_we_have_closed() -> None:
    crowd = range(1, 4_001, 2)
    peer = Peer(streams_max=len(crowd))
    peer.settle()
    for number in crowd:
        peer.open(number)
    for handler in peer.handlers:
        handler.call.end()
    peer.said()
    late = b"".join(
        peer.headers(number, [("a", "b")], last=True) + f.rst_stream(number, f.CANCEL) for number in crowd
    )
    assert codes(peer.feed(late)) == []
    assert not peer.is_hung_up


def test_trailers_without_end_of_a_stream_that_we_closed_are_told_to_be_calm() -> None:
    peer = Peer()
    peer.settle()
    peer.open(1).call.end()
    said = peer.feed(peer.headers(1, [("a", "b")], last=True) * (bounds.LATE_FRAMES_SPARE + 3))
    assert codes(said)[-1] == ("GOAWAY", f.ENHANCE_YOUR_CALM)
    assert counted(peer) == {"connection ENHANCE_YOUR_CALM late-frame-flood": 1}


def test_streams_opened_and_reset_at_once_without_end_are_told_to_be_calm() -> None:
    """CVE-2023-44487."""
    peer = Peer()
    peer.settle()
    said = []
    number = 1
    while not peer.is_hung_up:
        said += peer.feed(peer.headers(number) + f.rst_stream(number, f.CANCEL))
        number += 2
        assert number < 4 * bounds.RESETS_BURST
        assert peer.streams == 0
    assert codes(said) == [("GOAWAY", f.ENHANCE_YOUR_CALM)]
    assert number > 2 * bounds.RESETS_BURST
    assert counted(peer) == {"connection ENHANCE_YOUR_CALM rapid-reset": 1}


def test_a_crowd_that_leaves_at_once_is_no_attack() -> None:
    """One Envoy speaks for all of them: a game ends, and 10,000 viewers are gone."""
    crowd = range(1, 20_001, 2)
    peer = Peer(streams_max=len(crowd))
    peer.settle()
    for number in crowd:
        peer.open(number)
    peer.now += bounds.YOUNG_STREAM_S
    assert codes(peer.feed(b"".join(f.rst_stream(number, f.CANCEL) for number in crowd))) == []
    assert peer.streams == 0
    assert all(handler.events == ["gone"] for handler in peer.handlers)


def test_making_us_reset_streams_without_end_is_no_way_round_it() -> None:
    peer = Peer()
    peer.settle()
    said = []
    number = 1
    while not peer.is_hung_up:
        said += peer.feed(peer.headers(number) + f.window_update(number, 0))
        number += 2
        assert number < 4 * bounds.RESETS_BURST
    assert codes(said)[-1] == ("GOAWAY", f.ENHANCE_YOUR_CALM)
    made_us = counted(peer).pop("stream PROTOCOL_ERROR malformed")
    assert made_us == len([each for each in codes(said) if each[0] == "RST_STREAM"])
    assert counted(peer)["connection ENHANCE_YOUR_CALM rapid-reset"] == 1


def test_calls_beyond_what_there_is_room_for_are_refused() -> None:
    peer = Peer(streams_max=2)
    peer.settle()
    peer.open(1)
    peer.open(3)
    assert codes(peer.feed(peer.headers(5))) == [("RST_STREAM", f.REFUSED_STREAM)]
    assert counted(peer) == {"stream REFUSED_STREAM no-room": 1}
    peer.feed(f.rst_stream(1, f.CANCEL))
    peer.open(7)
    assert [handler.events for handler in peer.handlers] == [["gone"], [], []]


def test_ids_that_run_out_ask_the_client_for_another_connection() -> None:
    peer = Peer()
    peer.settle()
    said = peer.feed(peer.headers(bounds.LAST_STREAM_ID - 2))
    assert ("GOAWAY", f.NO_ERROR) in codes(said)
    peer.feed(data(bounds.LAST_STREAM_ID - 2, message(b"still")))
    assert peer.handlers[0].messages == [b"still"]
    peer.feed(peer.headers(bounds.LAST_STREAM_ID))
    assert len(peer.handlers) == 2


# Handlers that fail.


def failing(method: str, error: Exception) -> type[Recorder]:
    class Failing(Recorder):
        pass

    def fail(self: Recorder, *_: object) -> None:
        raise error

    setattr(Failing, method, fail)
    return Failing


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("method", ["received", "half_closed"])
def test_a_handler_that_fails_ends_its_call_internal_and_no_other(
    method: str, whole: bool, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer(failing(method, RuntimeError("secret")))
    peer.settle()
    peer.feed(peer.headers(1) + peer.headers(3))
    sent = message(b"x")
    if not whole:
        peer.feed(data(1, sent[:3]))
        sent = sent[3:]
    said = peer.feed(data(1, sent) + data(1, b"", last=True))
    trailers = [each for each in said if each.kind == f.HEADERS]
    fields = peer.read(trailers[0])
    assert fields["grpc-status"] == "13"
    assert "secret" not in fields["grpc-message"]
    assert "secret" in caplog.text
    assert peer.streams == 1


def test_a_handler_that_fails_when_its_call_has_gone_or_is_writable_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for method, sent in (("gone", f.rst_stream(1, f.CANCEL)), ("writable", f.window_update(1, 2**20))):
        calls: list[Call] = []

        def accept(call: Call, method: str = method, calls: list[Call] = calls) -> Recorder:
            calls.append(call)
            return failing(method, RuntimeError(f"{method} failed"))(call)

        peer = Peer(accept)
        peer.settle({f.INITIAL_WINDOW_SIZE: 0})
        peer.feed(peer.headers(1) + peer.headers(3))
        calls[0].send(b"x" * 100_000)
        peer.feed(sent)
        assert f"{method} failed" in caplog.text
        assert peer.streams == 1
        assert not peer.is_hung_up


def test_what_accepting_raises_is_the_calls_status(caplog: pytest.LogCaptureFixture) -> None:
    for error, code, says in (
        (Forbidden("not yours: 100 %, gewiß"), "7", "not yours: 100 %25, gewi%C3%9F"),
        (RuntimeError("secret"), "13", "the service failed"),
    ):

        def accept(call: Call, error: Exception = error) -> Recorder:
            raise error

        peer = Peer(accept)
        peer.settle()
        fields = peer.read(peer.feed(peer.headers(1, last=True))[0])
        assert fields["grpc-status"] == code
        assert says in fields["grpc-message"]
    assert "secret" in caplog.text


def test_a_refusal_waits_for_the_first_data_but_not_for_ever() -> None:
    def accept(call: Call) -> Recorder:
        raise Forbidden("no")

    peer = Peer(accept)
    peer.settle()
    assert peer.feed(peer.headers(1)) == []
    assert codes(peer.feed(data(1, message(b"x")))) == [("RST_STREAM", f.NO_ERROR)]
    assert peer.feed(peer.headers(3)) == []
    assert codes(peer.pass_time(bounds.LOOK_S)) == [("RST_STREAM", f.NO_ERROR)]
    assert peer.feed(peer.headers(5)) == []
    assert [each.kind for each in peer.feed(data(5, b"", last=True))] == [f.HEADERS]
    assert peer.feed(peer.headers(7)) == []
    assert peer.feed(f.rst_stream(7, f.CANCEL)) == []
    assert peer.streams == 0
    assert peer.pass_time(5.0) == []


# Fuzz.


class Busy(Recorder):
    """Answers, pauses, resumes and ends as the message says."""

    def received(self, message: bytes) -> None:
        super().received(message)
        what = message[0] % 8 if message else 0
        if what == 1:
            self.call.pause()
            self.call.resume()
        elif what == 2:
            self.call.end(3, "enough")
        elif what == 3:
            self.call.pause()
        elif what == 4:
            raise RuntimeError("as fuzzed")
        else:
            self.call.send(message * what)

    def half_closed(self) -> None:
        self.call.send(b"")
        self.call.end()


def conversation(peer: Peer, chance: random.Random) -> bytes:
    """Frames that a client could send, mostly."""
    parts = []
    number = 1
    for _ in range(chance.randrange(1, 40)):
        parts.append(some_frame(peer, chance, number, chance.randrange(1, number + 2)))
        number += chance.choice([0, 2, 2])
    return b"".join(parts)


def some_frame(peer: Peer, chance: random.Random, new: int, stream: int) -> bytes:
    payload = chance.randbytes(chance.randrange(50))
    by = chance.randrange(2**20)
    choices: list[Callable[[], bytes]] = [
        lambda: peer.headers(new, last=chance.random() < 0.2),
        lambda: peer.headers(new, request_fields(PATH, ("grpc-timeout", "1S"))),
        lambda: peer.headers(stream, [("t", "x")], last=True),
        lambda: data(stream, message(payload)),
        lambda: data(stream, message(payload), padding=3),
        lambda: data(stream, message(payload)[: chance.randrange(14)]),
        lambda: data(stream, b"", last=True),
        lambda: f.window_update(stream, by),
        lambda: f.window_update(0, by),
        lambda: f.settings({chance.randrange(1, 7): chance.choice([0, 1, 16_384, 2**20, 2**31])}),
        lambda: f.rst_stream(stream, chance.randrange(14)),
        lambda: f.frame(chance.randrange(12), chance.randrange(256), stream, payload[:8]),
    ]
    return chance.choice(choices)()


def check(peer: Peer) -> None:
    """What holds after any bytes."""
    assert peer.server.calls.buffered_bytes >= 0
    assert peer.server.calls.buffered_bytes <= peer.streams * (bounds.STREAM_WINDOW_BYTES * 2 + 2**18)
    assert peer.streams == len(peer.server.calls.open)
    for handler in peer.handlers:
        assert handler.events.count("gone") <= 1
        assert "gone" not in handler.events[:-1]
    if peer.is_hung_up:
        assert peer.streams == 0
    said = peer.said()
    assert [each.kind for each in said].count(f.GOAWAY) <= 2


def fuzz_peer(*, is_settled: bool) -> Peer:
    peer = Peer(streams_max=50)

    def accept(call: Call) -> Busy:
        handler = Busy(call)
        peer.handlers.append(handler)
        return handler

    peer.server.calls._methods = {PATH: accept}  # type: ignore[attr-defined]
    if is_settled:
        peer.settle()
    return peer


@settings(max_examples=150)
@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes(noise: bytes, is_settled: bool) -> None:
    peer = fuzz_peer(is_settled=is_settled)
    peer.feed((b"" if is_settled else f.PREFACE) + noise)
    check(peer)
    peer.pass_time(40.0)
    check(peer)


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 300))
def test_mutated_conversations(seed: int, chunk: int) -> None:
    logging.disable(logging.ERROR)
    try:
        chance = random.Random(seed)
        peer = fuzz_peer(is_settled=True)
        sent = bytearray(conversation(peer, chance))
        for _ in range(chance.choice([0, 0, 1, 2, 8])):
            at = chance.randrange(len(sent))
            match chance.randrange(3):
                case 0:
                    sent[at] = chance.randrange(256)
                case 1:
                    del sent[at : at + chance.randrange(20)]
                case _:
                    sent[at:at] = chance.randbytes(chance.randrange(20))
            if not sent:
                return
        for begin in range(0, len(sent), chunk):
            peer.feed(bytes(sent[begin : begin + chunk]))
            check(peer)
        peer.pass_time(3.0)
        check(peer)
        peer.server.lost()
        assert peer.streams == 0
        check(peer)
    finally:
        logging.disable(logging.NOTSET)
