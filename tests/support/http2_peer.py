"""A client of `mesh.http2.connection` without sockets: bytes in, frames out, a clock that is set by hand."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import hpack

from mesh.http2 import bounds
from mesh.http2 import frames as f
from mesh.http2.call import Accept, Call, Handler, Pages
from mesh.http2.connection import Connection
from mesh.http2.stream import Stream
from mesh.http2.termination_counts import TerminationCounts

PATH = "/test.Test/Talk"
MESSAGE_BYTES_MAX = 256 * 1024


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.kind == f.RST_STREAM else self.payload[4:8], "big")


def split(data: bytes) -> list[Frame]:
    """Whole frames and nothing else."""
    found = []
    at = 0
    while at < len(data):
        high, low, kind, flags, stream = f.HEAD.unpack_from(data, at)
        begin = at + f.HEAD_BYTES
        at = begin + (high << 8 | low)
        assert at <= len(data)
        found.append(Frame(kind, flags, stream, data[begin:at]))
    return found


def message(payload: bytes, flag: int = 0) -> bytes:
    return f.PREFIX.pack(flag, len(payload)) + payload


def data(stream: int, payload: bytes, *, last: bool = False, padding: int | None = None) -> bytes:
    flags = f.END_STREAM if last else 0
    if padding is None:
        return f.frame(f.DATA, flags, stream, payload)
    return f.frame(f.DATA, flags | f.PADDED, stream, bytes([padding]) + payload + b"\0" * padding)


def request_fields(path: str = PATH, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


class Recorder:
    """A handler that keeps what it is told, and does what a test wants on each message."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.metadata = tuple(call.metadata)
        self.messages: list[bytes] = []
        self.events: list[str] = []
        self.on_message: Callable[[bytes], None] = lambda _: None

    def received(self, message: bytes) -> None:
        self.messages.append(message)
        self.on_message(message)

    def half_closed(self) -> None:
        self.events.append("half-closed")

    def writable(self) -> None:
        self.events.append("writable")

    def gone(self) -> None:
        self.events.append("gone")


@dataclass(order=True)
class Alarm:
    at: float
    number: int
    callback: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.callback = None


class Peer:
    """The client's end, and the Shell of the server's."""

    def __init__(
        self,
        accept: Accept | None = None,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        streams_max: int = 1000,
        pages: Pages | None = None,
    ) -> None:
        self.now = 100.0
        self.handlers: list[Recorder] = []
        self.is_hung_up = False
        self.streams = 0
        self.streams_max = streams_max
        self._soon: list[Callable[[], None]] = []
        self._alarms: list[Alarm] = []
        self._numbers = itertools.count()
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.output_ready_calls = 0
        self.terminations = TerminationCounts()
        self.calls: list[Stream] = []
        """All that came, of methods that are served."""
        self.server = Connection(
            {PATH: accept or self.accept},
            self,
            self.now,
            message_bytes_max=message_bytes_max,
            streams_max=streams_max,
            terminations=self.terminations,
            pages=pages,
        )

    def accept(self, call: Call) -> Handler:
        handler = Recorder(call)
        self.handlers.append(handler)
        return handler

    # The server's shell.

    def output_ready(self) -> None:
        self.output_ready_calls += 1

    def hang_up(self) -> None:
        self.is_hung_up = True

    def may_open(self) -> bool:
        return self.streams < self.streams_max

    def opened(self) -> None:
        self.streams += 1

    def called(self, stream: Stream) -> None:
        self.calls.append(stream)

    def closed(self, stream: Stream) -> None:
        self.streams -= 1

    def soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def later(self, delay_s: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(self.now + delay_s, next(self._numbers), callback)
        heapq.heappush(self._alarms, alarm)
        return alarm

    # What a test does.

    def feed(self, data: bytes, chunk: int | None = None) -> list[Frame]:
        """What the server says to `data`, all at once or in chunks."""
        for at in range(0, len(data), chunk or max(len(data), 1)):
            self.server.receive(data[at : at + (chunk or len(data))], self.now)
        return self.said()

    def said(self) -> list[Frame]:
        """All that the server has to say, as a transport takes it that is never full."""
        self.turn()
        output = b""
        while self.server.write_buffer.parts:
            output += self.take()
        return split(output)

    def take(self) -> bytes:
        """What one turn of the loop writes."""
        data = self.server.write_buffer.take()
        self.server.write_buffer.flushed()
        assert self.server.write_buffer.is_flush_scheduled == bool(self.server.write_buffer.parts)
        return data

    @property
    def alarms(self) -> int:
        """Timers that are still to go off."""
        return sum(alarm.callback is not None for alarm in self._alarms)

    def turn(self) -> None:
        while self._soon:
            waiting, self._soon = self._soon, []
            for callback in waiting:
                callback()

    def pass_time(self, by_s: float) -> list[Frame]:
        """What the server says meanwhile."""
        self.wait(by_s)
        return self.said()

    def wait(self, by_s: float) -> None:
        """Looks as often as the server does."""
        until = self.now + by_s
        while self.now < until:
            self.now = min(until, self.now + bounds.LOOK_S)
            while self._alarms and self._alarms[0].at <= self.now:
                callback = heapq.heappop(self._alarms).callback
                if callback is not None:
                    callback()
            self.server.look(self.now)

    def settle(self, settings: dict[int, int] | None = None) -> None:
        """The preface of both sides, to its end."""
        self.feed(f.PREFACE + f.settings(settings or {}))
        self.acknowledge()

    def acknowledge(self) -> None:
        """The server's SETTINGS, which leave no dynamic table: the next block begins with its new size."""
        self.feed(f.frame(f.SETTINGS, f.ACK, 0))
        self.encoder.header_table_size = 0

    def headers(
        self,
        stream: int,
        fields: Sequence[tuple[str, str]] | None = None,
        *,
        last: bool = False,
        flags: int = 0,
    ) -> bytes:
        block = self.encoder.encode(request_fields() if fields is None else fields)
        return f.frame(f.HEADERS, f.END_HEADERS | (f.END_STREAM if last else 0) | flags, stream, block)

    def open(self, stream: int = 1, *more: tuple[str, str]) -> Recorder:
        self.feed(self.headers(stream, request_fields(PATH, *more)))
        return self.handlers[-1]

    def open_answered(self, stream: int = 1) -> Recorder:
        """A call that may last."""
        handler = self.open(stream)
        handler.call.send(b"welcome")
        self.said()
        return handler

    def read(self, frame: Frame) -> dict[str, str]:
        return {str(name): str(value) for name, value in self.decoder.decode(frame.payload)}


def codes(frames: Sequence[Frame]) -> list[tuple[str, int]]:
    """Only how things end: ("GOAWAY", code) and ("RST_STREAM", code)."""
    names = {f.GOAWAY: "GOAWAY", f.RST_STREAM: "RST_STREAM"}
    return [(names[each.kind], each.code) for each in frames if each.kind in names]
