"""Flow control of what is sent, against a naive model: never more than the peer allows, all in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.call import Call
from mesh.http2.errors import RESOURCE_EXHAUSTED
from mesh.http2.stream import Stream
from tests.support.http2_peer import PATH, Frame, Peer, Recorder, codes, message, split

STREAMS = 4
SIZES = st.one_of(st.integers(0, 200), st.integers(0, 70_000))
STREAM = st.integers(0, STREAMS - 1)
OPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), STREAM, SIZES),
        st.tuples(st.just("end"), STREAM, st.just(0)),
        st.tuples(st.just("widen"), STREAM, st.integers(1, 50_000)),
        st.tuples(st.just("widen all"), STREAM, st.integers(1, 50_000)),
        st.tuples(st.just("initial window"), STREAM, st.integers(0, 100_000)),
        st.tuples(st.just("reset"), STREAM, st.just(0)),
        st.tuples(st.just("full"), STREAM, st.just(0)),
        st.tuples(st.just("room"), STREAM, st.just(0)),
        st.tuples(st.just("turn"), STREAM, st.just(0)),
    ),
    max_size=60,
)


@dataclass
class Model:
    """What the client allows, kept as plainly as can be."""

    connection: int = f.WINDOW_DEFAULT
    initial: int = f.WINDOW_DEFAULT
    streams: dict[int, int] = field(default_factory=dict)
    announced: list[int] = field(default_factory=list)
    said: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def see(self, frames: list[Frame]) -> None:
        for each in frames:
            if each.kind == f.DATA:
                size = len(each.payload)
                assert size <= bounds.FRAME_BYTES_MAX
                assert each.stream not in self.ended
                self.connection -= size
                self.streams[each.stream] -= size
                assert self.connection >= 0
                assert self.streams[each.stream] >= 0
                self.said[each.stream] += each.payload
            elif each.kind == f.SETTINGS and each.flags & f.ACK:
                # From here on the server obeys the new value, which moves every window.
                new = self.announced.pop(0)
                for number in self.streams:
                    self.streams[number] += new - self.initial
                self.initial = new
            elif each.kind == f.HEADERS and each.flags & f.END_STREAM:
                self.ended.add(each.stream)
            else:
                assert each.kind in (f.HEADERS, f.RST_STREAM)


@settings(max_examples=100)
@given(ops=OPS)
def test_nothing_is_sent_beyond_a_window_and_everything_in_the_end(ops: list[tuple[str, int, int]]) -> None:
    peer = Peer()
    peer.settle()
    model = Model()
    handlers = []
    for number in range(1, 2 * STREAMS, 2):
        handlers.append(peer.open(number))
        model.streams[number] = model.initial
        model.said[number] = b""
    wanted = dict.fromkeys(model.said, b"")
    over: set[int] = set()
    reset: set[int] = set()

    def feed(sent: bytes) -> None:
        peer.server.receive(sent, peer.now)

    for op, which, size in ops:
        number, handler = 2 * which + 1, handlers[which]
        match op:
            case "send":
                payload = bytes([which]) * size
                handler.call.send(payload)
                if number not in over:
                    wanted[number] += message(payload)
            case "end":
                handler.call.end(0)
                over.add(number)
            case "widen":
                if number not in reset:
                    model.streams[number] += size
                feed(f.window_update(number, size))
            case "widen all":
                model.connection += size
                feed(f.window_update(0, size))
            case "initial window":
                model.announced.append(size)
                feed(f.settings({f.INITIAL_WINDOW_SIZE: size}))
            case "reset":
                reset.add(number)
                over.add(number)
                feed(f.rst_stream(number, f.CANCEL))
            case "full":
                peer.server.write_buffer.pause()
            case "room":
                peer.server.write_buffer.resume()
            case "turn":
                written = split(peer.take())
                assert (
                    sum(len(each.payload) for each in written if each.kind == f.DATA)
                    <= bounds.FLUSH_BYTES_MAX
                )
                model.see(written)
    model.see(split(peer.take()))
    assert not peer.is_hung_up

    peer.server.write_buffer.resume()
    model.connection += 2**24
    feed(f.window_update(0, 2**24))
    model.announced.append(2**24)
    feed(f.settings({f.INITIAL_WINDOW_SIZE: 2**24}))
    while peer.server.write_buffer.parts:
        model.see(split(peer.take()))
    for number, handler in zip(wanted, handlers, strict=True):
        if number in reset:
            # Cut somewhere, or ended before it was reset.
            assert wanted[number].startswith(model.said[number])
            assert handler.events.count("gone") <= 1
        else:
            assert model.said[number] == wanted[number]
            assert (number in model.ended) == (number in over)
            assert "gone" not in handler.events


def test_streams_take_turns_on_a_narrow_connection() -> None:
    """Four calls have as much to say; the window of the connection opens a frame at a time."""
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 2**20})
    handlers = [peer.open(number) for number in (1, 3, 5, 7)]
    for handler in handlers:
        handler.call.send(b"x" * 200_000)
    said = dict.fromkeys((1, 3, 5, 7), 0)
    for each in peer.said():
        if each.kind == f.DATA:
            said[each.stream] += len(each.payload)
    # The first one found the connection's window open.
    said = dict.fromkeys(said, 0)
    for _ in range(16):
        for each in peer.feed(f.window_update(0, bounds.FRAME_BYTES_MAX)):
            said[each.stream] += len(each.payload)
    assert set(said.values()) == {4 * bounds.FRAME_BYTES_MAX}


def test_a_turn_writes_no_more_than_its_share_however_wide_the_windows() -> None:
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 2**30})
    handlers = [peer.open(number) for number in range(1, 9, 2)]
    for handler in handlers:
        handler.call.send(b"x" * 4_000_000)
    turns = []
    # All in one read: each of them opens the window again.
    peer.server.receive(f.window_update(0, 2**20) * 1_000, peer.now)
    while peer.server.write_buffer.parts:
        written = split(peer.take())
        turns.append(sum(len(each.payload) for each in written if each.kind == f.DATA))
    assert max(turns) <= bounds.FLUSH_BYTES_MAX
    assert sum(turns) == 4 * (4_000_000 + f.PREFIX_BYTES)


def test_nothing_leaves_while_the_transport_is_full() -> None:
    peer = Peer()
    peer.settle()
    handler = peer.open()
    peer.server.write_buffer.pause()
    handler.call.send(b"waits")
    handler.call.end()
    assert [each.kind for each in peer.said()] == [f.HEADERS]
    peer.server.write_buffer.resume()
    assert [each.kind for each in peer.said()] == [f.DATA, f.HEADERS, f.RST_STREAM]


def test_a_call_is_not_writable_while_too_much_of_it_waits() -> None:
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 0})
    handler = peer.open()
    payload = b"x" * 1_000
    while handler.call.is_writable:
        handler.call.send(payload)
    waiting = len(message(payload)) * (bounds.SEND_BUFFER_BYTES_MAX // len(message(payload)) + 1)
    peer.feed(f.window_update(1, waiting - bounds.SEND_BUFFER_BYTES_MAX - 1))
    assert handler.events == []
    peer.feed(f.window_update(1, 1))
    assert handler.events == ["writable"]
    assert handler.call.is_writable
    peer.feed(f.window_update(1, 2**20))
    assert handler.events == ["writable"]


class Filler(Recorder):
    """Writes until it may not, and on when it may."""

    left = 500

    def writable(self) -> None:
        super().writable()
        while self.left and self.call.is_writable:
            self.left -= 1
            self.call.send(b"x" * 1_000)
        if not self.left:
            self.call.end()


def test_a_handler_that_writes_while_it_may_comes_to_its_end() -> None:
    fillers: list[Filler] = []

    def accept(call: Call) -> Filler:
        fillers.append(Filler(call))
        return fillers[-1]

    peer = Peer(accept)
    peer.settle()
    said = peer.feed(peer.headers(1))
    fillers[0].writable()
    said += peer.said()
    for _ in range(500 * 1_005 // 20_000):
        assert fillers[0].left > 0 or len(fillers[0].events) > 1
        said += peer.feed(f.window_update(0, 20_000) + f.window_update(1, 20_000))
    assert sum(len(each.payload) for each in said if each.kind == f.DATA) == 500 * 1_005
    assert codes(said) == [("RST_STREAM", f.NO_ERROR)]
    assert "gone" not in fillers[0].events


def test_what_is_sent_from_writable_stays_behind_what_waited() -> None:
    class Late(Recorder):
        def writable(self) -> None:
            self.call.send(b"last")

    calls: list[Call] = []

    def accept(call: Call) -> Late:
        calls.append(call)
        return Late(call)

    peer = Peer(accept)
    peer.settle({f.INITIAL_WINDOW_SIZE: 0})
    peer.feed(peer.headers(1) + f.window_update(0, 2**20))
    calls[0].send(b"x" * 200_000)
    frames = peer.feed(f.window_update(1, 2**20))
    said = b"".join(each.payload for each in frames if each.kind == f.DATA)
    assert said == message(b"x" * 200_000) + message(b"last")


def test_a_handler_that_heeds_no_window_is_ended_before_it_fills_the_memory() -> None:
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 0})
    handler = peer.open()
    call = handler.call
    assert isinstance(call, Stream)
    for _ in range(2 * bounds.SEND_WAITING_BYTES_MAX // 100_000):
        call.send(b"x" * 100_000)
        assert handler.events == []
    assert len(call._unsent or b"") <= bounds.SEND_WAITING_BYTES_MAX + 100_005
    said = peer.said()
    fields = peer.read(said[0]) | peer.read(said[1])
    assert fields["grpc-status"] == str(RESOURCE_EXHAUSTED)
    assert handler.events == ["gone"]


def test_a_window_that_is_negative_must_be_filled_before_anything_is_sent() -> None:
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 100})
    handler = peer.open()
    handler.call.send(b"x" * 95)
    assert peer.said()[-1].kind == f.DATA
    peer.feed(f.settings({f.INITIAL_WINDOW_SIZE: 0}))
    handler.call.send(b"y")
    assert peer.feed(f.window_update(1, 100)) == []
    assert [len(each.payload) for each in peer.feed(f.window_update(1, 3))] == [3]
    assert [len(each.payload) for each in peer.feed(f.settings({f.INITIAL_WINDOW_SIZE: 3}))] == [0, 3]


def test_a_call_whose_window_ends_with_a_message_is_told_of_the_next() -> None:
    peer = Peer()
    peer.settle({f.INITIAL_WINDOW_SIZE: 2 * len(message(b"x" * 100))})
    handler = peer.open(1)
    assert handler.call.try_send(b"x" * 100)
    assert handler.call.try_send(b"x" * 100)
    assert not handler.call.try_send(b"x" * 100)
    peer.said()
    assert handler.events == []
    peer.feed(f.window_update(1, 1))
    assert handler.events == ["writable"]
    assert handler.call.try_send(b"x" * 100)
    # Nobody asked: nobody is told.
    peer.feed(f.window_update(1, 1_000))
    assert handler.events == ["writable"]


def test_hundreds_that_refill_as_soon_as_there_is_room_are_told_one_after_the_other() -> None:
    """Told from within each other's sending, they would be one deep recursion."""
    numbers = range(1, 1_000, 2)
    peer = Peer(streams_max=len(numbers))
    peer.settle({f.INITIAL_WINDOW_SIZE: 2**20})

    class Refilling(Recorder):
        left = 4

        def writable(self) -> None:
            super().writable()
            while self.call.is_writable and self.left:
                self.left -= 1
                self.call.send(b"x" * 40_000)

    def accept(call: Call) -> Recorder:
        handler = Refilling(call)
        peer.handlers.append(handler)
        return handler

    peer.server.calls._methods = {PATH: accept}
    for number in numbers:
        peer.open(number)
    for handler in peer.handlers:
        handler.writable()
    peer.said()
    # Room for a frame of each.
    peer.feed(f.window_update(0, len(numbers) * bounds.FRAME_BYTES_MAX))
    while any(handler.left for handler in peer.handlers):
        assert peer.feed(f.window_update(0, 2**24))
    assert not any("gone" in handler.events for handler in peer.handlers)
    assert peer.streams == len(numbers)
