"""The naive count agrees with the product's fold, whatever the stream holds; and says why."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate.partition import Loaded, Partition
from bench._rows import Row
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    Board,
    Poll,
)
from grandstand.internal.v1.internal_pb2 import Block, Checkpoint, CheckpointKey, Partial
from mesh.recount import partition as recount_partition
from mesh.recount import scores, votes
from mesh.recount.partition import PartitionRecount
from mesh.recount.restored import restored
from mesh.recount.scope import RecountScope
from mesh.recount.verdict import EventVerdict
from mesh.redis import layout
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.partitions import Kept, partials_of

EVERYTHING = RecountScope(lambda row: True)
ORIGINS = [origin(n) for n in range(1, 8)] + [origin(9, producer=True)]
BOARDS = {
    "sum": BOARD_MODE_SUM,
    "best": BOARD_MODE_BEST,
    "lowest": BOARD_MODE_LOWEST,
    "last": BOARD_MODE_LAST,
    "season": BOARD_MODE_LAST,
}
TOPICS = ["poll/final", "poll/change", *(f"board/{each}" for each in BOARDS)]


def definition_of(topic: str, generation: int) -> Poll | Board:
    kind, _, name = topic.partition("/")
    if kind == "poll":
        shape: dict[str, Any] = {"choices_max": 2, "weight_max": 3} if name == "change" else {}
        return blocks.poll(name, changeable=name == "change", generation=generation, **shape)
    board = blocks.board(BOARDS[name], board_id=name, generation=generation)
    board.opened_at.FromSeconds(NOW_S)
    if name == "season":
        board.season.every.FromSeconds(20)
        board.season.starts_at.FromSeconds(NOW_S - 5)
    return board


def controlled(topic: str, generation: int, stage: Any, at_s: float) -> Block:
    definition = definition_of(topic, generation)
    if stage >= STAGE_CLOSED:
        definition.closes_at.FromNanoseconds(int((at_s - 1) * 1e9))
    return blocks.control(definition, stage, at_s)


def history(seed: int) -> list[Any]:
    """Steps about few things, so that events meet."""
    random = Random(seed)
    topics = random.choice([*([topic] for topic in TOPICS), TOPICS])
    actors = random.choice([["ann"], ["ann", "bob", "auth0|5f…"]])
    origins = random.choice([ORIGINS[:2], ORIGINS])
    sequences = random.choice([6, 30, 200])
    polls, boards = ([t.partition("/")[2] for t in topics if t.startswith(k)] for k in ("poll", "board"))

    def row() -> Row:
        topic = random.choice(topics)
        return blocks.row(
            *(topic, random.choice(actors), random.choice(origins), random.randint(1, sequences)),
            value=random.randint(0, 9),
            weight=random.randint(1, 3) if topic == "poll/change" else 0,
            guest=topic.startswith("poll") and random.random() < 0.3,
            generation=random.choice([0, 1, 1, 1, 1, 1]),
        )

    steps: list[Any] = []
    for _ in range(random.randint(1, 40)):
        chance = random.random()
        if chance < 0.6:
            steps.append(("events", [row() for _ in range(random.randint(1, 5))]))
        elif chance < 0.72:
            steps.append(("time", random.choice([0.5, 3.0, 9.0, 25.0, -2.0, -9.0])))
        elif chance < 0.82 and polls:
            steps.append(("void", random.choice(actors), random.choice(polls)))
        elif chance < 0.92 and boards:
            steps.append(("remove", random.choice(actors), random.choice(boards), random.randint(0, 3)))
        elif chance > 0.95:
            generation = 2 if random.random() < 0.2 else 1
            steps.append(("stage", random.choice(topics), generation, random.randint(1, 3)))
    return steps


def stream_of(steps: Sequence[Any]) -> list[tuple[bytes, int]]:
    """Blocks, and when each is stored."""
    at_s: float = NOW_S
    stream = [controlled(topic, 1, STAGE_OPEN, at_s) for topic in TOPICS]
    stored = [int(at_s * 1e6)] * len(stream)
    for step in steps:
        match step:
            case "time", seconds:
                at_s += seconds
                continue
            case "events", rows:
                stream.append(blocks.block(rows, at_s))
            case "stage", topic, generation, stage:
                at = [STAGE_OPEN, STAGE_CLOSED, STAGE_SEALED][stage - 1]
                stream.append(controlled(topic, generation, at, at_s))
            case "void", actor, poll:
                stream.append(blocks.void_votes(actor, poll, at_s))
            case "remove", actor, board, season:
                stream.append(blocks.remove_score(actor, board, season if board == "season" else 0, at_s))
        stored.append(int((at_s + 0.25) * 1e6))
    return [(block.SerializeToString(), at) for block, at in zip(stream, stored, strict=True)]


def checkpoint_of(kept: Kept) -> Checkpoint:
    found = Checkpoint(applied=kept.state.applied, state=kept.state)
    for key, log in kept.values.items():
        found.keys.add(name=layout.name_of(key), log=log)
    for key, fields in kept.hashes.items():
        flat = [part for field in fields.items() for part in field]
        found.keys.append(CheckpointKey(name=layout.name_of(key), fields=flat))
    return found


def compare(count: PartitionRecount, shown: dict[str, Partial]) -> None:
    for topic, partial in shown.items():
        state = count.topics[GAME, topic]
        assert state.count is not None
        figures = votes.figures_of(partial.tally) if "poll/" in topic else scores.figures_of(partial.board)
        assert state.count.figures() == figures, topic
        assert state.stage == partial.stage, topic


@given(st.integers(0, 2**32), st.integers(0, 40))
def test_it_agrees_with_the_fold_at_every_block_and_from_a_checkpoint_on(seed: int, taken_after: int) -> None:
    partition, kept = Partition(0, Loaded()), Kept()
    count = PartitionRecount(EVERYTHING)
    later: PartitionRecount | None = None
    shown: dict[str, Partial] = {}
    for sequence, (data, stored_at_us) in enumerate(stream_of(history(seed)), 1):
        letters = [letter.reason for letter in partition.fold(sequence, data, stored_at_us)]
        flush = partition.take_flush()
        assert flush is not None
        kept.apply(flush)
        if GAME in flush.forgotten:
            shown = {}
        shown |= {partial.topic: partial for partial in partials_of(flush)}
        count.apply(sequence, data, stored_at_us, letters)
        compare(count, shown)
        aside = [
            fate
            for fate in count.fates
            if fate.sequence == sequence and fate.verdict is EventVerdict.UNDEFINED
        ]
        assert bool(aside) == bool(letters)
        if later is not None:
            later.apply(sequence, data, stored_at_us, letters)
            compare(later, shown)
        elif sequence > taken_after:
            later = restored(EVERYTHING, checkpoint_of(kept))
            compare(later, shown)
    uncounted = [
        fate for fate in count.fates if fate.verdict in (EventVerdict.SEALED, EventVerdict.OLD_GENERATION)
    ]
    assert len(uncounted) == partition.uncounted


def test_the_product_s_bounds_are_those_of_the_count() -> None:
    for name in ("CLOCK_BOUND_S", "ORIGIN_WINDOW_LIFE_S", "LATENESS_S"):
        assert getattr(recount_partition, name) == getattr(aggregate_bounds, name)
    assert scores.TOP_DEFAULT == aggregate_bounds.BOARD_TOP_DEFAULT
