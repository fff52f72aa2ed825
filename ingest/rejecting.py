"""What a client is told of an event that is refused. Pure."""

from __future__ import annotations

from grandstand.ingest.v1.ingest_pb2 import PublishResponse, Reject
from grandstand.wire.errors import GrandstandError, OriginRefused


def reject_of(origin_id: str, seq: int, error: GrandstandError, maybe_stored: bool) -> PublishResponse:
    """`origin_id`: "" for the stream's own."""
    reject = Reject(
        origin_id=origin_id,
        origin_seq=seq,
        code=error.code,
        message=error.message,
        retryable=error.retryable,
        maybe_stored=maybe_stored or isinstance(error, OriginRefused),
        origin_refused=isinstance(error, OriginRefused),
    )
    retry_after_s = getattr(error, "retry_after_s", 0.0)
    if retry_after_s:
        reject.retry_after.FromNanoseconds(int(retry_after_s * 1e9))
    return PublishResponse(reject=reject)
