"""How viewers ask, and what they are sent: gRPC-Web through Envoy, EventSource from Nchan, Socket.IO. Pure.

A wire is what one kind of viewer says and hears on a connection of its own. Reading is a step without
memory: what is left of the bytes before, and the bytes that came, give the frames in them and what is left
then. So the same bytes with the same rest need not be read twice, and thousands of viewers who are sent the
same cost little more than the comparison (see `bench._audience`).

Every frame that counts carries a mark: its number, and when it was published, in microseconds of the
machine's monotonic clock. gRPC-Web frames carry it in the counts of a poll (`bench._marks`), the peers' in
their text.

Bounds: a frame of FRAME_BYTES_MAX; what is longer is an error, not a buffer that grows.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from bench._marks import POLL, Mark, mark_in_response, mark_in_text
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest

FRAME_BYTES_MAX = 64 * 1024
SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"
PING = b"2"
SOCKET_IO_JOIN = b"40"

Rest = tuple[bytes, bytes]
"""Bytes of an unfinished chunk (or frame), and of an unfinished message within it."""
NOTHING: Rest = (b"", b"")


class WireError(Exception):
    """A viewer was sent what it does not understand, or refused."""


class ParsedBytes(NamedTuple):
    """What some bytes said."""

    marks: tuple[Mark, ...]
    rest: Rest
    ended: str = ""
    """Why the stream is over; "" while it is not."""


class ViewerProtocol(Protocol):
    """One kind of viewer. `status` is what its response must begin with."""

    status: bytes

    def request(self, newest: int) -> bytes:
        """Its first bytes; `newest`: the number it was last shown, 0 when it comes for the first time."""

    def joins(self) -> bytes:
        """What it says when the response head has come; b"" for nothing."""

    def hear(self, rest: Rest, data: bytes) -> ParsedBytes:
        """Raises WireError."""


class GrpcWeb:
    """A browser's viewer: gRPC-Web over HTTP/1.1, chunked."""

    status = b"HTTP/1.1 200"

    def __init__(
        self,
        port: int,
        subscribe: SubscribeRequest,
        partition: int,
        mark: Callable[[bytes], Mark | None] = mark_in_response,
    ) -> None:
        """`partition`: where the poll is folded; a viewer that comes back hands in its cursor. `mark`: of an
        encoded SubscribeResponse, None where it has none."""
        self._mark = mark
        self._port = port
        self._subscribe = subscribe
        self._partition = partition

    def request(self, newest: int) -> bytes:
        wanted = SubscribeRequest()
        wanted.CopyFrom(self._subscribe)
        if newest:
            position = Position(partition=self._partition, sequence=newest)
            wanted.cursors.add(topic=POLL, cursor=Cursor(positions=[position]))
        encoded = wanted.SerializeToString()
        top = head(
            f"POST {SUBSCRIBE} HTTP/1.1",
            self._port,
            [
                ("content-type", "application/grpc-web+proto"),
                ("x-grpc-web", "1"),
                ("accept", "*/*"),
                ("accept-encoding", "gzip, deflate"),
                ("origin", f"http://127.0.0.1:{self._port}"),
                ("content-length", str(5 + len(encoded))),
            ],
        )
        return top + len(encoded).to_bytes(5, "big") + encoded

    def joins(self) -> bytes:
        return b""

    def hear(self, rest: Rest, data: bytes) -> ParsedBytes:
        chunked, left, over = chunks(rest[0] + data)
        messages = rest[1] + chunked
        marks: list[Mark] = []
        ended = "the response is over" if over else ""
        at = 0
        while len(messages) - at >= 5:
            kind = messages[at]
            length = int.from_bytes(messages[at + 1 : at + 5], "big")
            if length > FRAME_BYTES_MAX:
                raise WireError(f"a frame of {length} bytes; {FRAME_BYTES_MAX} at most were expected")
            if len(messages) - at - 5 < length:
                break
            payload = messages[at + 5 : at + 5 + length]
            at += 5 + length
            if kind & 0x80:
                ended = " ".join(payload.decode(errors="replace").split())
            elif (mark := self._mark(payload)) is not None:
                marks.append(mark)
        return ParsedBytes(tuple(marks), (left, messages[at:]), ended)


class EventSource:
    """Nchan's subscriber that browsers have without a library."""

    status = b"HTTP/1.1 200"

    def __init__(self, port: int, path: str) -> None:
        self._request = head(f"GET {path} HTTP/1.1", port, [("accept", "text/event-stream")])

    def request(self, newest: int) -> bytes:
        return self._request

    def joins(self) -> bytes:
        return b""

    def hear(self, rest: Rest, data: bytes) -> ParsedBytes:
        *events, left = (rest[0] + data).split(b"\n\n")
        if len(left) > FRAME_BYTES_MAX:
            raise WireError(f"an event of {len(left)} bytes and more")
        marks: list[Mark] = []
        for event in events:
            told = (mark_in_text(line[5:]) for line in event.split(b"\n") if line.startswith(b"data:"))
            marks.extend(mark for mark in told if mark is not None)
        return ParsedBytes(tuple(marks), (left, b""))


class WebSocket:
    """A WebSocket whose text messages are frames: Nchan's, or with `socket_io` around them."""

    status = b"HTTP/1.1 101"

    def __init__(self, port: int, path: str, *, socket_io: bool = False) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._request = head(
            f"GET {path} HTTP/1.1",
            port,
            [
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", key),
            ],
        )
        self._joins = _masked(SOCKET_IO_JOIN) if socket_io else b""

    def request(self, newest: int) -> bytes:
        return self._request

    def joins(self) -> bytes:
        return self._joins

    def hear(self, rest: Rest, data: bytes) -> ParsedBytes:
        buffer = rest[0] + data
        marks: list[Mark] = []
        ended = ""
        at = 0
        while len(buffer) - at >= 2:
            length, begin = buffer[at + 1] & 0x7F, at + 2
            if length == 126:
                length, begin = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                raise WireError("a WebSocket frame of 64 KiB and more")
            if len(buffer) < begin + length:
                break
            payload = buffer[begin : begin + length]
            if buffer[at] & 0x0F == 8:
                ended = "the WebSocket was closed"
            elif (mark := mark_in_text(payload)) is not None:
                marks.append(mark)
            at = begin + length
        return ParsedBytes(tuple(marks), (buffer[at:], b""), ended)


def head(line: str, port: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """With what a browser sends along."""
    fields = [
        ("host", f"127.0.0.1:{port}"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
        ),
        ("accept-language", "en-US,en;q=0.9"),
        *headers,
    ]
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields), "", ""]).encode()


def _masked(payload: bytes) -> bytes:
    """A short text message of a client. The mask of zeros is as good as any between friends."""
    assert len(payload) < 126
    return bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload


def chunks(buffer: bytes) -> tuple[bytes, bytes, bool]:
    """What chunks hold that came whole, what is left, and whether that was the last (RFC 9112, 7.1)."""
    found: list[bytes] = []
    at = 0
    while (end := buffer.find(b"\r\n", at)) >= 0:
        try:
            length = int(buffer[at:end], 16)
        except ValueError:
            raise WireError(f"no chunk begins with {buffer[at:end][:40]!r}") from None
        if length > FRAME_BYTES_MAX:
            raise WireError(f"a chunk of {length} bytes; {FRAME_BYTES_MAX} at most were expected")
        if length == 0:
            return b"".join(found), b"", True
        begin = end + 2
        if len(buffer) < begin + length + 2:
            break
        found.append(buffer[begin : begin + length])
        at = begin + length + 2
    return b"".join(found), buffer[at:], False
