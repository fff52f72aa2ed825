"""A crowd that calls Send through Envoy, driven by one loop: unary gRPC over HTTP/2, as clients do it.

Every viewer has an origin and a token of its own, and one call under way at most; some dozens of them share
each of a few connections. A call is answered with a position, or it failed, and why is kept.

    press    this many calls under way all the time, for some seconds
    pace     calls at a rate, by a schedule that waits for nobody: an answer's time counts from when it was
             due

Header fields are literals that no table remembers, and the same is asked of Envoy (HEADER_TABLE_SIZE 0): so a
block means the same wherever it stands, and each kind of answer is decoded once.

Rejected: grpc.aio, which costs more for a call than the gateway does.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hpack import Decoder

from bench._frames import header_block, message, split
from bench._h2 import H2Error
from bench._messages import actor_of, event
from grandstand.gateway.v1.gateway_pb2 import SendRequest, SendResponse
from mesh.http2 import frames as f
from toolbox.local.errors import MeshError

PATH = "/grandstand.gateway.v1.GatewayService/Send"
_PATIENCE_S = 20.0
_READ_BYTES = 256 * 1024
_TURN_S = 0.001
_LEAD_S = 0.05
_OK = "0"

Fields = Sequence[tuple[str, str]]

NATIVE: Fields = (
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-python-asyncio/1.85.1 grpc-c/52.0.0 (linux; chttp2)"),
    ("grpc-accept-encoding", "identity, deflate, gzip"),
)
"""What grpc's own clients say."""

BROWSER: Fields = (
    ("accept", "*/*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9"),
    ("content-type", "application/grpc-web+proto"),
    ("origin", "https://stream.example"),
    ("priority", "u=1, i"),
    ("referer", "https://stream.example/games/bench"),
    ("sec-ch-ua", '"Chromium";v="142", "Not_A Brand";v="24"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"),
    ("x-grpc-web", "1"),
    ("x-user-agent", "connect-es/2.1.0"),
)
"""What a page says by gRPC-Web."""


@dataclass(slots=True)
class CrowdSender:
    """One viewer."""

    number: int
    origin_id: str
    block: bytes
    """Its request headers."""
    wire: CrowdConnection
    seq: int = 0
    """Of its last event."""
    acked: set[int] = field(default_factory=set)
    due_s: float = 0.0
    is_answered: bool = False
    """Whether a position came on the call that is under way."""


class CrowdConnection:
    """One connection."""

    def __init__(self, port: int) -> None:
        """Raises OSError."""
        self.socket = socket.create_connection(("127.0.0.1", port), 5.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.calls: dict[int, CrowdSender] = {}
        self.out: list[bytes] = [
            f.PREFACE,
            f.settings({f.HEADER_TABLE_SIZE: 0, f.ENABLE_PUSH: 0, f.INITIAL_WINDOW_SIZE: f.WINDOW_MAX}),
            f.window_update(0, f.WINDOW_MAX - f.WINDOW_DEFAULT),
        ]
        self.rest = b""
        self._next = 1
        self._received = 0

    def open(self, sender: CrowdSender, data: bytes) -> None:
        stream, self._next = self._next, self._next + 2
        self.calls[stream] = sender
        self.out.append(f.frame(f.HEADERS, f.END_HEADERS, stream, sender.block))
        self.out.append(f.frame(f.DATA, f.END_STREAM, stream, data))

    def flush(self) -> bool:
        """Sends what the socket takes; True when nothing is left. Raises OSError."""
        data = b"".join(self.out)
        try:
            taken = self.socket.send(data)
        except BlockingIOError:
            taken = 0
        self.out = [data[taken:]] if taken < len(data) else []
        return not self.out

    def read(self) -> bytes:
        """What came, with what was left of the last time. Raises H2Error, OSError."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise H2Error("Envoy closed a connection")
        self._received += len(data)
        if self._received > f.WINDOW_MAX // 2:
            self.out.append(f.window_update(0, self._received))
            self._received = 0
        return self.rest + data


@dataclass
class SendCounts:
    """What became of the calls."""

    sent: int = 0
    acked: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By what was said."""

    @property
    def answered(self) -> int:
        return self.acked + sum(self.failed.values())


class Crowd:
    """Connects at once. Its calls raise H2Error, OSError and MeshError."""

    def __init__(
        self,
        port: int,
        game_id: str,
        shown: Sequence[Fields],
        origin: Callable[[int], str],
        *,
        wires: int,
        is_web: bool,
    ) -> None:
        """`shown`: for each viewer the metadata with its token; `origin` issues one to the n-th of them."""
        self.tally = SendCounts()
        self.senders: list[CrowdSender] = []
        self._game_id = game_id
        self._wires = [CrowdConnection(port) for _ in range(min(wires, len(shown)))]
        for wire in self._wires:
            wire.flush()  # the edge closes a connection that says nothing
        self._by_file = {wire.socket.fileno(): wire for wire in self._wires}
        self._poll = select.epoll()
        for number in self._by_file:
            self._poll.register(number, select.EPOLLIN)
        self._idle: deque[CrowdSender] = deque()
        self._took_s: list[float] | None = None
        self._statuses: dict[bytes, tuple[str, str]] = {}
        """By the block of the trailers."""
        pseudo = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", PATH),
            (":authority", f"127.0.0.1:{port}"),
        ]
        for number, metadata in enumerate(shown):
            block = header_block([*pseudo, *(BROWSER if is_web else NATIVE), *metadata])
            self.senders.append(
                CrowdSender(number, origin(number), block, self._wires[number % len(self._wires)])
            )
        self._idle.extend(self.senders)

    @property
    def under_way(self) -> int:
        return self.tally.sent - self.tally.answered

    def press(self, seconds: float, depth: int) -> None:
        """And waits for the last answers."""
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            for _ in range(min(depth - self.under_way, len(self._idle))):
                self._send(self._idle.popleft(), now_s)
            self._turn(_TURN_S)
        self._settle()

    def pace(self, rate: float, seconds: float) -> tuple[list[float], float]:
        """How long the answers to rate * seconds calls took, and how late the crowd itself was at most.

        Whoever was answered longest ago calls next.
        """
        took_s: list[float] = []
        self._took_s = took_s
        begin_s = time.monotonic() + _LEAD_S
        total, sent, late_s = int(rate * seconds), 0, 0.0
        while sent < total:
            now_s = time.monotonic()
            due = min(total, math.floor((now_s - begin_s) * rate) + 1)
            while sent < due and self._idle:
                due_s = begin_s + sent / rate
                late_s = max(late_s, now_s - due_s)
                self._send(self._idle.popleft(), due_s)
                sent += 1
            self._turn(max(0.0, min(_TURN_S, begin_s + sent / rate - time.monotonic())))
        self._settle()
        self._took_s = None
        return took_s, late_s

    def close(self) -> None:
        for wire in self._wires:
            wire.socket.close()
        self._poll.close()

    def _send(self, sender: CrowdSender, due_s: float) -> None:
        sender.seq += 1
        sender.due_s = due_s
        sender.is_answered = False
        made = event(self._game_id, sender.number + sender.seq, sender.seq)
        made.origin_id = sender.origin_id
        sender.wire.open(sender, message(SendRequest(event=made).SerializeToString()))
        self.tally.sent += 1

    def _settle(self) -> None:
        give_up_s = time.monotonic() + _PATIENCE_S
        while self.under_way:
            if time.monotonic() > give_up_s:
                raise MeshError(f"{self.under_way} calls of Send are not answered after {_PATIENCE_S:g} s")
            self._turn(_TURN_S)

    def _turn(self, wait_s: float) -> None:
        for number, wire in self._by_file.items():
            if wire.out:
                wanted = select.EPOLLIN if wire.flush() else select.EPOLLIN | select.EPOLLOUT
                self._poll.modify(number, wanted)
        for number, events in self._poll.poll(wait_s):
            if events & ~select.EPOLLOUT:
                self._read(self._by_file[number])

    def _read(self, wire: CrowdConnection) -> None:
        data = wire.read()
        end = 0
        for kind, flags, stream, begin, end in split(data):
            if kind == f.DATA:
                self._take(wire, stream, data[begin:end], bool(flags & f.END_STREAM))
            elif kind == f.HEADERS:
                if flags & f.END_STREAM:
                    self._over(wire, stream, *self._status(data[begin:end]))
            elif kind == f.RST_STREAM:
                self._over(wire, stream, "", f"RST_STREAM {int.from_bytes(data[begin:end], 'big')}")
            elif kind == f.SETTINGS and not flags & f.ACK:
                wire.out.append(f.frame(f.SETTINGS, f.ACK, 0))
            elif kind == f.PING and not flags & f.ACK:
                wire.out.append(f.frame(f.PING, f.ACK, 0, data[begin:end]))
            elif kind == f.GOAWAY:
                raise H2Error(f"GOAWAY: code {int.from_bytes(data[begin + 4 : begin + 8], 'big')}")
        if data:
            wire.rest = data[end:]

    def _take(self, wire: CrowdConnection, stream: int, data: bytes, is_last: bool) -> None:
        """A gRPC message; with gRPC-Web the trailers come as another, in the same frame or the next."""
        sender = wire.calls.get(stream)
        if sender is None:
            return
        at = 0
        while at < len(data):
            after = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
            body = data[at + 5 : after]
            if data[at] & 0x80:
                lines = dict(line.split(":", 1) for line in body.decode().split("\r\n") if line)
                self._over(wire, stream, lines["grpc-status"].strip(), lines.get("grpc-message", ""))
            else:
                sender.is_answered = len(SendResponse.FromString(body).positions) == 1
            at = after
        if is_last:
            self._over(wire, stream, "", "the stream ended without a status")

    def _status(self, block: bytes) -> tuple[str, str]:
        found = self._statuses.get(block)
        if found is None:
            fields = {str(name): str(value) for name, value in Decoder().decode(block)}
            found = fields.get("grpc-status", ""), fields.get("grpc-message", str(fields))
            if len(self._statuses) < 10_000:
                self._statuses[block] = found
        return found

    def _over(self, wire: CrowdConnection, stream: int, status: str, said: str) -> None:
        sender = wire.calls.pop(stream, None)
        if sender is None:
            return
        if status == _OK and sender.is_answered:
            self.tally.acked += 1
            sender.acked.add(sender.seq)
            if self._took_s is not None:
                self._took_s.append(time.monotonic() - sender.due_s)
        else:
            self.tally.failed[f"{actor_of(sender.number)}: {status} {said}"] += 1
        self._idle.append(sender)
