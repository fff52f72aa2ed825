"""When a game, a poll or a board takes its next step: towards the seal (I9), or into its next season; a game,
after its seal, towards being forgotten.

Pure: times come in, Unix seconds of the mesh's clock. A board with seasons has two **beats** a season: one
when it begins, and one when the season before it is complete. Folds see time pass only in their
stream, so the beats put it there: an idle board visibly starts again. Of beats that were
missed only the newest matters, because folds go by the time and not by the number.

A step is a control in every partition of its topic or game. A fold takes one only when the time of its
partition has come (a watermark, see PartitionState), and a control that came too early changes nothing. So a
step is done when every partition shows that it took it, and until then it is sent again to those that folded
it and did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aggregate import bounds
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Board,
    Game,
    Poll,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Partial
from mesh import limits, seasons
from mesh.jetstream import subjects

# A season is sealed in the first second after the grace.
_SEALED_S = limits.SEAL_GRACE_S + 1
assert _SEALED_S < limits.SEASON_MIN_S, "a season is sealed before the next one ends"


@dataclass(frozen=True)
class Step:
    """`definition` becomes `stage` at `due_at_s`; with a beat it stays OPEN, and a season turns."""

    due_at_s: float
    stage: Stage
    definition: Game | Poll | Board
    beat: int = 0
    """2 n for the beginning of season n, 2 n + 1 for the seal of the season before; 0 for none."""
    forgets: bool = False
    """The game is sealed, and becomes nothing."""

    @property
    def name(self) -> str:
        """Tells the step from every other; the same in every instance."""
        if self.beat:
            return f"{life_of(self.definition)}-season-{self.beat // 2}{'-sealed' * (self.beat % 2)}"
        return f"{life_of(self.definition)}-{'forgotten' if self.forgets else self.stage}"


@dataclass(frozen=True, slots=True)
class Folded:
    """What one partition shows of the step's topic, or of its game."""

    partition: int
    applied: int
    """All blocks up to this sequence are in it."""
    partial: Partial | None
    stage: Stage = STAGE_UNSPECIFIED
    """Of the game, if that is closed or sealed there."""
    holds: bool = True
    """False: it shows nothing of the game."""


def life_of(definition: Game | Poll | Board) -> str:
    """Its key in the catalog, and the generation of its game: tells it from what comes under that key
    later."""
    generation = definition.generation
    return f"{key_of(definition)}#{generation}" if generation else key_of(definition)


def key_of(definition: Game | Poll | Board) -> str:
    """Its key in the catalog."""
    if isinstance(definition, Game):
        return subjects.game_key(definition.game_id)
    if isinstance(definition, Poll):
        return subjects.poll_key(definition.game_id, definition.poll_id)
    return subjects.board_key(definition.game_id, definition.board_id)


def step_of(definition: Poll | Board) -> Step | None:
    """The next step towards the seal, or None while no close is set or when it is sealed."""
    if not definition.HasField("closes_at"):
        return None
    closes_at_s = definition.closes_at.ToNanoseconds() / 1e9
    if definition.stage == STAGE_OPEN:
        return Step(closes_at_s, STAGE_CLOSED, definition)
    if definition.stage == STAGE_CLOSED:
        return Step(closes_at_s + limits.SEAL_GRACE_S, STAGE_SEALED, definition)
    return None


def game_step_of(game: Game, forget_after_s: float | None = None) -> Step | None:
    """The next step of a game that ends or has ended. `forget_after_s`: after its end; None: as its
    definition and the bounds say."""
    if not game.HasField("ended_at"):
        return None
    ended_at_s = game.ended_at.ToNanoseconds() / 1e9
    if game.stage < STAGE_CLOSED:
        return Step(ended_at_s, STAGE_CLOSED, game)
    if game.stage == STAGE_CLOSED:
        return Step(ended_at_s + limits.SEAL_GRACE_S, STAGE_SEALED, game)
    return forgetting(game, forget_after_s)


def forgetting(game: Game, forget_after_s: float | None = None) -> Step:
    """The last step of a sealed game."""
    return Step(forgotten_at_s(game, forget_after_s), STAGE_SEALED, game, forgets=True)


def forgotten_at_s(game: Game, forget_after_s: float | None = None) -> float:
    """When a game that has ended is forgotten, Unix seconds."""
    if forget_after_s is None:
        retain_s = bounds.RETAIN_FOR_DEFAULT_S
        if game.HasField("retain_for"):
            retain_s = game.retain_for.ToNanoseconds() / 1e9
        forget_after_s = max(retain_s, bounds.FORGET_AFTER_S)
    return game.ended_at.ToNanoseconds() / 1e9 + forget_after_s


def has_taken(step: Step, share: Folded) -> bool:
    """Whether the partition with this share has taken the step."""
    if step.forgets:
        return not share.holds
    if isinstance(step.definition, Game):
        return share.stage >= step.stage
    partial = share.partial
    if partial is None:
        return False
    if not step.beat:
        return partial.stage >= step.stage
    board, number = partial.board, step.beat // 2
    if board.current.number != number or step.beat % 2 == 0:
        return board.current.number >= number
    return board.previous.sealed or not board.HasField("previous")


def lacking(step: Step, folded: Iterable[Folded]) -> list[int]:
    """The partitions that have not taken the step."""
    return [each.partition for each in folded if not has_taken(step, each)]


def to_send(step: Step, folded: Iterable[Folded], sent: Mapping[int, int]) -> list[int]:
    """The partitions that the step is to be sent to now. `sent`: the sequence of what was sent last, by
    partition. What is not folded yet may still be taken, however long the fold is away: it is not sent
    again."""
    return [
        each.partition
        for each in folded
        if not has_taken(step, each) and each.applied >= sent.get(each.partition, 0)
    ]


def awaited(step: Step, folded: Iterable[Folded], sent: Mapping[int, int]) -> list[int]:
    """The partitions that what was sent to is not folded in yet."""
    return [
        each.partition
        for each in folded
        if not has_taken(step, each) and each.applied < sent.get(each.partition, 0)
    ]


def beat_of(board: Board, now_s: float, taken: int) -> Step | None:
    """The board's newest beat that is due if it is later than `taken`, else the one to wait for.

    None for a board that has no seasons, is not open, or closes before its next beat.
    """
    if board.stage != STAGE_OPEN or not board.HasField("season"):
        return None
    first = seasons.number_at(board.season, board.opened_at.ToMicroseconds())
    number = seasons.number_at(board.season, int(now_s * 1e6))
    due = 2 * number + (now_s >= _at_s(board, 2 * number + 1))
    # The season in which the board was opened did not begin for it, and sealed none.
    due = max(due, 2 * first + 1)
    beat = due if due > max(taken, 2 * first + 1) else max(due, taken) + 1
    at_s = _at_s(board, beat)
    if board.HasField("closes_at") and at_s >= board.closes_at.ToNanoseconds() / 1e9:
        return None
    return Step(at_s, STAGE_OPEN, board, beat)


def _at_s(board: Board, beat: int) -> float:
    begins_s = seasons.starts_at_us(board.season, beat // 2) / 1e6
    return begins_s + (_SEALED_S if beat % 2 else 0.0)
