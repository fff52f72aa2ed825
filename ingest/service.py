"""IngestService: opens the Publish streams and supervises them.

Every STREAMS_LOOK_S it checks which streams are due a heartbeat, were silent too long, or have an origin that
is over. Every PRESSURE_LOOK_S it measures the load of this ingest and announces a changed credit. Streams
whose tokens end are looked after by mesh.token_ends.

Bounds: streams in all, of one actor (more of a producer) and of one address; each counts from its headers on
(mesh.stream_limits, RESOURCE_EXHAUSTED beyond). The mesh's own gateways count only in all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from grandstand.ingest.v1 import ingest_pb2
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import TooLate, Unavailable
from ingest import bounds
from ingest.backlog import BacklogWatch
from ingest.log_capacity import LogCapacity
from ingest.publisher import BlockPublisher
from ingest.stream import PublishStream, StreamContext
from mesh import limits, wall_clock
from mesh.addresses import AddressKeys, forwarded_for
from mesh.auth import Identity, Revocations, TokenStreams, authorization_of
from mesh.http2.call import Call
from mesh.jetstream.pipeline import PublishPipeline
from mesh.runtime import Runtime
from mesh.stream_limits import StreamAdmission, StreamBounds, StreamLimits

STREAM_BOUNDS = StreamBounds(
    what="Publish streams",
    where="ingest",
    total_max=bounds.STREAMS_MAX,
    per_actor_max=bounds.STREAMS_PER_ACTOR_MAX,
    per_address_max=bounds.STREAMS_PER_ADDRESS_MAX,
    total_retries_per_s=bounds.STREAM_RETRIES_PER_S,
)
STREAMS_LOOK_S = 1.0
PRESSURE_LOOK_S = 0.05
# How long a client has to finish after a Drain.
DRAIN_PATIENCE_S = limits.DRAIN_GRACE_S / 2

SERVICE = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"]
PUBLISH = f"/{SERVICE.full_name}/{SERVICE.methods_by_name['Publish'].name}"

Verify = Callable[[str | None, float], Identity]
"""Of a caller's `authorization` metadata, now in Unix seconds. Raises Unauthenticated."""


class IngestService:
    def __init__(
        self,
        runtime: Runtime,
        context: StreamContext,
        verify: Verify,
        stream_limits: StreamLimits,
        addresses: AddressKeys,
        producer_streams_max: int = bounds.STREAMS_PER_PRODUCER_MAX,
        now: Callable[[], float] = wall_clock.now_s,
        revocations: Revocations | None = None,
    ) -> None:
        """`now`: Unix seconds."""
        self._now = now
        self.tokens: TokenStreams[PublishStream] = TokenStreams(
            Revocations() if revocations is None else revocations, random.random
        )
        self._runtime = runtime
        self._context = context
        self._verify = verify
        self._stream_limits = stream_limits
        self._addresses = addresses
        self._producer_streams_max = producer_streams_max
        self.streams: set[PublishStream] = set()
        """Those that are open."""
        self._offered = ((0, 0), "")

    def accept(self, call: Call) -> PublishStream:
        """Opens a stream. Raises Unauthenticated, Unavailable, Exhausted."""
        identity = self._verify(authorization_of(call.metadata), self._now())
        if self._runtime.draining.is_set():
            raise Unavailable("this ingest is going away; connect again")
        admission = self._admit(call, identity)

        def ended(stream: PublishStream) -> None:
            self.streams.discard(stream)
            self.tokens.leave(stream)
            self._stream_limits.leave(admission)

        stream = PublishStream(self._context, call, identity, ended)
        self.streams.add(stream)
        self.tokens.enter(stream, identity, self._now())
        return stream

    def _admit(self, call: Call, identity: Identity) -> StreamAdmission:
        now = self._context.loop.time()
        if identity.of_mesh:
            return self._stream_limits.enter(None, None, now)
        address = self._addresses.of(forwarded_for(call.metadata), call.peer)
        actor_max = self._producer_streams_max if identity.producer else None
        return self._stream_limits.enter(identity.actor_id, address, now, actor_max)

    def resume_streams(self) -> None:
        """Resumes reading from the streams that were held back."""
        for stream in list(self.streams):
            stream.resume()

    async def look_after_streams(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(STREAMS_LOOK_S)
            now = loop.time()
            # Clients of origins that are over are asked to resume, and get new ones then.
            from_s = max(self._context.origins.issued_from_s, self._now() - wire_bounds.ORIGIN_AGE_MAX_S)
            replaced = 0
            for stream in list(self.streams):
                _look_after(stream, now)
                if stream.session.issued_at_s < from_s and replaced < bounds.ORIGINS_REPLACED_PER_LOOK:
                    replaced += stream.drain(random.uniform(0.0, bounds.DRAIN_RECONNECT_S))

    async def look_at_pressure(
        self,
        publisher: BlockPublisher,
        pipeline: PublishPipeline,
        capacity: LogCapacity,
        backlog: BacklogWatch,
    ) -> None:
        """Runs until cancelled. Measures at once when the event log goes away or comes back."""

        def look() -> None:
            now = asyncio.get_running_loop().time()
            pressure = self._context.pressure
            pressure.unsettled_events = publisher.unsettled_events
            pressure.unsettled_bytes = publisher.unsettled_bytes
            waiting_s = pipeline.oldest_age_s(now)
            pressure.oldest_unacked_at_s = now - waiting_s if waiting_s > 0 else None
            pressure.backlog_s = backlog.worst_lag_s(now)
            self._context.origins.issued_from_s = backlog.origins_from_s
            pressure.log_away = pipeline.away
            pressure.log_full = capacity.refusal() is not None
            pressure.view_stale = not self._context.catalog.is_fresh
            pressure.log_trouble = pipeline.trouble if pipeline.away or pressure.view_stale else ""
            pressure.level(now)
            self._offer_credit()

        pipeline.on_change(lambda away: look())
        while True:
            look()
            await asyncio.sleep(PRESSURE_LOOK_S)

    def _offer_credit(self) -> None:
        pressure = self._context.pressure
        credit = pressure.credit(wire_bounds.VIEWER_CREDIT), pressure.credit(wire_bounds.PRODUCER_CREDIT)
        offer = (credit, pressure.log_trouble)
        if offer != self._offered:
            self._offered = offer
            for stream in self.streams:
                stream.offer(credit[stream.session.producer], pressure.reason)

    async def drain(self) -> None:
        """When the process drains: sends each client a Drain with a random delay, and ends what is left."""
        await self._runtime.draining.wait()
        for stream in list(self.streams):
            stream.drain(random.uniform(0.0, bounds.DRAIN_RECONNECT_S))
        await asyncio.sleep(DRAIN_PATIENCE_S)
        for stream in list(self.streams):
            stream.end(Unavailable("this ingest is going away; resume on a new stream"))


def _look_after(stream: PublishStream, now: float) -> None:
    if now >= stream.leaves_by:
        stream.end(Unavailable("the stream was asked to finish; resume on a new one"))
    if now - stream.received_at >= wire_bounds.PUBLISH_SILENCE_S and not stream.is_held:
        stream.end(
            TooLate(
                f"nothing was heard for {now - stream.received_at:.0f} s; send a heartbeat every "
                f"{wire_bounds.PUBLISH_HEARTBEAT_S:g} s, and resume on a new stream"
            )
        )
    elif now - stream.sent_at >= wire_bounds.PUBLISH_HEARTBEAT_S - STREAMS_LOOK_S:
        stream.heartbeat()
