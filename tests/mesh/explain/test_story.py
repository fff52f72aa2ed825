"""Each story is told right, of histories that are made to have it."""

from __future__ import annotations

import pytest

from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_BEST, STAGE_CLOSED, STAGE_SEALED, Game
from grandstand.internal.v1.internal_pb2 import Block, Refusal, RefusalsResponse, Shed
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Invalid
from mesh import limits
from mesh.explain.explaining import instance_of
from mesh.explain.question import ExplainQuestion, may_be_control
from mesh.explain.story import Facts, PartitionFacts, tell
from mesh.jetstream import subjects
from mesh.recount.partition import PartitionRecount
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin

ANN = "auth0|ann@example.org"
POLL = blocks.poll(generation=2)
OPEN = blocks.control(POLL)
GAME_2 = Game(game_id=GAME, generation=2)


def facts_of(stream: list[Block | bytes], **fields: object) -> Facts:
    """What is found of a partition with these blocks, each stored a quarter of a second after its stamp."""
    question = ExplainQuestion(GAME, ANN)
    count, partition = PartitionRecount(question.scope(frozenset())), Partition(0, Loaded())
    letters: dict[int, list[str]] = {}
    for sequence, block in enumerate(stream, 1):
        data = block if isinstance(block, bytes) else block.SerializeToString()
        stamp_s = NOW_S if isinstance(block, bytes) else block.stamped_at.ToNanoseconds() / 1e9
        stored_at_us = int((stamp_s + 0.25) * 1e6)
        letters[sequence] = [each.reason for each in partition.fold(sequence, data, stored_at_us)]
        count.apply(sequence, data, stored_at_us, letters[sequence])
    given = {"applied": len(stream), "ingests": {}, **fields}
    found = PartitionFacts(0, count.fates, count.turns, letters, **given)  # type: ignore[arg-type]
    return Facts(GAME_2, [POLL], [found])


def vote(seq: int = 1, option: str = "a", number: int = 1, at_s: float = NOW_S, generation: int = 2) -> Block:
    row = blocks.vote(ANN, option, origin(number, owner=ANN), seq, generation=generation)
    return blocks.block([row], at_s)


SEALED_S = NOW_S + limits.SEAL_GRACE_S + 2
STORIES: dict[str, tuple[list[Block | bytes], str, str]] = {
    "counted": ([OPEN, vote()], "counted", "It counts: vote for a in poll/mvp"),
    "resent": ([OPEN, vote(), vote()], "resent", "It counts"),
    "second": ([OPEN, vote(1), vote(2, "b")], "second", "It counts: vote for a"),
    "behind the window": (
        [OPEN, vote(100), vote(100 - wire_bounds.VIEWER_WINDOW)],
        "behind_window",
        "It counts: vote for a",
    ),
    "bad choice": (
        [OPEN, vote(1, "z")],
        "bad_choice",
        "It is stored, and does not count: not counted: it is for no",
    ),
    "voided": (
        [OPEN, vote(), blocks.void_votes(ANN)],
        "voided",
        "It counted and counts no more: the actor's votes",
    ),
    "sealed": (
        [
            OPEN,
            blocks.control(POLL, STAGE_CLOSED, NOW_S + 1),
            blocks.control(POLL, STAGE_SEALED, SEALED_S),
            vote(at_s=SEALED_S),
        ],
        "sealed",
        "It is stored, and does not count: not counted: poll/mvp was sealed before",
    ),
    "of an older generation": (
        [OPEN, vote(generation=1)],
        "old_generation",
        "It is stored, and does not count",
    ),
    "undefined": (
        [vote()],
        "undefined",
        "It is stored and set aside, and does not count: set aside as a dead",
    ),
    "forgotten": (
        [OPEN, vote(), blocks.forget_game(2)],
        "forgotten",
        "It counted and counts no more: the game was",
    ),
    "a block that is none": ([OPEN, b"\xff\xff", vote()], "counted", "It counts"),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_became_of_a_vote(name: str) -> None:
    stream, kind, summary = STORIES[name]
    told = tell(ExplainQuestion(GAME, ANN), facts_of(stream))
    assert kind in [step.kind for step in told.steps], told
    assert told.summary.startswith(summary), told.summary
    times = [step.at.ToNanoseconds() for step in told.steps if step.HasField("at")]
    assert times == sorted(times)


def test_a_block_of_which_the_fold_makes_no_sense_is_told_with_the_dead_letter_s_reason() -> None:
    block = vote()
    block.events.sections[0].topic = "nonsense/mvp"
    told = tell(ExplainQuestion(GAME, ANN), facts_of([OPEN, block]))
    (step,) = [step for step in told.steps if step.kind == "undecodable"]
    assert "section 'nonsense/mvp' is of no known kind" in step.text


def test_a_better_score_and_what_is_no_better() -> None:
    rows = [blocks.score(ANN, points, origin(1), seq) for seq, points in enumerate((5, 3, 9), 1)]
    stream: list[Block | bytes] = [
        blocks.control(blocks.board(BOARD_MODE_BEST)),
        *(blocks.block([r]) for r in rows),
    ]
    told = tell(ExplainQuestion(GAME, ANN, "board/top"), facts_of(stream))
    assert {"not_better", "surpassed"} <= {step.kind for step in told.steps}
    assert told.summary.startswith("It counts: score of 9 on board/top")


def test_what_is_stored_and_not_folded_and_how_far_a_story_reaches() -> None:
    told = tell(ExplainQuestion(GAME, ANN), facts_of([OPEN, vote()], applied=1, ingests={2: "ingest-1"}))
    assert told.summary == "It is stored at 2 of partition 0 and will count once it is folded."
    assert next(step.ingest for step in told.steps if step.kind == "received") == "ingest-1"
    facts = facts_of([OPEN], purged_up_to=7, checkpoint=9, unread=3)
    told = tell(ExplainQuestion(GAME, ANN), facts)
    assert [step.kind for step in told.steps][-3:] == ["purged", "unread", "asked"]
    assert "below 7 are purged" in told.steps[-3].text
    assert "checkpoint at 9" in told.steps[-3].text


def test_what_ingests_refused_and_shed() -> None:
    facts = facts_of([OPEN])
    refusal = Refusal(at_us=9, game_id=GAME, topic="poll/mvp", origin_id=origin(1), origin_seq=4, code=9)
    refusal.message, refusal.maybe_stored = "it closed", True
    other = Refusal(at_us=10, game_id="other", message="not asked")
    facts.heard = [RefusalsResponse(instance="ingest-2", refusals=[refusal, other])]
    told = tell(ExplainQuestion(GAME, ANN), facts)
    assert told.summary == "It was refused by ingest-2, but a copy may be stored: it closed."
    assert [s.text for s in told.steps if s.kind == "refused"] == [
        "ingest-2 refused an event of poll/mvp: FAILED_PRECONDITION, it closed; "
        "a copy of it may be stored all the same"
    ]
    one = ExplainQuestion(GAME, ANN, origin_id=origin(1), origin_seq=5)
    assert "refused" not in [step.kind for step in tell(one, facts).steps]
    facts.heard = [
        RefusalsResponse(instance="ingest-2", sheds=[Shed(game_id=GAME, kind="reaction", count=3)])
    ]
    assert tell(ExplainQuestion(GAME, ANN), facts).summary.startswith(
        "It was shed: ingest-2 shed 3 reaction events"
    )
    assert "shed" not in [step.kind for step in tell(ExplainQuestion(GAME, ANN, "poll/mvp"), facts).steps]


def test_where_the_events_of_an_actor_may_be_is_narrowed() -> None:
    spread = blocks.poll(generation=2, spread=5)
    question = ExplainQuestion(GAME, ANN, "poll/mvp")
    assert question.partitions(GAME_2, [spread]) == sorted(
        {ids.partition_of(GAME, ANN, spread) for spread in (1, 5)}
    )
    assert set(question.partitions(GAME_2, [])) <= set(question.partitions(None, []))
    spread.opened_at.FromSeconds(NOW_S)
    assert NOW_S - 26 * 3600 < question.begins_s(GAME_2, [spread]) < NOW_S - 25 * 3600
    for wrong in (
        ExplainQuestion("", ANN),
        ExplainQuestion(GAME, ""),
        ExplainQuestion(GAME, ANN, origin_id=origin(1)),
    ):
        with pytest.raises(Invalid):
            wrong.check()


def test_a_control_is_told_from_events_by_its_first_bytes() -> None:
    assert may_be_control(OPEN.SerializeToString())
    assert not may_be_control(vote().SerializeToString())
    assert may_be_control(b"")


def test_the_ingest_is_read_from_the_id_of_its_message() -> None:
    assert instance_of(subjects.message_ids("ingest-1", "ab12") + "-42") == "ingest-1"
    assert instance_of("ab12-42") == ""
