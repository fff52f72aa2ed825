"""An ingest that misbehaves on command: the real pure IngestSession behind a real gRPC port, within the test.

It stores events in a dict, and stays silent, sheds, refuses, drains, shrinks its credit and cuts streams as
it is told. What a client makes of it is tested here; what ingest makes of clients is tested on the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import (
    Credit,
    Drain,
    Heartbeat,
    PublishRequest,
    PublishResponse,
    Reject,
    TokenExpiring,
)
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server
from grandstand.wire.errors import GrandstandError
from ingest.session import IngestSession, Input
from mesh.auth import Identity
from mesh.auth.origins import ENTROPY_BYTES, Origins

Verdict = str | Reject | None
"""What becomes of an event: None stored, "shed", or a Reject without its identity."""


class Ingest(IngestServiceServicer):
    """Every stream's session is judged by the real IngestSession; what it takes, `judge` decides on."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, int], Event] = {}
        """By identity, as the fold counts them."""
        self.copies = 0
        """How many were stored, resends included."""
        self.streams: list[Stream] = []
        self.tokens: list[str] = []
        """What each stream showed, in order."""
        self.judge: Callable[[Event], Verdict] = lambda _: None
        self.settles = True
        self.credit: int | None = None
        self.heartbeat_s = 8.0
        self.beats = True
        self.welcomes = True
        self.origins = new_origins()
        self.refuses: tuple[grpc.StatusCode, str] | None = None
        """How every new stream ends, once it has said Hello."""

    async def Publish(
        self, requests: AsyncIterator[PublishRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[PublishResponse]:
        metadata = dict(context.invocation_metadata() or ())
        self.tokens.append(str(metadata.get("authorization", "")).removeprefix("Bearer "))
        if self.refuses is not None:
            # Not before Hello is read: grpc.aio tells a client whose write meets the end INTERNAL instead.
            await anext(requests, None)
            await context.abort(*self.refuses)
        stream = Stream(self)
        self.streams.append(stream)
        reading = asyncio.create_task(stream.read(requests))
        try:
            while (response := await stream.said.get()) is not None:
                yield response
        finally:
            reading.cancel()
            stream.is_open = False
        if stream.error is not None:
            await context.abort(*stream.error)

    @property
    def open_streams(self) -> list[Stream]:
        return [stream for stream in self.streams if stream.is_open]

    @property
    def actors(self) -> list[str]:
        """Whose events are stored, in the order of their numbers."""
        return [event.actor_id for _, event in sorted(self.stored.items())]

    def forget_key(self) -> None:
        """The origins issued so far are foreign from now on."""
        self.origins = new_origins()

    def hold(self) -> None:
        """From now on what comes is read, and not settled."""
        self.settles = False

    def release(self) -> None:
        """Settles all that was held."""
        self.settles = True
        for stream in self.open_streams:
            stream.settle()

    def set_credit(self, credit: int, reason: str = "a test") -> None:
        """From now on, on all streams."""
        self.credit = credit
        for stream in self.open_streams:
            stream.say(credit=Credit(credit=credit, reason=reason))


def new_origins() -> Origins:
    key = os.urandom(32)
    return Origins(lambda: (key,))


@dataclass
class Stream:
    """One stream; a test speaks through it."""

    ingest: Ingest
    session: IngestSession = field(default_factory=IngestSession)
    said: asyncio.Queue[PublishResponse | None] = field(default_factory=asyncio.Queue)
    heard: list[PublishRequest] = field(default_factory=list)
    is_open: bool = True
    half_closed: bool = False
    owed: list[Event] = field(default_factory=list)
    error: tuple[grpc.StatusCode, str] | None = None

    def say(self, **fields: Any) -> None:
        self.said.put_nowait(PublishResponse(**fields))

    def cut(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, why: str = "cut on command") -> None:
        self.error = code, why
        self.said.put_nowait(None)

    def drain(self, after_s: float) -> None:
        drain = Drain()
        drain.reconnect_after.FromNanoseconds(int(after_s * 1e9))
        self.say(drain=drain)

    def warn_of_expiry(self) -> None:
        warning = TokenExpiring()
        warning.expires_at.FromSeconds(int(time.time()) + 30)
        self.say(token_expiring=warning)

    @property
    def events(self) -> list[Event]:
        """All that came, in order."""
        return [event for request in self.heard for event in request.events.events]

    @property
    def heartbeats(self) -> int:
        return sum(request.HasField("heartbeat") for request in self.heard)

    async def read(self, requests: AsyncIterator[PublishRequest]) -> None:
        beating: asyncio.Task[None] | None = None
        try:
            async for request in requests:
                self.heard.append(request)
                if request.HasField("hello"):
                    self._open(request)
                    beating = asyncio.create_task(self._beat())
                elif request.HasField("events"):
                    self._take(list(request.events.events))
                else:
                    self.session.step(Input.HEARTBEAT)
            self.session.step(Input.HALF_CLOSE)
            self.half_closed = True
            self.settle()
        except GrandstandError as error:
            codes = {code.value[0]: code for code in grpc.StatusCode}
            self.cut(codes[error.code], error.message)
        finally:
            if beating is not None:
                beating.cancel()

    def _open(self, request: PublishRequest) -> None:
        ingest = self.ingest
        identity = Identity("anybody", True, None, time.time() + 3600)
        welcome = self.session.hello(
            *(request.hello, identity, ingest.origins),
            now_s=time.time(),
            at_s=time.monotonic(),
            entropy=os.urandom(ENTROPY_BYTES),
        )
        if ingest.credit is not None:
            welcome.credit = ingest.credit
        welcome.heartbeat_interval.FromNanoseconds(int(ingest.heartbeat_s * 1e9))
        if ingest.welcomes:
            self.say(welcome=welcome)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.ingest.heartbeat_s / 2)
            if self.ingest.beats:
                self.say(heartbeat=Heartbeat())

    def _take(self, events: list[Event]) -> None:
        session = self.session
        session.check_batch(len(events))
        for event in events:
            if not event.origin_id:
                if event.origin_seq != session.next_seq or event.origin_seq > session.last_allowed:
                    session.check_next(event.origin_seq)
                session.advance(event.origin_seq + 1)
        self.owed += events
        self.settle()

    def settle(self) -> None:
        """Unless the ingest holds everything."""
        if not self.ingest.settles:
            return
        owed, self.owed = self.owed, []
        for event in owed:
            self._settle(event)
        ack = self.session.take_ack()
        if ack is not None:
            self.say(ack=PublishResponse.FromString(ack).ack)
        if self.half_closed:
            self.said.put_nowait(None)

    def _settle(self, event: Event) -> None:
        session, ingest, seq = self.session, self.ingest, event.origin_seq
        verdict: Verdict = ingest.judge(event)
        if event.WhichOneof("body") is None:
            verdict = Reject(code=3, message="event.body: is not set")
        if isinstance(verdict, Reject):
            reject = Reject(origin_id=event.origin_id, origin_seq=seq)
            reject.MergeFrom(verdict)
            self.say(reject=reject)
        elif verdict is None:
            ingest.copies += 1
            ingest.stored.setdefault((event.origin_id or session.origin_id, seq), event)
        position = Position(partition=1, sequence=ingest.copies) if verdict is None else None
        if not event.origin_id:
            session.settled(seq, seq, position, shed=verdict == "shed")
        elif position is not None:
            session.relayed_taken()
            session.relayed_stored(event.origin_id, seq, position)


@contextlib.asynccontextmanager
async def serving(ingest: IngestServiceServicer) -> AsyncIterator[int]:
    """Its port."""
    server = grpc.aio.server()
    add_IngestServiceServicer_to_server(ingest, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
