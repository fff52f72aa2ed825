"""What is known of one actor's place on one board, and what of it may be told. Pure.

A reading is taken in two moments: of the board (which season, which stage), then of the place. Where it lies
in time is told by the applied sequences of the game's partitions at both: `before` says what it surely
includes (I6), `after` what it may be as new as (I5), and is its cursor.

I5: `Watermarks` keep the newest sequence of every partition that this gateway has read. A reading of less is
of a partition that is folded again (Redis was emptied, or went back in time) and is unused. So what was read
later is never older, whichever viewer was told what before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grandstand.aggregate.v1.aggregate_pb2 import StandingResult, TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_UNSPECIFIED, Stage
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.wire.topics import standing_of
from mesh.pseudonyms import UNKEYED, PublicId
from mesh.redis.ranking import BoardName, Ranking, Standing, ranking_of
from mesh.redis.share import Share


@dataclass(frozen=True, slots=True)
class BoardReading:
    """A board as its partitions had it."""

    ranking: Ranking
    stage: Stage
    before: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class StandingReading:
    """One actor's place, as it is told."""

    state: TopicState
    before: Mapping[int, int]

    def includes(self, wanted: Mapping[int, int]) -> bool:
        return all(self.before.get(partition, 0) >= sequence for partition, sequence in wanted.items())


class Watermarks:
    """Of each partition the newest applied sequence that was read; one number for each.

    What is read together comes in any order, so it is compared with what was read before all of it.
    """

    def __init__(self) -> None:
        self._floor: dict[int, int] = {}
        self._newest: dict[int, int] = {}

    def begin(self) -> None:
        """What is read from now on must be as new as all that was read before."""
        self._floor = dict(self._newest)

    def passes(self, before: Mapping[int, int], after: Mapping[int, int]) -> bool:
        """Whether it is."""
        for partition, sequence in after.items():
            if not self._floor.get(partition, 0) <= before.get(partition, 0) <= sequence:
                return False
        for partition, sequence in after.items():
            self._newest[partition] = max(sequence, self._newest.get(partition, 0))
        return True


def board_reading(board: BoardName, shares: Sequence[Share]) -> BoardReading | None:
    """None unless every partition holds the board: it is being opened, or folded again."""
    topic = f"board/{board.board_id}"
    if not all(topic in share.partials for share in shares):
        return None
    return BoardReading(
        ranking=ranking_of(board.game_id, board.spread, board.board_id, shares),
        stage=min((share.partials[topic].stage for share in shares), default=STAGE_UNSPECIFIED),
        before={share.partition: share.applied for share in shares},
    )


def reading_of(board: BoardReading, standing: Standing, public: PublicId = UNKEYED) -> StandingReading:
    """`public`: under which id boards show the actor, and so its own place."""
    ranking = board.ranking
    standing = standing.shown_as(public)
    state = TopicState(
        topic=standing_of(ranking.board_id),
        cursor=Cursor(
            positions=[Position(partition=p, sequence=s) for p, s in sorted(standing.applied.items())]
        ),
        stage=board.stage,
        standing=StandingResult(standing=standing.entry, actors=standing.actors, season=ranking.season),
    )
    return StandingReading(state, board.before)


def no_standing(board_id: str) -> StandingReading:
    """On a board that nobody has opened."""
    return StandingReading(TopicState(topic=standing_of(board_id), standing=StandingResult()), {})


def wanted_of(positions: Iterable[Position], partitions: Iterable[int]) -> dict[int, int]:
    """The newest position of each of a game's partitions; others have nothing to do with it."""
    ours = set(partitions)
    wanted: dict[int, int] = {}
    for position in positions:
        if position.partition in ours:
            wanted[position.partition] = max(position.sequence, wanted.get(position.partition, 0))
    return wanted


class OwnStanding:
    """`version` counts the states; 0: there is none yet."""

    __slots__ = ("reading", "version")

    def __init__(self) -> None:
        self.version = 0
        self.reading: StandingReading | None = None

    def take(self, reading: StandingReading) -> None:
        """A new version if it says anything new."""
        known, self.reading = self.reading, reading
        if known is None or not _says_the_same(known.state, reading.state):
            self.version += 1


def _says_the_same(one: TopicState, other: TopicState) -> bool:
    """But for how new it is."""
    return one.stage == other.stage and one.standing == other.standing
