"""Which fold a topic has, and how its stored state is found: made from controls, and from Redis.

A poll or a board is a topic of its own definition. A game's definition makes all its other
topics: pulses, metrics, the audience, custom ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from aggregate import bounds
from aggregate.audience import Audience
from aggregate.board import Board
from aggregate.custom import Custom
from aggregate.fold import Fold, FoldState
from aggregate.metric import Metric
from aggregate.pulse import Pulse
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Control
from grandstand.wire import actors, ids
from grandstand.wire.errors import Invalid
from mesh import limits, seasons

FOREVER_US = 2**63 - 1
_BOUND_US = int(bounds.CLOCK_BOUND_S * 1e6)
_GRACE_US = int(limits.SEAL_GRACE_S * 1e6)
_2100_S = 4_102_444_800

TopicKey = tuple[str, str]
"""(game_id, topic)"""


class Closing(Protocol):
    """Of what has stages, where it is."""

    @property
    def stage(self) -> Stage: ...
    @property
    def closed_at_us(self) -> int: ...


@dataclass(slots=True)
class Topic:
    """A topic of one partition.

    `fold` is None for a poll (the partition's Tallies has it) and for what is sealed.
    """

    fold: Fold | None = None
    control: bytes = b""
    """The definition of a poll or board, as an encoded Control: a decoded one takes as much memory as ten
    of these. A game's own is kept beside."""
    stage: Stage = STAGE_UNSPECIFIED
    parts: tuple[str, ...] = ()
    """The parts that are known to the store."""
    lasts_until_us: int = FOREVER_US
    """Where its time ends, see `lasts_until_us`."""
    closed_at_us: int = 0
    """When it was closed, by the partition's watermark, and not before its closes_at."""
    identity: bytes = b""
    """The fields of its partial that say of what it is, encoded; made when they are first asked for, as is
    what the field of the value begins with."""
    value_tag: bytes = b""
    generation: int = 0
    """Of its game."""

    def advance(self, now_us: int) -> bool:
        """Lets the stream's time pass, but not beyond the topic's end; True if its partial changed."""
        return self.fold is not None and self.fold.advance(min(now_us, self.lasts_until_us))


def check_control(control: Control) -> None:
    """Raises Invalid for a control that could not be folded.

    The catalog checks far more (aggregate.definitions), and by rules that may change. These are
    the ones a fold and its stored state stand on: names that can be told apart, options that fit
    the bits of a vote, seasons that pass.
    """
    match control.WhichOneof("definition"):
        case "game":
            game = control.game
            names = [*(pulse.pulse_id for pulse in game.pulses), *(m.metric_id for m in game.metrics)]
            names += (custom.custom_id for custom in game.customs)
            for name in (game.game_id, *names):
                ids.check_id("control.game", name)
        case "poll":
            poll = control.poll
            for name in (poll.game_id, poll.poll_id, *(option.option_id for option in poll.options)):
                ids.check_id("control.poll", name)
            _check_within("control.poll.options", len(poll.options), 1, bounds.OPTIONS_MAX)
            _check_within("control.poll.choices_max", poll.choices_max, 0, bounds.OPTIONS_MAX)
        case "board":
            board = control.board
            for name in (board.game_id, board.board_id):
                ids.check_id("control.board", name)
            if board.HasField("season"):
                _check_within("control.board.season.every", board.season.every.seconds, 1, _2100_S)
                _check_within("control.board.season.starts_at", board.season.starts_at.seconds, 0, _2100_S)
        case "void_votes":
            ids.check_id("control.void_votes.game_id", control.void_votes.game_id)
            ids.check_id("control.void_votes.poll_id", control.void_votes.poll_id)
            actors.check_actor("control.void_votes.actor_id", control.void_votes.actor_id)
        case "remove_score":
            ids.check_id("control.remove_score.game_id", control.remove_score.game_id)
            ids.check_id("control.remove_score.board_id", control.remove_score.board_id)
            actors.check_actor("control.remove_score.actor_id", control.remove_score.actor_id)
        case "forget_game":
            ids.check_id("control.forget_game.game_id", control.forget_game.game_id)
        case _:
            raise Invalid("control: has no definition")


def _check_within(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise Invalid(f"{field}: is {value}; {least} to {most} are allowed")


def topics_of_game(game: catalog.Game) -> Iterator[str]:
    """The topics that a game's definition makes."""
    for pulse in game.pulses:
        yield f"pulse/{pulse.pulse_id}"
    for metric in game.metrics:
        yield f"metric/{metric.metric_id}"
    for custom in game.customs:
        yield f"custom/{custom.custom_id}"
    if game.audience:
        yield "audience"


def fold_of_game(game: catalog.Game, topic: str, state: FoldState) -> Fold:
    """The fold of one of `topics_of_game`."""
    kind, _, name = topic.partition("/")
    match kind:
        case "pulse":
            return Pulse.from_state(next(p for p in game.pulses if p.pulse_id == name), state)
        case "metric":
            return Metric.from_state(next(m for m in game.metrics if m.metric_id == name), state)
        case "custom":
            return Custom.from_state(next(c for c in game.customs if c.custom_id == name), state)
        case _:
            return Audience.from_state(game, state)


def is_reconfigured(known: catalog.Game, game: catalog.Game, topic: str) -> bool:
    """True if both have this custom topic, and its fold has to be made another way now."""
    kind, _, name = topic.partition("/")
    if kind != "custom":
        return False
    before = next((c for c in known.customs if c.custom_id == name), None)
    if before is None:
        return False
    now = next(c for c in game.customs if c.custom_id == name)
    return (before.fold, before.config) != (now.fold, now.config)


def closes_at_us(definition: catalog.Poll | catalog.Board | catalog.Game) -> int:
    """Unix microseconds; 0 while no close is set."""
    at = definition.ended_at if isinstance(definition, catalog.Game) else definition.closes_at
    return at.ToMicroseconds()


def stage_due(definition: catalog.Poll | catalog.Board | catalog.Game, known: Closing, now_us: int) -> Stage:
    """The stage that a control means at `now_us`, the partition's watermark (I9): its own, or the one before
    while its time has not come. Nobody closes before closes_at less the bound on clocks, nor seals before
    the grace after the close as this partition took it. `known`: where it is here."""
    if definition.stage < STAGE_CLOSED:
        return definition.stage
    if now_us < closes_at_us(definition) - _BOUND_US:
        return STAGE_OPEN
    if definition.stage == STAGE_SEALED and (
        known.stage != STAGE_CLOSED or now_us < known.closed_at_us + _GRACE_US
    ):
        return STAGE_CLOSED
    return definition.stage


def control_at(control: Control, stage: Stage) -> bytes:
    """The control of a poll or a board, as one for that stage, encoded."""
    found = Control()
    found.CopyFrom(control)
    (found.poll if found.HasField("poll") else found.board).stage = stage
    return found.SerializeToString()


def lasts_until_us(definition: catalog.Poll | catalog.Board) -> int:
    """The last moment of the season in which the board closes: what is still on its way then, and
    the controls that close and seal it, must not begin another. FOREVER_US for all else."""
    if not (
        isinstance(definition, catalog.Board)
        and definition.HasField("season")
        and definition.HasField("closes_at")
    ):
        return FOREVER_US
    last_us = definition.closes_at.ToMicroseconds() - 1
    return seasons.ends_at_us(definition.season, seasons.number_at(definition.season, last_us)) - 1


def fold_of_board(board: catalog.Board, state: FoldState) -> Fold:
    return Board.from_state(board, state)


def key_of(definition: catalog.Poll | catalog.Board) -> TopicKey:
    if isinstance(definition, catalog.Poll):
        return definition.game_id, f"poll/{definition.poll_id}"
    return definition.game_id, f"board/{definition.board_id}"


_VALUES = {"poll": "tally"}


def value_field(topic: str) -> str:
    """The field of a Partial that holds the value of such a topic."""
    kind = topic.partition("/")[0]
    return _VALUES.get(kind, kind)
