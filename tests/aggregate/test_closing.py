"""Steps come in their order: closed, sealed; and each season of an open board begins and is sealed once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate.closing import Folded, Step, beat_of, has_taken, lacking, step_of, to_send
from aggregate.deadlines import AGAIN_MAX_S, AGAIN_S, Deadlines
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED, Board, Poll
from grandstand.internal.v1.internal_pb2 import BoardPartial, Partial, SeasonShare
from mesh import limits
from mesh.catalog.mesh_clock import Moment

GRACE_S = limits.SEAL_GRACE_S
T = 1_790_000_000.0


def poll(poll_id: str, stage: int, closes_at_s: float | None) -> Poll:
    made = Poll(game_id="g", poll_id=poll_id, stage=stage)  # type: ignore[arg-type]
    if closes_at_s is not None:
        made.closes_at.FromNanoseconds(int(closes_at_s * 1e9))
    return made


def board(
    every_s: float = 60.0, opened_at_s: float = T, starts_at_s: float = T, closes_at_s: float | None = None
) -> Board:
    made = Board(game_id="g", board_id="b", stage=STAGE_OPEN)
    made.opened_at.FromNanoseconds(int(opened_at_s * 1e9))
    made.season.every.FromNanoseconds(int(every_s * 1e9))
    made.season.starts_at.FromNanoseconds(int(starts_at_s * 1e9))
    if closes_at_s is not None:
        made.closes_at.FromNanoseconds(int(closes_at_s * 1e9))
    return made


def test_a_poll_is_closed_at_its_moment_and_sealed_after_the_grace() -> None:
    closing = step_of(poll("p", STAGE_OPEN, T))
    assert closing is not None
    assert (closing.due_at_s, closing.stage, closing.name) == (T, STAGE_CLOSED, f"poll.g.p-{STAGE_CLOSED}")
    sealing = step_of(poll("p", STAGE_CLOSED, T))
    assert sealing is not None
    assert (sealing.due_at_s, sealing.stage) == (T + GRACE_S, STAGE_SEALED)
    assert step_of(poll("p", STAGE_SEALED, T)) is None
    assert step_of(poll("p", STAGE_OPEN, None)) is None


def at(mesh_s: float, ahead_s: float = 0.0) -> Moment:
    """The mesh's clock may run away from the machine's."""
    return Moment(mesh_s, mesh_s - T + 1_000 - ahead_s)


def deadlines(*definitions: Poll | Board, now_s: float = T) -> Deadlines:
    made = Deadlines()
    for definition in definitions:
        made.put(definition, at(now_s))
    return made


def due_at_s(ahead: Deadlines) -> float | None:
    """When the earliest step is due by the mesh's clock."""
    wait_s = ahead.wait_s(at(T))
    return None if wait_s == math.inf else T + wait_s


def take(ahead: Deadlines, now_s: float) -> Step:
    step = ahead.take(at(now_s))
    assert step is not None
    return step


def test_the_earliest_step_of_all_comes_first_and_a_failed_one_comes_again_later_each_time() -> None:
    polls = [poll("a", STAGE_OPEN, T + 5), poll("b", STAGE_OPEN, None), poll("c", STAGE_CLOSED, T - 19)]
    ahead = deadlines(*polls, board(), now_s=T - 40)
    polls.pop()
    now_s = T - 11
    assert GRACE_S < 29, "it was seen long ago"
    assert ahead.take(at(now_s - 0.1)) is None
    first = take(ahead, now_s)
    assert first.name == f"poll.g.c-{STAGE_SEALED}"
    for pause_s in (AGAIN_S, 2 * AGAIN_S, 4 * AGAIN_S, AGAIN_MAX_S, AGAIN_MAX_S):
        ahead.failed(first, at(now_s))
        assert ahead.take(at(now_s + pause_s - 0.1)) is not first
        now_s += pause_s
        assert take(ahead, now_s) is first
    ahead.done(first, at(now_s))
    now_s += AGAIN_MAX_S
    assert take(ahead, now_s) is first, "it changed nothing: another wrote the entry as it was"
    ahead.put(poll("c", STAGE_SEALED, T - 19), at(now_s))
    ahead.done(first, at(now_s))
    assert take(deadlines(*polls, board()), T + 5).name == f"poll.g.a-{STAGE_CLOSED}"
    assert take(ahead, T + 60).name == "board.g.b-season-2"
    assert ahead.wait_s(at(T + 60)) == math.inf
    assert ahead.take(at(T + 99)) is None


@pytest.mark.parametrize("ahead_s", [-9.0, 0.0, 9.0, 3600.0])
def test_i9_no_clock_makes_a_seal_come_before_the_grace_is_over_here(ahead_s: float) -> None:
    """The mesh's clock is set forward (or the machine slept while the poll was closed elsewhere): the
    seal waits for this machine's own clock, from when the entry CLOSED was seen."""
    ahead = deadlines(poll("a", STAGE_OPEN, T))
    seen = at(T)
    ahead.put(poll("a", STAGE_CLOSED, T), seen)
    ahead.put(poll("a", STAGE_CLOSED, T), at(T + 1))  # seen again: the first time stands
    for after_s in (0.0, 1.0, GRACE_S - 0.01):
        assert ahead.take(Moment(seen.mesh_s + after_s + max(0.0, ahead_s), seen.boot_s + after_s)) is None
    if ahead_s <= 0:
        assert ahead.take(Moment(T + GRACE_S - 0.1, seen.boot_s + 99)) is None, "nor before it is due"
    step = ahead.take(Moment(T + GRACE_S, seen.boot_s + GRACE_S))
    assert step is not None
    assert step.stage == STAGE_SEALED


def test_a_step_of_a_definition_that_was_replaced_is_not_taken() -> None:
    ahead = deadlines(poll("a", STAGE_OPEN, T + 5))
    ahead.put(poll("a", STAGE_OPEN, T + 3), at(T))
    assert take(ahead, T + 9).due_at_s == T + 3
    assert due_at_s(ahead) is None
    ahead = deadlines(poll("a", STAGE_OPEN, T + 5))
    step = take(ahead, T + 5)
    ahead.put(poll("a", STAGE_SEALED, T + 5), at(T))
    ahead.failed(step, at(T + 5))
    assert due_at_s(ahead) is None


def test_nothing_stays_of_a_definition_that_is_gone() -> None:
    """Also if another instance has taken the step that failed here."""
    ahead = deadlines(poll("a", STAGE_OPEN, T + 5))
    ahead.failed(take(ahead, T + 5), at(T + 5))
    ahead.put(poll("a", STAGE_CLOSED, T + 5), at(T + 6))
    ahead.put(poll("a", STAGE_SEALED, T + 5), at(T + 16))
    ahead.drop("poll.g.a")
    assert not any(held for held in vars(ahead).values() if isinstance(held, dict))


def test_what_is_heard_of_twice_is_taken_once() -> None:
    once = poll("a", STAGE_OPEN, T + 5)
    ahead = deadlines(once, once)
    take(ahead, T + 5)
    assert due_at_s(ahead) is None


def test_a_beat_that_failed_gives_way_to_the_one_that_is_newest_by_now() -> None:
    ahead = deadlines(board())
    first = take(ahead, T + 61)
    ahead.failed(first, at(T + 75))
    assert [first.name, take(ahead, T + 90).name] == ["board.g.b-season-2", "board.g.b-season-2-sealed"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 99)), max_size=40))
def test_the_agenda_is_the_earliest_step_of_what_is_newest(changes: list[tuple[str, int, int]]) -> None:
    """Against a naive look at everything, after each change and with each step taken."""
    ahead, newest = Deadlines(), dict[str, Poll]()
    for name, stage, closes_in_s in changes:
        changed = poll(name, stage, T + closes_in_s if closes_in_s else None)
        newest[name] = changed
        ahead.put(changed, at(T))
        naive = [step.due_at_s for each in newest.values() if (step := step_of(each)) is not None]
        assert due_at_s(ahead) == min(naive, default=None)
    while (now_s := due_at_s(ahead)) is not None:
        steps = [step for each in newest.values() if (step := step_of(each)) is not None]
        taken = take(ahead, now_s)
        assert taken.due_at_s == min(step.due_at_s for step in steps)
        name = str(taken.definition.poll_id)  # type: ignore[union-attr]
        assert newest.pop(name) is taken.definition
        ahead.put(poll(name, STAGE_SEALED, T), at(T))
        ahead.done(taken, at(T))
    assert all(step_of(each) is None for each in newest.values())


def beat(made: Board, now_s: float, taken: int = 0) -> tuple[str, float] | None:
    step = beat_of(made, now_s, taken)
    return step and (step.name, step.due_at_s)


def test_a_season_begins_and_the_one_before_it_is_sealed() -> None:
    made = board()
    assert beat(made, T + 1) == ("board.g.b-season-2", T + 60)
    assert beat(made, T + 60, 0) == ("board.g.b-season-2", T + 60)
    assert beat(made, T + 60, 4) == ("board.g.b-season-2-sealed", T + 60 + GRACE_S + 1)
    assert beat(made, T + 75, 5) == ("board.g.b-season-3", T + 120)


def test_a_board_opened_in_the_middle_of_a_season_waits_for_the_next_one() -> None:
    made = board(opened_at_s=T + 130)  # in season 3
    assert beat(made, T + 131) == ("board.g.b-season-4", T + 180)
    assert beat(made, T + 175) == ("board.g.b-season-4", T + 180)


def test_of_beats_that_were_missed_the_newest_is_taken() -> None:
    made = board()
    assert beat(made, T + 7 * 60 + 1) == ("board.g.b-season-8", T + 7 * 60)
    assert beat(made, T + 7 * 60 + 30) == ("board.g.b-season-8-sealed", T + 7 * 60 + GRACE_S + 1)


def test_a_board_that_closes_begins_no_season_any_more() -> None:
    made = board(closes_at_s=T + 60)
    assert beat(made, T + 1) is None
    made.stage = STAGE_CLOSED
    made.ClearField("closes_at")
    assert beat(made, T + 61) is None
    assert beat(Board(game_id="g", board_id="b", stage=STAGE_OPEN), T) is None


@given(
    every_s=st.integers(10, 100),
    starts_at=st.integers(-500, 500),
    looks=st.lists(st.floats(0.01, 40.0), min_size=1, max_size=60),
)
def test_whenever_one_looks_the_newest_beat_that_is_due_gets_taken_once(
    every_s: int, starts_at: int, looks: list[float]
) -> None:
    """Against a naive list of all beats."""
    made = board(every_s, T, T + starts_at)
    beats = sorted(
        T + starts_at + n * every_s + after_s for n in range(1, 700) for after_s in (0.0, GRACE_S + 1)
    )
    # Those after the first beginning that the open board lives to see.
    first = min(at for at in beats if at > T and (at - T - starts_at) % every_s == 0)
    beats = [at for at in beats if at >= first]
    ahead = deadlines(made)
    now_s, expected_taken = T, 0.0
    for look in looks:
        now_s += look
        due = max((at for at in beats if at <= now_s), default=0.0)
        # What an instance finds that starts now: the newest that is due, else the one to wait for.
        fresh = take(deadlines(made, now_s=now_s), max(now_s, beats[0])).due_at_s
        assert fresh == (due or beats[0])
        while (step := ahead.take(at(now_s))) is not None:
            assert expected_taken < step.due_at_s <= due
            expected_taken = step.due_at_s
            ahead.done(step, at(now_s))
        assert expected_taken == due
        assert take(ahead, T + 1e6).due_at_s == min(at for at in beats if at > now_s)
        ahead = deadlines(made, now_s=now_s)
        if due:
            ahead.done(take(ahead, now_s), at(now_s))


def seasons(number: int, previous_is_sealed: bool | None) -> Partial:
    shown = BoardPartial(current=SeasonShare(number=number))
    if previous_is_sealed is not None:
        shown.previous.CopyFrom(SeasonShare(number=number - 1, sealed=previous_is_sealed))
    return Partial(stage=STAGE_OPEN, board=shown)


@pytest.mark.parametrize(
    ("beat", "shown", "taken"),
    [
        (4, seasons(1, None), False),
        (4, seasons(2, False), True),
        (5, seasons(2, False), False),
        (5, seasons(2, True), True),
        (5, seasons(1, True), False),
        (5, seasons(3, False), True),
        (4, None, False),
    ],
)
def test_a_partition_has_taken_a_beat_when_its_season_shows(
    beat: int, shown: Partial | None, taken: bool
) -> None:
    assert has_taken(Step(T, STAGE_OPEN, board(), beat), Folded(1, 9, shown)) is taken


@given(
    st.sampled_from([STAGE_CLOSED, STAGE_SEALED]),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.none() | st.integers(1, 9)), max_size=6),
)
def test_a_step_goes_to_those_that_lack_it_and_have_folded_what_was_sent(
    stage: int, shown: list[tuple[int, int, int | None]]
) -> None:
    """Each partition's stage (0: it shows nothing), what it has folded, and where the step was sent last."""
    step = Step(T, stage, poll("p", STAGE_OPEN, T))  # type: ignore[arg-type]
    folded = [
        Folded(p, applied, Partial(stage=at_stage) if at_stage else None)  # type: ignore[arg-type]
        for p, (at_stage, applied, _) in enumerate(shown)
    ]
    sent = {p: at for p, (*_, at) in enumerate(shown) if at is not None}
    lacks = lacking(step, folded)
    assert lacks == [p for p, (at_stage, *_) in enumerate(shown) if at_stage < stage]
    assert to_send(step, folded, sent) == [p for p in lacks if p not in sent or shown[p][1] >= sent[p]]
