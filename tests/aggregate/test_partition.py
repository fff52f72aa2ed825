"""I2, I4: a partition's state is a pure function of its stream, and counts each event once."""

from __future__ import annotations

from collections import Counter
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from aggregate import block as aggregate_block
from aggregate import bounds as aggregate_bounds
from aggregate.partition import Loaded, Partition
from bench._rows import Row
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_SEALED,
)
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE
from grandstand.internal.v1.internal_pb2 import (
    Block,
    Partial,
    VotedQuestion,
    VotedRequest,
)
from grandstand.wire import ids
from mesh import limits
from mesh.redis import layout
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.partitions import Kept, fold, partials_of, points_of, sealing, set_aside, votes_of


def test_a_resent_event_is_counted_once() -> None:
    row = blocks.score("ann", 5, origin(1), 1)
    stream = [blocks.control(blocks.board(BOARD_MODE_SUM)), blocks.block([row]), blocks.block([row, row])]
    assert points_of(fold(Partition(0, Loaded()), *stream)["board/top"]) == {"ann": 5}


def test_a_redelivered_block_changes_nothing() -> None:
    partition = Partition(0, Loaded())
    partition.fold(1, blocks.control(blocks.board(BOARD_MODE_SUM)).SerializeToString())
    block = blocks.block([blocks.score("ann", 5, origin(1), 1)]).SerializeToString()
    partition.fold(7, block)
    partition.fold(7, block)
    partition.fold(3, blocks.block([blocks.score("ann", 5, origin(1), 2)]).SerializeToString())
    flush = partition.take_flush()
    assert flush is not None
    assert (flush.before, flush.after) == (0, 7)
    assert points_of(partials_of(flush)[0]) == {"ann": 5}


def test_the_first_vote_of_a_final_poll_counts() -> None:
    stream = [
        blocks.control(blocks.poll()),
        blocks.block([blocks.vote("ann", "a", origin(1), 1), blocks.vote("ann", "b", origin(1), 2)]),
    ]
    assert votes_of(fold(Partition(0, Loaded()), *stream)["poll/mvp"]) == {"a": 1, "b": 0, "c": 0}


def test_the_last_vote_of_a_changeable_poll_counts_by_its_number() -> None:
    stream = [
        blocks.control(blocks.poll(changeable=True)),
        blocks.block([blocks.vote("ann", "b", origin(1), 2)]),
        blocks.block([blocks.vote("ann", "a", origin(1), 1)]),  # sent before, stored after
    ]
    assert votes_of(fold(Partition(0, Loaded()), *stream)["poll/mvp"]) == {"a": 0, "b": 1, "c": 0}


def test_votes_before_the_opening_and_after_the_seal_change_nothing() -> None:
    partition = Partition(0, Loaded())
    poll = blocks.poll()
    early = set_aside(partition, blocks.block([blocks.vote("early", "a", origin(1), 1)]))
    assert [letter.reason for letter in early] == ["game 'game' is not known in partition 0"]
    assert "game 'game' is not known" in partition.lacks
    fold(partition, blocks.control(poll), blocks.block([blocks.vote("ann", "a", origin(1), 2)]))
    fold(partition, blocks.control(poll, STAGE_CLOSED))
    assert partition.lacks == "", "it is known now"
    in_time = fold(partition, blocks.block([blocks.vote("bob", "b", origin(1), 3)]))
    assert votes_of(in_time["poll/mvp"]) == {"a": 1, "b": 1, "c": 0}
    sealed = fold(partition, blocks.control(poll, STAGE_SEALED, NOW_S + limits.SEAL_GRACE_S))
    assert sealed["poll/mvp"].stage == STAGE_SEALED
    assert votes_of(sealed["poll/mvp"]) == {"a": 1, "b": 1, "c": 0}
    assert fold(partition, blocks.block([blocks.vote("late", "c", origin(1), 4)])) == {}
    assert partition.uncounted == 1


def test_a_stage_never_goes_back() -> None:
    partition = Partition(0, Loaded())
    poll = blocks.poll()
    fold(partition, blocks.control(poll), *sealing(poll))
    assert fold(partition, blocks.control(poll), blocks.control(poll, STAGE_CLOSED)) == {}


def test_a_stamp_from_the_future_counts_as_when_the_stream_stored_it() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.game_control(blocks.game()))
    day_s = 24 * 3600
    ahead = blocks.block([blocks.reaction("fire", 1, origin(1), 1)], NOW_S + day_s).SerializeToString()
    partition.fold(partition.folded + 1, ahead, NOW_S * 1_000_000)
    later = blocks.block([blocks.reaction("fire", 1, origin(2), 1)], NOW_S + 1).SerializeToString()
    partition.fold(partition.folded + 1, later, (NOW_S + 1) * 1_000_000)
    flush = partition.take_flush()
    assert flush is not None
    pulse = partials_of(flush)[0].pulse
    assert (list(pulse.totals), pulse.late) == ([2], 0)
    assert {pane.starts_at_s for pane in pulse.panes if pane.width_s == 1} == {NOW_S, NOW_S + 1}


def test_of_equal_scores_of_one_batch_the_earlier_leads() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.board(BOARD_MODE_BEST)))
    rows = [blocks.score(actor, 100, origin(1), n) for n, actor in enumerate(("zoe", "mia", "ann"), start=1)]
    shown = fold(partition, blocks.block(rows))["board/top"].board.current
    assert list(shown.actor_ids) == ["zoe", "mia", "ann"]
    assert list(shown.reached) == [NOW_S * 1_000_000 * 4_096 + at for at in range(3)]


def test_of_equal_scores_the_earlier_leads() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.board(BOARD_MODE_BEST)))
    fold(partition, blocks.block([blocks.score("zoe", 5, origin(1), 1)], NOW_S))
    later = fold(partition, blocks.block([blocks.score("ann", 5, origin(1), 2)], NOW_S + 1))
    assert list(later["board/top"].board.current.actor_ids) == ["zoe", "ann"]


def test_a_games_topics_exist_from_its_definition_on() -> None:
    partition = Partition(0, Loaded())
    game = blocks.game(audience=True, metrics=["ping"])
    defined = fold(partition, blocks.game_control(game))
    assert set(defined) == {"pulse/cheer", "audience", "metric/ping"}
    counted = fold(
        partition,
        blocks.block(
            [
                blocks.reaction("fire", 3, origin(1), 1),
                blocks.row("audience", "ann", origin(2), 1, value=PRESENCE_STATE_HERE),
                blocks.row("audience", "bob", origin(3), 1, value=PRESENCE_STATE_HERE),
                blocks.row("audience", "bob", origin(3), 2, value=PRESENCE_STATE_GONE),
                blocks.row("metric/ping", "ann", origin(2), 2, value=12.5),
            ]
        ),
    )
    assert list(counted["pulse/cheer"].pulse.totals) == [3]
    assert counted["audience"].audience.uniques == 2
    assert sum(counted["audience"].audience.last_seen) == 1
    assert counted["metric/ping"].metric.sum == 12.5


def test_a_definition_that_grows_adds_topics_and_keeps_what_they_counted() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.game_control(blocks.game()))
    fold(partition, blocks.block([blocks.reaction("fire", 3, origin(1), 1)]))
    assert set(fold(partition, blocks.game_control(blocks.game(metrics=["ping"])))) == {"metric/ping"}
    again = fold(partition, blocks.block([blocks.reaction("fire", 1, origin(1), 2)]))
    assert list(again["pulse/cheer"].pulse.totals) == [4]


def test_windows_of_dead_origins_are_forgotten_by_the_streams_own_time() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()))
    fold(partition, blocks.block([blocks.vote(f"v{n}", "a", origin(n), 1) for n in range(1, 400)]))
    later = NOW_S + aggregate_bounds.ORIGIN_WINDOW_LIFE_S + 3_600
    block = blocks.block([blocks.vote("bob", "a", origin(1), 2)], later)
    partition.fold(partition.folded + 1, block.SerializeToString())
    flush = partition.take_flush()
    assert flush is not None
    rewritten = [w for w in flush.writes if w.key == layout.log_key(0, "origins")]
    assert [w.command for w in rewritten] == ["SET"]
    assert len(rewritten[0].arguments[0]) < 100


def test_a_second_vote_is_told_from_a_resend() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()), blocks.control(blocks.poll("free", changeable=True)))
    fold(
        partition,
        blocks.block([blocks.vote("ann", "a", origin(1), 1), blocks.vote("ann", "a", origin(1), 2, "free")]),
    )

    def second(topic: str, actor: str, origin_number: int, sequence: int) -> int:
        question = VotedQuestion(
            game_id=GAME,
            topic=topic,
            actors=ids.actor_key(actor),
            producer=b"\0",
            origins=ids.origin_key(origin(origin_number)),
            origin_seqs=sequence.to_bytes(8, "little"),
        )
        return partition.second_votes(VotedRequest(questions=[question])).second[0][0]

    assert second("poll/mvp", "ann", 1, 1) == 0, "its resend"
    assert second("poll/mvp", "ann", 1, 3) == 1
    assert second("poll/mvp", "ann", 2, 1) == 1
    assert second("poll/mvp", "bob", 2, 1) == 0
    assert second("poll/free", "ann", 1, 3) == 0
    assert second("poll/unknown", "ann", 1, 3) == 0


POLLS = [
    blocks.poll(),
    blocks.poll("free", changeable=True),
    blocks.poll("many", choices_max=2, weight_max=5),
]
BOARDS = [blocks.board(BOARD_MODE_SUM, 100), blocks.board(BOARD_MODE_LAST, 100, "last")]
STEPS = st.lists(
    st.one_of(
        st.lists(
            st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 7), st.integers(1, 9)), max_size=25
        ),
        st.sampled_from(["flush", "take over", "seal free"]),
        st.builds(blocks.void_votes, st.sampled_from("pqrs"), st.sampled_from(["mvp", "free", "many"])),
        st.builds(blocks.remove_score, st.sampled_from("pqrs"), st.sampled_from(["top", "last"])),
    ),
    max_size=25,
)


def body(kind: int, producer: bool, which: int, sequence: int) -> Row:
    """Every identity has one body."""
    origin_id = origin(10 * kind + which, producer=producer)
    actor = "pqrs"[(which + sequence) % 4]
    match kind:
        case 0 | 1 | 2:
            poll_id, choice = ["mvp", "free", "many"][kind], ["a", "b", "c", "ab"][sequence % 4]
            weight = sequence % 5 + 1 if kind == 2 else 0
            return blocks.vote(actor, choice, origin_id, sequence, poll_id, weight=weight)
        case 3:
            return blocks.row("metric/ping", actor, origin_id, sequence, value=float(sequence))
        case 4:
            return blocks.score(actor, sequence, origin_id, sequence)
        case _:
            return blocks.score(actor, sequence, origin_id, sequence, "last")


@given(STEPS, st.integers(0, 2**32))
def test_a_partition_taken_over_anywhere_ends_as_one_that_never_was(
    steps: list[list[tuple[int, bool, int, int]] | str | Block], salt: int
) -> None:
    """Blocks with resends, flushes, takeovers that lose what was not flushed, a poll sealed, corrections. The
    one that never was folds every block in arrays, the other one few rows one by one."""
    game = blocks.game(metrics=["ping"])
    opening = [blocks.game_control(game), *(blocks.control(each) for each in [*POLLS, *BOARDS])]
    stream: list[Block] = []
    whole = Partition(0, Loaded())
    kept, broken = Kept(), Partition(0, Loaded(), salt)
    for step in [*opening, *steps, "flush", "take over"]:
        if step == "flush":
            flush = broken.take_flush()
            if flush is not None:
                kept.apply(flush)
        elif step == "take over":
            broken = Partition(0, kept.loaded(), salt + 1)
            for at in range(kept.state.applied, len(stream)):
                assert broken.fold(at + 1, stream[at].SerializeToString()) == []
        else:
            at_s = NOW_S + limits.SEAL_GRACE_S * len(stream)
            match step:
                case Block():
                    made = [step]
                case "seal free":
                    made = sealing(POLLS[1], at_s)
                case _:
                    made = [blocks.block([body(*each) for each in step], at_s)]
            stream += made
            for each in made:
                with mock.patch.object(aggregate_block, "FEW_ROWS", 0):
                    assert whole.fold(whole.folded + 1, each.SerializeToString()) == []
                assert broken.fold(broken.folded + 1, each.SerializeToString()) == []
    final = whole.take_flush()
    assert final is not None
    expected = {partial.topic: partial for partial in partials_of(final)}
    results = kept.hashes[layout.results_key(0, GAME)]
    for topic, partial in expected.items():
        found = Partial.FromString(results[topic.encode()])
        found.sequence = partial.sequence
        assert found == partial
    assert broken.folded == whole.folded == len(stream)


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 60), st.sampled_from("pqrstu"), st.sampled_from("abc")),
    max_size=120,
)


@given(ROWS, st.data())
def test_any_resends_in_any_blocks_end_where_one_honest_count_ends(
    rows: list[tuple[int, int, str, str]], data: st.DataObject
) -> None:
    """Every identity has one body; rows repeat at will and are cut into blocks at will."""
    bodies = {(o, n): (actor, option) for o, n, actor, option in rows}
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()), blocks.control(blocks.board(BOARD_MODE_SUM, top=100)))
    expected_sum: Counter[str] = Counter()
    first_vote: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()
    for o, n, _, _ in rows:
        actor, option = bodies[o, n]
        if (o, n) not in seen:
            seen.add((o, n))
            expected_sum[actor] += n
            first_vote.setdefault(actor, option)
    at = 0
    partials: dict[str, Partial] = {}
    while at < len(rows):
        size = data.draw(st.integers(1, 20))
        chunk = [(o, n, *bodies[o, n]) for o, n, _, _ in rows[at : at + size]]
        votes = [blocks.vote(actor, option, origin(o), n) for o, n, actor, option in chunk]
        scores = [blocks.score(actor, n, origin(o + 10), n) for o, n, actor, _ in chunk]
        partials.update(fold(partition, blocks.block([*votes, *scores])))
        at += size
    if rows:
        assert votes_of(partials["poll/mvp"]) == {o: Counter(first_vote.values())[o] for o in "abc"}
        assert points_of(partials["board/top"]) == dict(expected_sum)


def test_a_flush_names_only_what_changed() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()), blocks.control(blocks.poll("other")))
    changed = fold(partition, blocks.block([blocks.vote("ann", "a", origin(1), 1)]))
    assert set(changed) == {"poll/mvp"}
    assert changed["poll/mvp"].game_id == GAME
    assert partition.take_flush() is None


def test_a_log_in_redis_is_bounded_by_what_it_holds() -> None:
    partition, kept = Partition(0, Loaded()), Kept()
    rows = [blocks.vote(f"v{n}", "a", origin(n), 0) for n in range(500)]
    turns = [[row._replace(origin_seq=n, value=1 << n % 3) for row in rows] for n in range(1, 60)]
    for block in [blocks.control(blocks.poll(changeable=True)), *map(blocks.block, turns)]:
        assert partition.fold(partition.folded + 1, block.SerializeToString()) == []
        flush = partition.take_flush()
        assert flush is not None
        kept.apply(flush)
    for name in ("origins", "votes"):
        assert len(kept.values[layout.log_key(0, name)]) < aggregate_bounds.LOG_BYTES_MIN + 2 * 500 * 80
    again = Partition(0, kept.loaded())
    assert fold(again, blocks.block([blocks.vote("v1", "b", origin(1), 60)]))["poll/mvp"].tally.voters == 500
