"""The bytes of a gRPC health check: a whole HTTP/2 conversation of one round trip, without a gRPC library.

`request` asks grpc.health.v1.Health/Check for several services at once, one stream each; `Reply` is fed what
comes back and says which of them serve. It is enough of RFC 9113 for a peer that answers 30 bytes: headers
are sent as literals and those received are skipped unread (a stream that ends without a message is one
without a status, whatever its grpc-status says), so no HPACK state is kept and no window is ever used up.

Rejected: grpc itself. Importing it takes longer than the mesh's fastest processes need to start, and its
threads make the supervisor's forks unsafe.
"""

from __future__ import annotations

import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4

_SERVING_MESSAGE = b"\x00\x00\x00\x00\x02\x08\x01"
"""Not compressed, two bytes, field 1 (status) is 1 (SERVING)."""

REPLY_BYTES_MAX = 64 * 1024
"""More than this is no answer to a health check."""


class NotHealth(Exception):
    """What came back is no HTTP/2, or too much of it."""


def _frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload


def _short(text: bytes) -> bytes:
    """A string literal of HPACK, without Huffman coding; one length byte holds up to 126."""
    assert len(text) < 127, text
    return bytes([len(text)]) + text


def request(authority: str, services: tuple[str, ...]) -> bytes:
    """Everything the client sends: the answer comes on streams 1, 3, 5, ... in the order of `services`."""
    # RFC 7541, appendix A: 3 is ":method: POST", 6 ":scheme: http", 4 ":path", 1 ":authority",
    # 31 "content-type".
    headers = b"".join(
        (
            b"\x83\x86",
            b"\x04" + _short(b"/grpc.health.v1.Health/Check"),
            b"\x01" + _short(authority.encode()),
            b"\x0f\x10" + _short(b"application/grpc"),
            b"\x00" + _short(b"te") + _short(b"trailers"),
        )
    )
    parts = [_PREFACE, _frame(_SETTINGS, 0, 0)]
    for index, service in enumerate(services):
        name = service.encode()
        message = b"\x0a" + _short(name) if name else b""
        parts.append(_frame(_HEADERS, _END_HEADERS, 2 * index + 1, headers))
        parts.append(_frame(_DATA, _END_STREAM, 2 * index + 1, struct.pack(">BI", 0, len(message)) + message))
    return b"".join(parts)


class Reply:
    """What the server has answered so far."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = services
        self._buffer = b""
        self._received_bytes = 0
        self._messages = {2 * index + 1: b"" for index in range(len(services))}
        self._open = set(self._messages)

    @property
    def done(self) -> bool:
        return not self._open

    @property
    def serving(self) -> bool:
        """All of them; only meaningful when done."""
        return all(message == _SERVING_MESSAGE for message in self._messages.values())

    def feed(self, data: bytes) -> bytes:
        """Takes what was received, returns what to send. Raises NotHealth."""
        self._received_bytes += len(data)
        if self._received_bytes > REPLY_BYTES_MAX:
            raise NotHealth(f"a health check was answered by more than {REPLY_BYTES_MAX} bytes")
        self._buffer += data
        answers = b""
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if length > 16_384:
                raise NotHealth("the peer does not speak HTTP/2")
            if len(self._buffer) < 9 + length:
                break
            kind, flags, stream_id = struct.unpack(">BBI", self._buffer[3:9])
            payload, self._buffer = self._buffer[9 : 9 + length], self._buffer[9 + length :]
            answers += self._frame(kind, flags, stream_id, payload)
        return answers

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
        if kind == _SETTINGS and not flags & _ACK:
            return _frame(_SETTINGS, _ACK, 0)
        if kind == _PING and not flags & _ACK:
            return _frame(_PING, _ACK, 0, payload)
        if kind == _GOAWAY:
            self._open.clear()
        if stream_id in self._open:
            if kind == _DATA:
                self._messages[stream_id] += payload
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                self._open.discard(stream_id)
        return b""
