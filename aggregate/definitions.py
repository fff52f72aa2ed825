"""Checks definitions for the catalog; every refusal names the field, the value and the bound."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_UNSPECIFIED,
    STAGE_UNSPECIFIED,
    Board,
    BoardMode,
    Game,
    Poll,
)
from mesh import ids, limits
from mesh.errors import Invalid, shown


def check_game(game: Game) -> Game:
    """The game as it will be stored. Raises Invalid."""
    ids.check_id("game.game_id", game.game_id)
    ids.check_text("game.title", game.title)
    if game.spread > limits.PARTITIONS:
        raise Invalid(f"game.spread: is {game.spread}; 1 to {limits.PARTITIONS} are allowed")
    if len(game.pulses) > limits.PULSES_MAX:
        raise Invalid(f"game.pulses: {len(game.pulses)} pulses; at most {limits.PULSES_MAX} are allowed")
    for at, pulse in enumerate(game.pulses):
        ids.check_id(f"game.pulses[{at}].pulse_id", pulse.pulse_id)
        if not 1 <= len(pulse.kinds) <= limits.KINDS_MAX:
            raise Invalid(
                f"game.pulses[{at}].kinds: {len(pulse.kinds)} kinds; 1 to {limits.KINDS_MAX} are allowed"
            )
        for n, kind in enumerate(pulse.kinds):
            ids.check_id(f"game.pulses[{at}].kinds[{n}]", kind)
        _check_unique(f"game.pulses[{at}].kinds", pulse.kinds)
    _check_unique("game.pulses.pulse_id", [pulse.pulse_id for pulse in game.pulses])
    checked = Game()
    checked.CopyFrom(game)
    checked.spread = max(1, game.spread)
    return checked


def check_poll(poll: Poll) -> Poll:
    """The poll as it will be stored, without what the server sets. Raises Invalid."""
    ids.check_id("poll.game_id", poll.game_id)
    ids.check_id("poll.poll_id", poll.poll_id)
    ids.check_text("poll.question", poll.question)
    if not limits.OPTIONS_MIN <= len(poll.options) <= limits.OPTIONS_MAX:
        raise Invalid(
            f"poll.options: {len(poll.options)} options; "
            f"{limits.OPTIONS_MIN} to {limits.OPTIONS_MAX} are allowed"
        )
    for at, option in enumerate(poll.options):
        ids.check_id(f"poll.options[{at}].option_id", option.option_id)
        ids.check_text(f"poll.options[{at}].label", option.label)
    _check_unique("poll.options.option_id", [option.option_id for option in poll.options])
    if poll.HasField("open_for"):
        _check_open_for("poll.open_for", poll.open_for)
    checked = Poll()
    checked.CopyFrom(poll)
    _clear_server_fields(checked)
    return checked


def check_board(board: Board) -> Board:
    """The board as it will be stored, without what the server sets. Raises Invalid."""
    ids.check_id("board.game_id", board.game_id)
    ids.check_id("board.board_id", board.board_id)
    ids.check_text("board.title", board.title)
    if board.mode == BOARD_MODE_UNSPECIFIED or board.mode not in BoardMode.values():
        names = ", ".join(name for name, n in BoardMode.items() if n != BOARD_MODE_UNSPECIFIED)
        raise Invalid(f"board.mode: is {board.mode}; one of {names} is needed")
    if board.top > limits.BOARD_TOP_MAX:
        raise Invalid(f"board.top: is {board.top}; at most {limits.BOARD_TOP_MAX} are allowed")
    if board.HasField("open_for"):
        _check_open_for("board.open_for", board.open_for)
    checked = Board()
    checked.CopyFrom(board)
    checked.top = board.top or limits.BOARD_TOP_DEFAULT
    _clear_server_fields(checked)
    return checked


def same_definition(one: Poll | Board, other: Poll | Board) -> bool:
    """True if both define the same thing, whatever the server has set since."""
    mine, theirs = type(one)(), type(other)()
    mine.CopyFrom(one)  # type: ignore[arg-type]
    theirs.CopyFrom(other)  # type: ignore[arg-type]
    _clear_server_fields(mine)
    _clear_server_fields(theirs)
    return mine == theirs


def _clear_server_fields(definition: Poll | Board) -> None:
    definition.stage = STAGE_UNSPECIFIED
    definition.ClearField("opened_at")
    definition.ClearField("closes_at")


def _check_open_for(field: str, value: Duration) -> None:
    seconds = value.seconds + value.nanos / 1e9
    if not limits.OPEN_FOR_MIN_S <= seconds <= limits.OPEN_FOR_MAX_S:
        raise Invalid(
            f"{field}: is {seconds:g} s; {limits.OPEN_FOR_MIN_S:g} to {limits.OPEN_FOR_MAX_S:g} s are allowed"
        )


def _check_unique(field: str, values: Sequence[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Invalid(f"{field}: {shown(value)} comes twice; each must be unique")
        seen.add(value)
