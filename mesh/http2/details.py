"""`grpc-status-details-bin`: what a status says beyond its code and message. Pure.

It is a google.rpc.Status in base64 without padding (gRPC over HTTP/2, "Binary-Header"), with the code and
the message of the trailers beside it, and one google.rpc.RetryInfo: when to come again.

Bounds: a client may refuse trailers of more than 8 KiB, counted as RFC 9113, 6.5.2, so the message is cut
here, at a character, after DETAILS_MESSAGE_BYTES_MAX; a delay is from 0 to RETRY_AFTER_S_MAX.
"""

from __future__ import annotations

from base64 import b64encode

from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from mesh.http2 import bounds


def retry_details(code: int, message: str, retry_after_s: float) -> bytes:
    """The value of the field. A delay that is no number counts as 0."""
    return b64encode(retry_status(code, message, retry_after_s)).rstrip(b"=")


def retry_status(code: int, message: str, retry_after_s: float) -> bytes:
    """The google.rpc.Status itself, as grpc's own libraries want it."""
    # In this order: max(0, nan) is 0.
    delay_s = min(max(0.0, retry_after_s), bounds.RETRY_AFTER_S_MAX)
    delay = Duration()
    delay.FromNanoseconds(round(delay_s * 1e9))
    status = Status(code=code, message=_cut(message))
    status.details.add().Pack(RetryInfo(retry_delay=delay))
    encoded: bytes = status.SerializeToString()
    return encoded


def _cut(message: str) -> str:
    data = message.encode(errors="replace")
    if len(data) > bounds.DETAILS_MESSAGE_BYTES_MAX:
        return data[: bounds.DETAILS_MESSAGE_BYTES_MAX].decode(errors="ignore") + "…"
    # Lone surrogates are no UTF-8, which a protobuf string must be.
    return data.decode()
