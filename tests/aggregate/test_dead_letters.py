"""What cannot be folded is set aside with its reason, once, and holds nothing up: whatever bytes they are."""

from __future__ import annotations

import random
from collections.abc import Iterator

import nats.js.errors
import pytest
from nats.js import api as js_api

from aggregate.deadletters import cut, printable
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import Block, Control, DeadLetter
from mesh import limits
from mesh.jetstream import subjects
from tests.support import blocks
from tests.support.games import run
from tests.support.servers import Stores, eventually, stores
from tests.support.votes_stream import VotesStream, votes_stream

HERE = 5
"""The partition that bad blocks are put into."""


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("letters")) as started:
        yield started


def good() -> Block:
    return blocks.block([blocks.vote(f"bad-{n}", "a", blocks.origin(10**9 + n), 1) for n in range(5)])


def unequal_columns() -> bytes:
    block = good()
    block.events.value = block.events.value[:-8]
    return block.SerializeToString()


def absurd_rows() -> bytes:
    block = good()
    block.events.sections[0].rows = 2**32 - 1
    return block.SerializeToString()


def unknown_game() -> bytes:
    block = good()
    block.events.sections[0].game_id = "nowhere"
    return block.SerializeToString()


def points_outside() -> bytes:
    block = good()
    block.events.actor = b"\xff" * len(block.events.actor)
    return block.SerializeToString()


BAD = {
    "nothing at all": b"",
    "no block": b"\xff" * 40,
    "half a block": good().SerializeToString()[:-7],
    "a control without a definition": Block(control=Control()).SerializeToString(),
    "columns of unequal length": unequal_columns(),
    "an absurd number of rows": absurd_rows(),
    "an unknown game": unknown_game(),
    "indexes outside the dictionaries": points_outside(),
    "as large as NATS takes": b"\xff" * (1024 * 1024),
}


async def letters_in(votes: VotesStream) -> list[tuple[DeadLetter, dict[str, str]]]:
    """All that are set aside, with their headers."""
    try:
        state = (await votes.bus.js.stream_info(subjects.DEAD_LETTERS_STREAM)).state
    except nats.js.errors.NotFoundError:
        return []
    found = []
    for sequence in range(state.first_seq or 1, state.last_seq + 1):
        message = await votes.bus.js.get_msg(subjects.DEAD_LETTERS_STREAM, sequence)
        assert message.data is not None
        found.append((DeadLetter.FromString(message.data), dict(message.headers or {})))
    return found


def test_each_bad_block_is_set_aside_with_its_reason_and_all_others_count(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            sequences = {}
            for name, data in BAD.items():
                await votes.vote(HERE)
                sequences[await votes.put(HERE, data)] = name
                await votes.vote(HERE)
            assert await votes.voters() == votes.acked
            found = await letters_in(votes)
            assert {letter.sequence: sequences[letter.sequence] for letter, _ in found} == sequences
            assert len(found) == len(BAD)
            for letter, headers in found:
                data = BAD[sequences[letter.sequence]]
                assert letter.partition == HERE
                assert letter.block == data[: len(letter.block)]
                assert len(letter.block) == len(data) or len(data) >= 1024 * 1024
                assert headers["Grandstand-Reason"]
                assert printable(letter.reason).startswith(headers["Grandstand-Reason"])
            assert "taking it over again" not in worker.said()
            assert worker.running

    run(scenario())


def test_dead_letters_are_counted_in_the_partitions_status(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            newest: dict[int, PartitionStatus] = {}

            async def hear(message: object) -> None:
                status = PartitionStatus.FromString(message.data)  # type: ignore[attr-defined]
                newest[status.partition] = status

            await votes.bus.client.subscribe(subjects.PARTITION_STATUS_ALL, cb=hear)
            servers.worker("aggregate-1")
            for data in BAD.values():
                await votes.put(HERE, data)

            async def told() -> bool:
                # They are counted as they are set aside, and applied with the flush after that.
                said = newest.get(HERE, PartitionStatus())
                return (said.dead_letters, said.applied) == (len(BAD), votes.last[HERE])

            await eventually(told, "the status tells of them")
            assert newest[HERE].owner == "aggregate-1"
            assert "the event stream has lost it" in newest[HERE].problem
            assert newest[HERE + 1].problem == ""
            assert (newest[HERE].lag_blocks, newest[HERE].lag_ms) == (0, 0)
            assert newest[HERE + 1].dead_letters == 0

    run(scenario())


def test_a_block_folded_again_is_not_set_aside_twice(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            servers.worker("aggregate-1")
            await votes.put(HERE, b"\xff")
            await votes.vote(HERE)
            assert await votes.voters() == votes.acked
            await votes.stored[HERE].eraser.erase("again")
            await votes.vote(HERE)
            assert await votes.voters() == votes.acked
            assert len(await letters_in(votes)) == 1

    run(scenario())


def test_a_jetstream_that_takes_no_letters_does_not_hold_up_the_fold(servers: Stores) -> None:
    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            # Somebody else's stream has the name.
            await votes.bus.js.add_stream(
                js_api.StreamConfig(name=subjects.DEAD_LETTERS_STREAM, subjects=["something.else"])
            )
            worker = servers.worker("aggregate-1")
            await votes.put(HERE, b"\xff")
            await votes.vote(HERE)
            assert await votes.voters() == votes.acked
            assert "cannot be stored" in worker.said()

    run(scenario())


def test_i4_any_bytes_in_the_stream_hold_nothing_up(servers: Stores) -> None:
    """Blocks with flipped, cut and inserted bytes, from a seed that is told on failure."""
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    chance = random.Random(seed)

    def mutated() -> bytes:
        data = bytearray(chance.choice([good(), blocks.control(blocks.poll("x"))]).SerializeToString())
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at:]
                case _:
                    data[at:at] = chance.randbytes(chance.randint(1, 20))
            if not data:
                break
        return bytes(data)

    async def scenario() -> None:
        async with votes_stream(servers.nats_url, servers.redis_url) as votes:
            worker = servers.worker("aggregate-1")
            for partition in range(3):
                for _ in range(100):
                    await votes.put(partition, mutated())
                await votes.vote(partition)
            applied = await eventually(lambda: caught_up(votes), "everything is folded or set aside")
            assert applied
            assert "bug" not in worker.said(), worker.said()[-2000:]

    run(scenario())


async def caught_up(votes: VotesStream) -> bool:
    applied = await votes.applied()
    return all(applied[p] >= last for p, last in votes.last.items())


def test_a_reason_is_one_printable_line() -> None:
    assert printable("a\r\nNats-Msg-Id: x\x1b[31m\u2028ü") == "a??Nats-Msg-Id: x?[31m??"
    assert len(printable("x" * 5_000)) == 200


def test_a_letter_that_is_too_large_is_cut_and_says_so() -> None:
    letter = DeadLetter(partition=1, sequence=2, reason="bad", block=b"x" * limits.BLOCK_BYTES_MAX)
    assert cut(letter, 1024 * 1024) is letter
    short = cut(letter, 100_000)
    assert short.ByteSize() < 100_000
    assert short.block == letter.block[: len(short.block)]
    assert f"of {limits.BLOCK_BYTES_MAX} bytes" in short.reason
