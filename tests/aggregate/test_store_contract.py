"""The contract of the store, against a real Valkey and against the model that the simulation plays with.

Everything goes through aggregate.partition_store and mesh.redis.results, on both: a model that
answered differently anywhere here would prove nothing (STYLE, lesson 8). The last test asks both
the same random questions and compares.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest

from aggregate.manifest import AT, kind_of, score, tail
from aggregate.partition_store import Acquired, PartitionStore
from grandstand.catalog.v1.catalog_pb2 import Poll
from grandstand.internal.v1.internal_pb2 import Control, Partial, PartitionState, StoredTopic, TallyPartial
from mesh import limits
from mesh.redis import layout
from mesh.redis.database import Database
from mesh.redis.errors import Corrupt, Fenced, Rewound
from mesh.redis.layout import Write
from mesh.redis.results import ResultStore
from mesh.redis.share import Share
from tests.simulation.database import ModelDatabase, _encoded
from tests.support.games import run
from tests.support.servers import eventually, stores

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

    async def alter(self, *commands: tuple[str | bytes, ...]) -> None:
        """What befalls a Redis behind its writer's back."""
        for command, key, *arguments in commands:
            if isinstance(self.database, ModelDatabase):
                encoded = [_encoded(argument) for argument in arguments]
                self.database._write(_encoded(command), str(key), encoded)
            else:
                client: Any = await self.database._connected()
                await client.execute_command(command, key, *arguments)

    def write(self, command: str, key: str, *arguments: str | bytes) -> Write:
        return Write(command, f"{layout.tag(self.partition)}:{key}", arguments)

    async def log(self, key: str) -> bytes:
        return plain(await self.one.log(f"{layout.tag(self.partition)}:{key}"))

    async def hash(self, key: str) -> dict[bytes, bytes]:
        fields = await self.one.hash(f"{layout.tag(self.partition)}:{key}")
        return {name: value for name, value in fields.items() if name != AT}


def plain(log: bytes) -> bytes:
    """Without what its pieces carry, of sequences below 256."""
    return re.sub(rb"y[^\0]\0{7}", b"", log)


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
            await at.one.flush("t1", 0, PartitionState(applied=1), [at.write("SET", "log:a", "1")])
        assert await at.two.acquire("t2") == Acquired(0, "")
        assert await at.log("log:a") == b""

    play(scenario)


def test_a_later_life_of_an_instance_takes_its_own_lease_and_fences_the_former(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        assert await at.one.acquire("t2") == Acquired(0, "")
        with pytest.raises(Fenced):
            await at.one.flush("t1", 0, PartitionState(applied=1), [])
        await at.one.flush("t2", 0, PartitionState(applied=1), [])

    play(scenario)


def test_i4_what_was_put_back_is_no_state_if_its_manifest_was_lost_meanwhile(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        manifest = ["log:a", "1 10", "log:b", "1 10"]
        await at.one.fill("t1", [at.write("HSET", "manifest", *manifest[:2])])
        for listed in (0, 2):
            with pytest.raises(Corrupt, match="manifest"):
                await at.one.flush("t1", 0, PartitionState(applied=1), [], filled=listed)
        await at.one.fill("t1", [at.write("HSET", "manifest", *manifest)])
        await at.one.flush("t1", 0, PartitionState(applied=1), [], filled=2)

    play(scenario)


def test_every_command_of_a_flush_does_what_it_says(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.flush(
            "t",
            0,
            PartitionState(applied=5),
            [
                at.write("APPEND", "log:log", b"\x00a"),
                at.write("APPEND", "log:log", b"\xffb"),
                at.write("SET", "log:other", b"x"),
                at.write("SET", "log:other", b"y"),
                at.write("HSET", "hash:h", "f", b"\x001", "g", b"2"),
                at.write("ZADD", "rank:r", "-5", "ann", "3", "bob"),
            ],
        )
        assert (await at.log("log:log"), await at.log("log:other")) == (b"\x00a\xffb", b"y")
        assert await at.hash("hash:h") == {b"f": b"\x001", b"g": b"2"}
        assert await at.one.applied() == 5
        await at.one.flush(
            "t",
            5,
            PartitionState(applied=9),
            [
                at.write("HDEL", "hash:h", "f"),
                at.write("HSET", "hash:h", "g", b"3", "h", b"4"),
                at.write("ZREM", "rank:r", "ann"),
                at.write("DEL", "log:log"),
                at.write("APPEND", "log:other", b"z"),
            ],
        )
        assert (await at.log("log:log"), await at.log("log:other")) == (b"", b"yz")
        assert await at.hash("hash:h") == {b"g": b"3", b"h": b"4"}
        assert await at.one.applied() == 9

    play(scenario)


def test_i4_a_flush_from_another_state_changes_nothing(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.flush("t", 0, PartitionState(applied=5), [at.write("SET", "log:a", "1")])
        for before, after in ((0, 9), (4, 9), (6, 9)):
            with pytest.raises(Rewound):
                await at.one.flush(
                    "t", before, PartitionState(applied=after), [at.write("SET", "log:a", "2")]
                )
        assert (await at.log("log:a"), await at.one.applied()) == (b"1", 5)

    play(scenario)


def test_a_flush_that_is_said_twice_takes_effect_once(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        for _ in range(2):
            await at.one.flush("t", 0, PartitionState(applied=5), [at.write("APPEND", "log:a", "1")])
        assert await at.log("log:a") == b"1"

    play(scenario)


def test_a_key_of_another_kind_is_corrupt(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.flush("t", 0, PartitionState(applied=5), [at.write("SET", "log:a", "1")])
        with pytest.raises(Corrupt):
            await at.one.flush("t", 5, PartitionState(applied=6), [at.write("HSET", "log:a", "f", "1")])

    play(scenario)


KINDS_OF_KEYS = ("topics", "log:votes", "hash:g/board/b:", "rank:g/board/b:")


def test_i4_a_look_misses_any_key_that_is_lost_or_went_back(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        def writes(value: str) -> list[Write]:
            return [
                at.write("HSET", "topics", "g/", value),
                at.write("APPEND", "log:votes", value),
                at.write("HSET", "hash:g/board/b:", "ann", value),
                at.write("ZADD", "rank:g/board/b:", "1", value),
            ]

        await at.one.acquire("t")
        await at.one.reset("t", "s", 0)
        assert (await at.one.look([], "0", 9)).names == []
        await at.one.flush("t", 0, PartitionState(applied=5), writes("a"))
        await at.one.flush("t", 5, PartitionState(applied=6), writes("b"))
        first = await at.one.look(["topics", "unlisted"], "0", 9)
        assert (first.applied, first.stream, first.manifest_at, first.broken) == (6, "s", 6, "")
        assert (sorted(first.names), first.next_at) == (sorted(KINDS_OF_KEYS), "0")
        assert not (await at.one.look(KINDS_OF_KEYS, "0", 9)).broken
        prefix = layout.key_of(at.partition, "")
        for name, command in {
            "topics": ("HSET", f"{prefix}topics", AT, "5"),
            "log:votes": ("SET", f"{prefix}log:votes", b"a" + tail(5)),
            "hash:g/board/b:": ("DEL", f"{prefix}hash:g/board/b:"),
            "rank:g/board/b:": ("ZADD", f"{prefix}rank:g/board/b:", score(5), "!"),
        }.items():
            await at.alter(command)
            assert (await at.one.look([name], "0", 9)).broken == name
        await at.alter(("SET", f"{prefix}topics", "x"))
        assert (await at.one.look(["topics"], "0", 9)).broken == "topics"

    play(scenario)


def test_looks_walk_through_all_keys(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        names = {f"log:g/pulse/p{n}:" for n in range(2_000)}
        await at.one.flush("t", 0, PartitionState(applied=5), [at.write("SET", name, "x") for name in names])
        seen: set[str] = set()
        walks = ["0"]
        while walks[-1] != "0" or len(walks) == 1:
            looked = await at.one.look((), walks[-1], 100)
            seen.update(looked.names)
            walks.append(looked.next_at)
        assert seen == names
        assert len(walks) > 10

    play(scenario)


def test_the_streams_identity_is_kept_and_found_by_the_next(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        await at.one.reset("t1", "s1", 0)
        await at.one.flush("t1", 0, PartitionState(applied=7), [])
        await at.one.release("t1")
        assert await at.two.acquire("t2") == Acquired(7, "s1")
        with pytest.raises(Fenced):
            await at.one.reset("t1", "s2", 0)

    play(scenario)


def stored_poll(poll_id: str) -> tuple[str, bytes]:
    topic = StoredTopic(control=Control(poll=Poll(game_id=GAME, poll_id=poll_id)), parts=["p"])
    return f"{GAME}/poll/{poll_id}", topic.SerializeToString()


def test_a_reset_erases_the_state_and_keeps_the_lease(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        p = at.partition
        await at.one.acquire("t")
        await at.one.reset("t", "s1", 0)
        keys = [
            layout.log_key(p, "origins"),
            layout.log_key(p, "votes"),
            layout.part_log_key(p, GAME, "poll/x", ""),
            layout.part_log_key(p, GAME, "poll/x", "p"),
        ]
        writes = [Write("HSET", layout.topics_key(p), stored_poll("x"))]
        writes += [Write("APPEND", key, ("1",)) for key in keys]
        await at.one.flush("t", 0, PartitionState(applied=5), writes)
        with pytest.raises(Fenced):
            await at.two.reset("t2", "s2", 0)
        await at.one.reset("t", "s2", 0)
        assert [await at.one.log(key) for key in keys] == [b""] * 4
        assert await at.one.hash(layout.topics_key(p)) == {}
        assert await at.two.acquire("t2") is None
        await at.one.flush("t", 0, PartitionState(applied=3), [])
        await at.one.release("t")
        assert await at.two.acquire("t2") == Acquired(3, "s2")

    play(scenario)


def test_an_erasure_takes_the_lease_from_whoever_has_it(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t1")
        await at.one.reset("t1", "s1", 0)
        await at.one.flush("t1", 0, PartitionState(applied=5), [])
        await at.two.eraser.erase("t2")
        with pytest.raises(Fenced):
            await at.one.flush("t1", 5, PartitionState(applied=6), [])
        assert await at.one.acquire("t3") == Acquired(0, "")

    play(scenario)


def test_results_are_read_with_the_sequence_they_are_of(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        partial = Partial(
            game_id=GAME, topic="poll/x", partition=at.partition, sequence=5, tally=TallyPartial(votes=[1, 2])
        )
        await at.one.acquire("t")
        await at.one.reset("t", "s", 0)
        results = layout.results_key(at.partition, GAME)
        await at.one.flush(
            "t",
            0,
            PartitionState(applied=5),
            [Write("HSET", results, ("poll/x", partial.SerializeToString()))],
        )
        share = await ResultStore(at.database)._read_share(GAME, at.partition)
        assert (share.applied, dict(share.partials)) == (5, {"poll/x": partial})
        nothing = await ResultStore(at.database)._read_share("other", at.partition)
        assert (nothing.applied, dict(nothing.partials)) == (5, {})

    play(scenario)


def of(at: Setting) -> Awaitable[Share]:
    return ResultStore(at.database)._read_share(GAME, at.partition)


def result(at: Setting, topic: str = "poll/x") -> Write:
    return Write("HSET", layout.results_key(at.partition, GAME), (topic, b""))


def test_a_state_that_is_folded_anew_is_no_answer_before_it_is_where_the_stream_was(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        assert not (await of(at)).whole, "nobody has begun"
        await at.one.acquire("t")
        await at.one.reset("t", "s", 0)
        assert (await of(at)).whole, "there is nothing to fold"
        await at.one.reset("t", "s", 9)
        await at.one.flush("t", 0, PartitionState(applied=5), [result(at)])
        assert await of(at) == Share(at.partition, 5, {}, whole=False, stream="s")
        await at.one.flush("t", 5, PartitionState(applied=9), [result(at, "poll/y")])
        share = await of(at)
        assert (share.whole, set(share.partials)) == (True, {"poll/x", "poll/y"})
        await at.two.eraser.erase("e")
        assert not (await of(at)).whole

    play(scenario)


def test_results_that_are_not_those_of_the_manifest_are_no_answer(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.reset("t", "s", 0)
        await at.one.flush("t", 0, PartitionState(applied=5), [result(at), at.write("SET", "log:a", "1")])
        key = layout.results_key(at.partition, GAME)
        await at.alter(("DEL", key))
        assert not (await of(at)).whole
        await at.alter(("HSET", key, "!at", "5", "poll/x", ""))
        assert (await of(at)).whole
        await at.alter(("HSET", key, "poll/z", ""))
        assert not (await of(at)).whole
        await at.alter(("DEL", key), ("HSET", key, "!at", "4", "poll/x", ""))
        assert not (await of(at)).whole
        manifest = layout.manifest_key(at.partition)
        await at.alter(("HSET", manifest, "!at", "4", layout.name_of(key), "4 2"))
        assert not (await of(at)).whole, "both are of the same older moment"

    play(scenario)


KEYS = ("log:a", "hash:a", "rank:a", "topics")


def state_of(at: Setting) -> list[Write]:
    return [
        at.write("APPEND", "log:a", b"x"),
        at.write("HSET", "hash:a", "f", "1"),
        at.write("ZADD", "rank:a", "1", "m"),
        at.write("HSET", "topics", "g/t", ""),
    ]


async def written_twice(at: Setting) -> None:
    await at.one.acquire("t")
    await at.one.reset("t", "s", 0)
    await at.one.flush("t", 0, PartitionState(applied=5), state_of(at))
    await at.one.flush("t", 5, PartitionState(applied=7), state_of(at))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("fault", ["lost", "older", "another kind"])
def test_a_key_that_is_lost_or_older_is_found_by_who_loads_and_by_who_flushes(
    play: Scenario, name: str, fault: str
) -> None:
    """101 votes stay 101: no flush hides what was lost."""

    async def scenario(at: Setting) -> None:
        await written_twice(at)
        await at.one.verify((await at.one.standing("t")).listed())
        key = f"{layout.tag(at.partition)}:{name}"
        older = {
            "log": ("APPEND", key, b"x" + tail(5)),
            "ranking": ("ZADD", key, "1", "m", score(5), "!"),
            "hash": ("HSET", key, "f", "1", "!at", "5"),
        }[kind_of(name)]
        other = ("SET", key, "1") if name != "log:a" else ("HSET", key, "f", "1")
        await at.alter(("DEL", key), *({"older": [older], "another kind": [other]}.get(fault, [])))
        with pytest.raises(Corrupt, match=name):
            await at.one.verify((await at.one.standing("t")).listed())
        with pytest.raises(Corrupt):
            await at.one.flush("t", 7, PartitionState(applied=8), state_of(at))
        assert await at.one.applied() == 7

    play(scenario)


@pytest.mark.parametrize("fault", ["lost", "older", "applied lost"])
def test_a_manifest_that_is_lost_or_older_is_found(play: Scenario, fault: str) -> None:
    async def scenario(at: Setting) -> None:
        await written_twice(at)
        key = layout.manifest_key(at.partition)
        match fault:
            case "lost":
                await at.alter(("DEL", key))
            case "older":
                older = PartitionState(applied=5).SerializeToString()
                await at.alter(("HSET", key, "!at", "5", "!state", older))
            case _:
                await at.alter(("DEL", layout.applied_key(at.partition)))
        with pytest.raises(Corrupt):
            (await at.one.standing("t")).listed()
        with pytest.raises((Corrupt, Rewound)):
            await at.one.flush("t", 7, PartitionState(applied=8), [])

    play(scenario)


def test_what_the_manifest_does_not_list_is_no_part_of_the_state(play: Scenario) -> None:
    """Left by an older release, or by an erasure that could not name it."""

    async def scenario(at: Setting) -> None:
        await at.one.acquire("t")
        await at.one.reset("t", "s", 0)
        await at.alter(
            ("APPEND", f"{layout.tag(at.partition)}:log:a", "old"),
            ("HSET", layout.results_key(at.partition, GAME), "poll/old", ""),
        )
        assert await of(at) == Share(at.partition, 0, {}, stream="s")
        await at.one.flush("t", 0, PartitionState(applied=5), [at.write("APPEND", "log:a", b"x"), result(at)])
        assert await at.log("log:a") == b"x"
        assert set((await of(at)).partials) == {"poll/x"}
        await at.one.verify((await at.one.standing("t")).listed())

    play(scenario)


def test_the_manifest_lists_what_is_there_whatever_was_written(play: Scenario) -> None:
    async def scenario(at: Setting) -> None:
        await written_twice(at)
        await at.one.flush(
            "t",
            7,
            PartitionState(applied=9),
            [
                at.write("DEL", "log:a"),
                at.write("DEL", "log:never"),
                at.write("HDEL", "hash:a", "f"),
                at.write("ZREM", "rank:a", "m"),
                at.write("SET", "log:b", b"whole"),
                at.write("DEL", "topics"),
                at.write("HSET", "topics", "g/u", ""),
            ],
        )
        standing = await at.one.standing("t")
        listed = standing.listed()
        assert (standing.held, standing.stream, listed.state.applied) == (True, "s", 9)
        assert listed.keys == {"hash:a": (9, 1), "rank:a": (9, 1), "log:b": (9, 14), "topics": (9, 2)}
        await at.one.verify(listed)
        assert not (await at.two.standing("t")).held

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
    keys = [f"{layout.tag(partition)}:{name}" for name in ("log:a", "hash:a", "rank:a")]
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
                (
                    0,
                    "flush",
                    (token, random.randrange(4), PartitionState(applied=random.randrange(4)), writes),
                ),
                (
                    random.randrange(2),
                    "flush",
                    (token, random.randrange(4), PartitionState(applied=random.randrange(4)), writes),
                ),
                (random.randrange(2), "renew", (token,)),
                (random.randrange(2), "release", (token,)),
                (random.randrange(2), "reset", (token, random.choice("ab"), random.randrange(4))),
                (0, "applied", ()),
                (random.randrange(2), "standing", (token,)),
                (0, "fill", (token, [Write("HSET", keys[1], ("f", "1"))])),
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
