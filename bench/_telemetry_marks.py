"""What the hot paths do for metrics and for traces, function by function: see bench._without."""

from __future__ import annotations

from aggregate.lease_session import LeaseSession
from bench._without import Without
from gateway.cohort import Cohort
from gateway.feed import Feed
from gateway.sending import Sending, _Send
from ingest.intake import Intake
from ingest.publisher import BlockPublisher
from ingest.stream import PublishStream
from mesh.http2.server import ConnectionProtocol, Http2Server


def metrics() -> Without:
    return Without(
        [
            (ConnectionProtocol.buffer_updated, {"server.bytes_received": None}),
            (ConnectionProtocol._flush, {"self._server.bytes_sent": None}),
            (ConnectionProtocol.called, {"self._server.rpc": None, "rpc.open": None, "rpc.is_traced": None}),
            (ConnectionProtocol.closed, {"stream.counted": None, "counted is not None": False}),
            (Http2Server.stream_opened, {"self.streams_opened": None}),
            (Intake.take, {"self.received": None}),
            (BlockPublisher._store, {"self._count_stored": None}),
            (LeaseSession._store, {"self._counts.flushed": None}),
            (Cohort.tick, {"counts.ticks": None, "counts.updates": None, "counts.conflated": None}),
            (Cohort.flush, {"counts.updates": None, "counts.snapshots": None}),
        ]
    )


def traces() -> Without:
    """While nothing is traced."""
    return Without(
        [
            (PublishStream._receive, {"batch.traceparent": ""}),
            (Intake.take, {"cause": ""}),
            (Intake._one, {"cause": ""}),
            (BlockPublisher._store, {"now - began_at > telemetry.SLOW_S": False}),
            (BlockPublisher._publish, {"batch.causes": ""}),
            (BlockPublisher._count_stored, {"causes": ""}),
            (LeaseSession._fold, {"message.headers is not None": False}),
            (LeaseSession._flush, {"causes": ""}),
            (
                LeaseSession._store,
                {
                    "fold_spans.flush(span, self._partition.index, flush) if span "
                    "else contextlib.nullcontext()": None,
                    "span is None and self._flushed_at - asked_at > telemetry.SLOW_S": False,
                    "telemetry.headers() if span else None": None,
                },
            ),
            (Feed.changed, {"cause": ""}),
            (Feed.tick, {"self._causes": ""}),
            (Sending.accept, {"self._is_traced": False}),
            (_Send.half_closed, {"'' if self._span is None else self._span.traceparent": ""}),
            (_Send.gone, {"self._end_span": None}),
            (_Send._end, {"self._end_span": None}),
            (ConnectionProtocol.called, {"rpc.is_traced": False}),
        ]
    )
