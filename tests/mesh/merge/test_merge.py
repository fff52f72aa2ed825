"""Partials merge associatively, commutatively and idempotently; a view never goes back (I5)."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LOWEST,
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
)
from grandstand.internal.v1.internal_pb2 import (
    AudiencePartial,
    BoardPartial,
    CustomPartial,
    MetricPartial,
    PanePartial,
    Partial,
    PulsePartial,
    SeasonShare,
    TallyPartial,
)
from mesh import limits
from mesh.merge import TopicMerge, merge_board, merge_pulse, merge_tally

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


def test_i9_nothing_is_sealed_while_a_partition_has_said_nothing() -> None:
    merge = TopicMerge("poll/x")
    merge.offer(tally(0, 1, 5, STAGE_SEALED))
    assert merge.state(NOW_S, partitions=2).stage == STAGE_CLOSED
    merge.offer(tally(1, 2, 3, STAGE_SEALED))
    assert merge.state(NOW_S, partitions=2).stage == STAGE_SEALED


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
            current=SeasonShare(
                actor_ids=[actor for _, actor in best],
                points=[sign * key for key, _ in best],
                reached=[1] * len(best),
                actors=len(share),
            ),
        )
        partials.append(value)
    merged = merge_board(partials)
    expected = sorted((sign * points, actor) for actor, points in scores.items())[:top]
    assert [(sign * e.points, e.actor_id) for e in merged.entries] == expected
    assert [e.rank for e in merged.entries] == list(range(1, len(expected) + 1))
    assert merged.actors == len(scores)


def pulse(panes: dict[int, int]) -> PulsePartial:
    return PulsePartial(
        kinds=["fire"],
        totals=[sum(panes.values())],
        panes=[PanePartial(width_s=1, starts_at_s=NOW_S + s, counts=[n]) for s, n in sorted(panes.items())],
    )


def test_a_rate_is_the_mean_over_its_window_and_ends_with_it() -> None:
    steady = pulse(dict.fromkeys(range(limits.RATE_WINDOW_S), 10))
    at = NOW_S + limits.RATE_WINDOW_S
    assert merge_pulse([steady], at).kinds[0].rate_per_s == 10
    assert merge_pulse([steady, steady], at).kinds[0].rate_per_s == 20
    assert merge_pulse([steady], at + limits.RATE_WINDOW_S).kinds[0].rate_per_s == 0
    assert merge_pulse([steady], at + 99).kinds[0].total == 10 * limits.RATE_WINDOW_S


def test_kinds_merge_by_name_whatever_their_order() -> None:
    one = PulsePartial(kinds=["fire", "clap"], totals=[1, 2])
    other = PulsePartial(kinds=["wow", "clap", "fire"], totals=[4, 8, 16])
    merged = merge_pulse([one, other], NOW_S)
    assert [(k.kind, k.total) for k in merged.kinds] == [("clap", 10), ("fire", 17), ("wow", 4)]


def test_a_pulse_moves_with_time_until_it_shows_nothing_but_totals() -> None:
    merge = TopicMerge("pulse/x")
    merge.offer(Partial(sequence=1, pulse=pulse({0: 5})))
    assert merge.moves_at_s(NOW_S + 1) == NOW_S + 1
    assert merge.state(NOW_S + 1).pulse.kinds[0].rate_per_s > 0
    assert len(merge.state(NOW_S + 1).pulse.panes) == 1
    ended = NOW_S + limits.RATE_WINDOW_S + 2
    assert merge.moves_at_s(ended) is None
    assert merge.state(ended).pulse.kinds[0].rate_per_s == 0
    assert not merge.state(ended).pulse.panes
    assert len(merge.state(ended, full=True).pulse.panes) == 1


def test_an_audience_moves_with_time_until_nobody_counts() -> None:
    merge = TopicMerge("audience")
    audience = AudiencePartial(pane_starts_at_s=[NOW_S], last_seen=[2], uniques=2, exact=True)
    merge.offer(Partial(sequence=1, audience=audience))
    ends_at_s = NOW_S + limits.PRESENCE_S + limits.AUDIENCE_PANE_S
    assert merge.moves_at_s(NOW_S + limits.PRESENCE_S) == ends_at_s
    assert merge.moves_at_s(ends_at_s) is None


def test_a_pulse_that_stands_still_says_when_it_moves_again() -> None:
    merge = TopicMerge("pulse/x")
    panes = [PanePartial(width_s=60, starts_at_s=NOW_S // 60 * 60, counts=[5])]
    merge.offer(Partial(sequence=1, pulse=PulsePartial(kinds=["fire"], totals=[5], panes=panes)))
    at_s = merge.moves_at_s(NOW_S + limits.RATE_WINDOW_S + 2)
    assert at_s == NOW_S // 60 * 60 + 120
    assert merge.state(at_s - 1).pulse.panes
    assert not merge.state(at_s).pulse.panes
    assert merge.moves_at_s(at_s) is None


def test_each_kind_of_partial_becomes_its_kind_of_value() -> None:
    for partial, value in (
        (Partial(tally=TallyPartial()), "tally"),
        (Partial(board=BoardPartial()), "board"),
        (Partial(pulse=PulsePartial()), "pulse"),
        (Partial(audience=AudiencePartial()), "audience"),
        (Partial(metric=MetricPartial()), "metric"),
        (Partial(custom=CustomPartial(fold="words")), "custom"),
    ):
        merge = TopicMerge("x")
        partial.sequence = 1
        merge.offer(partial)
        assert merge.state(NOW_S).WhichOneof("value") == value


def test_weights_add_up_and_a_vote_without_one_weighs_one() -> None:
    plain = TallyPartial(option_ids=["a", "b"], votes=[2, 1], voters=3)
    weighted = TallyPartial(option_ids=["a", "b"], votes=[1, 1], weights=[10, 7], voters=2)
    merged = merge_tally([plain, weighted])
    assert [(o.option_id, o.votes, o.weight) for o in merged.options] == [("a", 3, 12), ("b", 2, 8)]
    assert merged.voters == 5


def test_nobody_is_counted_twice_across_partitions() -> None:
    merge = TopicMerge("poll/x")
    merge.offer(tally(0, 1, 2))
    merge.offer(tally(5, 9, 4))
    state = merge.state(NOW_S)
    assert Counter({o.option_id: o.votes for o in state.tally.options}) == Counter(a=6, b=2)
    assert state.tally.voters == 8
