"""Partials merge associatively, commutatively and idempotently; a view never goes back (I5)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_BEST, BOARD_MODE_LOWEST, STAGE_CLOSED, STAGE_OPEN
from grandstand.internal.v1.internal_pb2 import BoardPartial, Partial, PulsePane, PulsePartial, TallyPartial
from mesh import limits
from mesh.merge import TopicMerge, merge_board, merge_pulse

NOW_S = 1_790_000_000


def tally(partition: int, sequence: int, a: int, stage: int = STAGE_OPEN) -> Partial:
    value = TallyPartial(option_ids=["a", "b"], votes=[a, 1], voters=a + 1)
    return Partial(topic="poll/x", partition=partition, sequence=sequence, tally=value, stage=stage)


def test_the_newest_partial_of_a_partition_stands() -> None:
    merge = TopicMerge("poll/x")
    assert merge.offer(tally(0, 5, 3))
    assert not merge.offer(tally(0, 4, 9))
    assert not merge.offer(tally(0, 5, 3))
    assert merge.state(NOW_S).tally.options[0].votes == 3


def test_a_poll_is_closed_when_every_partition_knows() -> None:
    merge = TopicMerge("poll/x")
    merge.offer(tally(0, 1, 0, STAGE_CLOSED))
    merge.offer(tally(1, 2, 0, STAGE_OPEN))
    assert merge.state(NOW_S).stage == STAGE_OPEN
    merge.offer(tally(1, 3, 0, STAGE_CLOSED))
    assert merge.state(NOW_S).stage == STAGE_CLOSED


@given(st.data())
def test_any_order_repetition_and_loss_of_older_partials_ends_the_same(data: st.DataObject) -> None:
    histories = [[tally(p, s, s * (p + 1)) for s in range(1, 6)] for p in range(3)]
    everything = [partial for history in histories for partial in history]
    newest = [history[-1] for history in histories]
    some = data.draw(st.lists(st.sampled_from(everything)))
    merge, expected = TopicMerge("poll/x"), TopicMerge("poll/x")
    for partial in data.draw(st.permutations([*some, *newest])):
        merge.offer(partial)
    for partial in newest:
        expected.offer(partial)
    assert merge.state(NOW_S) == expected.state(NOW_S)


@given(st.lists(st.sampled_from([tally(p, s, 7 * s) for p in range(3) for s in range(1, 9)])))
def test_what_is_shown_never_goes_back(partials: list[Partial]) -> None:
    merge = TopicMerge("poll/x")
    shown: dict[int, int] = {}
    for partial in partials:
        merge.offer(partial)
        cursor = {p.partition: p.sequence for p in merge.state(NOW_S).cursor.positions}
        assert all(cursor[p] >= sequence for p, sequence in shown.items())
        shown = cursor


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(-50, 50), max_size=40),
    st.sampled_from([BOARD_MODE_BEST, BOARD_MODE_LOWEST]),
    st.integers(1, 10),
)
def test_the_top_of_the_partitions_tops_is_the_top_of_all(
    scores: dict[str, int], mode: int, top: int
) -> None:
    sign = 1 if mode == BOARD_MODE_LOWEST else -1
    shares: list[list[tuple[int, str]]] = [[], [], []]
    for actor, points in scores.items():
        shares[len(actor) % 3].append((sign * points, actor))
    partials = []
    for share in shares:
        best = sorted(share)[:top]
        value = BoardPartial(
            mode=mode,
            top=top,
            actor_ids=[actor for _, actor in best],
            points=[sign * key for key, _ in best],
            reached_at_us=[1] * len(best),
            actors=len(share),
        )
        partials.append(Partial(board=value))
    merged = merge_board(partials)
    expected = sorted((sign * points, actor) for actor, points in scores.items())[:top]
    assert [(sign * e.points, e.actor_id) for e in merged.entries] == expected
    assert [e.rank for e in merged.entries] == list(range(1, len(expected) + 1))
    assert merged.actors == len(scores)


def pulse(panes: dict[int, int]) -> Partial:
    return Partial(
        pulse=PulsePartial(
            kinds=["fire"],
            totals=[sum(panes.values())],
            panes=[PulsePane(starts_at_s=NOW_S + s, counts=[n]) for s, n in sorted(panes.items())],
        )
    )


def test_a_rate_is_the_mean_over_its_window_and_ends_with_it() -> None:
    steady = pulse(dict.fromkeys(range(limits.RATE_WINDOW_S), 10))
    at = NOW_S + limits.RATE_WINDOW_S
    assert merge_pulse([steady], at).kinds[0].rate_per_s == 10
    assert merge_pulse([steady, steady], at).kinds[0].rate_per_s == 20
    assert merge_pulse([steady], at + limits.RATE_WINDOW_S).kinds[0].rate_per_s == 0
    assert merge_pulse([steady], at + 99).kinds[0].total == 10 * limits.RATE_WINDOW_S


def test_a_pulse_moves_with_time_until_its_rate_is_zero() -> None:
    merge = TopicMerge("pulse/x")
    partial = pulse({0: 5})
    partial.sequence = 1
    merge.offer(partial)
    assert merge.is_moving(NOW_S + 1)
    assert merge.state(NOW_S + 1).pulse.kinds[0].rate_per_s > 0
    ended = NOW_S + limits.RATE_WINDOW_S + 2
    assert not merge.is_moving(ended)
    assert merge.state(ended).pulse.kinds[0].rate_per_s == 0


def test_nobody_is_counted_twice_across_partitions() -> None:
    merge = TopicMerge("poll/x")
    merge.offer(tally(0, 1, 2))
    merge.offer(tally(5, 9, 4))
    state = merge.state(NOW_S)
    assert Counter({o.option_id: o.votes for o in state.tally.options}) == Counter(a=6, b=2)
    assert state.tally.voters == 8
