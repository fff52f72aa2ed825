"""I4: the event stream is never full for long, and what was purged from it is never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import nats.js.errors
import pytest
import redis

from aggregate import bounds as aggregate_bounds
from aggregate import checkpoint
from aggregate.eventlog import EventLog
from aggregate.partition_store import PartitionStore
from aggregate.retention import Checkpoints, CheckpointUnreadable, Retention
from grandstand.internal.v1.internal_pb2 import BlockIdentity, Checkpoint, CheckpointKey, PartitionState
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from mesh.redis.errors import Rewound
from mesh.redis.layout import Write
from tests.support import blocks
from tests.support.games import run
from tests.support.servers import Stores, eventually, stores
from tests.support.votes_stream import PARTITIONS, VotesStream, owner, votes_stream

ROOM_BYTES = 96 * 1024
VOTES = 20


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("retention")) as started:
        yield started


@asynccontextmanager
async def little_room(servers: Stores) -> AsyncIterator[VotesStream]:
    """An event stream that takes ROOM_BYTES."""
    bus = await Bus.connect(servers.nats_url, "test")
    await bus.ensure_events_stream(bytes_max=ROOM_BYTES)
    await bus.close()
    async with votes_stream(servers.nats_url, servers.redis_url) as votes:
        yield votes


async def vote(votes: VotesStream, partition: int, count: int = VOTES) -> None:
    """What a full stream refuses is tried again, as clients do."""

    async def stored() -> bool:
        try:
            await votes.vote(partition, count)
        except nats.js.errors.APIError as error:
            if error.err_code != 10077:  # maximum bytes exceeded
                raise
            return False
        return True

    await eventually(stored, "there is room again")


async def fill(votes: VotesStream, times: float) -> None:
    """Votes of `times` the stream's room."""
    sent = 0
    while sent < times * ROOM_BYTES:
        for partition in PARTITIONS:
            await vote(votes, partition)
        sent += len(PARTITIONS) * VOTES * 60


async def purged(votes: VotesStream) -> dict[int, int]:
    """Each partition's newest checkpoint."""
    checkpoints = Checkpoints(votes.bus)
    stream, _ = await votes.bus.events_stream()
    return {p: await checkpoints.newest(p, stream) for p in PARTITIONS}


def test_i4_more_than_the_stream_holds_is_counted_and_survives_an_empty_redis(
    servers: Stores,
) -> None:
    async def scenario() -> None:
        async with little_room(servers) as votes:
            servers.worker("aggregate-1")
            servers.worker("aggregate-2")
            await fill(votes, times=3)
            assert await votes.voters() == votes.acked
            before = await purged(votes)
            assert min(before.values()) > 0, "every partition has a checkpoint"
            with redis.Redis.from_url(servers.redis_url) as client:
                client.flushall()
            for partition in PARTITIONS:
                await vote(votes, partition)
            assert await votes.voters() == votes.acked
            await votes.stored[0].eraser.erase("by hand")
            assert await votes.voters() == votes.acked

    run(scenario(), within_s=90)


def test_i4_redis_gone_back_behind_what_is_purged_gets_the_checkpoint(servers: Stores) -> None:
    async def scenario() -> None:
        async with little_room(servers) as votes:
            servers.worker("aggregate-1")
            await votes.owned_by("aggregate-1")
            await votes.vote(3, VOTES)
            assert await votes.voters() == votes.acked
            with redis.Redis.from_url(servers.redis_url) as client:
                older = {key: client.dump(key) for key in client.scan_iter(match="{p3}:*")}
                await fill(votes, times=2)
                await eventually(lambda: reached(votes), "a checkpoint")
                pipeline = client.pipeline(transaction=True)
                for key, value in older.items():
                    if value is not None and not key.endswith(b":lease"):
                        pipeline.restore(key, 0, value, replace=True)
                await asyncio.to_thread(pipeline.execute)
            await vote(votes, 3)
            assert await votes.voters() == votes.acked

    run(scenario(), within_s=90)


async def reached(votes: VotesStream) -> bool:
    return (await purged(votes))[3] > 0


class Standing:
    """The owner of a partition that folds nothing more, as the stream is full."""

    def __init__(self, found: Checkpoint) -> None:
        self.index = found.partition
        self._found = found

    async def checkpoint(self) -> Checkpoint:
        return self._found


def test_i1_a_purge_that_was_never_heard_is_asked_for_again(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the stream is full for good: no block comes that would bring a later marker."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            for _ in range(3):
                last = await votes.vote(3)
            events = EventLog(votes.bus)
            stream, _ = await events.stream()
            state = PartitionState(applied=last, bound=await events.block(last))
            owner = Standing(Checkpoint(partition=3, applied=last, stream=stream, state=state))
            retention = Retention(votes.bus, Checkpoints(votes.bus), list)
            with monkeypatch.context() as cut_off:
                cut_off.setattr(votes.bus.js, "purge_stream", never_heard)
                with pytest.raises(TimeoutError):
                    await retention._make_room(owner)
            assert (await events.purged(3)).up_to == last
            assert await events.first(3) < last
            await retention._make_room(owner)
            assert await events.first(3) == last
            before = await events.stream()
            await retention._make_room(owner)
            assert await events.stream() == before, "there is nothing more to do"

    run(scenario())


def test_i4_a_marker_whose_block_the_stream_lost_meanwhile_purges_nothing_and_is_taken_back(
    servers: Stores,
) -> None:
    """The checkpoint before it is gone on from, or else the first block: nothing is lost, and the partition
    is shown again."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            for _ in range(3):
                last = await votes.vote(3)
            events, checkpoints = EventLog(votes.bus), Checkpoints(votes.bus)
            stream, _ = await events.stream()
            first = await events.first(3)

            async def lost(at: int) -> None:
                """A checkpoint of a block that was lost, and the marker that was stored behind that."""
                bound = BlockIdentity(sequence=at, stored_at_us=1, digest=b"of the lost block")
                state = PartitionState(applied=at, bound=bound)
                of_lost = Checkpoint(partition=3, applied=at, stream=stream, state=state)
                purged = await events.purged(3)
                await checkpoints.put(of_lost, purged.floor(stream))
                assert not await events.purge(3, bound, stream, purged)
                assert (await events.purged(3)).floor(stream) == at
                assert await events.first(3) == first, "nothing is purged"

            async def is_folded() -> bool:
                return (await votes.applied())[3] >= votes.last[3]

            async def voters() -> int:
                await eventually(is_folded, "all is folded")
                shares = await votes.results.read(blocks.GAME, len(PARTITIONS))
                return next(s.partials["poll/mvp"].tally.voters for s in shares if s.partition == 3)

            await lost(last)
            async with owner(votes, 3) as worker:
                assert await voters() == votes.acked
                assert (await events.purged(3)).floor(stream) == 0
                found = await worker.checkpoint()
                assert found is not None
            await Retention(votes.bus, checkpoints, list)._make_room(Standing(found))
            first = kept = await events.first(3)
            assert kept == found.applied
            await lost(await votes.vote(3))
            with redis.Redis.from_url(servers.redis_url) as client:
                client.flushall()
            async with owner(votes, 3):
                assert await voters() == votes.acked
                assert (await events.purged(3)).floor(stream) == kept

    run(scenario())


async def never_heard(*_: object, **__: object) -> None:
    raise TimeoutError("nats: timeout")


def test_an_older_checkpoint_that_comes_late_takes_nothing_from_a_newer_one(servers: Stores) -> None:
    async def scenario() -> None:
        async with little_room(servers) as votes:
            checkpoints = Checkpoints(votes.bus)
            assert await checkpoints.newest(7, "s") == 0
            for applied, floor in ((50, 0), (100, 0), (2_000, 100), (900, 100)):
                key = CheckpointKey(name="log:votes", log=b"%d" % applied)
                state = PartitionState(applied=applied)
                await checkpoints.put(
                    Checkpoint(partition=7, applied=applied, stream="s", keys=[key], state=state), floor
                )
            assert await checkpoints.newest(7, "s") == 2_000
            assert (await checkpoints.get(7, "s", 2_000)).keys[0].log == b"2000"
            assert await checkpoints.newest(7, "another stream") == 0
            assert await checkpoints.newest(70, "s") == 0
            assert (await checkpoints.get(7, "s", 100)).keys[0].log == b"100", "blocks are purged up to it"
            with pytest.raises(CheckpointUnreadable):
                await checkpoints.get(7, "s", 50)

    run(scenario())


def test_a_checkpoint_put_back_is_the_state_it_was_taken_of(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing renews it here, and a machine may be busy.
    monkeypatch.setattr("aggregate.partition_store._LEASE_MS", 60_000)

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            partition = 90
            stored = PartitionStore(votes.database, partition, "one")
            await stored.acquire("t")
            await stored.reset("t", "s", 0)
            long = bytes(range(256)) * (aggregate_bounds.RESTORE_BYTES_MAX // 100)
            name = ("g", "board/b", "")
            fields = [part for n in range(5_000) for part in (f"a{n}", str(n))]
            ranks = [part for n in range(5_000) for part in (repr(n / 7), f"a{n}")]
            each = aggregate_bounds.FLUSH_ARGUMENTS_MAX
            writes = [
                Write("HSET", layout.topics_key(partition), ("g/board/b", b"")),
                Write("HSET", layout.results_key(partition, "g"), ("board/b", b"\x00")),
                Write("SET", layout.log_key(partition, "votes"), (long,)),
                *(
                    Write("HSET", layout.part_hash_key(partition, *name), fields[at : at + each])
                    for at in range(0, len(fields), each)
                ),
                *(
                    Write("ZADD", layout.part_ranking_key(partition, *name), ranks[at : at + each])
                    for at in range(0, len(ranks), each)
                ),
            ]
            await stored.flush("t", 0, PartitionState(applied=9), writes)
            taken = await checkpoint.take(stored, "t", partition, 9, "s")
            again = Checkpoint.FromString(taken.SerializeToString())
            await stored.reset("t", "s", 0)
            assert await stored.applied() == 0
            await checkpoint.restore(stored, "t", again)
            assert await stored.applied() == 9
            assert content(await checkpoint.take(stored, "t", partition, 9, "s")) == content(taken)
            with pytest.raises(Rewound):
                await stored.fill("t", [])

    run(scenario())


def content(found: Checkpoint) -> dict[str, tuple[bytes, dict[bytes, bytes], dict[bytes, float]]]:
    """By key, whatever order its fields came in."""
    return {
        key.name: (
            key.log,
            dict(zip(key.fields[::2], key.fields[1::2], strict=True)),
            dict(zip(key.members, key.scores, strict=True)),
        )
        for key in found.keys
    }


def test_checkpoints_of_a_partition_sort_by_their_sequence() -> None:
    names = [subjects.checkpoint(1, "s", applied) for applied in (9, 10, 99, 100, 10**15)]
    assert names == sorted(names)
