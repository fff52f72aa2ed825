"""A gateway reports who watches through it, by its relay; nothing that goes wrong piles up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from aggregate.partition import Loaded, Partition
from gateway import bounds as gateway_bounds
from gateway import presence_reporter as reporter_module
from gateway.presence import Presence
from gateway.presence_reporter import PresenceReporter
from gateway.relay import Relay
from grandstand.aggregate.v1.aggregate_pb2 import AudienceResult
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.client import open_channel
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE, Event, Position
from grandstand.ingest.v1.ingest_pb2 import Reject
from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import GrandstandError
from mesh import limits
from mesh.catalog.view import CatalogView
from mesh.jetstream import subjects
from mesh.merge.audience import merge_audience
from tests.support.blocks import game_control
from tests.support.games import run, until
from tests.support.ingest_server import Served
from tests.support.ingest_server import serving as serving_ingest
from tests.support.lone_ingest import GAME
from tests.support.partitions import fold
from tests.support.unruly_ingest import Ingest, serving

HERE, GONE = PRESENCE_STATE_HERE, PRESENCE_STATE_GONE


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value_s in (("REPORT", 0.5), ("AGAIN", 0.2), ("GONE", 0.1)):
        monkeypatch.setattr(gateway_bounds, f"PRESENCE_{name}_S", value_s)
    monkeypatch.setattr(reporter_module, "FULL_WAIT_S", 0.05)


def catalog(**games: bool) -> CatalogView:
    """By id, whether the game counts its audience."""
    view = CatalogView()
    for game_id, audience in games.items():
        game = Game(game_id=game_id, title=game_id, audience=audience)
        view.put(subjects.game_key(game_id), 1, game.SerializeToString())
    return view


class Noted:
    """A relay that notes what was submitted and answered on the way."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.events: list[Event] = []
        self.at_s: list[float] = []
        self.answers: list[Position | GrandstandError] = []
        self.most_unanswered = 0

    def submit(self, event: Event, on_answer: Callable[[Position | GrandstandError], None]) -> object:
        def answered(answer: Position | GrandstandError) -> None:
            self.answers.append(answer)
            on_answer(answer)

        submitted = self.relay.submit(event, answered)
        self.events.append(event)
        self.at_s.append(time.monotonic())
        self.most_unanswered = max(self.most_unanswered, len(self.events) - len(self.answers))
        return submitted

    def of(self, actor_id: str) -> list[int]:
        """What was said of an actor, in order."""
        return [event.presence.state for event in self.events if event.actor_id == actor_id]


@contextlib.asynccontextmanager
async def relaying(port: int) -> AsyncIterator[Noted]:
    async with open_channel(f"127.0.0.1:{port}", own_connection=True) as channel:
        relay = Relay(channel, "gateway-test")
        relay.start()
        try:
            yield Noted(relay)
        finally:
            await relay.stop()


@contextlib.asynccontextmanager
async def reporting(
    peer: Ingest, view: CatalogView | None = None
) -> AsyncIterator[tuple[PresenceReporter, Noted]]:
    async with serving(peer) as port, relaying(port) as relay:
        reporter = PresenceReporter(relay, view or catalog(g=True), "gateway-1")
        try:
            yield reporter, relay
        finally:
            reporter.stop()


@contextlib.asynccontextmanager
async def a_while() -> AsyncIterator[None]:
    """The body runs when another gateway has reported somebody four times: all rounds had their time."""
    async with reporting(Ingest()) as (reporter, relay):
        reporter.enter("g", "witness")
        await until(lambda: len(relay.of("witness")) == 4, "the witness is reported")
        yield


@pytest.mark.usefixtures("quick")
def test_a_real_ingest_takes_what_a_gateway_reports_of_many_actors(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving_ingest(tmp_path) as served, relaying(served.port) as relay:
            reporter = PresenceReporter(relay, served.catalog.view, "gateway-1")
            for n in range(300):
                reporter.enter(GAME, f"actor-{n}")
            await until(lambda: len(relay.answers) >= 600, "all were reported, and again")
            for n in range(300):
                reporter.leave(GAME, f"actor-{n}")
            await until(lambda: all(relay.of(f"actor-{n}")[-1] == GONE for n in range(300)), "goodbyes")
            await until(lambda: len(relay.answers) == len(relay.events), "all are answered")
            refused = [str(answer) for answer in relay.answers if not isinstance(answer, Position)]
            # A slow machine sheds presence first (I7), and refuses it for no other reason.
            assert all("shed: the mesh is under pressure" in each for each in refused), refused[:3]
            assert len(refused) < len(relay.answers)

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_who_watches_through_two_gateways_and_leaves_one_stays_a_viewer(tmp_path: Path) -> None:
    """Real ingest, real log; its blocks folded as a partition's owner does."""

    async def scenario() -> None:
        async with (
            serving_ingest(tmp_path) as served,
            relaying(served.port) as one,
            relaying(served.port) as two,
        ):
            reporters = [
                PresenceReporter(relay, served.catalog.view, name)
                for name, relay in (("gateway-1", one), ("gateway-2", two))
            ]
            for reporter in reporters:
                reporter.enter(GAME, "ann")
            await until(lambda: one.answers and two.answers, "both say here")
            reporters[1].leave(GAME, "ann")
            await until(
                lambda: GONE in two.of("ann") and len(two.answers) == len(two.events), "one says gone"
            )
            reporters[0].stop()
            told = await audience(served)
            assert (told.viewers, told.uniques) == (1, 1)

    run(scenario())


async def audience(served: Served) -> AudienceResult:
    """Of GAME, by all that the event log holds."""
    stream = await served.bus.js.stream_info(subjects.EVENTS_STREAM)
    partition = Partition(0, Loaded())
    definition = served.catalog.view.game(GAME)
    partials = fold(partition, game_control(definition))
    for sequence in range(stream.state.first_seq, stream.state.last_seq + 1):
        message = await served.bus.js.get_msg(subjects.EVENTS_STREAM, sequence)
        partials |= fold(partition, Block.FromString(message.data or b""))
    return merge_audience([partials["audience"].audience], time.time())


@pytest.mark.usefixtures("quick")
def test_an_actor_is_reported_once_while_it_watches_again_and_again_and_said_goodbye() -> None:
    async def scenario() -> None:
        peer = Ingest()
        async with reporting(peer) as (reporter, relay):
            reporter.enter("g", "ann")
            reporter.enter("g", "ann")
            await until(lambda: relay.of("ann") == [HERE], "at once", within_s=0.15)
            await until(lambda: relay.of("ann") == [HERE] * 4, "again and again")
            reporter.leave("g", "ann")
            await until(lambda: len(relay.of("ann")) == 6, "still there")
            reporter.leave("g", "ann")
            await until(lambda: GONE in relay.of("ann"), "gone")
            assert relay.of("ann")[:6] == [HERE] * 6
            assert relay.of("ann").count(GONE) == 1
            numbers = [event.origin_seq for event in relay.events]
            assert numbers == list(range(1, len(numbers) + 1))
            assert {event.origin_id[0] for event in relay.events} == {"p"}

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_who_is_nobody_and_games_without_an_audience_are_not_reported_and_an_audience_added_is() -> None:
    async def scenario() -> None:
        view = catalog(g=True, h=False)
        async with reporting(Ingest(), view) as (reporter, relay):
            reporter.enter("h", "ann")
            reporter.enter("nowhere", "ann")
            for nobody in (None, ""):
                reporter.enter("g", nobody)
            reporter.enter("g", "bob")
            await until(lambda: relay.of("bob") == [HERE] * 3, "the others' turn came too")
            assert relay.of("ann") == []
            game = Game(game_id="h", title="h", audience=True)
            view.put(subjects.game_key("h"), 2, game.SerializeToString())
            await until(lambda: HERE in relay.of("ann"), "an audience was added")
            for nobody in (None, ""):
                reporter.leave("g", nobody)
            assert {event.actor_id for event in relay.events} == {"ann", "bob"}

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_while_ingest_is_silent_little_is_under_way_and_the_newest_word_of_each_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_bounds, "PRESENCES_UNANSWERED_MAX", 20)
    monkeypatch.setattr(reporter_module, "REPORTS_AT_ONCE", 20)

    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with reporting(peer) as (reporter, relay):
            for n in range(100):
                reporter.enter("g", f"a{n:02}")
            await until(lambda: len(relay.events) == 20, "as many as may be")
            for n in range(50, 100):
                reporter.leave("g", f"a{n:02}")
            # Their goodbyes fall due meanwhile, and take the places of their greetings.
            await until(lambda: reporter._presence.next_at_s is None or len(reporter._presence) == 50, "gone")
            assert (len(relay.events), relay.most_unanswered) == (20, 20)
            assert len(reporter._waiting) <= 100
            peer.release()
            await until(lambda: all(relay.of(f"a{n:02}") for n in range(100)), "all had their turn")
            assert all(relay.of(f"a{n:02}") == [GONE] for n in range(50, 100))
            assert relay.most_unanswered == 20

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_the_span_of_unanswered_numbers_stays_below_the_origin_s_credit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_bounds, "PRODUCER_CREDIT", 300)

    async def scenario() -> None:
        peer = Ingest()
        first = asyncio.Event()

        def judge(event: Event) -> str | None:
            """The very first one is never answered."""
            if event.origin_seq == 1 and not first.is_set():
                return "shed"  # relayed, it is answered by nothing
            return None

        peer.judge = judge
        async with reporting(peer) as (reporter, relay):
            for n in range(500):
                reporter.enter("g", f"a{n}")
            await until(lambda: len(relay.events) == 300, "the credit is used")
            await until(lambda: len(relay.answers) == 299, "all but one are answered")
            async with a_while():
                assert len(relay.events) == 300
            first.set()
            peer.open_streams[-1].cut()
            await until(lambda: len({event.actor_id for event in relay.events}) == 500, "it went on")

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_a_new_origin_is_taken_long_before_the_old_one_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reporter_module.ORIGIN_RENEW_S <= wire_bounds.ORIGIN_AGE_MAX_S / 2
    monkeypatch.setattr(reporter_module, "ORIGIN_RENEW_S", 1.0)

    async def scenario() -> None:
        async with reporting(Ingest()) as (reporter, relay):
            reporter.enter("g", "ann")
            await until(lambda: len({event.origin_id for event in relay.events}) >= 2, "a second origin")
            numbers = dict[str, list[int]]()
            for event in relay.events:
                numbers.setdefault(event.origin_id, []).append(event.origin_seq)
            assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
            issued = [ids.origin_issued_at_s(origin_id) for origin_id in numbers]
            assert all(abs(at_s - time.time()) < 10 for at_s in issued)

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_refusals_are_logged_once_in_a_while_and_the_next_regular_report_is_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.judge = lambda _: Reject(code=14, message="the log is away")
        async with reporting(peer) as (reporter, relay):
            for n in range(50):
                reporter.enter("g", f"a{n}")
            await until(lambda: len(relay.answers) >= 100, "all were refused twice")
            assert [r.levelname for r in caplog.records if r.name == "gateway.presence_reporter"] == [
                "WARNING"
            ]
            assert "the log is away" in caplog.text
            peer.judge = lambda _: None
            await until(lambda: len(peer.stored) >= 50, "all were taken in the end")

    with caplog.at_level(logging.INFO):
        run(scenario())


@pytest.mark.usefixtures("quick")
def test_what_is_shed_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.judge = lambda _: Reject(code=8, message="shed: the mesh is under pressure", retryable=True)
        async with reporting(peer) as (reporter, relay):
            reporter.enter("g", "ann")
            await until(lambda: len(relay.answers) >= 3, "shed again and again")
            assert "gateway.presence_reporter" not in {record.name for record in caplog.records}

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_a_full_relay_is_asked_again_later_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SENDS_PENDING_MAX", 10)

    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with reporting(peer) as (reporter, relay):
            for n in range(30):
                reporter.enter("g", f"a{n}")
            await until(lambda: len(relay.events) == 10, "the relay is full")
            peer.release()
            await until(lambda: len({event.actor_id for event in relay.events}) == 30, "all had their turn")
            numbers = [event.origin_seq for event in relay.events]
            assert numbers == list(range(1, len(numbers) + 1))

    run(scenario())


def test_a_crowd_that_comes_at_once_does_not_hold_up_the_loop() -> None:
    async def scenario() -> None:
        peer = Ingest()
        async with reporting(peer) as (reporter, relay):
            for n in range(3_000):
                reporter.enter("g", f"a{n}")
            await until(lambda: len(relay.events) == 3_000, "all were reported")
            most = reporter_module.REPORTS_AT_ONCE
            rounds = [
                sum(at_s <= t < at_s + reporter_module.ROUND_S * 0.5 for t in relay.at_s)
                for at_s in relay.at_s[::most]
            ]
            assert max(rounds) <= most

    run(scenario())


@pytest.mark.usefixtures("quick")
def test_after_stop_nothing_is_said_not_even_goodbye() -> None:
    async def scenario() -> None:
        async with reporting(Ingest()) as (reporter, relay):
            reporter.enter("g", "ann")
            await until(lambda: relay.of("ann"), "reported")
            reporter.stop()
            reporter.leave("g", "ann")
            reporter.enter("g", "bob")
            said = len(relay.events)
            async with a_while():
                assert len(relay.events) == said

    run(scenario())


def test_goodbyes_that_nobody_takes_are_bounded() -> None:
    async def scenario() -> None:
        peer = Ingest()
        peer.hold()
        async with serving(peer) as port, relaying(port) as relay:
            reporter = PresenceReporter(relay, catalog(g=True), "gateway-1", Presence(presences_max=100))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gateway_bounds, "PRESENCES_MAX", 100)
                for n in range(2_000):
                    reporter.enter("g", f"a{n}")
                    reporter.leave("g", f"a{n}")
                    if n % 50 == 0:
                        await until(lambda: reporter._presence.next_at_s != -math.inf, "a round was made")
                assert len(reporter._waiting) <= 100
                assert relay.most_unanswered <= gateway_bounds.PRESENCES_UNANSWERED_MAX
            reporter.stop()

    run(scenario())
