"""The hot paths that bench telemetry plays, all in this process, with the stores and peers left out.

    ingest_one_message    a message of a gateway's stream with an event, in a block of its own: engine,
                          intake, coalescer, block, its ack
    ingest_ten_messages   ten such messages in a block
    fold_flush            a block of ten votes, folded; its flush made and counted; its result encoded
    fan_out_frame         a result heard, merged, and shown to VIEWERS by one frame each
    send                  a Send: engine, token, origin, relay and its answer

A unit is a block, a block, a block, a frame's tick and a call. NATS, Redis, ingest and gateways answer at
once from memory, so that what is measured is our own CPU, and the shares of telemetry are rather too large.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from types import SimpleNamespace
from typing import Protocol

from aggregate.lease import Lease
from aggregate.lease_session import LeaseSession, SessionStart
from aggregate.partition import Loaded, Partition
from bench import _votes
from bench._telemetry_engine import EngineConnection, as_any, traceparent
from bench._virtual_loop import VirtualLoop
from gateway.cohort import Cohort, CohortKey
from gateway.feed import Feed
from gateway.frame_counts import FrameCounts
from gateway.overload import Tier
from gateway.relay import Relay
from gateway.sending import Sending
from gateway.service import path_of
from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Game, Poll, PollOption
from grandstand.event.v1.event_pb2 import Event, Position, Vote
from grandstand.gateway.v1.gateway_pb2 import SendRequest
from grandstand.ingest.v1.ingest_pb2 import (
    Ack,
    EventBatch,
    Hello,
    PublishRequest,
    PublishResponse,
    Receipt,
    Welcome,
)
from grandstand.internal.v1.internal_pb2 import PartitionResults
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.topics import TopicPatterns
from ingest.admission import Admission
from ingest.buckets import Rate
from ingest.check import Checker
from ingest.coalesce import Coalescer
from ingest.intake import Intake, Ticket
from ingest.pressure import Pressure
from ingest.publisher import BlockPublisher
from ingest.response_scheduler import ResponseScheduler
from ingest.service import PUBLISH
from ingest.stream import PublishStream, StreamContext
from ingest.votes import CastVotes
from mesh.auth import Identity
from mesh.auth.origins import ENTROPY_BYTES, Origins
from mesh.catalog.view import CatalogView
from mesh.http2.call import Call, Handler
from mesh.jetstream.pull import Pulled
from mesh.redis.share import Share
from mesh.results_feed.partition_results import WatchedPartition

VIEWERS = 1_000
_GAME, _POLL = "game", "mvp"
_ACTORS = 100
_KEYS = [bytes(32)]
_NO_LIMIT = Rate(1e12, 1e12)
_FEW_S, _LONG_S = 0.001, 1.0

Play = Callable[[], Awaitable[None]]


class HotPath(Protocol):
    units: int
    """Of one play."""

    def prepare(self, share: float | None) -> Play:
        """The input of one play, made beforehand. `share` of it is sampled for traces; None: traces are off,
        and nobody names a context."""
        ...


class _Numbers:
    """Which things are sampled: evenly spread."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def next(self, share: float | None) -> str:
        if share is None:
            return ""
        number = next(self._count)
        return traceparent(number, is_sampled=int((number + 1) * share) > int(number * share))


def _vote(number: int, **named: object) -> Event:
    choice = _votes.OPTION_IDS[number % len(_votes.OPTION_IDS)]
    return Event(game_id=_GAME, vote=Vote(poll_id=_POLL, option_ids=[choice]), **named)  # type: ignore[arg-type]


def _viewer(number: int) -> Identity:
    return Identity(f"viewer-{number}", producer=False, games=None, expires_at_s=math.inf)


def _issued(origins: Origins) -> list[str]:
    return [
        origins.issue(
            _viewer(number),
            producer=False,
            now_s=time.time(),
            at_s=0.0,
            entropy=number.to_bytes(ENTROPY_BYTES, "big"),
        )
        for number in range(_ACTORS)
    ]


def _catalog() -> CatalogView:
    view = CatalogView()
    options = [PollOption(option_id=each, label=each) for each in _votes.OPTION_IDS]
    poll = Poll(game_id=_GAME, poll_id=_POLL, options=options, stage=STAGE_OPEN, changeable=True)
    view.put(f"game.{_GAME}", 1, Game(game_id=_GAME).SerializeToString())
    view.put(f"poll.{_GAME}.{_POLL}", 2, poll.SerializeToString())
    return view


class IngestPath:
    """Blocks of this many messages."""

    def __init__(self, loop: VirtualLoop, messages: int, blocks: int, *, is_traced: bool) -> None:
        self.units = blocks
        self._loop = loop
        self._messages = messages
        self._numbers = _Numbers()
        self._origins = Origins(lambda: _KEYS)
        self._ids = _issued(self._origins)
        self._seqs = itertools.count()
        self._stored = 0
        self._leaves = asyncio.Event()
        clock = SimpleNamespace(
            offset_s=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME), now_s=time.time
        )
        catalog = as_any(
            SimpleNamespace(
                clock=clock,
                freshness=SimpleNamespace(anchor_s=math.inf, fresh_until_s=math.inf),
                is_fresh=True,
            )
        )
        pipeline = as_any(SimpleNamespace(publish=self._publish, trouble="", away=False))
        checker, coalescer, pressure = Checker(_catalog()), Coalescer[Ticket](), Pressure()
        cast_votes = CastVotes(as_any(None))
        publisher = BlockPublisher(pipeline, cast_votes, checker, coalescer, pressure, "bench", catalog)
        intake = Intake(checker, coalescer, Admission(*4 * [_NO_LIMIT]), pressure)
        self._context = StreamContext(
            intake, publisher, ResponseScheduler(), catalog, pressure, self._origins, loop
        )
        self._streams: list[PublishStream] = []
        self._wire = EngineConnection(loop, PUBLISH, self._accept, is_traced=is_traced)
        self._stream, opening = self._wire.call(self._wire.block([]))
        hello = PublishRequest(hello=Hello(producer=True)).SerializeToString()
        self._opening = opening + self._wire.data(self._stream, hello)

    def _accept(self, call: Call) -> Handler:
        gateway = Identity("", producer=True, games=None, expires_at_s=math.inf, of_mesh=True)
        self._streams.append(PublishStream(self._context, call, gateway, lambda _: None))
        return self._streams[-1]

    async def _publish(self, *_: object) -> int:
        stored: asyncio.Future[int] = self._loop.create_future()
        self._stored += 1
        self._leaves.set()
        self._loop.call_soon(stored.set_result, self._stored)
        return await stored

    def prepare(self, share: float | None) -> Play:
        blocks = [b"".join(self._message(share) for _ in range(self._messages)) for _ in range(self.units)]
        return lambda: self._play(blocks)

    def _message(self, share: float | None) -> bytes:
        number = next(self._seqs)
        at = number % _ACTORS
        event = _vote(number, origin_id=self._ids[at], origin_seq=number // _ACTORS + 1)
        event.actor_id = f"viewer-{at}"
        batch = EventBatch(events=[event], traceparent=self._numbers.next(share))
        return self._wire.data(self._stream, PublishRequest(events=batch).SerializeToString())

    async def _play(self, blocks: list[bytes]) -> None:
        if not self._streams:
            self._wire.feed(self._opening)
            await asyncio.sleep(_FEW_S)
        stored = self._stored
        for block in blocks:
            if self._messages == 1:  # the first event of a quiet partition leaves at once
                self._loop.advance(_LONG_S)
            self._leaves.clear()
            self._wire.feed(block)
            await self._leaves.wait()
            while self._streams[0].session.unsettled:
                await self._loop.turn(_FEW_S)
        wanted = len(blocks)
        assert wanted <= self._stored - stored <= wanted + 1, "blocks hold what they should"


class FoldPath:
    def __init__(self, loop: VirtualLoop, blocks: int) -> None:
        self.units = blocks
        self._random = Random(1)
        self._sequence = 0
        self._numbers = _Numbers()
        self._partition = Partition(0, Loaded(), salt=1)
        self._is_open = False

        async def nothing(*_: object, **__: object) -> None: ...

        stored = as_any(SimpleNamespace(flush=nothing))
        bus = as_any(
            SimpleNamespace(
                client=SimpleNamespace(publish=nothing, new_inbox=lambda: "i", max_payload=1 << 20)
            )
        )
        start = SessionStart(stream="", head=0, target=0, bound=as_any(None))
        lease = Lease(stored, "token", loop.time())
        self.session = LeaseSession(
            *(bus, stored, as_any(None), as_any(None), self._partition, lease, as_any(None)),
            start=start,
            now=time.time,
        )

    def prepare(self, share: float | None) -> Play:
        pulled = []
        if not self._is_open:
            self._is_open = True
            pulled.append(self._pulled(_votes.opening(_GAME), None))
        for _ in range(self.units):
            rows = [_votes.row(self._random, _GAME) for _ in range(10)]
            pulled.append(self._pulled(_votes.block(rows), share))
        return lambda: self._play(pulled)

    def _pulled(self, data: bytes, share: float | None) -> Pulled:
        self._sequence += 1
        cause = self._numbers.next(share)
        # Only what is sampled travels on.
        headers: Mapping[str, str] | None = {"traceparent": cause} if cause.endswith("01") else None
        return Pulled("events.0", self._sequence, data, headers, time.time())

    async def _play(self, pulled: list[Pulled]) -> None:
        for each in pulled:
            await self.session._fold([each])
            await self.session._flush()


class FanOutPath:
    def __init__(self, loop: VirtualLoop, ticks: int) -> None:
        self.units = ticks
        self._loop = loop
        self._numbers = _Numbers()
        self._calls: list[Call] = []
        self._wire = EngineConnection(loop, "/bench/Watch", self._accept, is_traced=False)
        self._partition = Partition(0, Loaded(), salt=1)
        self._random = Random(2)
        self._partition.fold(1, _votes.opening(_GAME))
        self._hear_next()
        host = SimpleNamespace(
            catalog=SimpleNamespace(public_id=None, view=_catalog()),
            now=time.time,
            counts=FrameCounts(),
            tick_at=lambda *_: None,
            board_changed=lambda *_: None,
        )
        self._feed = Feed(as_any(host), Game(game_id=_GAME))
        view = self._feed.view
        view.fold_in([0])
        self._watched = WatchedPartition(0)
        self._watched.watch(_GAME, view)
        self._watched.load(_GAME, Share(0, self._partition.folded, {}, True, ""))
        key = CohortKey(_GAME, TopicPatterns(["*"]), wire_bounds.UPDATES_PER_S_MAX, Tier.VIEWER, True)
        self._cohort = Cohort(key, view, lambda: None, time.time(), counts=host.counts)
        self._feed._cohorts[key] = self._cohort
        for _ in range(VIEWERS):
            stream, opening = self._wire.call(self._wire.block([]))
            self._wire.feed(opening + self._wire.data(stream, b"", is_last=True))
            self._cohort.join(self._calls[-1], ahead=False, at_s=loop.time())

    def _accept(self, call: Call) -> Handler:
        self._calls.append(call)
        return _Silent()

    def _hear_next(self) -> PartitionResults:
        rows = [_votes.row(self._random, _GAME) for _ in range(10)]
        self._partition.fold(self._partition.folded + 1, _votes.block(rows))
        flush = self._partition.take_flush()
        assert flush is not None
        results = PartitionResults(partition=0, before=flush.before, after=flush.after)
        results.games.add(game_id=_GAME, partials=[each.encoded for each in flush.partials])
        return results

    def prepare(self, share: float | None) -> Play:
        heard = [(self._hear_next(), self._numbers.next(share)) for _ in range(self.units)]
        return lambda: self._play(heard)

    async def _play(self, heard: list[tuple[PartitionResults, str]]) -> None:
        for results, cause in heard:
            self._loop.advance(_LONG_S)
            at_s, now_s = self._loop.time(), time.time()
            for topics in self._watched.hear(results).topics.values():
                self._feed.changed(topics, cause if cause.endswith("01") else "", at_s, now_s)
            await asyncio.sleep(0)
        assert not self._cohort.frames.is_behind(), "each was shown"


class _Silent:
    def received(self, _: bytes) -> None: ...
    def half_closed(self) -> None: ...
    def writable(self) -> None: ...
    def gone(self) -> None: ...


class SendPath:
    def __init__(self, loop: VirtualLoop, calls: int, *, is_traced: bool) -> None:
        self.units = calls
        self._loop = loop
        self._numbers = _Numbers()
        self._seqs = itertools.count()
        origins = Origins(lambda: _KEYS)
        self._ids = _issued(origins)
        who = {f"Bearer {number}": _viewer(number) for number in range(_ACTORS)}
        verifier = as_any(SimpleNamespace(verify=lambda shown, _: who[shown]))
        channel = as_any(SimpleNamespace(stream_stream=lambda *_, **__: lambda **_: _Answering()))
        self._relay = Relay(channel, "bench", lambda: "token")
        self._has_started = False
        sending = Sending(self._relay, verifier, origins)
        self._wire = EngineConnection(loop, path_of("Send"), sending.accept, is_traced=is_traced)

    def prepare(self, share: float | None) -> Play:
        calls = [self._call(share) for _ in range(self.units)]
        # As they come together, at ten thousand a second.
        waves = [b"".join(calls[at : at + 50]) for at in range(0, len(calls), 50)]
        return lambda: self._play(waves)

    def _call(self, share: float | None) -> bytes:
        number = next(self._seqs)
        at = number % _ACTORS
        fields = [
            ("authorization", f"Bearer {at}"),
            ("user-agent", "bench"),
            ("x-forwarded-for", f"10.0.0.{at}"),
        ]
        if context := self._numbers.next(share):
            fields.append(("traceparent", context))
        event = _vote(number, origin_id=self._ids[at], origin_seq=number // _ACTORS + 1)
        stream, opening = self._wire.call(self._wire.block(fields))
        return opening + self._wire.data(stream, SendRequest(event=event).SerializeToString(), is_last=True)

    async def _play(self, waves: list[bytes]) -> None:
        if not self._has_started:
            self._has_started = True
            self._relay.start()
            await asyncio.sleep(_FEW_S)
        for wave in waves:
            self._wire.feed(wave)
            while self._relay.pending:
                await self._loop.turn(_FEW_S / 10)

    async def stop(self) -> None:
        await self._relay.stop()


class _Answering:
    """An ingest that stores everything at once; as grpc.aio's call has it."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[PublishResponse] = asyncio.Queue()
        self._sequence = 0

    async def write(self, request: PublishRequest) -> None:
        request.SerializeToString()
        if request.HasField("hello"):
            most = wire_bounds.PRODUCER_CREDIT
            welcome = Welcome(credit=most, credit_max=most, next_origin_seq=1)
            welcome.heartbeat_interval.FromSeconds(3_600)
            self._answers.put_nowait(PublishResponse(welcome=welcome))
            return
        self._sequence += 1
        at = Position(partition=3, sequence=self._sequence)
        events = request.events.events
        receipts = [Receipt(origin_id=e.origin_id, origin_seq=e.origin_seq, position=at) for e in events]
        self._answers.put_nowait(PublishResponse(ack=Ack(receipts=receipts)))

    async def read(self) -> PublishResponse:
        return await self._answers.get()

    def cancel(self) -> None: ...
