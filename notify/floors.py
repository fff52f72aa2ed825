"""How far Redis has been with each stream, as one process knows: below that it has lost something. Pure.

How far it is noted to be only grows, while Redis keeps what it has. So a Redis that was emptied, or that
failed over to an older state, says less than it said before, until it is filled again; one whose keeper is
merely late does not. A process that begins does not know what was said before it: it takes the streams' ends.

Bound: an entry for each stream.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.notices.stored import StreamPosition

_NOTHING = StreamPosition()


class Floors:
    def __init__(self, ends: Mapping[str, StreamPosition]) -> None:
        """`ends`: the identity and last sequence of each stream."""
        self._floors = dict(ends)

    def below(self, applied: Mapping[str, StreamPosition]) -> dict[str, tuple[int, StreamPosition]]:
        """The streams of which Redis has less than it had: how far it is, and was. `applied`: what Redis
        says."""
        found = {}
        for name, floor in self._floors.items():
            is_at = applied.get(name, _NOTHING)
            sequence = is_at.sequence if is_at.stream == floor.stream else 0
            if sequence < floor.sequence:
                found[name] = (sequence, floor)
            elif is_at.stream:
                self._floors[name] = is_at
        return found

    def ends(self, name: str, end: StreamPosition) -> None:
        """The stream ends there: it was recreated, or has lost messages. Nobody has more of it."""
        floor = self._floors[name]
        if end.stream != floor.stream or end.sequence < floor.sequence:
            self._floors[name] = end
