"""When to come again, as a server said it with the status that ended a call. Pure.

A google.rpc.RetryInfo in the google.rpc.Status of the trailer `grpc-status-details-bin`. It is the least
wait: some more is added by chance, so that those who were told the same do not come as one.

Bound: RETRY_AFTER_MAX_S. What cannot be read counts as not said; the status itself holds all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

DETAILS = "grpc-status-details-bin"
RETRY_AFTER_MAX_S = 600.0
# Of the wait that was asked for, at most so much more.
JITTER = 0.25


def retry_after_s(trailers: Iterable[tuple[str, str | bytes]]) -> float | None:
    """The least wait that the trailers name; None: they name none."""
    for name, value in trailers:
        if name == DETAILS and isinstance(value, bytes):
            return _delay_s(value)
    return None


def with_jitter_s(least_s: float, draw: float) -> float:
    """`least_s` and up to JITTER of it; `draw`: a uniform number from 0 to 1."""
    return least_s * (1.0 + JITTER * draw)


def _delay_s(details: bytes) -> float | None:
    info = RetryInfo()
    try:
        for detail in Status.FromString(details).details:
            if detail.Is(RetryInfo.DESCRIPTOR) and detail.Unpack(info):
                delay = info.retry_delay
                return float(min(max(0.0, delay.seconds + delay.nanos / 1e9), RETRY_AFTER_MAX_S))
    except DecodeError:
        pass
    return None
