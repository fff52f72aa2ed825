"""What a Redis that has lost inboxes is told by, and what it is not taken for."""

from __future__ import annotations

from mesh.notices.stored import StreamPosition
from notify.floors import Floors


def lacks(floors: Floors, applied: dict[str, StreamPosition]) -> dict[str, tuple[int, int]]:
    return {name: (at, floor.sequence) for name, (at, floor) in floors.below(applied).items()}


def test_a_redis_that_says_less_than_before_is_behind_until_it_says_as_much_again() -> None:
    floors = Floors({"N": StreamPosition("one", 10), "R": StreamPosition("r", 0)})
    assert lacks(floors, {}) == {"N": (0, 10)}, "of a stream that is empty nothing can be lacking"
    assert lacks(floors, {"N": StreamPosition("one", 9)}) == {"N": (9, 10)}
    everything = {"N": StreamPosition("one", 10), "R": StreamPosition("r", 0)}
    assert not lacks(floors, everything)
    # A late keeper says the same for long; it is the stream that goes on.
    assert not lacks(floors, everything)
    assert not lacks(floors, {"N": StreamPosition("one", 25), "R": StreamPosition("r", 3)})
    assert lacks(floors, everything) == {"N": (10, 25), "R": (0, 3)}
    assert lacks(floors, {"N": StreamPosition("one", 25)}) == {"R": (0, 3)}
    assert not lacks(floors, {"N": StreamPosition("one", 25), "R": StreamPosition("r", 4)})


def test_of_a_stream_that_is_another_or_lost_messages_no_more_is_wanted_than_it_has() -> None:
    floors = Floors({"N": StreamPosition("one", 10)})
    assert lacks(floors, {"N": StreamPosition("two", 30)}) == {"N": (0, 10)}
    floors.ends("N", StreamPosition("two", 40))
    assert lacks(floors, {"N": StreamPosition("two", 30)}) == {"N": (30, 40)}
    assert not lacks(floors, {"N": StreamPosition("two", 40)})
    floors.ends("N", StreamPosition("two", 50))
    assert not lacks(floors, {"N": StreamPosition("two", 40)}), "what came since is only late"
    floors.ends("N", StreamPosition("two", 20))
    assert not lacks(floors, {"N": StreamPosition("two", 20)})
    floors.ends("N", StreamPosition("three", 0))
    assert not lacks(floors, {"N": StreamPosition("three", 1)})
    assert lacks(floors, {}) == {"N": (0, 1)}
