"""Who lives, what a lease allows, and what is told of the partitions: the parts, without processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate.manifest import tail
from aggregate.membership import Membership
from aggregate.partition_store import Acquired, PartitionStore
from aggregate.status import PartitionBoard
from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.catalog.v1.catalog_pb2 import Board
from grandstand.internal.v1.internal_pb2 import Control, PartitionState, StoredTopic, WorkerBeat
from mesh import limits
from mesh.redis import layout
from mesh.redis.database import connect
from mesh.redis.errors import Corrupt, Fenced, Rewound
from mesh.redis.layout import Write
from tests.support.games import run
from tests.support.servers import Stores, eventually, stores

BEAT = aggregate_bounds.WORKER_BEAT_S
SILENCE = aggregate_bounds.WORKER_SILENCE_S


def beat(instance: str, life: str = "1", **fields: object) -> WorkerBeat:
    return WorkerBeat(instance=instance, life=life, **fields)  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(st.sampled_from(["b", "c", "d"]), st.booleans(), st.floats(0, BEAT, allow_subnormal=False)),
        max_size=60,
    )
)
def test_who_was_heard_lately_and_has_not_left_lives(history: list[tuple[str, bool, float]]) -> None:
    now = 0.0
    membership = Membership("a", "1", now)
    heard_at: dict[str, float] = {}
    lives = dict.fromkeys("bcd", 0)
    for instance, leaves, passes_s in history:
        now += passes_s
        if leaves:
            heard_at.pop(instance, None)
            membership.hear(beat(instance, str(lives[instance]), leaving=True), now)
            lives[instance] += 1
        else:
            heard_at[instance] = now
            membership.hear(beat(instance, str(lives[instance])), now)
        assert membership.live(now) == {"a", *(i for i, at in heard_at.items() if now - at <= SILENCE)}


def test_a_worker_that_was_itself_deaf_takes_nobody_for_dead() -> None:
    membership = Membership("a", "1", 0.0)
    membership.hear(beat("b"), 0.1)
    assert membership.live(0.2) == {"a", "b"}
    assert membership.live(60.0) == {"a", "b"}, "it was stopped for a minute"
    passed = [membership.live(60.0 + n * BEAT) for n in range(1, 8)]
    assert passed[-1] == {"a"}, "b did not come back"


def test_a_beat_that_comes_after_its_senders_farewell_revives_nobody() -> None:
    membership = Membership("a", "1", 0.0)
    membership.hear(beat("b"), 0.0)
    membership.hear(beat("b", leaving=True), 0.0)
    assert not membership.hear(beat("b"), 0.0).changed
    assert membership.live(0.0) == {"a"}
    assert membership.hear(beat("b", "2"), 0.0).changed
    assert membership.live(0.0) == {"a", "b"}


def test_ones_own_beat_tells_nothing() -> None:
    membership = Membership("a", "2", 0.0)
    heard = membership.hear(beat("a", "2", asks=True, released=[3]), 0.0)
    assert (heard.answer, heard.changed, heard.released) == (False, False, frozenset())
    assert not heard.is_taken
    assert membership.live(0.0) == {"a"}


@pytest.mark.parametrize(
    ("started", "life", "asks", "leaving", "answer", "is_taken"),
    [
        (False, "1", False, False, False, True),  # it is here
        (False, "3", False, False, False, True),
        (False, "1", True, False, False, True),  # it starts as we do, and is the elder
        (False, "3", True, False, True, False),
        (False, "1", False, True, False, False),  # it goes
        (True, "3", True, False, True, False),  # told that we are here, it does not start
        (True, "1", True, False, True, False),
        (True, "3", False, False, False, True),  # it asked while we were stopped
        (True, "1", False, False, False, False),  # it is to end
        (True, "3", False, True, False, False),
    ],
)
def test_of_two_processes_of_one_name_one_stays(
    started: bool, life: str, asks: bool, leaving: bool, answer: bool, is_taken: bool
) -> None:
    membership = Membership("a", "2", 0.0)
    if started:
        membership.live(0.0)
    heard = membership.hear(beat("a", life, asks=asks, leaving=leaving), 0.1)
    assert (heard.answer, heard.is_taken, heard.changed) == (answer, is_taken, False)


def test_what_is_given_up_is_heard() -> None:
    membership = Membership("a", "1", 0.0)
    heard = membership.hear(beat("b", released=[3, 5]), 0.0)
    assert (heard.answer, heard.changed, heard.released) == (False, True, frozenset({3, 5}))


def test_who_asks_is_answered_and_counts_from_its_first_beat_on() -> None:
    membership = Membership("a", "1", 0.0)
    assert membership.live(0.0) == {"a"}
    heard = membership.hear(beat("b", asks=True), 0.1)
    assert (heard.answer, heard.changed) == (True, False)
    assert membership.live(0.1) == {"a"}, "it takes nothing yet"
    assert membership.hear(beat("b"), 0.4).changed
    assert membership.live(0.4) == {"a", "b"}


def test_those_that_start_together_count_each_other_at_once() -> None:
    membership = Membership("a", "1", 0.0)
    assert membership.hear(beat("b", asks=True), 0.1).changed
    assert membership.live(0.3) == {"a", "b"}


def test_the_board_tells_the_newest_of_each_partition_and_no_owner_of_what_fell_silent() -> None:
    board = PartitionBoard(partitions=3)

    def status(partition: int, owner: str, applied: int, at_s: int) -> PartitionStatus:
        found = PartitionStatus(partition=partition, owner=owner, applied=applied)
        found.as_of.FromSeconds(at_s)
        return found

    board.hear(status(1, "a", 10, 100), now=0.0)
    board.hear(status(1, "a", 9, 99), now=0.1)
    board.hear(status(2, "a", 7, 100), now=0.1)
    board.hear(status(2, "b", 8, 90), now=0.2)
    board.hear(status(7, "a", 1, 100), now=0.2)
    told = board.statuses(now=1.0)
    assert [(s.partition, s.owner, s.applied) for s in told] == [(0, "", 0), (1, "a", 10), (2, "b", 8)]
    late = board.statuses(now=0.2 + limits.PARTITION_STATUS_LIFE_S)
    assert [(s.owner, s.applied) for s in late] == [("", 0), ("", 10), ("b", 8)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("ownership")) as started:
        yield started


_NEXT = iter(range(100, 10_000))


@asynccontextmanager
async def two_writers(servers: Stores) -> AsyncIterator[tuple[PartitionStore, PartitionStore, int]]:
    """Of one new partition: those of instances `one` and `two`."""
    database = connect(servers.redis_url)
    partition = next(_NEXT)
    try:
        yield (
            PartitionStore(database, partition, "one"),
            PartitionStore(database, partition, "two"),
            partition,
        )
    finally:
        await database.aclose()


def put(partition: int, value: str) -> list[Write]:
    return [Write("HSET", layout.topics_key(partition), ("g/poll/x", value))]


def test_i3_a_lease_is_one_writers_until_it_is_released(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, two, partition):
            assert await one.acquire("t1") == Acquired(0, "")
            assert await two.acquire("t2") is None
            await one.flush("t1", 0, PartitionState(applied=5), put(partition, "1"))
            await two.release("t2")
            assert await two.acquire("t2") is None, "who does not hold it cannot release it"
            await one.release("t1")
            assert await two.acquire("t2") == Acquired(5, "")
            assert not await one.renew("t1")
            with pytest.raises(Fenced):
                await one.flush("t1", 5, PartitionState(applied=6), put(partition, "2"))
            assert (await one.hash(layout.topics_key(partition)))[b"g/poll/x"] == b"1"

    run(scenario())


def test_i3_a_restarted_instance_takes_its_former_lifes_lease_at_once(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, _, partition):
            await one.acquire("life-1")
            assert await one.acquire("life-2") == Acquired(0, "")
            with pytest.raises(Fenced):
                await one.flush("life-1", 0, PartitionState(applied=1), put(partition, "1"))
            await one.flush("life-2", 0, PartitionState(applied=1), put(partition, "2"))

    run(scenario())


def test_i3_a_writer_whose_lease_lapsed_changes_nothing_though_nobody_took_it(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, two, partition):
            await one.acquire("t1")
            await one.flush("t1", 0, PartitionState(applied=5), put(partition, "1"))
            loop = asyncio.get_running_loop()
            acquired_at = loop.time()
            await eventually(lambda: two.acquire("probe"), "the lease lapses")
            assert loop.time() - acquired_at == pytest.approx(limits.LEASE_S, abs=0.7)
            await two.release("probe")
            assert not await one.renew("t1")
            with pytest.raises(Fenced):
                await one.flush("t1", 5, PartitionState(applied=6), put(partition, "2"))
            assert await one.applied() == 5

    run(scenario())


def test_i4_a_flush_from_another_ground_than_redis_holds_changes_nothing(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, _, partition):
            await one.acquire("t1")
            await one.flush("t1", 0, PartitionState(applied=5), put(partition, "1"))
            with pytest.raises(Rewound):
                await one.flush("t1", 0, PartitionState(applied=6), put(partition, "2"))
            assert (await one.hash(layout.topics_key(partition)))[b"g/poll/x"] == b"1"

    run(scenario())


def test_i2_a_flush_that_is_repeated_because_its_answer_was_lost_is_done_once(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, _, partition):
            await one.acquire("t1")
            log = layout.log_key(partition, "votes")
            for _ in range(2):
                await one.flush("t1", 0, PartitionState(applied=5), [Write("APPEND", log, (b"x",))])
            assert await one.log(log) == b"x" + tail(5)
            await one.flush("t1", 5, PartitionState(applied=6), [Write("APPEND", log, (b"y",))])
            assert await one.log(log) == b"x" + tail(5) + b"y" + tail(6)

    run(scenario())


def test_a_flush_takes_all_commands_and_more_arguments_than_lua_unpacks(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, _, partition):
            await one.acquire("t1")
            key = layout.part_hash_key(partition, "g", "board/b", "")
            rank = layout.part_ranking_key(partition, "g", "board/b", "")
            fields = [str(n // 2) for n in range(2 * 30_000)]
            each = aggregate_bounds.FLUSH_ARGUMENTS_MAX
            writes = [Write("HSET", key, fields[at : at + each]) for at in range(0, len(fields), each)]
            writes += [
                Write("ZADD", rank, ("1", "a", "2", "b")),
                Write("ZREM", rank, ("a",)),
                Write("HDEL", key, ("0", "1")),
                Write("SET", layout.log_key(partition, "votes"), (b"\x00\xff",)),
                Write("APPEND", layout.log_key(partition, "votes"), (b"\r\n",)),
                Write("SET", layout.log_key(partition, "origins"), (b"gone",)),
                Write("DEL", layout.log_key(partition, "origins"), ()),
            ]
            await one.flush("t1", 0, PartitionState(applied=1), writes)
            assert len(await one.hash(key)) == 30_000 - 2 + 1
            assert await one.log(layout.log_key(partition, "votes")) == b"\x00\xff" + tail(
                1
            ) + b"\r\n" + tail(1)
            assert await one.log(layout.log_key(partition, "origins")) == b""

    run(scenario())


def board_of(parts: list[str]) -> bytes:
    control = Control(board=Board(game_id="g", board_id="b"))
    return StoredTopic(control=control, parts=parts).SerializeToString()


async def fill(writer: PartitionStore, token: str, partition: int) -> None:
    keys = [
        (layout.part_log_key, "g", "metric/m", ""),
        *((key, "g", "board/b", part) for key in (layout.part_hash_key,) for part in ("s1", "s2")),
    ]
    writes = [
        Write("HSET", layout.topics_key(partition), ("g/board/b", board_of(["s1", "s2"]), "g/", b"")),
        Write("HSET", layout.topics_key(partition), ("h/poll/p", b"\xff not a message")),
        Write("HSET", layout.results_key(partition, "g"), ("metric/m", b"", "board/b", b"")),
        Write("HSET", layout.results_key(partition, "h"), ("poll/p", b"")),
        Write("APPEND", layout.log_key(partition, "votes"), (b"1",)),
        Write("APPEND", layout.log_key(partition, "origins"), (b"1",)),
    ]
    for key, *names in keys:
        command, arguments = ("HSET", ("f", "v")) if key is layout.part_hash_key else ("APPEND", ("v",))
        writes.append(Write(command, key(partition, *names), arguments))
    writes += [
        Write("ZADD", layout.part_ranking_key(partition, "g", "board/b", part), ("1", "a"))
        for part in ("s1", "s2")
    ]
    await writer.flush(token, 0, PartitionState(applied=9), writes)


def test_i4_erasing_leaves_no_key_of_the_partition_and_fences_its_writer(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, two, partition):
            await one.acquire("t1")
            await one.reset("t1", "stream-1", 0)
            await fill(one, "t1", partition)
            await two.eraser.erase("e")
            with pytest.raises(Fenced):
                await one.flush("t1", 9, PartitionState(applied=10), put(partition, "2"))
            assert await keys_of(servers, partition) == []
            assert await one.acquire("t3") == Acquired(0, "")

    run(scenario())


def test_i4_a_reset_keeps_the_lease_and_tells_the_stream(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, two, partition):
            await one.acquire("t1")
            await fill(one, "t1", partition)
            with pytest.raises(Fenced):
                await two.reset("t2", "stream-2", 0)
            await one.reset("t1", "stream-2", 0)
            expected = {layout.lease_key(partition), layout.stream_key(partition)}
            assert set(await keys_of(servers, partition)) == expected
            await one.flush("t1", 0, PartitionState(applied=1), put(partition, "1"))
            await one.release("t1")
            assert await two.acquire("t2") == Acquired(1, "stream-2")

    run(scenario())


async def keys_of(servers: Stores, partition: int) -> list[str]:
    import redis.asyncio

    async with redis.asyncio.Redis.from_url(servers.redis_url) as client:
        return [key.decode() async for key in client.scan_iter(match=f"{layout.tag(partition)}:*")]


def test_a_key_of_the_wrong_type_is_told_apart(servers: Stores) -> None:
    async def scenario() -> None:
        async with two_writers(servers) as (one, _, partition):
            await one.acquire("t1")
            await one.flush("t1", 0, PartitionState(applied=1), put(partition, "1"))
            with pytest.raises(Corrupt):
                await one.flush(
                    "t1",
                    1,
                    PartitionState(applied=2),
                    [Write("APPEND", layout.topics_key(partition), (b"x",))],
                )

    run(scenario())


def test_an_instance_without_a_name_is_refused(tmp_path: Path) -> None:
    database = connect("redis://127.0.0.1:1")
    for name in ("", "a b"):
        with pytest.raises(ValueError, match="instance"):
            PartitionStore(database, 0, name)
