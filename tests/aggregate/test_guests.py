"""Guests' votes and presences are told apart in what a partition shows, and in what it stores."""

from __future__ import annotations

from aggregate.partition import Loaded, Partition
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE
from grandstand.internal.v1.internal_pb2 import Partial
from mesh.merge import TopicMerge
from tests.support import blocks
from tests.support.blocks import NOW_S, origin
from tests.support.partitions import Kept, partials_of, sealing

GUEST = {"guest": True}
HERE = {"value": PRESENCE_STATE_HERE}


def shown(partials: dict[str, Partial], topic: str) -> TopicState:
    merge = TopicMerge(topic)
    merge.offer(partials[topic])
    return merge.state(NOW_S)


def counts(state: TopicState) -> tuple[list[tuple[int, int]], int, int]:
    """Votes and guests' votes of each option; voters, and the guests among them."""
    tally = state.tally
    return [(o.votes, o.guest_votes) for o in tally.options], tally.voters, tally.guest_voters


def test_guests_are_counted_apart_once_also_after_a_takeover_and_a_seal() -> None:
    kept, partition = Kept(), Partition(0, Loaded())
    partials: dict[str, Partial] = {}

    def fold(*stream: object) -> None:
        for block in stream:
            assert partition.fold(partition.folded + 1, block.SerializeToString()) == []  # type: ignore[attr-defined]
        flush = partition.take_flush()
        assert flush is not None
        kept.apply(flush)
        partials.update((partial.topic, partial) for partial in partials_of(flush))

    poll = blocks.poll(changeable=True)
    fold(blocks.game_control(blocks.game(audience=True)), blocks.control(poll))
    first = blocks.block(
        [
            blocks.vote("ann", "a", origin(1), 1),
            blocks.vote("guest-1", "a", origin(2), 1, **GUEST),
            blocks.vote("guest-2", "b", origin(3), 1, **GUEST),
            blocks.row("audience", "ann", origin(1), 2, **HERE),
            blocks.row("audience", "guest-1", origin(2), 2, **HERE, **GUEST),
            blocks.row("audience", "guest-2", origin(3), 2, **HERE, **GUEST),
            blocks.row("audience", "guest-2", origin(3), 3, value=PRESENCE_STATE_GONE, **GUEST),
        ]
    )
    fold(first)
    # The same again: a resend in another block counts nobody twice (I2).
    fold(first)
    assert counts(shown(partials, "poll/mvp")) == ([(2, 1), (1, 1), (0, 0)], 3, 2)
    audience = shown(partials, "audience").audience
    assert (audience.viewers, audience.uniques, audience.guest_viewers, audience.guest_uniques) == (
        2,
        3,
        1,
        2,
    )

    partition = Partition(0, kept.loaded())
    fold(blocks.block([blocks.vote("guest-1", "c", origin(2), 3, **GUEST)]))
    assert counts(shown(partials, "poll/mvp")) == ([(1, 0), (1, 1), (1, 1)], 3, 2)
    fold(blocks.block([blocks.row("audience", "guest-3", origin(4), 1, **HERE, **GUEST)]))
    audience = shown(partials, "audience").audience
    assert (audience.uniques, audience.guest_uniques) == (4, 3)
    fold(*sealing(poll))
    assert counts(shown(partials, "poll/mvp")) == ([(1, 0), (1, 1), (1, 1)], 3, 2)
