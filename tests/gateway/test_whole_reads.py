"""While a state is folded again nobody is shown a fraction of the count, nor by a spread of yesterday.

I5, I6: who has no state yet waits at the barrier; who watches keeps what it has.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import grpc.aio
import pytest
import redis

from aggregate.service import AggregateService
from aggregate.waiting_reads import WaitingReads
from gateway import bounds as gateway_bounds
from gateway.read_barrier import BarrierWaiters
from gateway.subscription import check
from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest, ReadStandingRequest
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Board,
    Game,
    Poll,
    Stage,
)
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.internal.v1.internal_pb2 import Partial, TallyPartial
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import GrandstandError, Unauthenticated, Unavailable, Unknown
from mesh import limits
from mesh.addresses import AddressKeys
from mesh.auth.access import Access
from mesh.catalog.spreads import Spreads
from mesh.catalog.view import CatalogView
from mesh.jetstream import subjects
from mesh.pseudonyms import UNKEYED
from mesh.redis import layout
from mesh.redis.share import Share
from mesh.results_feed.view import GameView
from tests.gateway.test_fanout import around, first, staged  # noqa: F401  (a fixture)
from tests.support import blocks
from tests.support.games import run, until
from tests.support.lone_gateway import PARTITION
from tests.support.servers import Stores, stores
from tests.support.votes_stream import PARTITIONS, votes_stream

GAME = "g"
HERE, THERE = ids.partitions_of(GAME, 2)


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("whole")) as started:
        yield started


def share(partition: int, applied: int, voters: int = 1, *, whole: bool = True) -> Share:
    tally = TallyPartial(option_ids=["a"], votes=[voters], voters=voters)
    partial = Partial(topic="poll/x", partition=partition, sequence=applied, tally=tally)
    return Share(partition, applied, {"poll/x": partial}, whole)


def voters(view: GameView) -> int:
    return view.shown("poll/x", 0.0).state.tally.voters


def test_i5_a_share_that_is_not_whole_changes_nothing_of_what_is_known() -> None:
    view = GameView()
    view.load([share(HERE, 9, 54), share(THERE, 9, 51)])
    assert (view.unloaded(), voters(view)) == (None, 105)
    view.load([share(HERE, 20, 3, whole=False), share(THERE, 10, 52)])
    assert (view.unloaded(), voters(view), view.applied(HERE)) == (None, 106, 9)


def test_a_view_says_which_partition_it_lacks() -> None:
    view = GameView()
    view.load([share(HERE, 9, 54), share(THERE, 9, 51, whole=False)])
    assert view.unloaded() == THERE
    assert not view.includes(THERE, 1), "of a partition the game folds in, nothing is in yet (I6)"
    assert not view.includes(THERE, 1, "poll/x")
    view.load([share(HERE, 9, 54), share(THERE, 9, 51)])
    assert view.unloaded() is None
    assert view.includes(THERE, 9)


def test_i6_after_a_spread_change_a_partition_that_is_not_loaded_yet_is_not_included() -> None:
    view = GameView()
    view.load([share(HERE, 9)])
    assert view.includes(THERE, 1), "as far as is known, nothing of it can be in the results"
    assert check(
        SubscribeRequest(game_id=GAME, positions=[Position(partition=THERE, sequence=1)]), None
    ).is_outside(view)
    view.load([share(HERE, 9), share(THERE, 0, whole=False)])
    assert not view.includes(THERE, 1)


class Watcher:
    """A viewer as `BarrierWaiters` knows it."""

    def __init__(self, *positions: Position) -> None:
        self.admission = object()
        self.subscription = check(SubscribeRequest(game_id=GAME, positions=positions), None)
        self.ended: GrandstandError | None = None

    def end(self, error: GrandstandError) -> None:
        self.ended = error


def test_i6_a_position_outside_the_known_spread_is_looked_up_before_it_is_taken_for_met() -> None:
    async def scenario() -> None:
        view = GameView()
        view.load([share(HERE, 9)])
        told = SimpleNamespace(spread=1, refreshed=0, applied=4)

        async def refresh() -> None:
            told.refreshed += 1
            told.spread = 2

        async def load() -> None:
            view.load([share(HERE, 9), share(THERE, told.applied)][: told.spread])

        shown: list[Any] = []
        waiting = BarrierWaiters(view, load, refresh, shown.append)
        late = Watcher(Position(partition=THERE, sequence=5))
        waiting.add(cast(Any, late))
        await until(lambda: told.refreshed and view.folds_in(THERE), "the game's entry is looked up")
        assert not shown
        told.applied = 5
        await until(lambda: shown == [late], "it is shown")
        stranger = Watcher(Position(partition=(THERE + 1) % wire_bounds.PARTITIONS, sequence=5))
        waiting.add(cast(Any, stranger))
        await until(lambda: shown == [late, stranger], "no partition of this game: nothing to wait for")
        assert told.refreshed == 2

    run(scenario())


def test_a_load_of_its_own_is_no_reason_to_load_again_at_once() -> None:
    async def scenario() -> None:
        view = GameView()
        view.load([share(HERE, 9)])
        loads = 0

        async def load() -> None:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0)
            waiting.news()

        waiting = BarrierWaiters(view, load, load, lambda _: None)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        waiting.add(cast(Any, Watcher(Position(partition=HERE, sequence=10))))
        await until(lambda: loads >= 20, "it was loaded again and again")
        waiting.stop()
        assert loop.time() - began_s > 0.4, "the pauses grow to 50 ms; without them it takes 0.1 s"

    run(scenario())


def test_i6_a_read_looks_the_game_up_for_a_position_outside_its_spread() -> None:
    async def scenario() -> None:
        view = CatalogView()
        key = subjects.game_key(GAME)
        view.put(key, 1, Game(game_id=GAME, spread=1).SerializeToString())
        asked: list[str] = []

        async def refresh(key: str) -> None:
            asked.append(key)
            view.put(key, 2, Game(game_id=GAME, spread=2).SerializeToString())

        async def read_at_least(game_id: str, spread: int, *_: object) -> list[Share]:
            return [share(p, 1) for p in ids.partitions_of(game_id, spread)]

        watch = SimpleNamespace(view=view, refresh_shared=refresh)
        results = SimpleNamespace(read_at_least=read_at_least)
        service = AggregateService(
            *(cast(Any, each) for each in (watch, results, None)),
            list,
            WaitingReads(lambda: 0.0),
            AddressKeys(),
            cast(Any, None),
        )
        context = cast(Any, SimpleNamespace(time_remaining=lambda: None))
        await service._shares(GAME, [Position(partition=HERE, sequence=1)], context)
        assert asked == []
        spread, _ = await service._shares(GAME, [Position(partition=THERE, sequence=1)], context)
        assert (asked, spread) == ([key], 2)

    run(scenario())


def test_i5_no_fraction_is_read_of_a_game_that_some_of_its_partitions_have_forgotten() -> None:
    async def scenario() -> None:
        view = CatalogView()
        view.put(subjects.game_key(GAME), 1, Game(game_id=GAME, spread=2).SerializeToString())
        stages: dict[int, Stage] = {}

        async def read_at_least(*_: object) -> list[Share]:
            return [replace(share(p, 1), stage=stage) for p, stage in stages.items()]

        parts = SimpleNamespace(view=view), SimpleNamespace(read_at_least=read_at_least), None
        service = AggregateService(
            *(cast(Any, each) for each in parts),
            list,
            WaitingReads(lambda: 0.0),
            AddressKeys(),
            cast(Any, None),
        )
        context = cast(Any, SimpleNamespace(time_remaining=lambda: None))
        for shown in (
            {HERE: STAGE_UNSPECIFIED, THERE: STAGE_UNSPECIFIED},
            {HERE: STAGE_UNSPECIFIED, THERE: STAGE_CLOSED},
            {HERE: STAGE_SEALED, THERE: STAGE_CLOSED},
            {HERE: STAGE_SEALED, THERE: STAGE_SEALED},
        ):
            stages = shown
            await service._shares(GAME, [], context)
        stages = {HERE: STAGE_UNSPECIFIED, THERE: STAGE_SEALED}
        with pytest.raises(Unknown, match="has ended and is being forgotten"):
            await service._shares(GAME, [], context)

    run(scenario())


def test_i10_a_read_that_waited_is_refused_if_its_token_ended_meanwhile() -> None:
    async def scenario() -> None:
        view, is_revoked = CatalogView(), False
        view.put(subjects.game_key(GAME), 1, Game(game_id=GAME, spread=1).SerializeToString())

        async def read_at_least(game_id: str, spread: int, *_: object) -> list[Share]:
            nonlocal is_revoked
            is_revoked = True
            return [share(HERE, 1)]

        def reader(_: object, game_id: str) -> None:
            if is_revoked:
                raise Unauthenticated("token: was revoked")

        async def abort(code: grpc.StatusCode, details: str, trailers: object) -> None:
            aborted.append((code, details))

        aborted: list[tuple[grpc.StatusCode, str]] = []
        watch = SimpleNamespace(view=view, public_id=UNKEYED)
        parts = watch, SimpleNamespace(read_at_least=read_at_least), None
        service = AggregateService(
            *(cast(Any, each) for each in parts),
            list,
            WaitingReads(lambda: 0.0),
            AddressKeys(),
            cast(Any, SimpleNamespace(reader=reader, standing=reader, public_id=Access.public_id)),
        )
        context = cast(Any, SimpleNamespace(time_remaining=lambda: None, abort=abort))
        await service.Read(ReadRequest(game_id=GAME), context)
        is_revoked = False
        standing = ReadStandingRequest(game_id=GAME, board_id="b", actor_id="ann")
        await service.ReadStanding(standing, context)
        assert aborted == [(grpc.StatusCode.UNAUTHENTICATED, "token: was revoked")] * 2

    run(scenario())


def test_a_game_is_read_over_the_widest_spread_that_is_known() -> None:
    view = CatalogView()
    spreads = Spreads(view)
    view.put(subjects.game_key(GAME), 1, Game(game_id=GAME, spread=1).SerializeToString())
    assert spreads.of(GAME) == 1
    poll = Poll(game_id=GAME, poll_id="p", spread=4)
    view.put(subjects.poll_key(GAME, "p"), 2, poll.SerializeToString())
    assert spreads.of(GAME) == 4
    board = Board(game_id=GAME, board_id="b", spread=2)
    view.put(subjects.board_key(GAME, "b"), 3, board.SerializeToString())
    assert spreads.of(GAME) == 4
    view.put(subjects.game_key(GAME), 4, Game(game_id=GAME, spread=8).SerializeToString())
    assert spreads.of(GAME) == 8


def test_first_time_viewers_wait_while_a_partition_is_folded_anew(
    around: Stores,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BARRIER_S", 0.5)
    monkeypatch.setattr(gateway_bounds, "GAME_LINGER_S", 0.0)

    async def scenario() -> None:
        async with staged(around) as stage:
            await stage.results.show()
            with redis.Redis.from_url(around.redis_url) as client:
                key = layout.stream_key(PARTITION)
                client.set(key, f"played {stage.results.sequence + 1}")
                with pytest.raises(grpc.aio.AioRpcError, match="is being rebuilt") as refused:
                    await first(stage.subscribe())
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                monkeypatch.setattr(limits, "BARRIER_S", 20.0)
                waiting = asyncio.create_task(first(stage.subscribe()))
                await stage.results.show()
                snapshot = (await waiting).snapshot
                assert snapshot.topics[0].cursor.positions[0].sequence == stage.results.sequence
                # Who comes while others watch is shown what they see.
                watching = stage.subscribe()
                await first(watching)
                client.set(key, f"played {stage.results.sequence + 1}")
                assert (await first(stage.subscribe())).HasField("snapshot")
                watching.cancel()

    run(scenario())


def test_i4_reads_without_a_position_are_never_told_a_fraction(servers: Stores) -> None:
    """Also where one partition of many is lost, and its owner has not noticed yet."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            for _ in range(20):
                for partition in PARTITIONS:
                    await votes.vote(partition, 20)
            assert await votes.voters() == votes.acked
            worker.send_signal(signal.SIGSTOP)
            await votes.stored[3].eraser.erase("by hand")
            with pytest.raises(Unavailable, match="partition 3 is being rebuilt"):
                await votes.results.read_at_least(blocks.GAME, wire_bounds.PARTITIONS, [], 0.2)
            worker.send_signal(signal.SIGCONT)
            for stored in votes.stored[4:]:
                await stored.eraser.erase("by hand")
            answers = 0
            while answers < 20:
                shares = await votes.results.read_at_least(blocks.GAME, wire_bounds.PARTITIONS, [], 20)
                answers += 1
                told = [s.partials["poll/mvp"].tally.voters for s in shares if "poll/mvp" in s.partials]
                assert sum(told) == votes.acked

    run(scenario(), within_s=90)
