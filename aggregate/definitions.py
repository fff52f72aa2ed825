"""Checks definitions for the catalog; every refusal names the field, the value and the bound.

A definition is stored with its defaults filled in, so that the same thing said in two ways
is the same definition.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from google.protobuf.duration_pb2 import Duration

from aggregate import bounds
from aggregate.definition_merge import settled_writers
from aggregate.rules import check_rules
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_UNSPECIFIED,
    STAGE_UNSPECIFIED,
    WRITERS_UNSPECIFIED,
    Board,
    BoardMode,
    CustomTopic,
    Game,
    Metric,
    Poll,
    PollVoters,
    Pulse,
    Season,
    Writers,
)
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted, Invalid, shown
from mesh import limits

# The last second that RFC 3339 can write.
_TIME_MAX_S = 253_402_300_799


def check_room(live: int, known: int) -> None:
    """Whether another game may be defined. Raises Exhausted."""
    if live >= limits.GAMES_MAX:
        raise Exhausted(
            f"the catalog holds {live} games that have not ended; at most {limits.GAMES_MAX} may: end some"
        )
    if known >= limits.GAMES_KEPT_MAX:
        raise Exhausted(
            f"the catalog holds {known} games, ended ones included; at most {limits.GAMES_KEPT_MAX} may: "
            "keep ended games for a shorter time (retain_for)"
        )


def check_game(game: Game, folds: Collection[str]) -> Game:
    """The game as it will be stored. `folds`: the names of the registered folds. Raises Invalid."""
    ids.check_id("game.game_id", game.game_id)
    ids.check_text("game.title", game.title)
    if game.spread > wire_bounds.PARTITIONS:
        raise Invalid(f"game.spread: is {game.spread}; 1 to {wire_bounds.PARTITIONS} are allowed")
    _check_count("game.pulses", len(game.pulses), bounds.PULSES_MAX, "pulses")
    for at, pulse in enumerate(game.pulses):
        _check_pulse(f"game.pulses[{at}]", pulse)
    _check_unique("game.pulses.pulse_id", [pulse.pulse_id for pulse in game.pulses])
    _check_count("game.metrics", len(game.metrics), bounds.METRICS_MAX, "metrics")
    for at, metric in enumerate(game.metrics):
        _check_metric(f"game.metrics[{at}]", metric)
    _check_unique("game.metrics.metric_id", [metric.metric_id for metric in game.metrics])
    _check_count("game.customs", len(game.customs), bounds.CUSTOMS_MAX, "custom topics")
    for at, custom in enumerate(game.customs):
        _check_custom(f"game.customs[{at}]", custom, folds)
    _check_unique("game.customs.custom_id", [custom.custom_id for custom in game.customs])
    check_rules(game)
    if game.HasField("retain_for"):
        _check_duration("game.retain_for", game.retain_for, 0.0, bounds.RETAIN_FOR_MAX_S)
    if game.HasField("idle_for") and (game.idle_for.seconds or game.idle_for.nanos):
        _check_duration("game.idle_for", game.idle_for, bounds.IDLE_FOR_MIN_S, bounds.IDLE_FOR_MAX_S)
    checked = Game()
    checked.CopyFrom(game)
    checked.spread = max(1, game.spread)
    for by_server in ("pending", "stage", "generation", "ended_at"):
        checked.ClearField(by_server)
    for rule in checked.rules:
        rule.ClearField("since")
    return checked


def check_poll(poll: Poll) -> Poll:
    """The poll as it will be stored, without what the server sets. Raises Invalid."""
    ids.check_id("poll.game_id", poll.game_id)
    ids.check_id("poll.poll_id", poll.poll_id)
    ids.check_text("poll.question", poll.question)
    if not bounds.OPTIONS_MIN <= len(poll.options) <= bounds.OPTIONS_MAX:
        raise Invalid(
            f"poll.options: {len(poll.options)} options; "
            f"{bounds.OPTIONS_MIN} to {bounds.OPTIONS_MAX} are allowed"
        )
    for at, option in enumerate(poll.options):
        ids.check_id(f"poll.options[{at}].option_id", option.option_id)
        ids.check_text(f"poll.options[{at}].label", option.label)
    _check_unique("poll.options.option_id", [option.option_id for option in poll.options])
    if poll.choices_max > len(poll.options):
        raise Invalid(
            f"poll.choices_max: is {poll.choices_max}; at most {len(poll.options)} are allowed, "
            "as many as there are options"
        )
    if poll.weight_max > bounds.WEIGHT_MAX:
        raise Invalid(f"poll.weight_max: is {poll.weight_max}; at most {bounds.WEIGHT_MAX} is allowed")
    if poll.voters not in PollVoters.values():
        names = ", ".join(PollVoters.keys())
        raise Invalid(f"poll.voters: is {poll.voters}; one of {names} is needed")
    if poll.HasField("open_for"):
        _check_open_for("poll.open_for", poll.open_for)
    checked = Poll()
    checked.CopyFrom(poll)
    checked.choices_max = max(1, poll.choices_max)
    checked.weight_max = max(1, poll.weight_max)
    _clear_server_fields(checked)
    return checked


def check_board(board: Board) -> Board:
    """The board as it will be stored, without what the server sets. Raises Invalid.

    Its writers may be unspecified yet: what that means depends on what is stored.
    """
    ids.check_id("board.game_id", board.game_id)
    ids.check_id("board.board_id", board.board_id)
    ids.check_text("board.title", board.title)
    if board.mode == BOARD_MODE_UNSPECIFIED or board.mode not in BoardMode.values():
        names = ", ".join(name for name, n in BoardMode.items() if n != BOARD_MODE_UNSPECIFIED)
        raise Invalid(f"board.mode: is {board.mode}; one of {names} is needed")
    if board.top > wire_bounds.BOARD_TOP_MAX:
        raise Invalid(f"board.top: is {board.top}; at most {wire_bounds.BOARD_TOP_MAX} are allowed")
    _check_writers("board.writers", board.writers)
    _check_points(board)
    if board.HasField("open_for"):
        _check_open_for("board.open_for", board.open_for)
    if board.HasField("season"):
        _check_season("board.season", board.season)
    checked = Board()
    checked.CopyFrom(board)
    checked.top = board.top or bounds.BOARD_TOP_DEFAULT
    _clear_server_fields(checked)
    return checked


def same_definition(known: Poll | Board, wanted: Poll | Board) -> bool:
    """True if `wanted`, as it was checked, defines what is known, whatever the server has set since."""
    mine, theirs = type(known)(), type(wanted)()
    mine.CopyFrom(known)  # type: ignore[arg-type]
    theirs.CopyFrom(wanted)  # type: ignore[arg-type]
    _clear_server_fields(mine)
    _clear_server_fields(theirs)
    if isinstance(mine, Board) and isinstance(theirs, Board):
        # Where nothing was wished, the server has set the beginning.
        by_server = mine.HasField("season") and not theirs.season.HasField("starts_at")
        if by_server:
            mine.season.ClearField("starts_at")
        theirs.writers = settled_writers(mine.writers, theirs.writers)
    return mine == theirs


def _clear_server_fields(definition: Poll | Board) -> None:
    definition.stage = STAGE_UNSPECIFIED
    definition.ClearField("opened_at")
    definition.ClearField("closes_at")
    definition.spread = 0
    definition.generation = 0
    if isinstance(definition, Poll):
        definition.voids = 0


def _check_pulse(field: str, pulse: Pulse) -> None:
    ids.check_id(f"{field}.pulse_id", pulse.pulse_id)
    if not 1 <= len(pulse.kinds) <= bounds.KINDS_MAX:
        raise Invalid(f"{field}.kinds: {len(pulse.kinds)} kinds; 1 to {bounds.KINDS_MAX} are allowed")
    for n, kind in enumerate(pulse.kinds):
        ids.check_id(f"{field}.kinds[{n}]", kind)
    _check_unique(f"{field}.kinds", pulse.kinds)


def _check_metric(field: str, metric: Metric) -> None:
    ids.check_id(f"{field}.metric_id", metric.metric_id)
    if len(metric.unit) > bounds.UNIT_CHARACTERS_MAX:
        raise Invalid(
            f"{field}.unit: {shown(metric.unit)} has {len(metric.unit)} characters; "
            f"at most {bounds.UNIT_CHARACTERS_MAX} are allowed"
        )
    if not metric.unit.isprintable():
        raise Invalid(f"{field}.unit: {shown(metric.unit)} has a character that does not print")
    _check_writers(f"{field}.writers", metric.writers)


def _check_writers(field: str, writers: Writers) -> None:
    if writers not in Writers.values():
        names = " or ".join(name for name, n in Writers.items() if n != WRITERS_UNSPECIFIED)
        raise Invalid(f"{field}: is {writers}; {names} is needed")


def _check_points(board: Board) -> None:
    bound = wire_bounds.POINTS_MAX
    least = board.points_min if board.HasField("points_min") else -bound
    most = board.points_max if board.HasField("points_max") else bound
    if abs(least) > bound:
        raise Invalid(f"board.points_min: {least} is out of range; -2^53 to 2^53 ({bound}) are allowed")
    if not least <= most <= bound:
        raise Invalid(f"board.points_max: is {most}; {least} (points_min) to 2^53 ({bound}) are allowed")


def _check_custom(field: str, custom: CustomTopic, folds: Collection[str]) -> None:
    ids.check_id(f"{field}.custom_id", custom.custom_id)
    if custom.fold not in folds:
        there = f"there are {', '.join(sorted(folds))}" if folds else "there are none"
        raise Invalid(
            f"{field}.fold: {shown(custom.fold)} is not registered in the entry points grandstand.folds "
            f"where aggregate runs; {there}"
        )
    if len(custom.config) > bounds.CUSTOM_CONFIG_BYTES_MAX:
        raise Invalid(
            f"{field}.config: {len(custom.config)} bytes; "
            f"at most {bounds.CUSTOM_CONFIG_BYTES_MAX} are allowed"
        )
    _check_writers(f"{field}.writers", custom.writers)


def _check_season(field: str, season: Season) -> None:
    every_s = season.every.seconds + season.every.nanos / 1e9
    if not limits.SEASON_MIN_S <= every_s <= bounds.SEASON_MAX_S:
        raise Invalid(
            f"{field}.every: is {every_s:g} s; {limits.SEASON_MIN_S:g} s to "
            f"{bounds.SEASON_MAX_S / 86_400:g} days are allowed"
        )
    starts = season.starts_at
    if not (0 <= starts.seconds <= _TIME_MAX_S and 0 <= starts.nanos < 1_000_000_000):
        raise Invalid(f"{field}.starts_at: is {starts.seconds} s; a moment from 1970 to 9999 is needed")


def _check_count(field: str, count: int, most: int, what: str) -> None:
    if count > most:
        raise Invalid(f"{field}: {count} {what}; at most {most} are allowed")


def _check_duration(field: str, value: Duration, least_s: float, most_s: float) -> None:
    seconds = value.seconds + value.nanos / 1e9
    if not least_s <= seconds <= most_s:
        raise Invalid(
            f"{field}: is {seconds:g} s; {least_s:g} s to {most_s / 86_400:g} days are allowed"
            + (", or 0 for never" if least_s else "")
        )


def _check_open_for(field: str, value: Duration) -> None:
    seconds = value.seconds + value.nanos / 1e9
    if not limits.OPEN_FOR_MIN_S <= seconds <= bounds.OPEN_FOR_MAX_S:
        raise Invalid(
            f"{field}: is {seconds:g} s; {limits.OPEN_FOR_MIN_S:g} to {bounds.OPEN_FOR_MAX_S:g} s are allowed"
        )


def _check_unique(field: str, values: Sequence[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Invalid(f"{field}: {shown(value)} comes twice; each must be unique")
        seen.add(value)
