"""I3: an instance name is one process's: told by the lives in their beats, never by a lease alone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.support.games import run
from tests.support.servers import HOST, Process, Stores, stores
from tests.support.votes_stream import PARTITIONS, VotesStream, votes_stream


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("names")) as started:
        yield started


def namesake(servers: Stores, first: Process) -> Process:
    """Of the same name, started from elsewhere."""
    second = Process("namesake", first._command, servers.folder)
    second._command[second._command.index("--listen") + 1] = f"{HOST}:{servers.ports.take()}"
    servers.processes.append(second)
    second.start()
    return second


async def counts(votes: VotesStream) -> None:
    for partition in PARTITIONS:
        await votes.vote(partition)
    assert await votes.voters() == votes.acked


def test_a_second_process_of_a_name_does_not_start(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            first = servers.worker("aggregate-1")
            await votes.owned_by("aggregate-1")
            second = namesake(servers, first)
            assert await asyncio.to_thread(second.wait) == 1
            *logged, said = second.lines()
            assert said["message"].startswith("aggregate-1: another process of this name is running")
            assert all("keys from " in line["message"] for line in logged), "no traceback"
            assert first.running
            await counts(votes)

    run(scenario())


def test_a_process_that_was_stopped_ends_if_its_name_is_in_use_by_another_life(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            first = servers.worker("aggregate-1")
            await votes.owned_by("aggregate-1")
            first.send_signal(signal.SIGSTOP)
            second = namesake(servers, first)
            await counts(votes)
            first.send_signal(signal.SIGCONT)
            assert await asyncio.to_thread(first.wait) == 1
            assert "another process that began later has this name now" in first.said().splitlines()[-1]
            await counts(votes)
            assert second.running

    run(scenario(), within_s=90)


def test_a_killed_process_that_is_started_again_owns_at_once(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            first = servers.worker("aggregate-1")
            await votes.owned_by("aggregate-1")
            first.kill()
            first.start()
            await counts(votes)
            assert first.running

    run(scenario())
