"""The contract of the store, against a real Valkey and against the model that the simulation plays with.

Everything goes through mesh.store's PartitionStore and ResultStore, on both: a model that
answered differently anywhere here would prove nothing (STYLE, lesson 8). The last test asks both
the same random questions and compares.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest

from grandstand.catalog.v1.catalog_pb2 import Poll
from grandstand.internal.v1.internal_pb2 import Control, Partial, StoredTopic, TallyPartial
from mesh import layout, limits
from mesh.database import Database
from mesh.layout import Write
from mesh.store import Acquired, Corrupt, Fenced, PartitionStore, ResultStore, Rewound
from tests.games import run
from tests.servers import eventually, stores
from tests.simulation.database import ModelDatabase

_PARTITIONS = itertools.count(1)
GAME = "g"


class Setting:
    """One partition of one of the two, and its writers."""

    def __init__(self, database: Any, lapse: Callable[[], Awaitable[None]]) -> None:
        self.partition = next(_PARTITIONS)
        self.database = database
        self.one = PartitionStore(database, self.partition, "one")
        self.two = PartitionStore(database, self.partition, "two")
        self.lapse = lapse
        """Lets the time of a lease pass."""

    def write(self, command: str, key: str, *arguments: str | bytes) -> Write:
        return Write(command, f"{layout.tag(self.partition)}:{key}", arguments)

    async def log(self, key: str) -> bytes:
        return await self.one.log(f"{layout.tag(self.partition)}:{key}")

    async def hash(self, key: str) -> dict[bytes, bytes]:
        return await self.one.hash(f"{layout.tag(self.partition)}:{key}")


Scenario = Callable[[Callable[[Setting], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with stores(tmp_path_factory.mktemp("contract")) as started:
        yield started.redis_url


@pytest.fixture(params=["model", "valkey"])
def play(request: pytest.FixtureRequest) -> Scenario:
    """Plays a scenario in a setting of its own."""

    def on_model(scenario: Callable[[Setting], Awaitable[None]]) -> None:
        async def played() -> None:
            now_s = [1_000.0]

            async def lapse() -> None:
                now_s[0] += limits.LEASE_S

            await scenario(Setting(ModelDatabase(lambda: now_s[0]), lapse))

        run(played())

    def on_valkey(scenario: Callable[[Setting], Awaitable[None]]) -> None:
        async def played() -> None:
            database = Database(request.getfixturevalue("valkey_url"))

            async def lapse() -> None:
                key = layout.lease_key(setting.partition)

                async def gone() -> bool:
                    return not await database.string(key)

                await eventually(gone, "the lease lapses", 2 * limits.LEASE_S)

            setting = Setting(database, lapse)
            try:
                await scenario(setting)
            finally:
                await database.aclose()

        run(played())

    return on_model if request.param == "model" else on_valkey


def test_i3_a_lease_is_one_instances_until_released(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        assert await at.one.acquire("t1") == Acquired(0, "")
        assert await at.two.acquire("t2") is None
        assert await at.one.renew("t1")
        assert not await at.two.renew("t2")
        await at.two.release("t2")
        assert await at.two.acquire("t2") is None
        await at.one.release("t1")
        assert await at.two.acquire("t2") == Acquired(0, "")
        assert not await at.one.renew("t1")

    play(scenario)


def test_i3_a_lease_that_lapsed_is_anybodys_and_its_old_holder_is_fenced(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        await at.lapse()
        assert not await at.one.renew("t1")
        with pytest.raises(Fenced):
            await at.one.flush("t1", 0, 1, [at.write("SET", "a", "1")])
        assert await at.two.acquire("t2") == Acquired(0, "")
        assert await at.log("a") == b""

    play(scenario)


def test_a_later_life_of_an_instance_takes_its_own_lease_and_fences_the_former(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        assert await at.one.acquire("t2") == Acquired(0, "")
        with pytest.raises(Fenced):
            await at.one.flush("t1", 0, 1, [])
        await at.one.flush("t2", 0, 1, [])

    play(scenario)


def test_every_command_of_a_flush_does_what_it_says(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.flush(
            "t",
            0,
            5,
            [
                at.write("APPEND", "log", b"\x00a"),
                at.write("APPEND", "log", b"\xffb"),
                at.write("SET", "other", b"x"),
                at.write("SET", "other", b"y"),
                at.write("HSET", "hash", "f", b"\x001", "g", b"2"),
                at.write("ZADD", "rank", "-5", "ann", "3", "bob"),
            ],
        )
        assert (await at.log("log"), await at.log("other")) == (b"\x00a\xffb", b"y")
        assert await at.hash("hash") == {b"f": b"\x001", b"g": b"2"}
        assert await at.one.applied() == 5
        await at.one.flush(
            "t",
            5,
            9,
            [
                at.write("HDEL", "hash", "f"),
                at.write("HSET", "hash", "g", b"3", "h", b"4"),
                at.write("ZREM", "rank", "ann"),
                at.write("DEL", "log"),
                at.write("APPEND", "other", b"z"),
            ],
        )
        assert (await at.log("log"), await at.log("other")) == (b"", b"yz")
        assert await at.hash("hash") == {b"g": b"3", b"h": b"4"}
        assert await at.one.applied() == 9

    play(scenario)


def test_i4_a_flush_from_another_state_changes_nothing(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.flush("t", 0, 5, [at.write("SET", "a", "1")])
        for before, after in ((0, 9), (4, 9), (6, 9)):
            with pytest.raises(Rewound):
                await at.one.flush("t", before, after, [at.write("SET", "a", "2")])
        assert (await at.log("a"), await at.one.applied()) == (b"1", 5)

    play(scenario)


def test_a_flush_that_is_said_twice_takes_effect_once(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        for _ in range(2):
            await at.one.flush("t", 0, 5, [at.write("APPEND", "a", "1")])
        assert await at.log("a") == b"1"

    play(scenario)


def test_a_key_of_another_kind_is_corrupt(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.flush("t", 0, 5, [at.write("SET", "a", "1")])
        with pytest.raises(Corrupt):
            await at.one.flush("t", 5, 6, [at.write("HSET", "a", "f", "1")])

    play(scenario)


def test_the_streams_identity_is_kept_and_found_by_the_next(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        await at.one.mark("t1", "s1")
        await at.one.flush("t1", 0, 7, [])
        await at.one.release("t1")
        assert await at.two.acquire("t2") == Acquired(7, "s1")
        with pytest.raises(Fenced):
            await at.one.mark("t1", "s2")

    play(scenario)


def stored_poll(poll_id: str) -> tuple[str, bytes]:
    topic = StoredTopic(control=Control(poll=Poll(game_id=GAME, poll_id=poll_id)), parts=["p"])
    return f"{GAME}/poll/{poll_id}", topic.SerializeToString()


def test_a_reset_erases_the_state_and_keeps_the_lease(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        p = at.partition
        await at.one.acquire("t")
        await at.one.mark("t", "s1")
        keys = [
            layout.log_key(p, "origins"),
            layout.log_key(p, "votes"),
            layout.part_log_key(p, GAME, "poll/x", ""),
            layout.part_log_key(p, GAME, "poll/x", "p"),
        ]
        writes = [Write("HSET", layout.topics_key(p), stored_poll("x"))]
        writes += [Write("APPEND", key, ("1",)) for key in keys]
        await at.one.flush("t", 0, 5, writes)
        with pytest.raises(Fenced):
            await at.two.reset("t2", "s2")
        await at.one.reset("t", "s2")
        assert [await at.one.log(key) for key in keys] == [b""] * 4
        assert await at.one.hash(layout.topics_key(p)) == {}
        assert await at.two.acquire("t2") is None
        await at.one.flush("t", 0, 3, [])
        await at.one.release("t")
        assert await at.two.acquire("t2") == Acquired(3, "s2")

    play(scenario)


def test_an_erasure_takes_the_lease_from_whoever_has_it(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        await at.one.mark("t1", "s1")
        await at.one.flush("t1", 0, 5, [])
        await at.two.erase("t2")
        with pytest.raises(Fenced):
            await at.one.flush("t1", 5, 6, [])
        assert await at.one.acquire("t3") == Acquired(0, "")

    play(scenario)


def test_results_are_read_with_the_sequence_they_are_of(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        partial = Partial(
            game_id=GAME, topic="poll/x", partition=at.partition, sequence=5, tally=TallyPartial(votes=[1, 2])
        )
        await at.one.acquire("t")
        results = layout.results_key(at.partition, GAME)
        await at.one.flush("t", 0, 5, [Write("HSET", results, ("poll/x", partial.SerializeToString()))])
        share = await ResultStore(at.database)._read_share(GAME, at.partition)
        assert (share.applied, dict(share.partials)) == (5, {"poll/x": partial})
        nothing = await ResultStore(at.database)._read_share("other", at.partition)
        assert (nothing.applied, dict(nothing.partials)) == (5, {})

    play(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_any_steps_are_answered_alike(valkey_url: str, seed: int) -> None:
    async def scenario() -> None:
        database = Database(valkey_url)
        try:
            partition = 1_000 + seed
            real = [PartitionStore(database, partition, name) for name in ("one", "two")]
            modelled = ModelDatabase(lambda: 1_000.0)
            model = [PartitionStore(modelled, partition, name) for name in ("one", "two")]  # type: ignore[arg-type]
            for step in steps(Random(seed), partition, 150):
                assert await answer(real, step) == await answer(model, step), step
        finally:
            await database.aclose()

    run(scenario())


Step = tuple[int, str, Sequence[Any]]
"""Which writer, which method, with what."""


def steps(random: Random, partition: int, count: int) -> Iterator[Step]:
    """Mostly plausible, often wrong: tokens of others, states that were."""
    keys = [f"{layout.tag(partition)}:{name}" for name in ("log", "hash", "rank")]
    for _ in range(count):
        token = random.choice(("t1", "t1", "t2"))
        writes = random.sample(
            [
                Write("APPEND", keys[0], ("a",)),
                Write("SET", keys[0], ("b",)),
                Write("HSET", keys[1], ("f", str(random.random()), "g", "1")),
                Write("HDEL", keys[1], ("f",)),
                Write("ZADD", keys[2], ("1", "m")),
                Write("ZREM", keys[2], ("m",)),
                Write("DEL", random.choice(keys), ()),
            ],
            3,
        )
        yield random.choice(
            [
                (random.randrange(2), "acquire", (token,)),
                (0, "flush", (token, random.randrange(4), random.randrange(4), writes)),
                (random.randrange(2), "flush", (token, random.randrange(4), random.randrange(4), writes)),
                (random.randrange(2), "renew", (token,)),
                (random.randrange(2), "release", (token,)),
                (random.randrange(2), "mark", (token, random.choice("ab"))),
                (random.randrange(2), "reset", (token, "c")),
                (0, "applied", ()),
                (0, "log", (keys[0],)),
                (0, "hash", (keys[1],)),
            ]
        )


async def answer(writers: Sequence[PartitionStore], step: Step) -> Any:
    """What it returns, or which error it raises."""
    writer, method, arguments = step
    try:
        return await getattr(writers[writer], method)(*arguments)
    except (Fenced, Rewound, Corrupt) as error:
        return type(error)
