"""A second vote of a final poll is refused when its partition's owner knows it; never on a guess."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from nats.aio.msg import Msg

from aggregate.partition import Loaded, Partition
from bench._rows import Row, add_rows
from grandstand.internal.v1.internal_pb2 import VotedRequest, VotedResponse
from grandstand.wire.errors import AlreadyDone, GrandstandError, Unavailable
from ingest import bounds as ingest_bounds
from ingest.coalesce import Batch, Outcome
from ingest.votes import SILENCE_S, CastVotes, RecentVotes
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support import blocks
from tests.support.blocks import origin
from tests.support.games import new_game, run, votes_of
from tests.support.mesh_fixture import running

PARTITION = 0


class Owner:
    """Answers from a real partition's state, and notes what it is asked."""

    def __init__(self, polls: Sequence[str] = ("mvp",)) -> None:
        self.partition = Partition(PARTITION, Loaded())
        self.asked: list[VotedRequest] = []
        self.silent = False
        for poll_id in polls:
            self.fold(blocks.control(blocks.poll(poll_id)).SerializeToString())

    def fold(self, data: bytes) -> None:
        assert self.partition.fold(self.partition.folded + 1, data) == []

    def has(self, *rows: Row) -> None:
        self.fold(blocks.block(rows).SerializeToString())

    async def answer(self, message: Msg) -> None:
        request = VotedRequest.FromString(message.data)
        self.asked.append(request)
        if not self.silent:
            await message.respond(self.partition.second_votes(request).SerializeToString())


@asynccontextmanager
async def owned(tmp_path: Path, owner: Owner) -> AsyncIterator[Bus]:
    async with on_nats(tmp_path) as (_, bus, _pipeline):
        await bus.client.subscribe(subjects.votes(PARTITION), cb=owner.answer)
        yield bus


def vote(actor: str, number: int, sequence: int = 1, poll_id: str = "mvp", *, producer: bool = False) -> Row:
    return blocks.vote(actor, "a", origin(number, producer=producer), sequence, poll_id, final=True)


def batch_of(*rows: Row) -> Batch[None]:
    batch: Batch[None] = Batch(PARTITION, 0.0)
    add_rows(batch, rows)
    return batch


async def refused(votes: CastVotes, *rows: Row) -> list[int]:
    """The places in `rows` of those that are refused."""
    batch = batch_of(*rows)
    refusals = await votes.refusals(batch)
    places = [(row.game_id, row.topic, row.guest, row.generation) for row in rows]
    there = {place: [at for at, each in enumerate(places) if each == place] for place in refusals}
    return sorted(there[place][at] for place, found in refusals.items() for at in found)


NOT_STORED = Unavailable("the event log did not answer in time")


class Told:
    """The ticket of a vote, that notes what it is told."""

    def __init__(self) -> None:
        self.errors: list[GrandstandError] = []

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        assert (seq, maybe_stored) == (1, error is NOT_STORED)
        self.errors.append(error)


def batch_told(told: Told, row: Row) -> Batch[Any]:
    batch: Batch[Any] = batch_of(row)
    batch.sections = {
        place: [(told, *entry[1:]) for entry in entries] for place, entries in batch.sections.items()
    }
    return batch


def forget(votes: CastVotes, *rows: Row) -> None:
    batch = batch_of(*rows)
    votes.refused(batch, list(batch.entries()), NOT_STORED)


def test_recent_votes_are_bounded_and_the_youngest_half_is_always_known() -> None:
    recent = RecentVotes(votes_max=100)
    outcome: Outcome[None] = Outcome()
    for n in range(1_000):
        assert recent.cast((("game", "poll/mvp"), f"actor{n}", 0), (b"o", n), outcome, 0.0) is None
        assert len(recent) <= 100
        for younger in range(max(0, n - 49), n + 1):
            known = recent.cast((("game", "poll/mvp"), f"actor{younger}", 0), (b"x", 0), outcome, 0.0)
            assert known == ((b"o", younger), outcome)


def test_recent_votes_are_as_many_as_came_lately_however_many_there_ever_were() -> None:
    recent, outcome, per_s = RecentVotes(), Outcome[None](), 20
    most = 0
    for n in range(per_s * 600):
        now_s = n / per_s
        recent.cast((("game", "poll/mvp"), f"actor{n}", 0), (b"o", n), outcome, now_s)
        most = max(most, len(recent))
        if now_s >= 20:
            earlier = ("game", "poll/mvp"), f"actor{n - 20 * per_s}", 0
            known = recent.cast(earlier, (b"x", 0), outcome, now_s)
            assert known, "the votes of the last half minute are known"
    assert most <= 2 * per_s * ingest_bounds.RECENT_VOTES_S


def test_a_vote_the_owner_has_is_refused_and_its_resend_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = Owner()
        owner.has(vote("ann", 1), vote("bob", 2, producer=True))
        async with owned(tmp_path, owner) as bus:
            votes = CastVotes(bus)
            rows = [vote("ann", 3), vote("bob", 2, producer=True), vote("eve", 4)]
            ((_, found),) = (await votes.refusals(batch_of(*rows))).items()
            assert sorted(found) == [0]
            assert "actor 'ann' has already voted in poll 'mvp' of game 'game'" in found[0].message
            assert await refused(votes, vote("ann", 1)) == [], "a resend"
            assert await refused(votes, vote("ann", 3)) == [0]

    run(scenario())


def test_who_voted_before_votes_were_voided_may_vote_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = Owner()
        async with owned(tmp_path, owner) as bus:
            votes, first = CastVotes(bus), batch_of(vote("ann", 1), vote("bob", 2))
            assert await votes.refusals(first) == {}
            votes.stored(first)
            owner.has(vote("ann", 1), vote("bob", 2))
            assert await refused(votes, vote("ann", 3), vote("bob", 4)) == [0, 1]
            owner.fold(blocks.void_votes("ann").SerializeToString())
            again = [vote("ann", 3)._replace(voids=1), vote("bob", 4)._replace(voids=1)]
            assert await refused(votes, *again) == [1], "the owner is asked"

    run(scenario())


def test_a_refused_vote_is_refused_again_when_it_is_resent(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = Owner()
        owner.has(vote("ann", 1))
        async with owned(tmp_path, owner) as bus:
            votes = CastVotes(bus)
            assert await refused(votes, vote("ann", 3)) == [0]
            assert await refused(votes, vote("ann", 3)) == [0]

    run(scenario())


def test_a_block_is_one_request_with_a_question_for_each_poll(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = Owner(("mvp", "fan"))
        owner.has(vote("ann", 1, 1), vote("bob", 1, 2, "fan"))
        async with owned(tmp_path, owner) as bus:
            votes = CastVotes(bus)
            rows = [
                vote("bob", 7, 1),
                vote("bob", 7, 2, "fan"),
                vote("ann", 7, 3),
                vote("ann", 7, 4, "fan"),
                blocks.score("ann", 3, origin(7), 5),
            ]
            assert await refused(votes, *rows) == [1, 2]
            (request,) = owner.asked
            assert [q.topic for q in request.questions] == ["poll/mvp", "poll/fan"]
            changeable = blocks.vote("ann", "b", origin(8), 1)
            assert await refused(votes, changeable) == []
            assert len(owner.asked) == 1, "a vote that may be changed is nobody's question"

    run(scenario())


def test_two_votes_of_one_actor_in_one_block_are_told_apart_without_asking(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with owned(tmp_path, Owner()) as bus:
            votes = CastVotes(bus)
            batch = batch_of(vote("ann", 1, 1), vote("ann", 1, 1), vote("ann", 1, 2))
            ((_, found),) = (await votes.refusals(batch)).items()
            assert found == {2: None}

    run(scenario())


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_second_vote_whose_first_is_on_its_way_is_told_with_it(tmp_path: Path, is_stored: bool) -> None:
    async def scenario() -> None:
        async with owned(tmp_path, Owner()) as bus:
            votes = CastVotes(bus)
            first, second, third = Told(), Told(), Told()
            batch = batch_told(first, vote("ann", 1))
            assert await votes.refusals(batch) == {}
            for told, number in ((second, 2), (third, 3)):
                ((_, found),) = (await votes.refusals(batch_told(told, vote("ann", number)))).items()
                assert found == {0: None}
            assert (first.errors, second.errors, third.errors) == ([], [], [])
            if is_stored:
                votes.stored(batch)
            else:
                votes.refused(batch, list(batch.entries()), NOT_STORED, maybe_stored=True)
            assert first.errors == []
            for told in (second, third):
                (error,) = told.errors
                assert isinstance(error, AlreadyDone) if is_stored else error is NOT_STORED
            assert await refused(votes, vote("ann", 4)) == ([0] if is_stored else [])

    run(scenario())


def test_without_an_owner_nothing_is_refused_and_nobody_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _pipeline):
            votes = CastVotes(bus)
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await refused(votes, vote("ann", 1)) == []
            assert loop.time() - began < ingest_bounds.VOTE_CHECK_S, (
                "the server itself says that nobody is there"
            )

    run(scenario())


def test_a_silent_owner_is_waited_for_once_and_left_alone_for_a_while(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = Owner()
        owner.has(vote("ann", 1))
        owner.silent = True
        async with owned(tmp_path, owner) as bus:
            votes = CastVotes(bus)
            loop = asyncio.get_running_loop()
            assert await refused(votes, vote("ann", 3)) == []
            told_at = loop.time()
            owner.silent = False
            for number in range(4, 50):
                assert await refused(votes, vote(f"actor-{number}", number)) == []
            if loop.time() < told_at + SILENCE_S / 2:
                assert len(owner.asked) == 1
            owner.has(vote("late", 9_000))
            for number in itertools.count(50):  # until it is asked again, and answers in time
                if await refused(votes, vote("late", number)) == [0]:
                    break
                forget(votes, vote("late", number))
                assert loop.time() < told_at + 10 * SILENCE_S, "it was never asked again"
                await asyncio.sleep(0.02)
            assert loop.time() - told_at >= SILENCE_S / 2

    run(scenario())


def test_an_answer_that_does_not_fit_its_questions_refuses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _pipeline):
            answers = [VotedResponse(), VotedResponse(second=[b"\1\1"]), VotedResponse(second=[b"\1", b"\1"])]

            async def answer(message: Msg) -> None:
                await message.respond(answers.pop().SerializeToString())

            await bus.client.subscribe(subjects.votes(PARTITION), cb=answer)
            votes = CastVotes(bus)
            for number in range(1, 4):
                assert await refused(votes, vote(f"actor-{number}", number)) == []
            assert not answers

    run(scenario())


def test_an_ingest_that_has_just_started_knows_who_has_voted_and_a_stopped_worker_holds_nobody_up(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "home") as mesh:

        async def scenario() -> None:
            async with new_game(mesh.edge, mesh.mesh) as game:
                await game.open_poll()
                first = await game.identified(game.vote("ann", "red"))
                await game.topic("poll/mvp", await game.send(first))
                old_pid = await asyncio.to_thread(mesh.kill, "ingest-1")
                await asyncio.to_thread(mesh.wait_restarted, "ingest-1", old_pid)
                with pytest.raises(grpc.aio.AioRpcError, match="'ann' has already voted") as caught:
                    await game.send_until_answered(game.vote("ann", "blue"))
                assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS
                assert await game.send(first), "a resend is acked again"
                mesh.send_signal("aggregate-1", signal.SIGSTOP)
                try:
                    loop = asyncio.get_running_loop()
                    began = loop.time()
                    positions = await game.send(game.vote("bob", "blue"))
                    assert loop.time() - began < limits.PUBLISH_DEADLINE_S
                finally:
                    mesh.send_signal("aggregate-1", signal.SIGCONT)
                votes = votes_of(await game.topic("poll/mvp", positions))
                assert votes == {"red": 1, "blue": 1}

        run(scenario())
