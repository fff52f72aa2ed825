"""What was seen of the seasons of boards, while they went by. Pure.

A board shows two seasons, so those of a run are put together from what watchers and readers saw: all of a
season once it was seen sealed, or read at the acked positions at the end of the run. Then the sum over the
seasons must hold each acked score once. Of a season that ended unseen (nobody could be asked between its seal
and the end of the next one) nothing is found lost; it is counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from toolbox.chaos.monotone import seasons_of

TopicKey = tuple[str, str]
"""(game_id, topic)"""


@dataclass(slots=True)
class _Season:
    points: dict[str, int] = field(default_factory=dict)
    whole: bool = False
    sealed: bool = False


@dataclass(slots=True)
class Seasons:
    """Of all boards with seasons of a run."""

    notes: list[str] = field(default_factory=list)
    """Seasons that changed after their seal, whoever saw it."""
    _seen: dict[TopicKey, dict[int, _Season]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, game_id: str, state: TopicState, *, last: bool = False) -> None:
        """`last`: read at the acked positions, after the last ack. Other topics are left aside."""
        if not state.board.HasField("season"):
            return
        found = self._seen[(game_id, state.topic)]
        for number, sealed, points in seasons_of(state.board):
            season = found.setdefault(number, _Season())
            if sealed and season.sealed and points != season.points:
                self.notes.append(f"{game_id} {state.topic}: season {number} changed after its seal")
            if sealed or last:
                season.points, season.whole = points, True
                season.sealed |= sealed
            elif not season.whole:
                season.points = {
                    actor: max(points.get(actor, 0), season.points.get(actor, 0))
                    for actor in points.keys() | season.points.keys()
                }

    def unseen(self, key: TopicKey) -> int:
        """How many of a board's seasons were not seen as a whole."""
        found = self._seen.get(key, {})
        return sum(
            1
            for number in range(1, max(found, default=0) + 1)
            if number not in found or not found[number].whole
        )

    def seen(self) -> int:
        """How many seasons were seen as a whole."""
        return sum(season.whole for found in self._seen.values() for season in found.values())

    def sums(self) -> Iterator[tuple[TopicKey, TopicState]]:
        """Each board as if it had no seasons."""
        for key, found in self._seen.items():
            state = TopicState(topic=key[1])
            totals: dict[str, int] = defaultdict(int)
            for season in found.values():
                for actor, points in season.points.items():
                    totals[actor] += points
            for actor, points in totals.items():
                state.board.entries.add(actor_id=actor, points=points)
            yield key, state
