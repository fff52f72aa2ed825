"""I2, I4: a piece of the state that is lost or older, a stream that lost its tail, a purge that comes late.

Bare workers on real stores; what is counted in the end is what the stream says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Iterator

import pytest
import redis
from nats.js.errors import APIError

from aggregate import checkpoint, lease_session
from aggregate.eventlog import EventLog, Purged
from aggregate.lease_session import LeaseSession
from aggregate.manifest import tail
from aggregate.partition import Partition
from aggregate.partition_store import PartitionStore
from aggregate.retention import Checkpoints, Retention
from aggregate.worker import PartitionWorker
from grandstand.internal.v1.internal_pb2 import Checkpoint, DeadLetter, PartitionState, PurgeMarker
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Unavailable
from mesh.jetstream import subjects
from mesh.jetstream.pull import Pull
from mesh.redis import layout
from mesh.redis.errors import Corrupt, Fenced, Rewound
from mesh.redis.layout import Write
from tests.simulation.database import ModelDatabase
from tests.support import blocks
from tests.support.games import run
from tests.support.nats_versions import nats_version, on_each_nats  # noqa: F401
from tests.support.servers import Stores, eventually, stores
from tests.support.votes_stream import PARTITIONS, VotesStream, owner, votes_stream

VOTES = 20


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("loss")) as started:
        yield started


async def put_back(client: redis.Redis, key: str, value: bytes) -> None:
    await asyncio.to_thread(client.restore, key, 0, value, replace=True)


def test_i4_any_key_that_is_lost_or_older_is_found_at_the_next_load(servers: Stores) -> None:
    """101 votes stay 101, a resend counts once, and results come back: a key of each kind."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            sent: dict[int, int] = {}
            for partition in PARTITIONS:
                sent[partition] = await votes.vote(partition, VOTES)
            assert await votes.voters() == votes.acked
            kinds = [
                layout.log_key(0, "votes"),
                layout.log_key(1, "origins"),
                layout.topics_key(2),
                layout.results_key(3, blocks.GAME),
                layout.manifest_key(4),
                layout.applied_key(5),
                layout.stream_key(6),
            ]
            older_of = (
                lambda p: layout.log_key(p, "votes"),
                lambda p: layout.log_key(p, "origins"),
                lambda p: layout.results_key(p, blocks.GAME),
                layout.manifest_key,
                layout.applied_key,
            )
            older_keys = [key(7 + n) for n, key in enumerate(older_of)]
            with redis.Redis.from_url(servers.redis_url) as client:
                older = {key: client.dump(key) for key in older_keys}
                for partition in PARTITIONS:
                    await votes.vote(partition, 1)
                assert await votes.voters() == votes.acked
                worker.kill()
                client.delete(*kinds)
                for key, value in older.items():
                    assert isinstance(value, bytes)
                    await put_back(client, key, value)
            again = servers.worker("aggregate-1")
            for partition, sequence in sent.items():
                found = await votes.bus.js.get_msg(subjects.EVENTS_STREAM, sequence)
                await votes.put(partition, found.data or b"")  # everybody's resend
            assert await votes.voters() == votes.acked
            said = again.said()
            for partition in range(7 + len(older_of)):
                assert f"partition {partition}: " in said, said

    run(scenario(), within_s=90)


def test_i4_a_key_lost_while_it_is_folded_is_not_hidden_by_the_next_flush(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            for partition in PARTITIONS:
                await votes.vote(partition, VOTES)
            assert await votes.voters() == votes.acked
            with redis.Redis.from_url(servers.redis_url) as client:
                client.delete(layout.log_key(0, "votes"), layout.results_key(1, blocks.GAME))
                client.delete(layout.manifest_key(2))
            for partition in PARTITIONS:
                await votes.vote(partition, 1)
            assert await votes.voters() == votes.acked

    run(scenario(), within_s=60)


def test_i4_the_state_of_an_older_release_is_folded_anew_and_that_is_said(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            await votes.vote(3, VOTES)
            assert await votes.voters() == votes.acked
            worker.kill()
            with redis.Redis.from_url(servers.redis_url) as client:
                stream = client.get(layout.stream_key(3))
                assert isinstance(stream, bytes)
                client.delete(layout.manifest_key(3))
                client.append(layout.log_key(3, "votes"), b"\x00")
            again = servers.worker("aggregate-1")
            await votes.vote(3, 1)
            assert await votes.voters() == votes.acked
            assert "partition 3: the state has no manifest" in again.said()

    run(scenario(), within_s=60)


@pytest.mark.parametrize("worker_restarts", [False, True])
def test_i4_a_stream_that_lost_its_tail_and_grew_again_is_folded_as_it_is_now(
    servers: Stores, worker_restarts: bool
) -> None:
    store, older = servers.folder / "nats", servers.folder / "nats-older"

    async def lost_tail() -> int:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            await votes.vote(3, VOTES)
            await votes.vote(4, VOTES)
            assert await votes.voters() == votes.acked
            kept = votes.acked
            servers.nats.stop()
            shutil.copytree(store, older)
            servers.nats.start()
            for _ in range(5):

                async def more() -> bool:
                    with contextlib.suppress(Exception):
                        await votes.vote(3, VOTES)
                        return True
                    return False

                await eventually(more, "a vote is stored")
            assert await votes.voters() == votes.acked
            return kept

    async def grown_again(kept: int) -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            votes._numbers = iter(range(1_000, 10_000))  # type: ignore[assignment]
            for _ in range(10):
                await votes.vote(3, 3)

            async def counted() -> bool:
                with contextlib.suppress(Unavailable):
                    return await votes.voters() == kept + votes.acked
                return False

            await eventually(counted, f"{kept} of before and {votes.acked} of after are counted", 30)

    worker = servers.worker("aggregate-1")
    kept = run(lost_tail())
    if worker_restarts:
        worker.kill()
    servers.nats.kill()
    shutil.rmtree(store)
    shutil.copytree(older, store)
    servers.nats.start()
    if worker_restarts:
        worker = servers.worker("aggregate-1")
    run(grown_again(kept), within_s=60)
    assert "lost its tail" in worker.said()


def test_i4_a_partition_that_was_being_rebuilt_when_the_stream_lost_its_tail_is_shown_again(
    servers: Stores,
) -> None:
    """The rebuild wanted to fold up to a block that is gone, and an idle partition never gets one as late."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            await votes.vote(3, VOTES)
            assert await votes.voters() == votes.acked
            worker.kill()
            with redis.Redis.from_url(servers.redis_url) as client:
                stream = client.get(layout.stream_key(3))
                assert isinstance(stream, bytes)
                client.set(layout.stream_key(3), stream.rpartition(b" ")[0] + b" %d" % (2**52,))
            again = servers.worker("aggregate-1")

            async def counted() -> bool:
                with contextlib.suppress(Unavailable):
                    return await votes.voters() == votes.acked
                return False

            await eventually(counted, "the partition is shown", 30)
            assert f"partition 3: its state was to be folded up to {2**52}" in again.said()

    run(scenario(), within_s=60)


# The purge.


async def checkpoint_of(worker: PartitionWorker) -> Checkpoint:
    async def taken() -> Checkpoint | None:
        return await worker.checkpoint()

    found = await eventually(taken, "a checkpoint is taken")
    assert found is not None
    return found


class Late:
    """An owner that stalled between its checkpoint and its purge."""

    def __init__(self, found: Checkpoint) -> None:
        self.index = found.partition
        self._found = found

    async def checkpoint(self) -> Checkpoint:
        return self._found


BLOCKS = 40


async def folded(votes: VotesStream, partition: int) -> None:
    async def is_there() -> bool:
        return (await votes.applied())[partition] >= votes.last[partition]

    await eventually(is_there, "all is folded")


def test_i4_a_purge_beneath_a_refold_is_noticed(
    servers: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A checkpoint is being stored, Redis is emptied, the next owner begins at block 1, the purge comes."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            for _ in range(BLOCKS):
                await votes.vote(3, VOTES)
            async with owner(votes, 3) as first:
                await folded(votes, 3)
                found = await checkpoint_of(first)
            for _ in range(BLOCKS):
                await votes.vote(3, VOTES)
            with redis.Redis.from_url(servers.redis_url) as client:
                await asyncio.to_thread(client.flushall)
            purged: list[int] = []

            class Jumps(Pull):
                async def open(self, start_sequence: int) -> None:
                    if not purged:
                        purged.append(found.applied)
                        retention = Retention(votes.bus, Checkpoints(votes.bus), list)
                        await retention._make_room(Late(found))
                    await super().open(start_sequence)

            monkeypatch.setattr(lease_session, "Pull", Jumps)
            async with owner(votes, 3, "two"):
                await folded(votes, 3)
                shares = await votes.results.read(blocks.GAME, wire_bounds.PARTITIONS)
                share = next(share for share in shares if share.partition == 3)
                assert purged == [found.applied]
                assert share.partials["poll/mvp"].tally.voters == votes.acked
            log = EventLog(votes.bus)
            assert (await log.purged(3)).up_to == found.applied
            assert await log.block(found.applied) is not None, "the bound block stays"
            assert "is left out" not in caplog.text, "a purged poll is no reason to set its votes aside"

    run(scenario(), within_s=60)


def test_i4_an_owner_that_lost_its_lease_sets_nothing_aside_for_what_a_later_one_purged(
    servers: Stores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was at the head when it began: no former owner can have purged what it misses."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes, owner(votes, 3):
            await folded(votes, 3)
            marker = PurgeMarker(partition=3, up_to=2**52).SerializeToString()
            await votes.bus.js.publish(subjects.purged(3), marker)
            monkeypatch.setattr(Partition, "fold", lambda *_: [DeadLetter(partition=3, reason="unknown")])
            await votes.vote(3)

            async def said() -> bool:
                return "were purged while it was folded" in caplog.text

            await eventually(said, "that a block is missing")
        assert "is left out" not in caplog.text

    caplog.set_level(logging.ERROR)
    run(scenario(), within_s=60)


def test_i4_a_session_that_is_ending_takes_no_checkpoint_and_holds_nobody_up(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention would wait for it for ever, and the event stream stay full."""
    asked: list[asyncio.Task[Checkpoint | None]] = []
    close = LeaseSession._close

    async def asked_for_one(self: LeaseSession) -> None:
        asked.append(asyncio.create_task(self.checkpoint()))
        await close(self)

    monkeypatch.setattr(LeaseSession, "_close", asked_for_one)

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            await votes.vote(3)
            async with owner(votes, 3):
                await folded(votes, 3)
            assert await asyncio.wait_for(asked[0], 5.0) is None

    run(scenario(), within_s=60)


def test_i4_purged_and_without_a_checkpoint_nothing_wrong_is_shown(
    servers: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            for _ in range(BLOCKS):
                await votes.vote(3, VOTES)
            async with owner(votes, 3) as first:
                await folded(votes, 3)
                found = await checkpoint_of(first)
                await Retention(votes.bus, Checkpoints(votes.bus), list)._make_room(Late(found))
            await votes.bus.js.delete_object_store(subjects.CHECKPOINTS_BUCKET)
            with redis.Redis.from_url(servers.redis_url) as client:
                await asyncio.to_thread(client.flushall)
            await votes.vote(3, VOTES)
            async with owner(votes, 3, "two"):

                async def said() -> bool:
                    return "cannot be folded" in caplog.text

                await eventually(said, "that it cannot be folded")
                with pytest.raises(Unavailable, match="being rebuilt"):
                    await votes.results.read_at_least(blocks.GAME, wire_bounds.PARTITIONS, [], 0.2)
                assert (await votes.applied())[3] == 0
                await Checkpoints(votes.bus).put(found, 0)
                await folded(votes, 3)
                shares = await votes.results.read(blocks.GAME, wire_bounds.PARTITIONS)
                share = next(share for share in shares if share.partition == 3)
                assert (share.whole, share.partials["poll/mvp"].tally.voters) == (True, votes.acked)

    caplog.set_level(logging.ERROR)
    run(scenario(), within_s=60)


@on_each_nats
def test_i4_neither_a_checkpoint_nor_a_purge_of_another_stream_purges_anything(servers: Stores) -> None:
    """What was purged is told by the stream, not remembered: a stream recreated has purged nothing."""

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            events = EventLog(votes.bus)
            for _ in range(BLOCKS):
                await votes.vote(3, VOTES)
            async with owner(votes, 3) as worker:
                await folded(votes, 3)
                found = await checkpoint_of(worker)
                retention = Retention(votes.bus, Checkpoints(votes.bus), list)
                await retention._make_room(Late(found))
                assert (await events.purged(3)).up_to == found.applied
            await votes.bus.js.delete_stream(subjects.EVENTS_STREAM)
            await votes.open()
            blocks_before = votes.last[3]
            for _ in range(BLOCKS):
                await votes.vote(3, VOTES)
            await retention._make_room(Late(found))
            assert await events.purged(3) == Purged()
            # One that looked at the stream before it was recreated, and is stopped until now.
            assert not await events.purge(3, found.state.bound, found.stream, Purged())
            assert await events.first(3) == blocks_before
            async with owner(votes, 3, "two") as worker:
                await folded(votes, 3)
                again = await checkpoint_of(worker)
                await retention._make_room(Late(again))
            assert blocks_before < again.applied
            assert (await events.purged(3)).up_to == again.applied
            with pytest.raises(APIError, match="wrong last sequence"):
                await events.purge(3, found.state.bound, found.stream, Purged())
            assert (await events.purged(3)).floor(again.stream) == again.applied

    run(scenario(), within_s=60)


# Checkpoints.


class TurnsBack(ModelDatabase):
    """Is put back to an older moment, lease and all, at one of its reads."""

    def __init__(self) -> None:
        super().__init__(lambda: 1_000.0)
        self.reads_left = -1
        self.older: object = None

    def _call(self, effect):  # type: ignore[no-untyped-def]
        if self.reads_left == 0:
            self.restore(self.older)  # type: ignore[arg-type]
        self.reads_left -= 1
        return super()._call(effect)


@pytest.mark.parametrize("reads", range(8))
def test_i4_no_checkpoint_is_taken_of_two_moments(reads: int) -> None:
    """Labelled 200, and holding 149 of 199 votes, it would take 50 with it for good."""

    async def scenario() -> None:
        database = TurnsBack()
        stored = PartitionStore(database, 1, "one")  # type: ignore[arg-type]
        await stored.acquire("t")
        await stored.reset("t", "s", 0)

        def writes(n: int) -> list[Write]:
            return [
                Write("HSET", layout.topics_key(1), (f"g/poll/{n}", b"")),
                Write("APPEND", layout.log_key(1, "votes"), (b"%d" % n,)),
                Write("APPEND", layout.log_key(1, "origins"), (b"o",)),
                Write("ZADD", layout.part_ranking_key(1, "g", "board/b", ""), ("1", f"m{n}")),
            ]

        await stored.flush("t", 0, PartitionState(applied=150), writes(1))
        database.older = database.snapshot()
        await stored.flush("t", 150, PartitionState(applied=200), writes(2))
        database.reads_left = reads
        try:
            taken = await checkpoint.take(stored, "t", 1, 200, "s")
        except (Fenced, Rewound, Corrupt):
            assert 0 <= reads < 6
        else:
            assert reads >= 6, "it was read before"
            log = next(key.log for key in taken.keys if key.name == "log:votes")
            assert log == b"1" + tail(150) + b"2" + tail(200)
            assert taken.state.applied == 200

    run(scenario())
