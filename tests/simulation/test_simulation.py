"""Seeded histories of the real cores and shells, in a world where everything may break.

SIMULATION_HISTORIES=20000 plays more of them, SIMULATION_SEED=7 begins at another seed (and with
SIMULATION_HISTORIES=1 repeats that one). A failure names its seed.

The second half breaks one thing at a time on purpose: a simulation that cannot fail proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import aggregate.catalog
import aggregate.eventlog
import aggregate.lease_session
import aggregate.retention
import aggregate.tally
import aggregate.vote_cells
import aggregate.worker
import mesh.catalog.watch
import mesh.jetstream.bus
from aggregate import (
    binding,
    checkpoint,
    definition_merge,
    definitions,
    loading,
    standings,
    superseded,
    topics,
)
from aggregate.block import DecodedEvents
from aggregate.catalog import CatalogWriter
from aggregate.eventlog import Purged
from aggregate.fold import Change, DeleteFields
from aggregate.lease_session import LeaseSession
from aggregate.partition import Loaded
from aggregate.partition_store import PartitionStore
from aggregate.rows import Rows
from aggregate.standings import Standings
from aggregate.tally import Tallies
from aggregate.watermark import Watermark
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Hello, Welcome
from grandstand.internal.v1.internal_pb2 import Checkpoint, CheckpointKey, Control, StoredNotice
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import GrandstandError, Unavailable
from ingest.compiled_definitions import GamePeriod, OpenPeriod
from ingest.session import IngestSession
from mesh.auth.identity import Identity
from mesh.auth.origins import Origins
from mesh.catalog.freshness import Freshness
from mesh.jetstream import subjects
from mesh.jetstream.pull import Pulled
from mesh.redis import layout
from mesh.redis.database import RedisError
from notify.applying import Applier
from notify.follower import Follower
from notify.game_rules import GameRules
from notify.scrub import Scrub
from notify.stream_log import StreamLog
from tests.simulation.__main__ import Played
from tests.simulation.bus import ModelPipeline
from tests.simulation.clients import Native
from tests.simulation.database import ModelDatabase
from tests.simulation.history import Rules, Violation, play
from tests.simulation.ingests import ModelIngest
from toolbox.local.provision import checkout

Patches = Sequence[tuple[object, str, object]]

HISTORIES = int(os.environ.get("SIMULATION_HISTORIES", "160"))
FIRST_SEED = int(os.environ.get("SIMULATION_SEED", "0"))
PROCESSES = 2
CAUGHT_WITHIN = 400
"""Histories in which a fault on purpose must be seen."""
BOUND = (aggregate.worker, aggregate.lease_session, aggregate.retention)
"""Where states are compared with the stream."""

A_HISTORY: Mapping[str, float] = {
    "acked": 10,
    "refused": 1,
    "second_votes": 0.5,
    "resent": 0.5,
    "held": 0.5,
    "late_acks_refused": 0.01,
    "flushes": 10,
    "takeovers": 4,
    "kills": 1,
    "stops": 1,
    "cuts": 0.1,
    "clock_jumps": 0.05,
    "clock_stops": 0.02,
    "elections": 0.08,
    "closings": 0.2,
    "seals": 0.3,
    "early_controls": 0.05,
    "voids": 0.5,
    "removals": 0.5,
    "corrections_refused": 0.02,
    "seasons": 0.3,
    "ends": 0.1,
    "ends_in_takeovers": 0.01,
    "returns": 0.1,
    "rebuilds_of_ending": 0.005,
    "define_races": 0.2,
    "spread_changes": 0.2,
    "emptied": 0.04,
    "restored": 0.1,
    "keys_lost": 0.1,
    "splits": 0.05,
    "rebuilds": 0.06,
    "checkpoints": 0.15,
    "checkpoints_restored": 0.02,
    "checkpoints_deleted": 0.004,
    "purges": 0.15,
    "full": 0.05,
    "tails_lost": 0.01,
    "streams_anew": 0.002,
    "notices": 1,
    "cancelled": 0.2,
    "repeated_calls": 0.5,
    "occurrences": 2,
    "firings": 2,
    "takeovers_of_rules": 0.5,
    "reads": 3,
    "reads_with_position": 0.8,
}
"""How much of what a history has at least, on average."""


@pytest.mark.timeout(600 + 2 * HISTORIES)
def test_every_acked_event_is_counted_once_in_any_history() -> None:
    run = _simulate(FIRST_SEED, HISTORIES, PROCESSES)
    assert run.returncode == 0, run.stderr.strip()
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["histories"] == HISTORIES
    if HISTORIES >= 200:
        assert_tries_everything(told)


def _simulate(seed: int, histories: int, processes: int) -> subprocess.CompletedProcess[str]:
    asked = ("--seed", seed, "--histories", histories, "--processes", processes)
    command = [sys.executable, "-m", "tests.simulation", *map(str, asked)]
    return subprocess.run(command, cwd=checkout(), capture_output=True, text=True)


def assert_tries_everything(told: Mapping[str, Any]) -> None:
    """Histories in which nothing goes wrong would all be right."""
    histories = told["histories"]
    assert told["kinds"] == sorted(("poll", "board", "pulse", "metric", "audience", "custom"))
    for what, a_history in A_HISTORY.items():
        assert told[what] >= a_history * histories, f"only {told[what]} {what} in {histories} histories"


_WITH_NOTICES = 1


def test_a_seed_plays_the_same_history_again() -> None:
    """Also in another process, where sets of strings have another order."""
    told = play(_WITH_NOTICES, Rules())
    run = _simulate(_WITH_NOTICES, 1, 1)
    assert Played.from_json(run.stdout.splitlines()[-1]).told == told
    assert play(11, Rules()) != told


class Unfenced(ModelDatabase):
    """Lets anybody write, from any state."""

    def holds(self, lease: str, value: bytes) -> bool:
        return True

    def stands_at(self, applied: bytes, before: bytes) -> bool:
        return True


class GoneBackUnseen(ModelDatabase):
    """Does not look whether the stored state is the one a flush starts from."""

    def _flush(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        before = self._string(keys[1]) or b"0"
        return super()._flush(keys, [*arguments[:2], before, *arguments[3:]])

    def carries(self, key: str, sequence: int) -> bool:
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


class AcksAtOnce(ModelPipeline):
    """Takes for stored what it has sent."""

    async def publish(self, subject: str, payload: bytes, message_id: str, *more: Any) -> int:
        self._bus.process.spawn(super().publish(subject, payload, message_id, *more), GrandstandError)
        return self._bus.mesh.stream.last + 1


class HastyIngest(ModelIngest):
    pipeline_type = AcksAtOnce


class Generous(IngestSession):
    """Gives a viewer more credit than its window is wide."""

    def hello(self, hello: Hello, identity: Identity, origins: Origins, **times: Any) -> Welcome:
        welcome = super().hello(hello, identity, origins, **times)
        self.credit_max = welcome.credit = 10_000
        return welcome


class GenerousIngest(ModelIngest):
    session_type = Generous


class EagerNative(Native):
    credit_at_first = 10_000


class AlwaysFresh(Freshness):
    """Takes what it sees for the newest there is."""

    def heard(self, number: int, *, is_whole: bool = True) -> float | None:
        sent_s = super().heard(number, is_whole=is_whole)
        if self.is_anchored:
            self.anchor_s = self.fresh_until_s = math.inf
        return sent_s


def altered(change: Callable[[Loaded], Loaded]) -> Patches:
    """What is loaded at a takeover is not what was stored."""

    async def load(*arguments: Any) -> Loaded:
        return change(await loading.load(*arguments))

    return [(aggregate.worker, "load", load)]


async def unproven(
    stored: PartitionStore, token: str, partition: int, applied: int, stream: str
) -> Checkpoint:
    """A checkpoint as it was taken once: key by key, and called what it was meant to be."""
    found = Checkpoint(partition=partition, applied=applied, stream=stream)
    standing = await stored.standing()
    flat = [part for field in standing.manifest.items() for part in field]
    found.keys.append(CheckpointKey(name="manifest", fields=flat))
    for name in standing.listed().keys:
        await checkpoint._read(stored, f"{layout.tag(partition)}:{name}", found.keys.add(name=name))
    found.state.CopyFrom(standing.listed().state)
    return found


async def end_of_any_stream(session: LeaseSession) -> int:
    return (await session._log.stream())[1]


class Unlisted(ModelDatabase):
    """Looks at no key when it flushes."""

    def carries(self, key: str, sequence: int) -> bool:
        return True


async def unverified(stored: PartitionStore, listed: Any) -> None: ...


class Impatient(ModelDatabase):
    """Takes any share for a whole one."""

    def _read(self, keys: Sequence[str], arguments: list[bytes]) -> Any:
        answer: list[Any] = [self._string(keys[0]) or b"0", self._string(keys[1]) or b""]
        for key in keys[3:]:
            answer += [1, [part for field in self._hash(key).items() for part in field]]
        return answer


def with_the_games_spread(period: OpenPeriod, definition: Any) -> None:
    _PERIOD(period, definition)
    period.spread = 0


_PERIOD = OpenPeriod.__init__


def without_an_end(period: GamePeriod, game: Game) -> None:
    unended = Game()
    unended.CopyFrom(game)
    unended.ClearField("ended_at")
    unended.ClearField("stage")
    _GAME_PERIOD(period, unended)


_GAME_PERIOD = GamePeriod.__init__


def by_the_leaders_clock(mark: Watermark, stamped_us: int, stored_us: int) -> None:
    mark.at_us = max(mark.at_us, stored_us)


def unconditional(prefix: str) -> Patches:
    """Such messages are stored whatever their subject has."""
    put = StreamLog._publish

    async def publish(log: StreamLog, subject: str, data: bytes, last: int | None) -> int:
        return await put(log, subject, data, None if subject.startswith(prefix) else last)

    return [(StreamLog, "_publish", publish)]


def sequence_alone(rules: GameRules, sequence: int, stored: StoredNotice) -> None:
    rules._settled(rules._slot(stored.firing.rule_id, stored.firing.topic)).sequence = sequence


async def once_and_carelessly(follower: Follower, pulled: Sequence[Pulled], *, pushes: bool) -> None:
    with contextlib.suppress(RedisError):
        await follower.apply(pulled, anew=follower._anew, pushes=pushes)


async def unscrubbed(scrub: Scrub, stream: str) -> None: ...


UNSCRUBBED = (Scrub, "_round", unscrubbed)


class NotedBlindly(ModelDatabase):
    """Does not look whether less is there than was noted."""

    def is_as_far(self, sequence: int, noted: int) -> bool:
        return True


async def of_its_own_view(writer: CatalogWriter, game_id: str) -> Game:
    return writer._watch.view.game(game_id)


async def defined_unclaimed(writer: CatalogWriter, wanted: Game) -> tuple[Game, list[Position]]:
    """Sends the control before it is known who is first."""
    key = subjects.game_key(wanted.game_id)
    for _ in range(8):
        await writer._watch.refresh(key)
        known, revision = writer._watch.view.get(key), writer._watch.view.revision(key)
        asked = definitions.check_game(wanted, {"heard"})
        game = (
            definition_merge.check_and_merge(known, asked, has_topics=True)
            if isinstance(known, Game)
            else asked
        )
        partitions = ids.partitions_of(game.game_id, game.spread)
        positions = await writer._controls.publish(partitions, Control(game=game), f"{key} {game}")
        if await writer._put(key, game, revision):
            return game, positions
    raise Unavailable("others define it")


_ROWS = DecodedEvents.rows


def by_clamped_time(*arguments: Any, **named: Any) -> Rows | None:
    rows = _ROWS(*arguments, **named)
    return rows and replace(rows, reached=rows.reached % 4096 + np.uint64(rows.at_us * 4096))


def without_places(*arguments: Any, **named: Any) -> Rows | None:
    rows = _ROWS(*arguments, **named)
    return rows and replace(rows, reached=rows.reached // 4096 * 4096)


def clamped(total: int, reached: int) -> bytes:
    return _PACK_SUM(max(-wire_bounds.POINTS_MAX, min(wire_bounds.POINTS_MAX, total)), reached)


_PACK_SUM = standings._pack_sum


def void_unstored(tallies: Tallies, number: int, actor: bytes) -> bool:
    voided = _VOID(tallies, number, actor)
    if voided:
        tallies._touched.pop()
    return voided


_VOID = Tallies.void


def without_removals(of: Standings) -> list[Change]:
    return [change for change in _DELTA(of) if not isinstance(change, DeleteFields)]


_DELTA = Standings.delta

SLOW = {"slow": 1.0, "races": 0.0, "corrections": 0.0, "notices": 0.0}
QUICK = {**SLOW, "slow": 0.0}
LIVES = {**SLOW, "lives": 1.0}
RACES = {**QUICK, "races": 1.0}
CORRECTED = {"races": 0.0, "corrections": 1.0, "notices": 0.0}
TOLD = {**QUICK, "notices": 1.0}
MADE_ANEW = {
    "stream_bytes_max": (5_000, 12_000),
    "events": (8, 14),
    "slow": 0.0,
    "corrections": 0.0,
    "notices": 0.0,
}

BROKEN: Sequence[tuple[str, Rules]] = [
    ("no fence", Rules(database=Unfenced, kinds=("rebuild",), **QUICK)),
    ("no look at what is applied", Rules(database=GoneBackUnseen, kinds=("restore", "empty"), **QUICK)),
    ("a flush that is not atomic", Rules(database=Torn, **QUICK)),
    ("acks before the event log's", Rules(ingest=HastyIngest, **QUICK)),
    (
        "windows forgotten at a takeover",
        Rules(patches=altered(lambda loaded: replace(loaded, origins=b"")), **QUICK),
    ),
    (
        "votes forgotten at a takeover",
        Rules(patches=altered(lambda loaded: replace(loaded, votes=b"")), **QUICK),
    ),
    (
        "credit wider than the window",
        Rules(ingest=GenerousIngest, native=EagerNative, events=(120, 150), **QUICK),
    ),
    ("1: a view is never stale", Rules(patches=[(mesh.catalog.watch, "Freshness", AlwaysFresh)], **SLOW)),
    (
        "2: a control is taken before its time",
        Rules(patches=[(topics, "stage_due", lambda definition, *_: definition.stage)], **SLOW),
    ),
    (
        "3: the leader's clock alone moves time",
        Rules(patches=[(Watermark, "pass_block", by_the_leaders_clock)], **SLOW),
    ),
    (
        "4: a checkpoint is not proven",
        Rules(
            patches=[(aggregate.lease_session, "take", unproven)],
            kinds=("restore", "restore", "empty"),
            stream_bytes_max=(5_000, 8_000),
            **QUICK,
        ),
    ),
    (
        "5: nobody knows what was purged",
        Rules(
            patches=[(Purged, "floor", lambda *_: 0)],
            kinds=["empty", "rebuild"] * 8,
            stream_bytes_max=(5_000, 8_000),
            **QUICK,
        ),
    ),
    (
        "6: a stream recreated begins at 1",
        Rules(
            patches=[
                (mesh.jetstream.bus, "first_sequence", lambda _: 1),
                # Else the second look before a purge finds it first.
                (aggregate.eventlog, "is_same", lambda *_: True),
            ],
            kinds=["anew"] * 8,
            **MADE_ANEW,
        ),
    ),
    (
        "6: a purge of another stream counts",
        Rules(
            patches=[(Purged, "floor", lambda purged, _: purged.up_to)],
            kinds=["anew", "rebuild"] * 8,
            **MADE_ANEW,
        ),
    ),
    (
        "6: a session does not see that its stream was recreated",
        Rules(
            patches=[(LeaseSession, "_end_of_stream", end_of_any_stream)],
            kinds=["anew"] * 30,
            **MADE_ANEW,
        ),
    ),
    (
        "6: a state is taken for the stream's by its sequence",
        Rules(
            patches=[(module, "fit", lambda *_: binding.Fit.SAME) for module in BOUND],
            kinds=("tail",),
            **QUICK,
        ),
    ),
    (
        "7: a key that is lost is not missed",
        Rules(
            database=Unlisted,
            patches=[(PartitionStore, "verify", unverified)],
            kinds=("lose key",),
            **QUICK,
        ),
    ),
    (
        "8: a topic has its game's spread",
        Rules(
            patches=[
                (OpenPeriod, "__init__", with_the_games_spread),
                (CatalogWriter, "_claimed", of_its_own_view),
            ],
            **RACES,
        ),
    ),
    (
        "9: a control goes before its claim",
        Rules(
            patches=[(CatalogWriter, "define_game", defined_unclaimed)],
            **RACES,
        ),
    ),
    (
        "10: whom a vote replaced is forgotten",
        Rules(patches=[(superseded, "replaced", lambda *_: b"")], **QUICK),
    ),
    ("11: sums are clamped on their way", Rules(patches=[(standings, "_pack_sum", clamped)], **QUICK)),
    ("11: ties go by the clamped time", Rules(patches=[(DecodedEvents, "rows", by_clamped_time)], **QUICK)),
    ("11: ties in a block go by the name", Rules(patches=[(DecodedEvents, "rows", without_places)], **QUICK)),
    ("13: a void is not stored", Rules(patches=[(Tallies, "void", void_unstored)], slow=0.0, **CORRECTED)),
    (
        "13: a removal is not stored",
        Rules(patches=[(Standings, "delta", without_removals)], slow=0.0, **CORRECTED),
    ),
    (
        "13: a correction is answered without a look whether the seal came first",
        Rules(patches=[(aggregate.catalog, "check_folded", lambda *_: None)], slow=1.0, **CORRECTED),
    ),
    (
        "15: the votes of a forgotten poll are those of the next of its name",
        Rules(
            patches=[
                (module, "of_generation", lambda topic, _: topic)
                for module in (aggregate.tally, aggregate.vote_cells)
            ],
            **LIVES,
        ),
    ),
    (
        "15: what a game's definition makes has no end of its own",
        Rules(patches=[(GamePeriod, "__init__", without_an_end)], **LIVES),
    ),
    ("14: readers do not wait for a rebuild", Rules(database=Impatient, kinds=("rebuild", "empty"), **QUICK)),
    *(
        (f"16: {what} is stored whatever was stored before", Rules(patches=unconditional(prefix), **TOLD))
        for what, prefix in (
            ("a firing", "notices.fired."),
            ("an occurrence", "notices.due."),
            ("a notice", "notices.sent."),
        )
    ),
    (
        "16: who takes rules over begins again",
        Rules(patches=[(GameRules, "adopt", sequence_alone)], **TOLD),
    ),
    (
        "16: what is not applied to Redis counts as applied",
        Rules(patches=[(Follower, "_apply", once_and_carelessly), UNSCRUBBED], **TOLD),
    ),
    (
        "16: nobody sees that inboxes went back",
        Rules(database=NotedBlindly, patches=[UNSCRUBBED], kinds=("restore", "empty"), **TOLD),
    ),
    (
        "16: what was taken back comes again when inboxes are rebuilt",
        Rules(patches=[(Applier, "_is_cancelled", lambda *_: False)], kinds=("empty", "restore"), **TOLD),
    ),
]


RARE = {
    "credit wider than the window": 1,
    "14: readers do not wait for a rebuild": 5,
    "8: a topic has its game's spread": 6,
    "6: a stream recreated begins at 1": 447,
    "6: a purge of another stream counts": 77,
    "6: a session does not see that its stream was recreated": 281,
    "no fence": 780,
    "no look at what is applied": 60,
    "3: the leader's clock alone moves time": 52,
    "13: a void is not stored": 144,
    "13: a removal is not stored": 76,
    "4: a checkpoint is not proven": 479,
    "5: nobody knows what was purged": 154,
    "10: whom a vote replaced is forgotten": 85,
    "11: sums are clamped on their way": 121,
    "15: the votes of a forgotten poll are those of the next of its name": 30,
    "15: what a game's definition makes has no end of its own": 16,
    "16: a firing is stored whatever was stored before": 23,
    "16: nobody sees that inboxes went back": 11,
    "16: what was taken back comes again when inboxes are rebuilt": 13,
}
"""The seed from which a fault is searched for that few histories show."""


@pytest.mark.parametrize(("name", "rules"), BROKEN, ids=[name for name, _ in BROKEN])
def test_what_is_broken_on_purpose_is_seen(name: str, rules: Rules) -> None:
    seen = first_violation(rules, RARE.get(name, 0))
    assert re.match(r"seed \d+: ", str(seen))
    assert isinstance(seen.__cause__, AssertionError), f"an invariant tells, not a bug of the model: {seen}"


def first_violation(rules: Rules, first: int) -> Violation:
    for seed in range(first, first + CAUGHT_WITHIN):
        try:
            play(seed, rules)
        except Violation as violation:
            return violation
    raise AssertionError(f"nothing was seen in {CAUGHT_WITHIN} histories")
