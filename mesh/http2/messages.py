"""gRPC messages in the bytes of a stream: a flag, a length, and that many bytes, across frames. Pure.

Bound: a message that is longer than the service takes is refused when its prefix is read, before any of
it is kept; one that is compressed must also fit once inflated, and is inflated no further than that.
"""

from __future__ import annotations

import zlib

from mesh.http2.errors import INTERNAL, RESOURCE_EXHAUSTED, CallFailed, Cause
from mesh.http2.frames import PREFIX, PREFIX_BYTES

# zlib's window bits: 31 is gzip, 15 zlib, which HTTP calls deflate.
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}


def find_message(data: bytes | bytearray, at: int, end: int, bytes_max: int) -> tuple[int, bool] | None:
    """Where the message that begins at `at` ends (its own bytes begin PREFIX_BYTES later) and whether it is
    compressed; None if it is not all there before `end`. Raises CallFailed."""
    if end - at < PREFIX_BYTES:
        return None
    flag, length = PREFIX.unpack_from(data, at)
    if flag > 1:
        raise CallFailed(
            INTERNAL, f"a message with the compressed flag {flag}, which is 0 or 1", Cause.MESSAGE
        )
    if length > bytes_max:
        raise too_long(length, bytes_max)
    after = at + PREFIX_BYTES + length
    return None if after > end else (after, flag == 1)


def too_long(length: int, bytes_max: int) -> CallFailed:
    return CallFailed(
        RESOURCE_EXHAUSTED,
        f"a message of {length} bytes; at most {bytes_max} are taken: send less in one",
        Cause.MESSAGE_SIZE,
    )


def inflated(data: bytes, encoding: bytes, bytes_max: int) -> bytes:
    """`encoding`: what the call's grpc-encoding says. Raises CallFailed."""
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise CallFailed(
            INTERNAL, "a compressed message, though grpc-encoding names no compression", Cause.MESSAGE
        )
    machine = zlib.decompressobj(bits)
    try:
        plain = machine.decompress(data, bytes_max + 1)
    except zlib.error as error:
        raise CallFailed(
            INTERNAL, f"a compressed message that is no {encoding.decode()}: {error}", Cause.MESSAGE
        ) from None
    if len(plain) > bytes_max:
        raise CallFailed(
            RESOURCE_EXHAUSTED,
            f"a message that inflates to more than {bytes_max} bytes, the most that is taken",
            Cause.MESSAGE_SIZE,
        )
    if not machine.eof or machine.unused_data:
        raise CallFailed(
            INTERNAL,
            f"a compressed message that is not exactly one {encoding.decode()} stream",
            Cause.MESSAGE,
        )
    return plain
