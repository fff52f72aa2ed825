"""A conversation with an HTTP/2 server over its socket: frames of a test's own, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mesh.http2 import frames as f
from tests.support.http2_peer import Frame, codes

_PING = b"h2 tests"
_PATIENCE_S = 10.0


@dataclass
class Seen:
    frames: list[Frame] = field(default_factory=list)
    is_closed: bool = False
    pings: int = 0
    """Sent, one after each step."""

    def of(self, kind: int) -> list[Frame]:
        return [each for each in self.frames if each.kind == kind]

    @property
    def is_alive(self) -> bool:
        return len([each for each in self.of(f.PING) if each.payload == _PING]) >= self.pings


Expected = Callable[[Seen], bool]
"""Whether what the server has said by now is what it must."""


def goaway(code: int) -> Expected:
    """A connection error: GOAWAY, and the end of the connection."""
    return lambda seen: seen.is_closed and codes(seen.frames)[-1:] == [("GOAWAY", code)]


def reset(code: int, stream: int = 1) -> Expected:
    """A stream error, and the connection goes on."""
    return lambda seen: (
        seen.is_alive
        and [(each.stream, each.code) for each in seen.of(f.RST_STREAM)] == [(stream, code)]
        and not seen.is_closed
    )


def answered(stream: int = 1) -> Expected:
    return lambda seen: seen.is_alive and [each.stream for each in seen.of(f.HEADERS)] == [stream]


def content(*sizes: int) -> Expected:
    """DATA frames of these sizes, and no others so far."""
    return lambda seen: seen.is_alive and [len(each.payload) for each in seen.of(f.DATA)] == list(sizes)


def alive(seen: Seen) -> bool:
    return seen.is_alive and not codes(seen.frames)


def pong(payload: bytes) -> Expected:
    return lambda seen: alive(seen) and payload in [each.payload for each in seen.of(f.PING)]


def settled(count: int) -> Expected:
    """So many SETTINGS are acknowledged, with those of the handshake."""
    return lambda seen: len([each for each in seen.of(f.SETTINGS) if each.flags & f.ACK]) == count


def done(seen: Seen) -> bool:
    """The answer on stream 1 has ended."""
    return any(each.stream == 1 and each.flags & f.END_STREAM for each in seen.of(f.DATA))


Step = bytes | Expected
Case = tuple[Step, ...]
"""What is sent and what is awaited, in turn."""


HANDSHAKE: Case = (f.PREFACE + f.settings({}), settled(1), f.frame(f.SETTINGS, f.ACK, 0))


async def play(address: str, steps: Sequence[Step]) -> None:
    """Fails when what is awaited does not come."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    seen = Seen()
    for step in steps:
        if isinstance(step, bytes):
            writer.write(step + f.frame(f.PING, 0, 0, _PING))
            seen.pings += 1
        else:
            await _await(step, seen, reader)
    writer.close()


async def _await(is_met: Expected, seen: Seen, reader: asyncio.StreamReader) -> None:
    while not is_met(seen):
        assert not seen.is_closed, seen
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readexactly(f.HEAD_BYTES)
                high, low, kind, flags, stream = f.HEAD.unpack(head)
                payload = await reader.readexactly(high << 8 | low)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            seen.is_closed = True
        except TimeoutError:
            raise AssertionError(f"nothing more came: {seen}") from None
        else:
            seen.frames.append(Frame(kind, flags, stream, payload))
