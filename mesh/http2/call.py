"""What a service and the HTTP/2 server say to each other about one RPC. Pure.

Everything is synchronous and happens on the loop's thread. The server calls the handler from within
its read of the socket, so a handler does little and never blocks.

Order: `received` for every message, then `half_closed`, at most once; `gone` at most once and last.
A call whose request has neither ended nor been answered within REQUEST_PATIENCE_S ends (mesh.http2.calls).
After `pause` neither `received` nor `half_closed` comes until `resume`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from google.protobuf.message import Message
from hpack import HPACKDecodingError
from hpack.huffman_table import decode_huffman

Metadata = Sequence[tuple[str, str]]
"""Lower-case names, without pseudo-headers. Values of `-bin` names are the base64 that was sent."""

_HUFFMAN = 0x80
TRACEPARENT_BYTES = 55
CLIENT_CONTEXT = "grandstand-traceparent"
"""The header in which the edge hands on a client's own `traceparent`: followed for trusted roles only."""


class RequestMetadata(tuple[tuple[str, str], ...]):
    """Metadata of a header block. It stands for the same block again and again (mesh.http2.field_blocks), so
    what each call is asked for is looked for once."""

    @cached_property
    def authorizations(self) -> list[str]:
        return [value for name, value in self if name == "authorization"]

    @cached_property
    def contexts(self) -> tuple[str, str]:
        return _contexts_of(self)

    def traced(self, value: bytes) -> RequestMetadata:
        """The same of a call with this `traceparent`, encoded (RFC 7541, 5.2): it is not among the pairs, and
        is read if it is sampled or stands beside a client's."""
        client = self.contexts[1]
        if not client and _is_surely_unsampled(value):
            return self  # as all of these: nobody asks which trace it was not kept for
        found = RequestMetadata(self)
        found.authorizations = self.authorizations
        found.contexts = _decoded(value), client
        return found


def _is_surely_unsampled(value: bytes) -> bool:
    """Of an encoded `traceparent`, by its end, "-00". In Huffman coding "-" is 010110 and "0" is 00000; it
    fills up with ones, and before those are eleven zeros."""
    if value[0] < _HUFFMAN:
        return value[-3:] == b"-00"
    bits = int.from_bytes(value[-4:], "big")
    bits >>= (~bits & bits + 1).bit_length() - 1
    return bits & 0xFFF == 0x800


def _decoded(value: bytes) -> str:
    """ "" of what is no text."""
    text = value[1:]
    try:
        return (decode_huffman(text) if value[0] & _HUFFMAN else text).decode("ascii")
    except (HPACKDecodingError, UnicodeDecodeError):
        return ""


def contexts_in(metadata: Metadata) -> tuple[str, str]:
    """The caller's `traceparent`, and that of a client; "" without one."""
    return metadata.contexts if isinstance(metadata, RequestMetadata) else _contexts_of(metadata)


def _contexts_of(metadata: Metadata) -> tuple[str, str]:
    found = dict(metadata)
    return found.get("traceparent", ""), found.get(CLIENT_CONTEXT, "")


class Call(Protocol):
    """One RPC, as a handler sees it."""

    @property
    def path(self) -> str:
        """Such as "/grandstand.ingest.v1.IngestService/Publish"."""

    @property
    def peer(self) -> str:
        """The address at the other end of the connection, such as "10.0.0.7"; "" on a Unix socket."""

    @property
    def metadata(self) -> Metadata:
        """There while the call is accepted, and empty afterwards: thousands of idle calls keep none."""

    def send(self, message: bytes) -> None:
        """Sends one gRPC message; response headers go before the first. After `end` or `gone`: ignored."""

    def try_send(self, message: bytes) -> bool:
        """Sends it if all of it may leave now, and says whether; if not, `writable` tells when to try again.
        For who keeps the newest state and no queue."""

    @property
    def is_writable(self) -> bool:
        """False while more than SEND_BUFFER_BYTES_MAX of this call wait for the peer's window. A handler that
        sends on regardless ends RESOURCE_EXHAUSTED at SEND_WAITING_BYTES_MAX."""

    def pause(self) -> None:
        """No further `received`; no WINDOW_UPDATE is sent for the stream meanwhile."""

    def resume(self) -> None:
        """What waited is delivered from the loop, in order, unless paused again by then."""

    def end(
        self,
        code: int = 0,
        message: str = "",
        retry_after_s: float | None = None,
        detail: Message | None = None,
    ) -> None:
        """Trailers after all that was sent, and RST_STREAM(NO_ERROR) if the client has not half-closed.
        `retry_after_s` goes along as a google.rpc.RetryInfo in grpc-status-details-bin, `detail` as it is."""


class Handler(Protocol):
    """The service's side of one RPC."""

    def received(self, message: bytes) -> None:
        """An exception that escapes, from here or another of these, ends the call INTERNAL and is logged."""

    def half_closed(self) -> None:
        """After the last message was received."""

    def writable(self) -> None:
        """`is_writable` became True again, or a `try_send` that returned False may succeed now."""

    def gone(self) -> None:
        """The client reset the call, its deadline passed, the connection is lost, or the server ended the
        call for what was sent: nothing can be said any more. At most once, not after `end` completed."""


Accept = Callable[[Call], Handler]
"""Opens a call. May send, and even end. Raises GrandstandError: the call ends with its code and message."""

Methods = Mapping[str, Accept]
"""By path."""

PAGE_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a GET, which is no gRPC."""

    status: int
    content: bytes
    """JSON, at most PAGE_BYTES_MAX."""


Pages = Mapping[str, Callable[[], Page]]
"""By path; for operators' probes, which speak plain HTTP."""
