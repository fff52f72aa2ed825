"""`grpc-status-details-bin`: what a status says beyond its code and message. Pure.

It is a google.rpc.Status in base64 without padding (gRPC over HTTP/2, "Binary-Header"), with the code and
the message of the trailers beside it, and a google.rpc.RetryInfo (when to come again), a message of the
service's own, or both.

Bounds: a client may refuse trailers of more than 8 KiB, counted as RFC 9113, 6.5.2, so the message is cut
here, at a character, after DETAILS_MESSAGE_BYTES_MAX; a delay is from 0 to RETRY_AFTER_S_MAX; a service's own
message has some hundred bytes.
"""

from __future__ import annotations

from base64 import b64encode

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from mesh.http2 import bounds


def status_details(code: int, message: str, retry_after_s: float | None, detail: Message | None) -> bytes:
    """The value of the field. A delay that is no number counts as 0."""
    return b64encode(status(code, message, retry_after_s, detail)).rstrip(b"=")


def status(code: int, message: str, retry_after_s: float | None, detail: Message | None = None) -> bytes:
    """The google.rpc.Status itself, as grpc's own libraries want it."""
    found = Status(code=code, message=_cut(message))
    if retry_after_s is not None:
        # In this order: max(0, nan) is 0.
        delay_s = min(max(0.0, retry_after_s), bounds.RETRY_AFTER_S_MAX)
        delay = Duration()
        delay.FromNanoseconds(round(delay_s * 1e9))
        found.details.add().Pack(RetryInfo(retry_delay=delay))
    if detail is not None:
        found.details.add().Pack(detail)
    encoded: bytes = found.SerializeToString()
    return encoded


def _cut(message: str) -> str:
    data = message.encode(errors="replace")
    if len(data) > bounds.DETAILS_MESSAGE_BYTES_MAX:
        return data[: bounds.DETAILS_MESSAGE_BYTES_MAX].decode(errors="ignore") + "…"
    # Lone surrogates are no UTF-8, which a protobuf string must be.
    return data.decode()
