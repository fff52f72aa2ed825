"""Thousands of seeded histories of the pure cores, in a world where everything may break (I1 to I4, I9).

SIMULATION_HISTORIES=20000 plays more of them, SIMULATION_SEED=7 begins at another seed (and with
SIMULATION_HISTORIES=1 repeats that one). A failure names its seed.

The second half breaks one thing at a time on purpose: a simulation that cannot fail proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aggregate.partition import Loaded
from grandstand.ingest.v1.ingest_pb2 import Hello, Welcome
from ingest.session import Session
from mesh.auth.identity import Identity
from mesh.provision import checkout
from tests.simulation.clients import Native
from tests.simulation.database import ModelDatabase
from tests.simulation.history import Rules, Violation, play
from tests.simulation.ingests import ModelIngest

HISTORIES = int(os.environ.get("SIMULATION_HISTORIES", "2000"))
FIRST_SEED = int(os.environ.get("SIMULATION_SEED", "0"))
PROCESSES = 2
CAUGHT_WITHIN = 400
"""Histories in which a fault on purpose must be seen."""


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_every_acked_event_is_counted_once_in_any_history() -> None:
    share = -(-HISTORIES // PROCESSES)
    runs = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.simulation"),
                *("--seed", str(FIRST_SEED + n * share), "--histories", str(min(share, HISTORIES))),
            ],
            cwd=checkout(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(min(PROCESSES, HISTORIES))
    ]
    told = []
    for run in runs:
        out, err = run.communicate()
        assert run.returncode == 0, err.strip()
        told.append(json.loads(out.splitlines()[-1]))
    assert sum(each["histories"] for each in told) >= HISTORIES
    if HISTORIES >= 100:
        for each in told:
            assert_tries_everything(each)


def assert_tries_everything(told: dict[str, Any]) -> None:
    """Histories in which nothing goes wrong would all be right."""
    histories = told["histories"]
    assert set(told["kinds"]) == {"poll", "board", "pulse", "metric", "audience"}
    for what, a_history in (
        ("acked", 15),
        ("resent", 0.5),
        ("takeovers", 2),
        ("flushes", 15),
        ("refused", 0.2),
        ("emptied", 0.2),
        ("restored", 0.5),
    ):
        assert told[what] >= a_history * histories, f"only {told[what]} {what} in {histories} histories"


def test_a_seed_plays_the_same_history_again(loop: asyncio.AbstractEventLoop) -> None:
    assert play(11, Rules(), loop) == play(11, Rules(), loop)
    assert play(11, Rules(), loop) != play(12, Rules(), loop)


class Unfenced(ModelDatabase):
    """Lets anybody write, from any state."""

    def holds(self, lease: str, value: bytes) -> bool:
        return True

    def stands_at(self, applied: bytes, before: bytes) -> bool:
        return True


class GoneBackUnseen(ModelDatabase):
    """Does not look whether the stored state is the one a flush starts from."""

    def stands_at(self, applied: bytes, before: bytes) -> bool:
        return True


class Torn(ModelDatabase):
    """A flush that fails on its way writes a part of what it should."""

    def _call(self, effect: Any) -> Any:
        if self._fault() == "before":
            self._torn = True
        return super()._call(effect)

    _torn = False

    def _write(self, command: bytes, key: str, arguments: list[bytes]) -> None:
        if self._torn:
            self._torn = False
            return
        super()._write(command, key, arguments)


class AcksWhenSent(ModelIngest):
    acks_when_sent = True


class Generous(Session):
    """Gives a viewer more credit than its window is wide."""

    def hello(self, hello: Hello, identity: Identity, *, now_s: float, entropy: bytes) -> Welcome:
        welcome = super().hello(hello, identity, now_s=now_s, entropy=entropy)
        self.credit_max = welcome.credit = 10_000
        return welcome


class GenerousIngest(ModelIngest):
    session_type = Generous


class EagerNative(Native):
    credit_at_first = 10_000


def without_windows(loaded: Loaded) -> Loaded:
    return replace(loaded, origins=b"")


def without_votes(loaded: Loaded) -> Loaded:
    return replace(loaded, votes=b"")


BROKEN: Sequence[tuple[str, Rules]] = [
    ("no fence", Rules(database=Unfenced)),
    ("no look at what is applied", Rules(database=GoneBackUnseen)),
    ("a flush that is not atomic", Rules(database=Torn)),
    ("acks before the event log's", Rules(ingest=AcksWhenSent)),
    ("windows forgotten at a takeover", Rules(altered=without_windows)),
    ("votes forgotten at a takeover", Rules(altered=without_votes)),
    (
        "credit wider than the window",
        Rules(ingest=GenerousIngest, native=EagerNative, events=(200, 300)),
    ),
]


@pytest.mark.parametrize("rules", [rules for _, rules in BROKEN], ids=[name for name, _ in BROKEN])
def test_what_is_broken_on_purpose_is_seen(rules: Rules, loop: asyncio.AbstractEventLoop) -> None:
    seen = first_violation(rules, loop)
    assert re.match(r"seed \d+: ", str(seen))
    assert isinstance(seen.__cause__, AssertionError), "an invariant tells, not a bug of the model"


def first_violation(rules: Rules, loop: asyncio.AbstractEventLoop) -> Violation:
    for seed in range(CAUGHT_WITHIN):
        try:
            play(seed, rules, loop)
        except Violation as violation:
            return violation
    raise AssertionError(f"nothing was seen in {CAUGHT_WITHIN} histories")
