"""I4: what Redis holds can be lost, wrong or of another stream: it is folded again from the stream."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator

import pytest
import redis

from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM
from grandstand.event.v1.event_pb2 import Event, Position, Score
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from mesh.redis import layout
from tests.support.commands import failed, succeeded
from tests.support.games import GameClient, new_game, run, until
from tests.support.mesh_fixture import RunningMesh, running
from tests.support.nats_versions import nats_version, on_each_nats  # noqa: F401
from tests.support.servers import Stores, eventually, stores
from tests.support.votes_stream import PARTITIONS, votes_stream

FANS = 60
SPREAD = 4


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running(tmp_path_factory.mktemp("rebuild"), "--aggregate", "2") as started:
        yield started


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("stores")) as started:
        yield started


async def play(game: GameClient) -> list[Position]:
    """Votes and scores of FANS; where the last of each partition is."""
    await game.open_poll()
    await game.open_board(mode=BOARD_MODE_SUM)
    last: dict[int, int] = {}
    for n in range(FANS):
        score = Score(board_id="top", points=n)
        events = (
            game.vote(f"fan-{n}", "red" if n % 3 else "blue"),
            Event(game_id=game.game_id, actor_id=f"fan-{n}", score=score),
        )
        for event in events:
            for position in await game.send(event):
                last[position.partition] = max(position.sequence, last.get(position.partition, 0))
    return [Position(partition=p, sequence=s) for p, s in last.items()]


async def shown(game: GameClient, positions: list[Position]) -> list[bytes]:
    """Every topic as it is read. Cursors apart: they say in which flush a topic last changed, and a fold
    of a backlog has fewer flushes."""
    found = (await game.backend.read(game.game_id, ["*"], positions)).topics
    for topic in found:
        topic.ClearField("cursor")
    return [topic.SerializeToString(deterministic=True) for topic in found]


def test_i4_rebuild_folds_everything_anew_and_no_viewer_goes_back(own_mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh, spread=SPREAD) as game:
            last = await play(game)
            async with game.watching("poll/mvp", "board/top") as viewer:
                await until(lambda: voters(viewer.states.get("poll/mvp")) == FANS, "all are shown")
                before = await shown(game, last)
                said = await asyncio.to_thread(succeeded, own_mesh.home, "rebuild", "--yes", "--json")
                told = json.loads(said.splitlines()[-1])
                assert told["partitions"] == wire_bounds.PARTITIONS
                assert told["blocks"] >= len(last)
                assert told["seconds"] > 0
                assert await shown(game, last) == before
                assert (await game.send(game.vote("late")))[0].sequence > max(p.sequence for p in last)
                await until(lambda: voters(viewer.states.get("poll/mvp")) == FANS + 1, "the late one shows")
                assert viewer.cache.went_back == 0

    run(scenario(), within_s=90)


def test_i4_i5_while_a_live_mesh_is_rebuilt_every_reader_is_told_the_whole_count(
    own_mesh: RunningMesh,
) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh, spread=SPREAD) as game:
            await until_shown(game, await play(game))
            done = asyncio.Event()
            told: list[int] = []

            async def read() -> None:
                while not done.is_set():
                    told.append(voters(await game.topic("poll/mvp")))

            async def watch() -> None:
                while not done.is_set():
                    async with game.watching("poll/mvp") as viewer:
                        told.append(voters(viewer.states.get("poll/mvp")))

            readers = [asyncio.create_task(each()) for each in (read, read, watch, watch)]
            await until(lambda: len(told) > 4, "they are answered")
            for _ in range(3):
                await asyncio.to_thread(succeeded, own_mesh.home, "rebuild", "--yes")
            done.set()
            await asyncio.gather(*readers)
            assert set(told) == {FANS}

    run(scenario(), within_s=120)


async def until_shown(game: GameClient, positions: list[Position]) -> None:
    assert voters(await game.topic("poll/mvp", positions)) == FANS


def voters(state: object) -> int:
    return state.tally.voters if state is not None else 0  # type: ignore[attr-defined]


def test_rebuild_of_one_partition_touches_no_other(own_mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(own_mesh.edge, own_mesh.mesh, spread=SPREAD) as game:
            last = await play(game)
            mine, other, *_ = ids.partitions_of(game.game_id, SPREAD)
            before = await shown(game, last)
            with redis.Redis.from_url(own_mesh.stores().redis) as client:
                client.hset(layout.topics_key(other), "!mark", b"")
                said = await asyncio.to_thread(
                    succeeded, own_mesh.home, "rebuild", "--yes", "--partition", str(mine)
                )
                assert "of 1 partition are folded again" in said
                assert client.hexists(layout.topics_key(other), "!mark")
                client.hdel(layout.topics_key(other), "!mark")
            assert await shown(game, last) == before

    run(scenario(), within_s=90)


def test_rebuild_erases_nothing_unasked(own_mesh: RunningMesh) -> None:
    assert "give --yes" in failed(own_mesh.home, "rebuild")
    assert "--partition 16 is outside 0 to 15" in failed(own_mesh.home, "rebuild", "--partition", "16")


@on_each_nats
def test_i4_a_stream_that_was_lost_takes_its_state_along(servers: Stores) -> None:
    """Redis kept, NATS's data gone: what was folded from the lost stream must not meet the new one's."""

    async def first() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            for partition in PARTITIONS:
                await votes.vote(partition, 20)
            assert await votes.voters() == votes.acked

    async def second() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            # Further on than the lost stream was, or its state would look like the new one's.
            for partition in (*PARTITIONS, *PARTITIONS):
                await votes.vote(partition, 1)

            async def counted_anew() -> bool:
                applied = await votes.applied()
                return all(applied[p] == votes.last[p] for p in PARTITIONS)

            await eventually(counted_anew, "the new stream is folded from its start")
            assert await votes.voters() == votes.acked

    servers.worker("aggregate-1")
    servers.worker("aggregate-2")
    run(first())
    servers.nats.kill()
    shutil.rmtree(servers.folder / "nats")
    servers.nats.start()
    run(second())


def test_i4_state_that_does_not_decode_is_folded_anew(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            for partition in PARTITIONS:
                await votes.vote(partition, 5)
            assert await votes.voters() == votes.acked
            worker.kill()
            with redis.Redis.from_url(servers.redis_url) as client:
                client.set(layout.log_key(0, "votes"), b"\xff\xff\xff")
                client.hset(layout.topics_key(1), "game/poll/mvp", b"\xff\xff")
                client.hset(layout.topics_key(2), b"\xff\xfe", b"")
                client.delete(layout.topics_key(3))
                client.set(layout.topics_key(3), b"no hash")
                client.delete(layout.log_key(4, "origins"))
                client.hset(layout.log_key(4, "origins"), "no", "log")
            servers.worker("aggregate-1")
            for partition in PARTITIONS:
                await votes.vote(partition, 1)
            assert await votes.voters() == votes.acked

    run(scenario())


def test_i4_a_key_of_the_wrong_type_is_not_a_loop_without_end(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            for partition in PARTITIONS:
                await votes.vote(partition, 5)
            assert await votes.voters() == votes.acked
            with redis.Redis.from_url(servers.redis_url) as client:
                client.delete(layout.log_key(3, "votes"))
                client.hset(layout.log_key(3, "votes"), "a", "b")
            await votes.vote(3, 5)
            assert await votes.voters() == votes.acked

    run(scenario())


@on_each_nats
def test_i4_redis_emptied_under_load_ends_where_one_honest_count_ends(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            servers.worker("aggregate-2")
            await votes.owned_by("aggregate-1", "aggregate-2")
            async with votes.flowing() as gaps:
                with redis.Redis.from_url(servers.redis_url) as client:
                    await asyncio.to_thread(client.flushall)
                await gaps.go_on()
            assert await votes.voters() == votes.acked

    run(scenario())


def test_i4_redis_gone_back_in_time_ends_where_one_honest_count_ends(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            await votes.owned_by("aggregate-1")
            async with votes.flowing() as gaps:
                with redis.Redis.from_url(servers.redis_url) as client:
                    older = {key: client.dump(key) for key in client.scan_iter(match="{p5}:*")}
                    await gaps.go_on()
                    pipeline = client.pipeline(transaction=True)
                    for key, value in older.items():
                        if value is not None and not key.endswith(b":lease"):
                            pipeline.restore(key, 0, value, replace=True)
                    await asyncio.to_thread(pipeline.execute)
                await gaps.go_on()
            assert await votes.voters() == votes.acked

    run(scenario())
