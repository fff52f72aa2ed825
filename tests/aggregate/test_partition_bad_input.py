"""No bytes in the stream stop a partition: what makes no sense is set aside by name, the rest counts."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    Board,
    CustomTopic,
    Poll,
    Season,
)
from grandstand.internal.v1.internal_pb2 import (
    Block,
)
from mesh import limits
from tests.support import blocks
from tests.support.blocks import origin
from tests.support.partitions import fold, partials_of, set_aside, votes_of


@pytest.mark.parametrize("column", ["origin", "origin_seq", "actor", "value", "actor_keys", "viewers"])
def test_a_block_with_unequal_columns_is_set_aside_whole(column: str) -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()))
    bad = blocks.block([blocks.vote("ann", "a", origin(1), 1), blocks.vote("bob", "b", origin(2), 1)])
    setattr(bad.events, column, getattr(bad.events, column)[:-1])
    letters = set_aside(partition, bad)
    assert [(letter.sequence, letter.block) for letter in letters] == [(2, bad.SerializeToString())]
    assert "bytes" in letters[0].reason
    good = fold(partition, blocks.block([blocks.vote("ann", "a", origin(1), 1)]))
    assert good["poll/mvp"].tally.voters == 1


def test_a_block_that_points_outside_its_dictionaries_is_set_aside() -> None:
    bad = blocks.block([blocks.vote("ann", "a", origin(1), 1)])
    bad.events.actor = np.array([9], dtype="<u2").tobytes()
    assert "outside" in set_aside(Partition(0, Loaded()), bad)[0].reason


def test_a_block_of_an_absurd_size_is_set_aside() -> None:
    assert "bytes" in set_aside(Partition(0, Loaded()), bytes(limits.BLOCK_BYTES_MAX + 1))[0].reason
    rows = [blocks.vote("ann", "a", origin(1), n + 1) for n in range(limits.BLOCK_EVENTS_MAX + 1)]
    assert "rows" in set_aside(Partition(0, Loaded()), blocks.block(rows))[0].reason


def test_a_section_that_is_not_known_here_is_set_aside_and_the_others_count() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()))
    rows = [blocks.vote("ann", "a", origin(1), 1), blocks.vote("ann", "a", origin(1), 2, "nowhere")]
    foreign = blocks.vote("ann", "a", origin(1), 3)._replace(game_id="elsewhere")
    letters = set_aside(partition, blocks.block([*rows, foreign]))
    assert [letter.reason for letter in letters] == [
        "topic 'poll/nowhere' of game 'game' is not known in partition 0",
        "game 'elsewhere' is not known in partition 0",
    ]
    flush = partition.take_flush()
    assert flush is not None
    assert votes_of(partials_of(flush)[0])["a"] == 1
    fold(partition, blocks.control(blocks.poll("nowhere")))
    sent_again = fold(partition, blocks.block(rows))
    assert votes_of(sent_again["poll/nowhere"])["a"] == 1
    assert "poll/mvp" not in sent_again


@given(st.binary(max_size=300))
def test_no_bytes_stop_a_partition(data: bytes) -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.control(blocks.poll()))
    set_aside(partition, data)
    assert (
        fold(partition, blocks.block([blocks.vote("ann", "a", origin(1), 1)]))["poll/mvp"].tally.voters == 1
    )


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_to_a_block_stops_a_partition(damage: list[tuple[int, int]]) -> None:
    partition = Partition(0, Loaded())
    game = blocks.game(audience=True, metrics=["ping"], customs=[CustomTopic(custom_id="c", fold="none")])
    fold(partition, blocks.control(blocks.poll()), blocks.game_control(game))
    rows = [blocks.vote(f"v{n}", "a", origin(n), 1) for n in range(9)]
    rows += [blocks.reaction("fire", 2, origin(n, producer=True), n) for n in range(1, 9)]
    rows += [blocks.row("metric/ping", "ann", origin(2), n, value=n / 3) for n in range(2, 9)]
    rows += [blocks.row("custom/c", "ann", origin(3), n, payload=b"x") for n in range(2, 4)]
    data = bytearray(blocks.block(rows).SerializeToString())
    for at, value in damage:
        data[at % len(data)] = value
    set_aside(partition, bytes(data))
    assert (
        fold(partition, blocks.block([blocks.vote("new", "a", origin(99), 1)]))["poll/mvp"].tally.voters >= 1
    )


CONTROLS = [
    blocks.control(blocks.poll("many", choices_max=2, weight_max=5)),
    blocks.control(blocks.board(BOARD_MODE_SUM, season=Season(every=Duration(seconds=60)))),
    blocks.game_control(blocks.game(audience=True, metrics=["ping"])),
]


@given(
    st.sampled_from(CONTROLS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_no_damage_to_a_control_stops_a_partition(control: Block, damage: list[tuple[int, int]]) -> None:
    partition = Partition(0, Loaded())
    data = bytearray(control.SerializeToString())
    for at, value in damage:
        data[at % len(data)] = value
    set_aside(partition, bytes(data))
    rows = [blocks.score("ann", 5, origin(1), 1), blocks.reaction("fire", 1, origin(1), 2)]
    rows += [
        blocks.vote("ann", "a", origin(1), 3, "many"),
        blocks.row("metric/ping", "a", origin(1), 4, value=1.0),
    ]
    set_aside(partition, blocks.block(rows))
    partition.take_flush()
    assert fold(partition, blocks.control(blocks.poll())).keys() == {"poll/mvp"}


@pytest.mark.parametrize(
    ("control", "reason"),
    [
        (blocks.poll("big", [f"o{n}" for n in range(65)]), "control.poll.options: is 65"),
        (blocks.poll("none", []), "control.poll.options: is 0"),
        (blocks.poll("far", choices_max=300), "control.poll.choices_max: is 300"),
        (blocks.poll("a/b"), "control.poll: 'a/b' has the character '/'"),
        (blocks.board(BOARD_MODE_SUM, season=Season()), "control.board.season.every: is 0"),
    ],
)
def test_a_definition_that_cannot_be_folded_is_set_aside_by_name(control: Poll | Board, reason: str) -> None:
    letters = set_aside(Partition(0, Loaded()), blocks.control(control))
    assert letters[0].reason.startswith(reason)
