"""A Publish stream over a real port and a real nats-server: I1, I7, heartbeats, expiry, drain, credit."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, Game, Metric
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import Credit, EventBatch, Hello, PublishRequest, PublishResponse
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import NotNow
from ingest import bounds as ingest_bounds
from ingest import service as service_module
from ingest.admission import Admission
from ingest.buckets import Rate
from ingest.check import Checker
from ingest.coalesce import Coalescer
from ingest.intake import Intake, Ticket
from ingest.pressure import Pressure
from ingest.publisher import BlockPublisher
from ingest.response_scheduler import ResponseScheduler
from ingest.stream import PublishStream, StreamContext
from ingest.votes import CastVotes
from mesh import limits
from mesh.auth import Identity, Revocation
from mesh.auth.revocations import key_of
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.client import NatsClient
from mesh.jetstream.pipeline import PublishPipeline
from tests.support.blocks import origins_of_tests
from tests.support.games import run, until
from tests.support.ingest_server import serving
from tests.support.intake import UNLIMITED
from tests.support.lone_ingest import GAME, definitions

BATCHES = 40
SIZE = wire_bounds.BATCH_EVENTS_MAX


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stands for half a minute."""
    monkeypatch.setattr(wire_bounds, "PUBLISH_HEARTBEAT_S", 0.4)
    monkeypatch.setattr(wire_bounds, "PUBLISH_SILENCE_S", 1.2)
    monkeypatch.setattr(service_module, "STREAMS_LOOK_S", 0.1)
    monkeypatch.setattr(service_module, "DRAIN_PATIENCE_S", 0.5)


class Deaf:
    """A call whose client takes no answer until it is told to; mesh.http2.call.Call."""

    path = ""
    metadata = ()

    def __init__(self) -> None:
        self.answers: list[PublishResponse] = []
        self.is_writable = True
        self.is_paused = False
        self.ended: tuple[int, str] | None = None

    def send(self, message: bytes) -> None:
        self.answers.append(PublishResponse.FromString(message))
        self.is_writable = False

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def end(self, code: int = 0, message: str = "", retry_after_s: float | None = None) -> None:
        self.ended = code, message


def refused_batch(batch: int) -> bytes:
    bad = Event(game_id="not an id", actor_id="ann", vote=Vote(poll_id="p", option_ids=["a"]))
    events = []
    for number in range(batch * SIZE + 1, (batch + 1) * SIZE + 1):
        bad.origin_seq = number
        events.append(Event.FromString(bad.SerializeToString()))
    return PublishRequest(events=EventBatch(events=events)).SerializeToString()


def test_i7_a_client_that_leaves_its_refusals_unread_is_read_no_further_and_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        bus = Bus(NatsClient())
        # The events are refused by their form: the catalog is fresh, is asked, and knows nothing at once.
        catalog = CatalogWatch(bus)
        catalog.freshness.fresh_until_s = math.inf
        catalog.clock.sample(boot_s(), boot_s(), time.time())
        monkeypatch.setattr(catalog, "refresh", lambda key: asyncio.sleep(0))
        checker, coalescer, pressure = Checker(catalog.view), Coalescer[Ticket](), Pressure()
        publisher = BlockPublisher(
            PublishPipeline(bus), CastVotes(bus), checker, coalescer, pressure, "t", catalog
        )
        intake = Intake(checker, coalescer, Admission(UNLIMITED, UNLIMITED, UNLIMITED), pressure)
        context = StreamContext(
            *(intake, publisher, ResponseScheduler(), catalog, pressure, origins_of_tests()),
            asyncio.get_running_loop(),
        )
        call = Deaf()
        ended: list[PublishStream] = []
        stream = PublishStream(
            context, call, Identity("", True, None, time.time() + 60, of_mesh=True), ended.append
        )
        stream.received(PublishRequest(hello=Hello(producer=True)).SerializeToString())
        await until(lambda: call.answers, "it is welcome")
        batch = 0
        while not call.is_paused or stream.asks:
            if not call.is_paused:
                stream.received(refused_batch(batch))
                batch += 1
            await asyncio.sleep(0)
        assert batch * SIZE <= ingest_bounds.ANSWERS_QUEUED_MAX + SIZE
        assert len(call.answers) == 1, "only the welcome was sent"

        def takes() -> None:
            call.is_writable = True
            stream.writable()

        while call.ended is None:
            takes()
            if not call.is_paused:
                if batch < BATCHES:
                    stream.received(refused_batch(batch))
                elif batch == BATCHES:
                    stream.half_closed()
                batch += 1
            await asyncio.sleep(0)
        refused = [answer.reject.origin_seq for answer in call.answers if answer.HasField("reject")]
        assert refused == list(range(1, BATCHES * SIZE + 1))
        assert call.answers[-1].ack.origin_seq == BATCHES * SIZE
        assert (call.ended, ended) == ((0, ""), [stream])

    run(scenario())


def test_both_sides_hear_that_the_other_lives_and_a_silent_client_is_gone(
    tmp_path: Path, quick: None
) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            silent, alive = served.stream(), served.stream()
            await silent.hello(actor_id="ann")
            await alive.hello(actor_id="bob")

            async def beat() -> None:
                while True:
                    await alive.heartbeat()
                    await asyncio.sleep(wire_bounds.PUBLISH_HEARTBEAT_S)

            beating = asyncio.create_task(beat())
            began = time.monotonic()
            code, details = await silent.ending()
            assert code == grpc.StatusCode.DEADLINE_EXCEEDED
            assert "nothing was heard for" in details
            assert time.monotonic() - began >= wire_bounds.PUBLISH_SILENCE_S - 0.1
            assert any(each.HasField("heartbeat") for each in silent.heard)
            await alive.until("heartbeat")
            await alive.score(1)
            await alive.acked(1)
            beating.cancel()

    run(scenario())


def test_a_token_that_expires_is_warned_of_and_then_ends_the_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        identity = Identity("ann", False, None, time.time() + 2)
        async with serving(tmp_path, identity=identity) as served:
            stream = served.stream()
            await stream.hello()
            await stream.score(1)
            await stream.acked(1)
            await stream.heartbeat()
            warning = (await stream.until("token_expiring")).token_expiring
            assert warning.expires_at.ToNanoseconds() / 1e9 == pytest.approx(identity.expires_at_s, abs=0.01)
            assert time.time() < identity.expires_at_s
            await stream.score(2)
            code, details = await stream.ending()
            assert (code, time.time() >= identity.expires_at_s) == (grpc.StatusCode.UNAUTHENTICATED, True)
            assert "expired; resume on a new stream with a new one" in details
            assert stream.heard[-1].HasField("ack") or any(each.ack.origin_seq == 2 for each in stream.heard)

    run(scenario())


def test_a_revocation_ends_the_stream_once_what_was_taken_is_acked(tmp_path: Path) -> None:
    async def scenario() -> None:
        now_s = time.time()
        identity = Identity("ann", False, None, now_s + 3_600, issued_at_s=now_s)
        async with serving(tmp_path, identity=identity) as served:
            stream = served.stream()
            await stream.hello()
            await stream.score(1)
            await stream.acked(1)
            await stream.score(2)
            revocation = Revocation("ann", "", now_s + 1, now_s + 3_600, now_s).encoded()
            await served.catalog.bucket.put(key_of(7), revocation.SerializeToString())
            code, details = await stream.ending()
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert "token: was revoked (all of actor 'ann' issued before" in details
            assert any(each.ack.origin_seq == 2 for each in stream.heard)

    run(scenario())


def test_who_drains_sends_its_clients_elsewhere_and_settles_first(tmp_path: Path, quick: None) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            polite, stubborn = served.stream(), served.stream()
            await polite.hello(actor_id="ann")
            await stubborn.hello(actor_id="bob")
            served.draining.set()
            for stream in (polite, stubborn):
                drain = (await stream.until("drain")).drain
                assert 0 <= drain.reconnect_after.ToNanoseconds() / 1e9 <= ingest_bounds.DRAIN_RECONNECT_S
            await polite.score(1)
            await polite.half_close()
            assert (await polite.ending())[0] == grpc.StatusCode.OK
            assert polite.heard[-1].ack.origin_seq == 1
            code, details = await stubborn.ending()
            assert (code, details) == (
                grpc.StatusCode.UNAVAILABLE,
                "this ingest is going away; resume on a new stream",
            )
            late = served.stream()
            assert (await late.ending())[0] == grpc.StatusCode.UNAVAILABLE

    run(scenario())


def test_i1_while_nats_is_away_streams_stay_open_at_credit_zero_and_nothing_is_acked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PUBLISH_DEADLINE_S", 2 * limits.PUBLISH_ATTEMPT_S)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            stream = served.stream()
            await stream.hello(actor_id="ann")
            await stream.score(1)
            await stream.acked(1)
            await served.nats.stop()
            heard = len(stream.heard)
            await stream.score(2)  # before ingest has noticed
            acked = asyncio.create_task(stream.acked(2))

            def offers() -> list[Credit]:
                return [each.credit for each in stream.heard[heard:] if each.HasField("credit")]

            await until(lambda: any(not each.credit for each in offers()), "the credit is 0")
            assert offers()[-1].reason == "the event log does not answer"
            await until(lambda: served.publisher.refused_blocks > 0, "the event has outlived its deadline")
            assert not acked.done()
            assert not any(each.HasField("ack") or each.HasField("reject") for each in stream.heard[heard:])
            late = served.stream()
            await late.say(hello=Hello(actor_id="bob"))
            assert (await late.hear()).welcome.credit == 0
            served.nats.process.send_signal(signal.SIGCONT)
            await acked
            while not offers()[-1].credit:
                await stream.hear()

    run(scenario())


def test_i9_a_vote_that_waited_for_nats_past_the_close_is_refused_and_may_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PUBLISH_DEADLINE_S", 1.0)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            stream = served.stream()
            await stream.hello(actor_id="ann")
            await served.nats.stop()
            vote = Event(origin_seq=1, game_id=GAME, vote=Vote(poll_id="mvp", option_ids=["red"]))
            score = Event(origin_seq=2, game_id=GAME, score=stream_score())
            await stream.say(events=EventBatch(events=[vote, score]))
            await until(lambda: served.publisher.unsettled_events == 2, "both are on their way")
            key = subjects.poll_key(GAME, "mvp")
            poll = definitions()[key]
            poll.stage = STAGE_CLOSED  # type: ignore[union-attr]
            served.catalog.view.put(key, 1_000, poll.SerializeToString())
            reject = (await stream.until("reject")).reject
            assert (reject.origin_seq, reject.code, reject.maybe_stored) == (1, NotNow.code, True)
            served.nats.process.send_signal(signal.SIGCONT)
            await stream.acked(2)

    run(scenario())


def stream_score() -> Any:
    event = Event()
    event.score.board_id, event.score.points = "top", 1
    return event.score


def test_a_client_that_ignores_its_credit_is_held_and_disturbs_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            greedy, modest = served.stream(), served.stream()
            await greedy.hello(actor_id="ann")
            await modest.hello(actor_id="bob")
            await served.nats.stop()
            for n in range(wire_bounds.VIEWER_CREDIT):
                await greedy.score(n + 1)
            await until(lambda: served.publisher.unsettled_events > 0, "its events are on their way")
            await until(lambda: served.pressure.log_away, "the log is away")
            taken = served.publisher.unsettled_events
            # Whatever it writes now stays in its own HTTP/2 window.
            for n in range(wire_bounds.VIEWER_CREDIT, 20 * wire_bounds.VIEWER_CREDIT):
                await greedy.score(n + 1)
            await until(lambda: any(each.is_held for each in served.service.streams), "it is held back")
            assert served.publisher.unsettled_events <= max(taken, wire_bounds.VIEWER_CREDIT) + 1
            served.nats.process.send_signal(signal.SIGCONT)
            await modest.score(1)
            await modest.acked(1)
            code, details = await greedy.ending()
            acked = max(each.ack.origin_seq for each in greedy.heard)
            assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OK), details
            assert acked >= wire_bounds.VIEWER_CREDIT

    run(scenario())


def test_beyond_its_rate_a_client_is_slowed_never_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, admission=Admission(Rate(50, 5), UNLIMITED, UNLIMITED)) as served:
            stream = served.stream()
            await stream.hello(actor_id="ann")
            began = time.monotonic()
            for n in range(40):
                await stream.score(n + 1)
            await stream.acked(40)
            assert time.monotonic() - began >= (40 - 5 - 1) / 50 - 0.05
            assert not any(each.HasField("reject") for each in stream.heard)

    run(scenario())


def test_what_is_shed_is_told_in_the_ack(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, admission=Admission(Rate(1, 4), UNLIMITED, UNLIMITED)) as served:
            stream = served.stream()
            await stream.hello(actor_id="ann")
            event = Event(game_id=GAME)
            event.reaction.pulse_id, event.reaction.kind = "cheer", "fire"
            events = []
            for n in range(1, 7):
                event.origin_seq = n
                events.append(Event.FromString(event.SerializeToString()))
            await stream.say(events=EventBatch(events=events))
            await stream.acked(6)
            shed = [n for each in stream.heard for n in each.ack.shed_origin_seqs]
            assert shed == [5, 6]
            assert stream.heard[-1].ack.shed == 2

    run(scenario())


def test_more_streams_than_an_ingest_takes_are_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "STREAM_BOUNDS", replace(service_module.STREAM_BOUNDS, total_max=2))

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            streams = [served.stream() for _ in range(2)]
            for stream in streams:
                await stream.hello(actor_id="ann")
            code, details = await served.stream().ending()
            assert (code, "has 2 Publish streams" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
            streams[0].cancel()
            await until(lambda: len(served.service.streams) == 1, "its place is free")
            await served.stream().hello(actor_id="bob")

    run(scenario())


def test_a_game_that_the_watch_has_not_brought_yet_is_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            stream = served.stream()
            await stream.hello(actor_id="ann")
            await served.catalog.stop()  # from now on it hears of nothing by itself
            new = Game(game_id="new", title="New", spread=1, metrics=[Metric(metric_id="ping")])
            await served.catalog.bucket.put(subjects.game_key("new"), new.SerializeToString())
            event = Event(origin_seq=1, game_id="new")
            event.measure.metric_id = "ping"
            await stream.say(events=EventBatch(events=[event]))
            await stream.acked(1)
            assert not any(each.HasField("reject") for each in stream.heard)

    run(scenario())
