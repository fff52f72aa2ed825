"""An audit on real stores finds what Redis is tampered with, and takes what is purged from the checkpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from aggregate.eventlog import EventLog
from aggregate.retention import Checkpoints, Retention
from aggregate.worker import PartitionWorker
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM, Board, Poll
from grandstand.internal.v1.internal_pb2 import Block, Partial, VoteLog
from grandstand.wire import ids
from mesh.explain.audit import Audit, PartitionAudit
from mesh.explain.explaining import Explainer
from mesh.explain.question import ExplainQuestion
from mesh.jetstream import subjects
from mesh.redis import layout
from tests.support import blocks
from tests.support.blocks import GAME
from tests.support.games import run
from tests.support.servers import Stores, eventually, stores
from tests.support.votes_stream import VotesStream, owner, votes_stream
from toolbox.cli.audit import failures_of

PARTITION = ids.partition_of(GAME, "ann", 1)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("audit")) as started:
        yield started


async def define(votes: VotesStream) -> None:
    bucket = await votes.bus.js.create_key_value(bucket=subjects.CATALOG_BUCKET)
    poll, board = blocks.poll(), blocks.board(BOARD_MODE_SUM)
    definitions: dict[str, Poll | Board] = {
        subjects.poll_key(GAME, poll.poll_id): poll,
        subjects.board_key(GAME, board.board_id): board,
    }
    for key, definition in definitions.items():
        await bucket.put(key, definition.SerializeToString())
    await put(votes, blocks.control(board))


async def put(votes: VotesStream, block: Block) -> int:
    return await votes.put(PARTITION, block.SerializeToString())


async def folded(votes: VotesStream) -> None:
    async def is_there() -> bool:
        return (await votes.applied())[PARTITION] >= votes.last[PARTITION]

    await eventually(is_there, "all is folded")


async def audited(votes: VotesStream, topic: str = "poll/mvp") -> PartitionAudit:
    audits = await Audit(votes.bus, votes.database, lambda read, left: None).run(GAME, topic)
    assert [audit.partition for audit in audits] == [PARTITION]
    return audits[0]


async def told(votes: VotesStream, actor: str) -> tuple[str, dict[str, str]]:
    """The summary, and the last step of each kind."""
    give_up_s = asyncio.get_running_loop().time() + 20
    found = await Explainer(votes.bus, votes.results).explain(
        ExplainQuestion(GAME, actor, "poll/mvp"), give_up_s
    )
    return found.summary, {step.kind: step.text for step in found.steps}


def test_what_is_shown_is_held_against_the_stream(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            await define(votes)
            for _ in range(3):
                await votes.vote(PARTITION)
            ann = blocks.vote("ann", "a", blocks.origin(900), 1)
            at = await put(votes, blocks.block([ann, blocks.score("ann", 7, blocks.origin(900), 2)]))
            async with owner(votes, PARTITION):
                await folded(votes)
                audit = await audited(votes)
                assert (audit.differences, audit.unknown, audit.blocks) == ([], "", 6)
                assert (await audited(votes, "board/top")).differences == []
            with redis.Redis.from_url(servers.redis_url) as client:
                await tampered(votes, client)

            async with owner(votes, PARTITION, "two") as worker:
                await eventually(lambda: purged(votes, worker), "what is folded is purged")
                again = await put(votes, blocks.block([ann, blocks.vote("bob", "b", blocks.origin(901), 1)]))
                await folded(votes)
                audit = await audited(votes)
                assert (audit.differences, audit.unknown, audit.blocks) == ([], "", 1)
                assert at <= audit.checkpoint < again
                assert (await audited(votes, "board/top")).differences == []
                summary, steps = await told(votes, "ann")
                assert "a resend of the same number, in a block that is purged" in steps["resent"]
                assert f"below {audit.purged_up_to} are purged" in steps["purged"]
                assert "a resend" in summary
                assert (await told(votes, "bob"))[0].startswith("It counts: vote for b")
            await votes.bus.js.delete_object_store(subjects.CHECKPOINTS_BUCKET)
            assert "there is no checkpoint" in (await audited(votes)).unknown

    run(scenario(), within_s=60)


async def purged(votes: VotesStream, worker: PartitionWorker) -> bool:
    await Retention(votes.bus, Checkpoints(votes.bus), list)._make_room(worker)
    return (await EventLog(votes.bus).purged(PARTITION)).up_to > 0


async def tampered(votes: VotesStream, client: redis.Redis) -> None:
    """One figure of what is shown, and one vote of the state."""
    results, log = layout.results_key(PARTITION, GAME), layout.log_key(PARTITION, "votes")
    shown = client.hget(results, "poll/mvp")
    assert isinstance(shown, bytes)
    partial = Partial.FromString(shown)
    partial.tally.votes[0] += 1
    client.hset(results, "poll/mvp", partial.SerializeToString())
    (failure,) = failures_of([await audited(votes)])
    counted = partial.tally.votes[0] - 1
    assert failure == f"partition {PARTITION}, votes of a: {counted} counted, {counted + 1} shown"
    client.hset(results, "poll/mvp", shown)

    stored = client.get(log)
    assert isinstance(stored, bytes)
    rows = VoteLog.FromString(stored).rows[0]
    a, b = (option.to_bytes(8, "little") for option in (1, 2))
    assert rows.options[:8] in (a, b)
    changed = (b if rows.options[:8] == a else a) + rows.options[8:]
    client.set(log, stored.replace(rows.options, changed, 1))
    failures = failures_of([await audited(votes)])
    assert len(failures) == 2
    assert all("in Redis's state" in each for each in failures)
    client.set(log, stored)
    assert failures_of([await audited(votes)]) == []
