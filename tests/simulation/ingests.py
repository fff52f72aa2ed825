"""Ingest: the real watch, session, intake, check, coalescer and publisher; of the streams' shell a model.

As ingest.stream: what a stale view cannot judge, and what names things unresolved of, waits for the
catalog while nothing more is read from its stream; acks are said once something is settled.
A killed ingest forgets everything, and what it had sent off may still be stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Hello, PublishRequest, PublishResponse, Reject
from grandstand.internal.v1.internal_pb2 import Incoming
from grandstand.wire import ids
from grandstand.wire.errors import GrandstandError
from ingest import bounds
from ingest.admission import Admission
from ingest.check import Checker, keys_of
from ingest.coalesce import Coalescer
from ingest.intake import Intake, RelayedTicket, StaleCatalog, Ticket, Unresolved
from ingest.pressure import Pressure
from ingest.publisher import BlockPublisher
from ingest.session import IngestSession, Input
from ingest.votes import CastVotes
from mesh import limits
from mesh.auth.identity import Identity
from mesh.auth.origins import ENTROPY_BYTES, Origins
from mesh.catalog.watch import CatalogWatch
from tests.simulation.bus import ModelBus, ModelPipeline
from tests.simulation.link import Link
from tests.simulation.mesh import Mesh
from tests.simulation.process import Process


class _Stream:
    """One Publish session and the link it is on; what ingest.stream is there."""

    is_relayed = False

    def __init__(self, link: Link, session: IngestSession, loop: asyncio.AbstractEventLoop) -> None:
        self.link = link
        self.session = session
        self.is_gone = False
        self.is_ending = False
        self.is_asking = False
        self.waiting: deque[PublishRequest] = deque()
        """What is not read yet."""
        self._loop = loop
        self._says_soon = False

    def _say_soon(self) -> None:
        if not self._says_soon:
            self._says_soon = True
            self._loop.call_soon(self.say_ack)

    def say_ack(self) -> None:
        self._says_soon = False
        ack = self.session.take_ack()
        if ack is not None:
            self.link.answer(PublishResponse.FromString(ack))
        if self.is_ending and not self.session.unsettled:
            self.link.answer(None)

    def stored(self, first: int, last: int, position: Position) -> None:
        self.session.settled(first, last, position)
        self._say_soon()

    def shed(self, seq: int) -> None:
        self.session.settled(seq, seq, None, shed=True)
        self._say_soon()

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        self._reject("", seq, error, maybe_stored)
        self.session.settled(seq, seq, None)
        self._say_soon()

    def relayed(self, origin_id: str) -> Ticket:
        return RelayedTicket(self, origin_id)

    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None:
        self.session.relayed_stored(origin_id, seq, position)
        self._say_soon()

    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        self._reject(origin_id, seq, error, maybe_stored)
        self.session.relayed_refused()
        self._say_soon()

    def _reject(self, origin_id: str, seq: int, error: GrandstandError, maybe_stored: bool) -> None:
        self.link.answer(
            PublishResponse(
                reject=Reject(
                    origin_id=origin_id,
                    origin_seq=seq,
                    code=error.code,
                    message=error.message,
                    retryable=error.retryable,
                    maybe_stored=maybe_stored,
                )
            )
        )


class ModelIngest(Process):
    session_type: type[IngestSession] = IngestSession
    """Broken on purpose by some tests, as are the others here."""
    watch_type: type[CatalogWatch] = CatalogWatch
    pipeline_type: type[ModelPipeline] = ModelPipeline
    publisher_type: type[BlockPublisher] = BlockPublisher

    def __init__(self, mesh: Mesh, name: str) -> None:
        super().__init__(mesh.world, name)
        self._mesh = mesh
        self.born()

    def born(self) -> None:
        self._streams: dict[Link, _Stream] = {}
        self._is_ready = False
        self._origins = Origins(lambda: (b"origins",))
        self.spawn(self._start())

    async def _start(self) -> None:
        bus: Any = ModelBus(self, self._mesh)
        self._watch = self.watch_type(bus, probe_s=limits.VIEW_PROBE_S)
        checker = Checker(self._watch.view)
        coalescer: Coalescer[Ticket] = Coalescer()
        self._intake = Intake(checker, coalescer, Admission(), Pressure())
        ingest_id = f"{self.name}-{self.life}"
        pipeline: Any = self.pipeline_type(bus)
        self._publisher = self.publisher_type(
            pipeline, CastVotes(bus), checker, coalescer, Pressure(), ingest_id, self._watch
        )
        await self._watch.start()
        self._is_ready = True
        for stream in self._streams.values():
            self._read_on(stream)

    def died(self) -> None:
        for link in self._streams:
            link.cut()

    # A link's server.

    def opened(self, link: Link) -> None:
        self._streams[link] = _Stream(link, self.session_type(), self.loop)

    def cut(self, link: Link) -> None:
        stream = self._streams.pop(link, None)
        if stream is not None:
            stream.is_gone = True

    def take(self, link: Link, request: PublishRequest) -> None:
        stream = self._streams.get(link)
        if stream is not None:
            stream.waiting.append(request)
            self.loop.call_soon(self._read_on, stream)

    def _read_on(self, stream: _Stream) -> None:
        while self._is_ready and stream.waiting and not (stream.is_ending or stream.is_asking):
            message = Incoming.FromString(stream.waiting.popleft().SerializeToString())
            try:
                match message.WhichOneof("message"):
                    case "hello":
                        self._open(stream, Hello.FromString(message.hello))
                    case "heartbeat":
                        stream.session.step(Input.HEARTBEAT)
                    case _:
                        self._events(stream, message)
            except GrandstandError:
                stream.is_ending = True
            stream.say_ack()

    def _open(self, stream: _Stream, hello: Hello) -> None:
        now_s = self.clock.now_s
        bearer = Identity(hello.actor_id, hello.producer, None, now_s + 3600, of_mesh=not hello.actor_id)
        entropy = self.world.random.randbytes(ENTROPY_BYTES)
        if hello.origin_id and self.world.odds(0.05):  # the key of its origin is gone
            hello.origin_id = ids.new_origin(producer=hello.producer, now_s=now_s, entropy=bytes(12))
        welcome = stream.session.hello(
            hello, bearer, self._origins, now_s=now_s, at_s=self.loop.time(), entropy=entropy
        )
        stream.link.answer(PublishResponse(welcome=welcome))

    def _events(self, stream: _Stream, message: Incoming) -> None:
        unresolved: Unresolved = []
        watch, received_s = self._watch, self.boot_s
        try:
            self._intake.take(
                stream,
                message.events.events,
                watch.clock.at_s(received_s),
                received_s,
                unresolved,
                anchor_s=watch.freshness.anchor_s,
                is_fresh=watch.freshness.is_fresh(received_s),
            )
        finally:
            if unresolved:
                stream.is_asking = True
                self._mesh.told.held += any(isinstance(error, StaleCatalog) for _, error in unresolved)
                self.spawn(self._asked(stream, unresolved, received_s))
            self._publisher.pump_if_due(self.boot_s)

    async def _asked(self, stream: _Stream, unresolved: Unresolved, received_s: float) -> None:
        """As ingest.stream's."""
        watch = self._watch
        topics, games = keys_of(event for event, _ in unresolved)
        while True:
            await watch.until_fresh()
            is_answered = await watch.refresh_all(topics)
            is_answered &= await watch.refresh_all(games)
            now_s = self.boot_s
            if is_answered and watch.freshness.is_fresh(now_s):
                break
            await asyncio.sleep(bounds.ASK_AGAIN_S)
        stream.is_asking = False
        if not stream.is_gone:
            is_held = any(isinstance(error, StaleCatalog) for _, error in unresolved)
            judged_s = received_s if is_held and now_s - received_s <= limits.VIEW_FRESH_S else now_s
            anchor_s = watch.freshness.anchor_s
            self._intake.take_unresolved(
                stream, unresolved, watch.clock.at_s(judged_s), self.loop.time(), anchor_s=anchor_s
            )
            self._publisher.pump_if_due(self.boot_s)
            stream.say_ack()
            self._read_on(stream)


IngestMade = Callable[[Mesh, str], ModelIngest]
