"""An origin's older event never replaces what its newer one has set, whoever came in between."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate.partition import Loaded, Partition
from bench._rows import Row
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_LAST
from grandstand.wire import ids
from mesh import limits
from tests.support import blocks
from tests.support.blocks import origin
from tests.support.partitions import Kept, fold, partials_of, points_of, votes_of

MOST = limits.SUPERSEDED_ORIGINS_MAX
OPTIONS = [f"o{n}" for n in range(64)]
POLL = blocks.poll("mvp", OPTIONS, changeable=True)
BOARD = blocks.board(BOARD_MODE_LAST)

Event = tuple[int, int]
"""(origin, number)"""


def made(kind: str, event: Event, says: int, actor: str = "ann") -> Row:
    o, n = event
    if kind == "poll":
        return blocks.row("poll/mvp", actor, origin(o), n, value=1 << says)
    return blocks.score(actor, says, origin(o), n)


def opened(kind: str) -> Partition:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(POLL if kind == "poll" else BOARD))
    return partition


def standing(kind: str, partials: dict) -> int:  # type: ignore[type-arg]
    """What the one actor's standing event says."""
    if kind == "poll":
        (option,) = (option for option, votes in votes_of(partials["poll/mvp"]).items() if votes)
        return OPTIONS.index(option)
    return points_of(partials["board/top"])["ann"]


def ends(kind: str, *events: Event) -> Event:
    """Which of the events stands, each in a block of its own."""
    partition = opened(kind)
    found = 0
    for says, event in enumerate(events):
        partials = fold(partition, blocks.block([made(kind, event, says)]))
        found = standing(kind, partials) if partials else found
    return events[found]


KINDS = pytest.mark.parametrize("kind", ["poll", "board"])


@KINDS
def test_a_late_event_of_the_first_device_does_not_undo_the_seconds(kind: str) -> None:
    assert ends(kind, (1, 6), (2, 1), (1, 5)) == (2, 1)


@KINDS
def test_a_newer_event_of_the_first_device_replaces_the_seconds(kind: str) -> None:
    assert ends(kind, (1, 6), (2, 1), (1, 7)) == (1, 7)
    assert ends(kind, (1, 6), (2, 2), (1, 7), (2, 1), (1, 5)) == (1, 7)


@KINDS
def test_between_origins_the_later_in_the_stream_stands(kind: str) -> None:
    assert ends(kind, (1, 6), (2, 1)) == (2, 1)
    assert ends(kind, (1, 6), (2, 9), (3, 1)) == (3, 1)


@KINDS
def test_beyond_the_origins_that_are_remembered_what_comes_behind_its_own_changes_nothing(kind: str) -> None:
    several = [(o, 9) for o in range(1, MOST + 3)]
    last = several[-1]
    assert ends(kind, *several, (1, 8)) == last, "1 is forgotten, and had a 9"
    assert ends(kind, *several, (1, 10)) == (1, 10), "ahead of all that 1 ever sent"
    assert ends(kind, *several, (99, 1)) == (99, 1)
    assert ends(kind, *several, (MOST, 8)) == last, "this one is remembered"


@KINDS
def test_the_rows_of_one_block_replace_each_other_in_their_order(kind: str) -> None:
    for events in (
        [(1, 6), (2, 1), (1, 5)],
        [(1, 6), (2, 1), (1, 7)],
        [*((o, 9) for o in range(1, MOST + 3)), (1, 8)],
    ):
        partition = opened(kind)
        partials = fold(partition, blocks.block([made(kind, e, says) for says, e in enumerate(events)]))
        assert events[standing(kind, partials)] == ends(kind, *events)


EVENTS = st.lists(st.tuples(st.integers(1, MOST + 4), st.integers(1, 8)), unique=True, max_size=40)


@KINDS
@given(events=EVENTS)
def test_an_older_event_never_replaces_a_newer_of_its_origin_and_an_event_ahead_always_counts(
    kind: str, events: list[Event]
) -> None:
    partition = opened(kind)
    set_by: dict[int, int] = {}
    """By origin, the highest number that ever set the row; nothing is forgotten here."""
    highest: dict[int, int] = defaultdict(int)
    found: Event | None = None
    for at, (o, n) in enumerate(events):
        before = found
        partials = fold(partition, blocks.block([made(kind, (o, n), at)]))
        found = events[standing(kind, partials)] if partials else found
        replaced = found != before
        assert replaced == (found == (o, n))
        if n < set_by.get(o, 0):
            assert not replaced, "an older event of an origin whose newer one was here"
        elif n > highest[o] or len(set_by) <= MOST + 1:
            assert replaced, "nothing newer of its origin can have been here"
        highest[o] = max(highest[o], n)
        if replaced:
            set_by[o] = n


@KINDS
@given(events=EVENTS, cuts=st.sets(st.integers(0, 40)), taken_over_at=st.integers(0, 40))
def test_blocks_and_takeovers_make_no_difference(
    kind: str, events: list[Event], cuts: set[int], taken_over_at: int
) -> None:
    """Two actors with origins of their own; cut into blocks at will, taken over once from what was stored."""

    def rows(at: int) -> list[Row]:
        o, n = events[at]
        return [made(kind, (2 * o + who, n), at, actor) for who, actor in enumerate(("ann", "bob"))]

    one_by_one, cut, kept = opened(kind), Partition(0, Loaded()), Kept()
    cut.fold(1, blocks.control(POLL if kind == "poll" else BOARD).SerializeToString())
    shown = [{}, {}]  # type: ignore[var-annotated]
    together: list[Row] = []
    for at in range(len(events)):
        for row in rows(at):
            shown[0].update(fold(one_by_one, blocks.block([row])))
        together += rows(at)
        if at in cuts or at == len(events) - 1:
            cut.fold(cut.folded + 1, blocks.block(together).SerializeToString())
            together = []
            flush = cut.take_flush()
            assert flush is not None
            kept.apply(flush)
            shown[1].update({partial.topic: partial for partial in partials_of(flush)})
        if at == taken_over_at and not together:
            cut = Partition(0, kept.loaded(), salt=7)
    for topic in shown[0]:
        one, other = shown[0][topic], shown[1][topic]
        if kind == "poll":
            assert one.tally == other.tally
        else:
            assert points_of(one) == points_of(other)


def test_rows_that_only_ever_had_one_origin_cost_nothing_more() -> None:
    partition = opened("poll")
    actors = [f"v{n}" for n in range(100)]
    for n in range(1, 4):
        rows = [made("poll", (at, n), n, actor) for at, actor in enumerate(actors)]
        fold(partition, blocks.block(rows))
    assert partition._tallies._superseded == {}
    size = partition._tallies.encoded_bytes
    fold(partition, blocks.block([made("poll", (200, 1), 5, "v7")]))
    assert partition._tallies.encoded_bytes == size + 20
    assert ids.origin_key(origin(7))[8:] in partition._tallies.encode()
