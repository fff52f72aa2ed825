"""Steps come in their order: closed, sealed; and each season of an open board begins and is sealed once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate.agenda import Agenda
from aggregate.closing import beat_of, step_of
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED, Board, Poll
from mesh import limits

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


def agenda(*definitions: Poll | Board, now_s: float = T) -> Agenda:
    made = Agenda()
    for definition in definitions:
        made.put(definition, now_s)
    return made


def test_the_earliest_step_of_all_comes_first_and_a_failed_one_comes_again() -> None:
    polls = [poll("a", STAGE_OPEN, T + 5), poll("b", STAGE_OPEN, None), poll("c", STAGE_CLOSED, T - 9)]
    ahead = agenda(*polls, board(), now_s=T + 1)
    first = ahead.take()
    assert first.name == f"poll.g.c-{STAGE_SEALED}"
    ahead.failed(first)
    assert ahead.take() is first
    ahead.done(first, T + 1)
    assert ahead.take().name == f"poll.g.a-{STAGE_CLOSED}"
    assert ahead.take().name == "board.g.b-season-2"
    assert ahead.next_due_at_s() is None
    with pytest.raises(ValueError, match="no step"):
        ahead.take()


def test_a_step_of_a_definition_that_was_replaced_is_not_taken() -> None:
    ahead = agenda(poll("a", STAGE_OPEN, T + 5))
    ahead.put(poll("a", STAGE_OPEN, T + 3), T)
    assert ahead.take().due_at_s == T + 3
    assert ahead.next_due_at_s() is None
    ahead = agenda(poll("a", STAGE_OPEN, T + 5))
    step = ahead.take()
    ahead.put(poll("a", STAGE_SEALED, T + 5), T)
    ahead.failed(step)
    assert ahead.next_due_at_s() is None


def test_what_is_heard_of_twice_is_taken_once() -> None:
    once = poll("a", STAGE_OPEN, T + 5)
    ahead = agenda(once, once)
    ahead.take()
    assert ahead.next_due_at_s() is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 99)), max_size=40))
def test_the_agenda_is_the_earliest_step_of_what_is_newest(changes: list[tuple[str, int, int]]) -> None:
    """Against a naive look at everything, after each change and with each step taken."""
    ahead, newest = Agenda(), dict[str, Poll]()
    for name, stage, closes_in_s in changes:
        changed = poll(name, stage, T + closes_in_s if closes_in_s else None)
        newest[name] = changed
        ahead.put(changed, T)
        naive = [step.due_at_s for each in newest.values() if (step := step_of(each)) is not None]
        assert ahead.next_due_at_s() == min(naive, default=None)
    while ahead.next_due_at_s() is not None:
        steps = [step for each in newest.values() if (step := step_of(each)) is not None]
        taken = ahead.take()
        assert taken.due_at_s == min(step.due_at_s for step in steps)
        assert newest.pop(str(taken.definition.poll_id)) is taken.definition  # type: ignore[union-attr]
        ahead.done(taken, T)
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
    ahead = agenda(made)
    now_s, expected_taken = T, 0.0
    for look in looks:
        now_s += look
        due = max((at for at in beats if at <= now_s), default=0.0)
        # What an instance finds that starts now: the newest that is due, else the one to wait for.
        fresh = agenda(made, now_s=now_s).next_due_at_s()
        assert fresh == (due or beats[0])
        while (at_s := ahead.next_due_at_s()) is not None and at_s <= now_s:
            assert expected_taken < at_s <= due
            expected_taken = at_s
            ahead.done(ahead.take(), now_s)
        assert expected_taken == due
        assert ahead.next_due_at_s() == min(at for at in beats if at > now_s)
