"""Header fields: what a request says, and the blocks we answer with (RFC 9113, 8; gRPC over HTTP/2). Pure.

Blocks that we send are literals that are never indexed, without Huffman coding, with indices into the
static table alone (RFC 7541, 6.2.3): there is no table to keep, and one block serves every stream.

Rejected: hpack's encoder. A dynamic table makes each block differ, for a few bytes less.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from google.protobuf.message import Message

from grandstand.wire.errors import shown
from mesh.http2 import bounds
from mesh.http2.call import TRACEPARENT_BYTES, Page, RequestMetadata
from mesh.http2.details import status_details
from mesh.http2.errors import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED, CallFailed, Cause, StreamBroken
from mesh.http2.frames import PROTOCOL_ERROR

ACCEPT_ENCODING = "identity,deflate,gzip"
ENCODINGS = frozenset((b"identity", b"deflate", b"gzip"))

# RFC 9110, 5.6.2, without upper case (RFC 9113, 8.2.1).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+\Z")
# Blanks at the ends are malformed, too (RFC 9113, 8.2.1), but gRPC's own C core sends what its caller gave
# it, such as `Bearer ` and an empty token: whose call it is should be told what is wrong with that.
_BAD_VALUE = re.compile(rb"[\0\r\n]")
_OF_ONE_CONNECTION = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_MANDATORY = (b":method", b":scheme", b":path")
_OF_CONNECT = (b":method", b":authority")
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_GRPC = re.compile(rb"application/grpc(?:[+;]|\Z)", re.IGNORECASE)
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])\Z")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Request(NamedTuple):
    """What the header block of a call says."""

    path: str
    """Interned: one string for all calls of a method."""
    metadata: RequestMetadata
    timeout_s: float | None
    encoding: bytes
    """One of ENCODINGS."""
    content_bytes: int | None
    """What content-length promises."""
    method: bytes
    """GET and HEAD are no gRPC: only Pages are asked so."""
    refusal: CallFailed | None
    """Why a request that is well formed is refused."""


class Field:
    """One field of a block, looked at once, however often it comes."""

    __slots__ = ("name", "plain", "size", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self.size = len(name) + len(value) + 32
        """As RFC 9113 counts it (6.5.2)."""
        self.plain: tuple[str, str] | None = None
        """As it stands in a call's metadata; None of a pseudo-header, and of what no call may have."""
        if name[:1] != b":" and _fault_of(name, value) is None:
            self.plain = name.decode("ascii"), value.decode("latin-1")

    def check(self) -> None:
        """Raises StreamBroken for what no request and no trailers may have."""
        if self.plain is None:
            raise _malformed(self.name, _fault_of(self.name, self.value) or "stands where it must not")


class UnreadTrace(Field):
    """Stands for a `traceparent` whose value is not read."""

    def __init__(self) -> None:
        super().__init__(b"traceparent", b"0" * TRACEPARENT_BYTES)


class Fields:
    """A decoded block. The same object stands for the same block again and again, so what its fields say as a
    request is read once."""

    __slots__ = ("_request", "all")

    def __init__(self, fields: Iterable[Field]) -> None:
        self.all = tuple(fields)
        self._request: Request | None = None

    def traced(self, value: bytes) -> Fields:
        """The same with a `traceparent` that came as `value`, a string as RFC 7541, 5.2 has it, in the place
        of the unread one."""
        request = self.request()
        metadata = request.metadata.traced(value)
        if metadata is request.metadata:
            return self
        found = Fields(self.all)
        found._request = Request(request.path, metadata, *request[2:])
        return found

    def request(self) -> Request:
        """Raises StreamBroken for a malformed request (RFC 9113, 8.1.1)."""
        found = self._request
        if found is None:
            found = self._request = _read_request(self.all)
        return found

    def check_trailers(self) -> None:
        """Raises StreamBroken."""
        for field in self.all:
            field.check()


def _read_request(fields: Sequence[Field]) -> Request:
    pseudo: dict[bytes, bytes] = {}
    plain: dict[bytes, bytes] = {}
    metadata: list[tuple[str, str]] = []
    size = 0
    for field in fields:
        size += field.size
        name, pair = field.name, field.plain
        if pair is not None:
            plain[name] = field.value
            if type(field) is Field:
                metadata.append(pair)
        elif name[:1] != b":":
            field.check()
        elif name not in _PSEUDO or name in pseudo or plain:
            raise _malformed(name, "is unknown, is there twice, or stands after a field")
        else:
            if _BAD_VALUE.search(field.value):
                raise _malformed(name, "has a value that no field may have")
            pseudo[name] = field.value
    method, path = pseudo.get(b":method"), pseudo.get(b":path", b"")
    if method != b"POST" or path[:1] != b"/" or not pseudo.get(b":scheme"):
        method = _check_target(pseudo)
    if b"@" in pseudo.get(b":authority", b""):
        raise _malformed(b":authority", "names a user")
    content_bytes = _content_bytes(fields) if b"content-length" in plain else None
    encoding, timeout_s, refusal = b"identity", None, None
    try:
        encoding, timeout_s = _read_call(method, plain, size, len(fields))
    except CallFailed as error:
        # It is kept with the block, without the frames of its traceback.
        refusal = error.with_traceback(None)
    return Request(
        sys.intern(path.decode("latin-1")),
        RequestMetadata(metadata),
        timeout_s,
        encoding,
        content_bytes,
        method,
        refusal,
    )


def _check_target(pseudo: Mapping[bytes, bytes]) -> bytes:
    """The method. Raises StreamBroken for what RFC 9113, 8.3.1 and 8.5, does not allow."""
    is_connect = pseudo.get(b":method") == b"CONNECT"
    for name in _OF_CONNECT if is_connect else _MANDATORY:
        if not pseudo.get(name):
            raise _malformed(name, "is missing")
    method, path = pseudo[b":method"], pseudo.get(b":path", b"")
    if is_connect:
        if b":scheme" in pseudo or path:
            raise _malformed(b":path", "or :scheme stands in a CONNECT")
    elif path[:1] != b"/" and (path != b"*" or method != b"OPTIONS"):
        raise _malformed(b":path", "does not begin with /")
    return method


def _read_call(
    method: bytes, plain: Mapping[bytes, bytes], size: int, fields: int
) -> tuple[bytes, float | None]:
    """grpc-encoding and grpc-timeout. Raises CallFailed for what is refused, though it is well formed."""
    if size > bounds.HEADER_LIST_BYTES_MAX or fields > bounds.HEADER_FIELDS_MAX:
        raise CallFailed(
            RESOURCE_EXHAUSTED,
            f"request headers of {size} bytes in {fields} fields; at most "
            f"{bounds.HEADER_LIST_BYTES_MAX} bytes in {bounds.HEADER_FIELDS_MAX} fields are taken: "
            "send less metadata",
            Cause.HEADER_SIZE,
        )
    if method in (b"GET", b"HEAD"):
        return b"identity", None
    if method != b"POST":
        raise CallFailed(INTERNAL, "gRPC calls are POST", Cause.NOT_GRPC, 405)
    if not _GRPC.match(plain.get(b"content-type", b"")):
        raise CallFailed(INTERNAL, "content-type must be application/grpc", Cause.NOT_GRPC, 415)
    encoding = plain.get(b"grpc-encoding", b"identity")
    if encoding not in ENCODINGS:
        said = shown(encoding.decode("latin-1"))
        raise CallFailed(
            UNIMPLEMENTED,
            f"grpc-encoding: {said} is not known here; use {ACCEPT_ENCODING}",
            Cause.ENCODING,
        )
    timeout_s = None
    if b"grpc-timeout" in plain:
        timeout_s = _timeout_s(plain[b"grpc-timeout"])
    return encoding, timeout_s


def _fault_of(name: bytes, value: bytes) -> str | None:
    """What is malformed about a field that is no pseudo-header (RFC 9113, 8.2.1 and 8.2.2)."""
    if not _NAME.match(name):
        return "is no name of a field in lower case"
    if name in _OF_ONE_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
        return "is for one connection, which HTTP/2 does not have"
    if _BAD_VALUE.search(value):
        return "has a value that no field may have"
    return None


def _content_bytes(fields: Sequence[Field]) -> int:
    values = {field.value for field in fields if field.name == b"content-length"}
    value = values.pop()
    if values or not _DIGITS.match(value):
        raise _malformed(b"content-length", "is no number, or several")
    return int(value)


def _timeout_s(value: bytes) -> float:
    found = _TIMEOUT.match(value)
    if found is None:
        raise CallFailed(
            INTERNAL,
            f"grpc-timeout: {shown(value.decode('latin-1'))}; at most 8 digits and one of HMSmun",
            Cause.TIMEOUT,
        )
    return int(found[1]) * _UNIT_S[found[2]]


def _malformed(name: bytes, what: str) -> StreamBroken:
    return StreamBroken(PROTOCOL_ERROR, f"header {shown(name.decode('latin-1'))} {what}")


# What we send.


def _integer(value: int, prefix_bits: int, above: int) -> bytes:
    """RFC 7541, 5.1; `above`: the bits before the prefix."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((above | value,))
    octets = bytearray((above | most,))
    value -= most
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _string(value: bytes) -> bytes:
    return _integer(len(value), 7, 0) + value


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x10" + _string(name) + _string(value)


_STATUS_200 = b"\x88"
# Names of the static table: :status is 8, content-type 31.
_CONTENT_TYPE = _integer(31, 4, 0x10) + _string(b"application/grpc")

RESPONSE_HEADERS = _STATUS_200 + _CONTENT_TYPE
"""The block before the first message."""


@lru_cache(maxsize=32)
def _status(code: int) -> bytes:
    return _literal(b"grpc-status", b"%d" % code)


def trailers(
    code: int, message: str, retry_after_s: float | None = None, detail: Message | None = None
) -> bytes:
    """The block after the last message; a call without one has RESPONSE_HEADERS before it in one block.
    At most TRAILERS_BYTES_MAX as RFC 9113, 6.5.2 counts them."""
    block = _status(code)
    if message:
        block += _literal(b"grpc-message", percent_encoded(message))
    if retry_after_s is not None or detail is not None:
        details = status_details(code, message, retry_after_s, detail)
        block += _literal(b"grpc-status-details-bin", details)
    return block


def accept_encoding() -> bytes:
    """What stands beside the status of a call whose encoding we do not know."""
    return _literal(b"grpc-accept-encoding", ACCEPT_ENCODING.encode())


def reply(page: Page, sendable_bytes: int, *, with_content: bool) -> tuple[bytes, bytes]:
    """A header block and the content after it. Content beyond `sendable_bytes` would wait for the client: it
    is left out, and the answer is 503, unless it has at most REPLY_WAITING_BYTES_MAX."""
    content = page.content
    if with_content and len(content) > max(sendable_bytes, bounds.REPLY_WAITING_BYTES_MAX):
        return _page(503, 0), b""
    return _page(page.status, len(content)), content if with_content else b""


def _page(status: int, content_bytes: int) -> bytes:
    """Before JSON of that length. In the static table content-length is 28, cache-control 24."""
    return (
        _integer(8, 4, 0x10)
        + _string(b"%d" % status)
        + _integer(31, 4, 0x10)
        + _string(b"application/json")
        + _integer(28, 4, 0x10)
        + _string(b"%d" % content_bytes)
        + _integer(24, 4, 0x10)
        + _string(b"no-store")
    )


def percent_encoded(message: str) -> bytes:
    """A grpc-message: UTF-8, with all but printable ASCII, and the percent sign, as %XX. Cut at a character,
    at STATUS_MESSAGE_BYTES_MAX; blanks at its ends are encoded too, as a field's value has none there."""
    parts = []
    size = 0
    for part in _characters(message):
        size += len(part)
        if size > bounds.STATUS_MESSAGE_BYTES_MAX:
            parts.append("%E2%80%A6")
            break
        parts.append(part)
    encoded = "".join(parts)
    if encoded[:1] == " ":
        encoded = "%20" + encoded[1:]
    if encoded[-1:] == " ":
        encoded = encoded[:-1] + "%20"
    return encoded.encode("ascii")


_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def _characters(message: str) -> Iterable[str]:
    if len(message) * 12 <= bounds.STATUS_MESSAGE_BYTES_MAX:
        return (quote(message, safe=_PRINTABLE, errors="replace"),)
    message = message[: bounds.STATUS_MESSAGE_BYTES_MAX + 1]
    return (quote(character, safe=_PRINTABLE, errors="replace") for character in message)
