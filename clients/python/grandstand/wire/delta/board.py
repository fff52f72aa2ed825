"""A board's part of a delta: its entries as runs of those shown before, and new ones between. Pure.

Somebody who climbs from place 60 to 10 moves fifty others by one: their ranks change and nothing else. So a
run says which entries stay next to each other, and their ranks are their new places. The merge gives every
entry its place as its rank (mesh/merge/board.py); a board that is ranked otherwise no delta can say, nor
one whose season or previous season changed, nor one longer than DELTA_ENTRIES_MAX.

What stands at the same place from the top or from the bottom is passed over first; what is left between is
found by its actor. An actor that stands twice, which no merge makes, is said in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry, BoardResult
from grandstand.gateway.v1.delta_pb2 import BoardDelta, TopicDelta
from grandstand.wire import bounds
from grandstand.wire.delta.mismatch import DeltaMismatch

# As many as a board may have: a longer one is ranked otherwise.
_PLACES = list(range(1, bounds.DELTA_ENTRIES_MAX + 1))


def diff(before: BoardResult, after: BoardResult, delta: TopicDelta) -> bool:
    """Sets `delta.board` unless nothing changed. False: it cannot be said."""
    if before == after:
        return True
    for part in ("season", "previous"):
        if before.HasField(part) != after.HasField(part):
            return False
    if before.season != after.season or before.previous != after.previous:
        return False
    new = list(after.entries)
    if [entry.rank for entry in new] != _PLACES[: len(new)]:
        return False
    board = delta.board
    board.actors = after.actors
    for first, count, put in _runs(list(before.entries), new):
        board.entries.add(first=first, count=count, put=put)
    return True


def apply(board: BoardResult, delta: BoardDelta) -> None:
    """Changes `board`. Raises DeltaMismatch for entries it does not have, or too many of them."""
    old = BoardResult(entries=board.entries).entries
    entries = board.entries
    del entries[:]
    for run in delta.entries:
        if run.first + run.count > len(old):
            raise DeltaMismatch(
                f"a delta of {run.count} entries from {run.first} on, of {len(old)}, from 0; subscribe again"
            )
        if len(entries) + run.count + len(run.put) > bounds.DELTA_ENTRIES_MAX:
            raise DeltaMismatch(f"a delta of more than {bounds.DELTA_ENTRIES_MAX} entries; subscribe again")
        above = len(entries)
        entries.extend(old[run.first : run.first + run.count])
        for place in range(above, len(entries)):
            entries[place].rank = place + 1
        entries.extend(run.put)
    board.actors = delta.actors


def _runs(
    old: Sequence[BoardEntry], new: Sequence[BoardEntry]
) -> Iterator[tuple[int, int, list[BoardEntry]]]:
    """(first of `old`, how many, then these new ones), in the order of `new`."""
    top = _same_from_top(old, new)
    bottom = _same_from_bottom(old, new, top)
    places = {entry.actor_id: place for place, entry in enumerate(old[top : len(old) - bottom], start=top)}
    first, count = 0, top
    put: list[BoardEntry] = []
    for entry in new[top : len(new) - bottom]:
        place = places.get(entry.actor_id)
        if place is None or old[place].points != entry.points or old[place].name != entry.name:
            put.append(entry)
        elif place == first + count and not put:
            count += 1
        else:
            if count or put:
                yield first, count, put
            first, count, put = place, 1, []
    rest = len(old) - bottom
    if bottom and rest == first + count and not put:
        count += bottom
        bottom = 0
    if count or put:
        yield first, count, put
    if bottom:
        yield rest, bottom, []


def _same_from_top(old: Sequence[BoardEntry], new: Sequence[BoardEntry]) -> int:
    count = 0
    for was, now in zip(old, new, strict=False):
        if was != now:
            break
        count += 1
    return count


def _same_from_bottom(old: Sequence[BoardEntry], new: Sequence[BoardEntry], top: int) -> int:
    """Of boards of one length; in others every rank below a change differs."""
    if len(old) != len(new):
        return 0
    count = 0
    while count < len(new) - top and old[-1 - count] == new[-1 - count]:
        count += 1
    return count
