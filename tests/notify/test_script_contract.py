"""The scripts of inboxes, against a real Valkey and against the model that the simulation plays with: the
same random calls have the same answers, and leave the same behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from mesh.notices import store
from mesh.redis import layout
from mesh.redis.database import Argument, Database, Script
from notify import inbox_scripts, segments
from tests.simulation.database import ModelDatabase
from tests.support.games import run
from tests.support.servers import stores

CALLS = 400
_LIFE_MS = 600_000
_INBOXES = [layout.inbox_key(actor) for actor in "ab"]
_READERS = [layout.reader_key(actor) for actor in "ab"]
_LISTS = [layout.segment_key("vip"), layout.SEGMENTS]
_LEASE, _APPLIED = layout.NOTICES_LEASE, layout.NOTICES_APPLIED[0]
Call = tuple[Script, Sequence[str], Sequence[Argument]]


def put(random: Random) -> Call:
    arguments: list[Argument] = []
    keys = random.sample(_INBOXES, random.randint(1, 2))
    for count in [1] * len(keys) if random.random() < 0.5 else [len(keys)]:
        sequences = random.sample(range(1, 12), random.randint(1, 4))
        life_ms = random.choice((_LIFE_MS, 2 * _LIFE_MS, -5))
        arguments += (count, 4, life_ms, random.choice(("", "1")), len(sequences))
        for sequence in sequences:
            arguments += (sequence, f"{sequence} {random.randrange(3)}")
    return inbox_scripts.PUT, keys, arguments


def reader(random: Random) -> Call:
    sequence = random.randrange(1, 20)
    arguments = (sequence, f"reader {sequence}", _LIFE_MS, random.choice(("", "", "1")))
    return inbox_scripts.READER, [random.choice(_READERS)], arguments


def segment(random: Random) -> Call:
    field, sequence = f"segment:{random.randrange(6)}", random.randrange(1, 60)
    flags = random.choice(("", "1")), 3, _LIFE_MS, random.choice(("", "", "1"))
    return inbox_scripts.SEGMENT, [random.choice(_READERS)], (field, sequence, *flags)


def listed(random: Random) -> Call:
    return (
        inbox_scripts.LISTED,
        [random.choice(_LISTS)],
        (random.choice("abcdef"), random.choice(("", "1", "1"))),
    )


def lease(random: Random) -> Call:
    who = random.choice(("one", "two"))
    if random.random() < 0.3:
        return inbox_scripts.LEAVE, [_LEASE], (who,)
    return inbox_scripts.LEASE, [_LEASE], (who, _LIFE_MS)


def note(random: Random) -> Call:
    if random.random() < 0.3:
        return inbox_scripts.USED, [layout.NOTICES_USED], random.choice(((), ("g", 7), ("g", 8, "h", 9)))
    words: list[Argument] = []
    for name in ("NOTICES", "READERS"):
        noted = random.choice(("", "x", "x", "x", "y"))
        words += (name, noted, random.randrange(5), random.choice(("", f"x {random.randrange(5, 9)}")))
    return inbox_scripts.NOTE, [_APPLIED], words


def load(random: Random) -> Call:
    return store._LOAD, [*_INBOXES, *_READERS, _LEASE, _LISTS[0], layout.NOTICES_USED, "none"], ()


def page(random: Random) -> Call:
    if random.random() < 0.3:
        return segments._COUNT, [random.choice(_LISTS)], ()
    return segments._PAGE, [random.choice(_LISTS)], (random.choice(("", "b", "c")), 2)


KINDS: Sequence[Callable[[Random], Call]] = (
    *(put, put, reader, segment, segment),
    *(listed, lease, note, load, page),
)
HEALING = (inbox_scripts.PUT, inbox_scripts.READER, inbox_scripts.SEGMENT, inbox_scripts.LISTED)


def test_the_model_answers_what_valkey_answers(tmp_path: Path) -> None:
    def plain(answer: Any) -> Any:
        """Hashes have no order."""
        if isinstance(answer, list) and answer and isinstance(answer[0], list):
            return [dict(zip(each[::2], each[1::2], strict=True)) for each in answer]
        return answer

    async def scenario(real: Database) -> None:
        model, random = ModelDatabase(time.time), Random(5)
        for n in range(CALLS):
            script, keys, arguments = random.choice(KINDS)(random)
            if script in HEALING and random.random() < 0.05:  # of another type than it should be
                await (await real._connected()).set(keys[0], "foreign")  # type: ignore[attr-defined]
                model._set(keys[0], b"foreign")
            answers = [await each.run(script, keys, arguments) for each in (real, model)]
            found, expected = (plain(each) for each in answers)
            assert found == expected, f"call {n}: {script.source} {keys} {arguments}"
        for key in (*_INBOXES, *_READERS):
            left_ms = await (await real._connected()).pttl(key)  # type: ignore[attr-defined]
            assert abs(model._notices._left_ms(key) - left_ms) < 5_000, key
        await real.aclose()

    with stores(tmp_path) as around:
        run(scenario(Database(around.redis_url)))
