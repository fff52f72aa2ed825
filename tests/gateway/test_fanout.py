"""The fan-out as a whole, over a real nats-server and Valkey, watched by clients of grpc's."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
import redis
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from gateway import bounds as gateway_bounds
from gateway import fanout, overload
from gateway.fanout import FanOut
from gateway.subscribe import SubscribeService
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Game
from grandstand.client import open_channel
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse, TopicCursor
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.internal.v1.internal_pb2 import GameResults, PartitionResults
from grandstand.wire.topics import PersonalTopics
from mesh import limits
from mesh.addresses import AddressKeys
from mesh.auth import NO_KEYS, Trust, Verifier
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.database import connect
from mesh.redis.results import ResultStore
from mesh.results_feed import bounds as feed_bounds
from mesh.stream_limits import StreamLimits
from tests.support.games import run, until
from tests.support.http2_service import serving
from tests.support.lone_gateway import GAME, PARTITION, POLL, LoneGateway, Results
from tests.support.servers import Stores, eventually, stores

SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("fanout")) as found:
        asyncio.run(LoneGateway(found)._define())
        yield found


class Nobody:
    """Nobody is reported, and nothing is anybody's own."""

    def __init__(self) -> None:
        self.boards: list[tuple[str, str]] = []
        """That changed."""

    def enter(self, game_id: str, actor_id: str | None, guest: bool) -> None: ...
    def leave(self, game_id: str, actor_id: str | None, guest: bool) -> None: ...
    def stop(self) -> None: ...

    def watch(self, game_id: str, actor_id: str, topics: PersonalTopics, tell: Any, **_: Any) -> Any:
        raise AssertionError(f"{topics} of {actor_id} is nobody's")

    def show(self, game_id: str) -> None: ...
    def hide(self, game_id: str) -> None: ...

    def board_changed(self, game_id: str, board_id: str) -> None:
        self.boards.append((game_id, board_id))


class CountedResults(ResultStore):
    reads = 0

    async def shares(self, partition: int, game_ids: Sequence[str]) -> Any:
        self.reads += 1
        return await super().shares(partition, game_ids)


@dataclass
class Stage:
    """A gateway's fan-out, and aggregation as the test plays it."""

    fan_out: FanOut
    bus: Bus
    reads: CountedResults
    results: Results
    draining: asyncio.Event
    boards: list[tuple[str, str]]
    stub: Any

    def subscribe(self, **fields: Any) -> Any:
        # A client in the same loop may be late for its own connection.
        return self.stub.Subscribe(SubscribeRequest(game_id=GAME, **fields), wait_for_ready=True)


@contextlib.asynccontextmanager
async def staged(around: Stores) -> AsyncIterator[Stage]:
    draining = asyncio.Event()
    bus = await Bus.connect(around.nats_url, "fanout")
    catalog = CatalogWatch(bus)
    await catalog.start()
    database = connect(around.redis_url)
    reads = CountedResults(database)
    viewer_limits = StreamLimits(gateway_bounds.VIEWER_BOUNDS, random=random.random)
    nobody = Nobody()
    fan_out = FanOut(bus, reads, catalog, viewer_limits, nobody, nobody, draining)
    subscribe = SubscribeService(fan_out, viewer_limits, Verifier(Trust(lambda: NO_KEYS)), AddressKeys())
    with redis.Redis.from_url(around.redis_url) as store:
        try:
            async with (
                serving({SUBSCRIBE: subscribe.accept}) as (_, address),
                open_channel(address, own_connection=True) as channel,
            ):
                stub = GatewayServiceStub(channel)
                yield Stage(fan_out, bus, reads, Results(bus, store), draining, nobody.boards, stub)
        finally:
            await fan_out.stop()
            await catalog.stop()
            await database.aclose()
            await bus.close()


async def first(call: Any) -> SubscribeResponse:
    async with asyncio.timeout(20):
        response: SubscribeResponse = await call.read()
        assert response is not grpc.aio.EOF, await call.code()
        return response


async def firsts(calls: Sequence[Any]) -> list[SubscribeResponse]:
    return list(await asyncio.gather(*map(first, calls)))


def retry_after_s(call: Any) -> float:
    """What a refused call's status details say."""
    details = dict(call.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    return info.retry_delay.ToNanoseconds() / 1e9


def test_a_herd_costs_one_read_of_the_store(around: Stores) -> None:
    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            herd = [stage.subscribe() for _ in range(300)]
            snapshots = await firsts(herd)
            assert {each.WhichOneof("message") for each in snapshots} == {"snapshot"}
            assert len({each.SerializeToString() for each in snapshots}) <= 3, (
                "encoded once for a tick's joiners"
            )
            assert stage.reads.reads <= 2, "the start's, and perhaps one for a herd in the middle"

    run(scenario())


def test_a_herd_that_comes_back_with_cursors_reads_nothing_that_is_known(around: Stores) -> None:
    async def scenario() -> None:
        async with staged(around) as stage:
            position = await stage.results.show()
            (seen,) = await firsts([stage.subscribe(topics=[POLL])])
            cursors = [TopicCursor(topic=POLL, cursor=seen.snapshot.topics[0].cursor)]
            assert seen.snapshot.topics[0].cursor == Cursor(positions=[position])
            before = stage.reads.reads
            back = await firsts([stage.subscribe(topics=[POLL], cursors=cursors) for _ in range(200)])
            assert all(each.snapshot.topics[0].cursor == cursors[0].cursor for each in back)
            assert stage.reads.reads - before <= 2, "anti-entropy's"

    run(scenario())


def test_i5_i6_one_position_a_partition_resumes_all_topics_and_is_a_barrier(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_bounds, "ANTI_ENTROPY_S", 3600.0)

    async def scenario() -> None:
        async with staged(around) as stage:
            for number in range(70):
                await stage.results.show(told=False, topic=f"poll/p{number}")
            watching = stage.subscribe(topics=[POLL])
            seen = await first(watching)
            at = [Position(partition=PARTITION, sequence=stage.results.sequence)]
            assert list(seen.applied) == at
            back = await first(stage.subscribe(topics=["poll/p1"], applied=seen.applied))
            assert list(back.applied) == at
            # More than is known here; it becomes known though nothing of these topics changes.
            ahead = Position(partition=PARTITION, sequence=at[0].sequence + 1)
            late = asyncio.create_task(first(stage.subscribe(topics=["poll/p1"], applied=[ahead])))
            await until(lambda: stage.fan_out._waiting, "it waits")
            await stage.results.show(topic="poll/p2")
            assert list((await late).applied) == [ahead]
            position = await stage.results.show()
            update = await first(watching)
            assert update.HasField("update")
            assert list(update.applied) == [position]

    run(scenario())


@contextlib.asynccontextmanager
async def defined(staged: Stage, **changes: Any) -> AsyncIterator[None]:
    """The game's entry in the catalog says this meanwhile."""
    bucket = await staged.bus.js.key_value(subjects.CATALOG_BUCKET)
    key = subjects.game_key(GAME)
    before = (await bucket.get(key)).value or b""
    changed = Game.FromString(before)
    changed.MergeFrom(Game(**changes))
    await bucket.put(key, changed.SerializeToString())
    try:
        yield
    finally:
        await bucket.put(key, before)


async def to_the_end(call: Any) -> list[SubscribeResponse]:
    said = []
    while (response := await asyncio.wait_for(call.read(), 20)) is not grpc.aio.EOF:
        said.append(response)
    assert await call.code() == grpc.StatusCode.OK
    return said


@pytest.mark.parametrize("seals", [True, False])
def test_viewers_of_a_game_that_ends_are_shown_the_last_result_told_and_sent_away(
    around: Stores, seals: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "EACH_SECOND_S", 0.05)

    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            calls = [stage.subscribe(topics=[POLL]) for _ in range(5)]
            await firsts(calls)
            ended_at = Timestamp(seconds=1_900_000_000)
            changes: dict[str, Any] = {"stage": STAGE_SEALED} if seals else {"generation": 7}
            position = await stage.results.show(told=not seals)
            if not seals:
                await until_shown(calls, position)
            async with defined(stage, ended_at=ended_at, **changes):
                for said in await asyncio.gather(*map(to_the_end, calls)):
                    assert [each.WhichOneof("message") for each in said].count("game_ended") == 1
                    assert said[-1].HasField("game_ended")
                    if seals:
                        assert said[-1].game_ended.ended_at == ended_at
                        assert said[-2].applied[0] == position, "the last result is shown before"
                if seals:
                    late = await to_the_end(stage.subscribe(topics=[POLL]))
                    assert [each.WhichOneof("message") for each in late] == ["snapshot", "game_ended"]
            assert stage.fan_out.viewers == 0

    run(scenario())


async def until_shown(calls: Sequence[Any], position: Position) -> None:
    for call in calls:
        while position not in (await first(call)).applied:
            pass


def test_a_game_that_is_forgotten_is_over_for_its_viewers(around: Stores) -> None:
    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            call = stage.subscribe(topics=[POLL])
            await first(call)
            gone = PartitionResults(games=[GameResults(game_id=GAME, forgotten=True)])
            await stage.bus.client.publish(subjects.results(PARTITION), gone.SerializeToString())
            assert (await to_the_end(call))[-1].HasField("game_ended")

    run(scenario())


def test_a_gateway_hears_only_while_somebody_watches_and_only_of_the_partitions_it_needs(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_bounds, "GAME_LINGER_S", 0.0)

    async def scenario() -> None:
        async with staged(around) as watching, staged(around) as idle:

            def subscriptions(stage: Stage) -> set[str]:
                found = {each.subject for each in stage.bus.client._subs.values()}
                return {each for each in found if each.startswith(("results.", "announcements."))}

            call = watching.subscribe()
            await first(call)
            assert subscriptions(watching) == {subjects.results(PARTITION), subjects.ANNOUNCEMENTS_ALL}
            taken = idle.bus.client.stats["in_bytes"]
            for _ in range(20):
                await watching.results.show()
            await watching.bus.client.flush()
            assert subscriptions(idle) == set()
            assert idle.reads.reads == 0
            assert idle.bus.client.stats["in_bytes"] - taken < 2_000, "nothing but the catalog's own"
            call.cancel()
            await until(lambda: not subscriptions(watching), "nobody watches, nothing is heard")

    run(scenario())


def test_those_who_wait_for_a_position_share_the_reads(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_bounds, "ANTI_ENTROPY_S", 3600.0)

    async def scenario() -> None:
        async with staged(around) as stage:
            known = await stage.results.show()
            await firsts([stage.subscribe()])
            wanted = Position(partition=known.partition, sequence=known.sequence + 1)
            before = stage.reads.reads
            waiting = [asyncio.create_task(first(stage.subscribe(positions=[wanted]))) for _ in range(100)]
            await until(lambda: stage.reads.reads > before + 3, "they wait, and the store is looked at")
            assert not any(task.done() for task in waiting)
            assert stage.reads.reads - before < 30
            shown = await stage.results.show(told=False)
            assert shown == wanted
            for snapshot in await asyncio.gather(*waiting):
                (cursor,) = {position.sequence for position in snapshot.snapshot.topics[0].cursor.positions}
                assert cursor >= wanted.sequence

    run(scenario())


def test_a_herd_that_asks_for_an_unknown_game_costs_a_question_or_two(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []
    refresh = CatalogWatch.refresh

    async def counted(catalog: CatalogWatch, key: str) -> None:
        questions.append(key)
        await refresh(catalog, key)

    monkeypatch.setattr(CatalogWatch, "refresh", counted)

    async def scenario() -> None:
        async with staged(around) as stage:

            async def ask() -> None:
                request = SubscribeRequest(game_id="nobody-knows")
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await stage.stub.Subscribe(request, wait_for_ready=True).read()
                assert told.value.code() == grpc.StatusCode.NOT_FOUND

            await asyncio.gather(*(ask() for _ in range(300)))
            assert 1 <= len(questions) <= 20
            assert stage.fan_out.viewers == 0
            # Later on it is asked for again: it may have been defined meanwhile.
            asked = len(questions)
            await ask()
            assert len(questions) == asked + 1

    run(scenario())


def test_a_position_that_never_comes_is_late_and_named(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BARRIER_S", 0.1)

    async def scenario() -> None:
        async with staged(around) as stage:
            known = await stage.results.show()
            call = stage.subscribe(positions=[Position(partition=known.partition, sequence=2**62)])
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await call.read()
            assert told.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert f"position {2**62} of partition {known.partition}" in (told.value.details() or "")

    run(scenario())


def test_a_store_that_is_away_is_said_and_the_next_try_finds_it_back(around: Stores) -> None:
    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            around.valkey.kill()
            call = stage.subscribe()
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await call.read()
            assert told.value.code() == grpc.StatusCode.UNAVAILABLE
            around.valkey.start()
            results = stage.results

            async def is_back() -> bool:
                with contextlib.suppress(redis.RedisError):
                    await results.show()
                    return True
                return False

            await eventually(is_back, "Valkey is back")
            (snapshot,) = await firsts([stage.subscribe()])
            assert snapshot.HasField("snapshot")

    run(scenario())


def test_a_game_is_fed_while_it_is_watched_and_a_little_longer(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_bounds, "GAME_LINGER_S", 0.3)

    async def scenario() -> None:
        async with staged(around) as stage:
            call = stage.subscribe()
            await firsts([call])
            assert len(stage.fan_out._feeds) == 1
            call.cancel()
            again = stage.subscribe()
            await firsts([again])
            reads = stage.reads.reads
            again.cancel()
            await until(lambda: len(stage.fan_out._feeds) == 0, "nobody watches, nobody is fed")
            assert stage.reads.reads - reads <= 1

    run(scenario())


def test_a_hot_gateway_slows_the_low_tiers_and_says_so_before_it_refuses_anybody(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overload, "HOT_BUSY", -1.0)
    monkeypatch.setattr(overload, "RISE_S", 0.02)
    monkeypatch.setattr(fanout, "LOOK_S", 0.02)

    async def scenario() -> None:
        async with staged(around) as stage:
            call = stage.subscribe()
            snapshot = await first(call)
            rates = [snapshot.snapshot.updates_per_s]
            while rates[-1] > gateway_bounds.RENDITION_UPDATES_PER_S_MIN:
                response = await first(call)
                if response.HasField("rendition"):
                    assert "runs hot" in response.rendition.reason
                    rates.append(response.rendition.updates_per_s)
            assert rates == sorted(rates, reverse=True)
            assert len(rates) > 3
            await until(lambda: stage.fan_out.overload.is_full, "there is nothing left to lower")
            refused = stage.subscribe()
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await refused.read()
            assert told.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert retry_after_s(told.value) >= limits.STREAM_RETRY_MIN_S
            # Who is in stays in, and is shown what changes.
            position = await stage.results.show()
            while not (response := await first(call)).HasField("update"):
                pass
            assert response.update.topics[0].cursor.positions[0].sequence >= position.sequence

    run(scenario())


def test_who_leaves_tells_each_when_to_come_again_and_ends_its_stream_after_that(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_bounds, "DRAIN_PER_S", 100.0)
    monkeypatch.setattr(gateway_bounds, "DRAIN_PATIENCE_S", 0.4)

    async def scenario() -> None:
        async with staged(around) as stage:
            loop = asyncio.get_running_loop()
            calls = [stage.subscribe() for _ in range(100)]
            await firsts(calls)
            stage.draining.set()
            began_s = loop.time()

            async def leave(call: Any) -> tuple[float, float]:
                while not (response := await first(call)).HasField("drain"):
                    pass
                told_s = response.drain.reconnect_after.ToNanoseconds() / 1e9
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await call.read()
                assert told.value.code() == grpc.StatusCode.UNAVAILABLE
                return told_s, loop.time() - began_s

            left = await asyncio.gather(*map(leave, calls))
            assert all(ended_s > told_s for told_s, ended_s in left)
            assert len({told_s for told_s, _ in left}) > 10, "not all at once"
            assert max(ended_s for _, ended_s in left) < limits.DRAIN_GRACE_S
            late = stage.subscribe()
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await late.read()
            assert told.value.code() == grpc.StatusCode.UNAVAILABLE
            assert stage.fan_out.viewers == 0

    run(scenario())


@pytest.mark.parametrize("told", [True, False])
def test_a_board_that_changed_is_told_to_those_who_stand_on_it_also_when_the_news_was_lost(
    around: Stores, told: bool
) -> None:
    async def scenario() -> None:
        async with staged(around) as stage:
            await first(stage.subscribe(topics=[POLL]))
            stage.boards.clear()
            await stage.results.show(told=told, topic="board/laps")
            await until(lambda: stage.boards, "the board is looked up again")
            assert set(stage.boards) == {(GAME, "laps")}

    run(scenario())


def test_a_viewer_that_is_sent_nothing_hears_that_the_stream_is_alive(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_bounds, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(fanout, "HEARTBEAT_LOOK_S", 0.05)

    async def scenario() -> None:
        async with staged(around) as stage:
            call = stage.subscribe(topics=["poll/nobody"])
            kinds = [(await first(call)).WhichOneof("message") for _ in range(4)]
            assert kinds == ["snapshot", "heartbeat", "heartbeat", "heartbeat"]

    run(scenario())
