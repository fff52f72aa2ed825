"""The catalog's definitions compiled to plain dictionaries: the bit of each poll option, the kinds of a
pulse.

A definition is compiled on its first use, instead of being read from its protobuf for each event. Bound:
DEFINITIONS_KEPT_MAX of each kind; beyond that the cache is cleared and filled again on use. What is compiled
of a game goes when the game changes.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from typing import Generic, TypeVar

from grandstand.catalog.v1.catalog_pb2 import (
    POLL_VOTERS_PLATFORM,
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_UNSPECIFIED,
    WRITERS_PRODUCERS,
    Board,
    Game,
    Poll,
)
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Forbidden, GrandstandError, Invalid, NotNow, Unknown, shown

DEFINITIONS_KEPT_MAX = 16_384
_CHOICES_SHOWN = 8

Key = TypeVar("Key")
Kept = TypeVar("Kept")


class GameCache(Generic[Key, Kept]):
    """What was made of games' definitions, each dropped when its game changes: a change costs nothing to
    other games. Bound: `kept_max` values; a full cache is cleared."""

    def __init__(self, kept_max: int) -> None:
        self.kept: dict[Key, Kept] = {}
        self._of_games: dict[str, list[Key]] = {}
        self._kept_max = kept_max

    def put(self, game_id: str, key: Key, value: Kept) -> Kept:
        if key not in self.kept:
            if len(self.kept) >= self._kept_max:
                self.clear()
            self._of_games.setdefault(game_id, []).append(key)
        self.kept[key] = value
        return value

    def drop(self, game_id: str) -> None:
        for key in self._of_games.pop(game_id, ()):
            del self.kept[key]

    def clear(self) -> None:
        self.kept.clear()
        self._of_games.clear()


class GamePeriod:
    """The period in which a game takes events."""

    __slots__ = ("_ended_at_s", "_game_id", "is_over", "until_s")

    def __init__(self, game: Game) -> None:
        self._game_id = game.game_id
        self._ended_at_s = game.ended_at.ToNanoseconds() / 1e9 if game.HasField("ended_at") else math.inf
        self.is_over = game.stage >= STAGE_CLOSED
        """Whether its stage is CLOSED or SEALED."""
        self.until_s = -math.inf if self.is_over else self._ended_at_s
        """Events are taken before this; Unix seconds of the mesh's clock."""

    def check(self, now_s: float) -> None:
        """Raises NotNow."""
        if now_s >= self.until_s:
            raise self.refusal(now_s)

    def refusal(self, now_s: float) -> NotNow:
        """The error for an event received at `now_s`, after the end."""
        return NotNow(
            f"game {self._game_id!r} ended{_moment(self._ended_at_s, now_s)}; it takes no more events"
        )


class OpenPeriod:
    """The period in which a poll or a board takes events."""

    __slots__ = ("_closes_at_s", "_game_id", "_stage", "generation", "spread", "until_s")

    def __init__(self, definition: Poll | Board) -> None:
        self._game_id = definition.game_id
        self._stage = definition.stage
        self.spread = definition.spread
        """0 if the definition does not set it; then the game's spread applies."""
        self.generation = definition.generation
        """0 if the definition does not set it; then the game's generation applies."""
        self._closes_at_s = (
            definition.closes_at.ToNanoseconds() / 1e9 if definition.HasField("closes_at") else math.inf
        )
        self.until_s = self._closes_at_s if definition.stage == STAGE_OPEN else -math.inf
        """Events are taken before this; Unix seconds of the mesh's clock."""

    @property
    def is_open(self) -> bool:
        """Whether its stage is OPEN."""
        return self._stage == STAGE_OPEN

    def check_game(self, kind: str, name: str, game: CompiledGame) -> None:
        """Raises Unknown for what is left of an earlier game of the id."""
        if 0 < self.generation < game.generation:
            raise Unknown(f"{kind} {name!r} is not known in game {self._game_id!r}")

    def check(self, kind: str, name: str, now_s: float) -> None:
        """Raises Unknown, NotNow."""
        if now_s >= self.until_s:
            raise self.refusal(kind, name, now_s)

    def refusal(self, kind: str, name: str, now_s: float) -> GrandstandError:
        """The error for an event received at `now_s`, before the opening or after the close."""
        if self._stage == STAGE_UNSPECIFIED:
            return Unknown(f"{kind} {name!r} of game {self._game_id!r} is not open yet")
        closed = _moment(self._closes_at_s, now_s)
        return NotNow(f"{kind} {name!r} of game {self._game_id!r} closed{closed}")


def _moment(at_s: float, now_s: float) -> str:
    if at_s == math.inf:
        return ""
    at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    moment = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
    return f" at {moment}, {now_s - at_s:.1f} s before this came"


class CompiledPoll:
    """The valid options and weights of one poll."""

    __slots__ = (
        "_bits",
        "_choices_max",
        "_no_guests",
        "_poll_id",
        "_weight_max",
        "final",
        "period",
        "topic",
        "voids",
    )

    def __init__(self, poll: Poll) -> None:
        self._no_guests = poll.voters == POLL_VOTERS_PLATFORM
        self._poll_id = poll.poll_id
        self._bits = {option.option_id: 1 << at for at, option in enumerate(poll.options)}
        self._choices_max = max(1, poll.choices_max)
        self._weight_max = max(1, poll.weight_max)
        self.topic = f"poll/{poll.poll_id}"
        self.final = not poll.changeable
        self.voids = poll.voids
        self.period = OpenPeriod(poll)

    def check_guest(self) -> None:
        """Whether a guest may vote. Raises Forbidden."""
        if self._no_guests:
            raise Forbidden(
                f"vote.poll_id: poll {self._poll_id!r} takes no votes of guests (voters: platform); "
                "sign in with the platform and use its token"
            )

    def mask(self, option_ids: Iterable[str]) -> int:
        """The options as bits in the poll's order. Raises Invalid, Unknown."""
        chosen = list(option_ids)
        if len(chosen) == 1:
            bit = self._bits.get(chosen[0])
            if bit is not None:
                return bit
        elif not 1 <= len(chosen) <= self._choices_max:
            allowed = "exactly 1 is" if self._choices_max == 1 else f"1 to {self._choices_max} are"
            raise Invalid(f"vote.option_ids: {len(chosen)} options; {allowed} allowed")
        mask = 0
        for option_id in chosen:
            bit = self._bits.get(option_id, 0)
            if not bit:
                raise Unknown(
                    f"vote.option_ids: {shown(option_id)} is not an option of poll {self._poll_id!r}; "
                    f"{_one_of(list(self._bits))}"
                )
            if mask & bit:
                raise Invalid(f"vote.option_ids: {option_id!r} comes twice; each must be unique")
            mask |= bit
        return mask

    def weight(self, given: int, producer: bool) -> int:
        """The vote's weight, 0 in a poll without weights. Raises Invalid."""
        if given > 1:
            if given > self._weight_max:
                raise Invalid(
                    f"vote.weight: is {given}; "
                    f"at most {self._weight_max} is allowed in poll {self._poll_id!r}"
                )
            if not producer:
                raise Invalid(
                    f"vote.weight: is {given}; more than 1 is for producers only (hello.producer), "
                    "leave it unset"
                )
        return (given or 1) if self._weight_max > 1 else 0


class CompiledBoard:
    """The writers of one board, and the points that one score may have."""

    __slots__ = ("_board_id", "_is_bounded", "_least", "_most", "_producers_only", "period", "topic")

    def __init__(self, board: Board) -> None:
        bound = wire_bounds.POINTS_MAX
        self._board_id = board.board_id
        self._producers_only = board.writers == WRITERS_PRODUCERS
        self._least = board.points_min if board.HasField("points_min") else -bound
        self._most = board.points_max if board.HasField("points_max") else bound
        self._is_bounded = board.HasField("points_min") or board.HasField("points_max")
        self.topic = f"board/{board.board_id}"
        self.period = OpenPeriod(board)

    def check(self, points: int, *, by_producer: bool) -> None:
        """Raises Forbidden, Invalid."""
        if self._producers_only and not by_producer:
            raise _producers_only("score.board_id", "board", self._board_id)
        if not self._least <= points <= self._most:
            if self._is_bounded:
                raise Invalid(
                    f"score.points: {points} is out of range; "
                    f"{self._least} to {self._most} are allowed on board {self._board_id!r}"
                )
            raise Invalid(
                f"score.points: {points} is out of range; "
                f"-2^53 to 2^53 ({wire_bounds.POINTS_MAX}) are allowed"
            )


class CompiledGame:
    """The pulses, metrics, custom topics and audience of one game."""

    __slots__ = (
        "_audience",
        "_customs",
        "_metrics",
        "_pulses",
        "first",
        "game_id",
        "generation",
        "period",
        "spread",
    )

    def __init__(self, game: Game) -> None:
        self.game_id = game.game_id
        self._pulses = {pulse.pulse_id: {kind: kind for kind in pulse.kinds} for pulse in game.pulses}
        self._metrics = {metric.metric_id: metric.writers == WRITERS_PRODUCERS for metric in game.metrics}
        self._customs = {custom.custom_id: custom.writers == WRITERS_PRODUCERS for custom in game.customs}
        self._audience = game.audience
        self.generation = game.generation
        self.period = GamePeriod(game)
        self.spread = game.spread
        self.first = ids.partition_of(game.game_id, "", 1)
        """The partition of every actor in a normal game, the first of a hot one."""

    def kind(self, pulse_id: str, kind: str) -> str:
        """Raises Unknown."""
        kinds = self._pulses.get(pulse_id)
        if kinds is None:
            raise self._unknown("reaction.pulse_id", pulse_id, "pulse", list(self._pulses))
        known = kinds.get(kind)
        if known is None:
            raise Unknown(
                f"reaction.kind: {shown(kind)} is not a kind of pulse {pulse_id!r}; {_one_of(list(kinds))}"
            )
        return known

    def check_audience(self) -> None:
        """Raises Unknown."""
        if not self._audience:
            raise Unknown(
                f"event.presence: game {self.game_id!r} counts no audience; "
                "define it with audience (CatalogService.DefineGame)"
            )

    def check_metric(self, metric_id: str, *, by_producer: bool) -> None:
        """Raises Unknown, Forbidden."""
        producers_only = self._metrics.get(metric_id)
        if producers_only is None:
            raise self._unknown("measure.metric_id", metric_id, "metric", list(self._metrics))
        if producers_only and not by_producer:
            raise _producers_only("measure.metric_id", "metric", metric_id)

    def check_custom(self, custom_id: str, *, by_producer: bool) -> None:
        """Raises Unknown, Forbidden."""
        producers_only = self._customs.get(custom_id)
        if producers_only is None:
            raise self._unknown("custom.custom_id", custom_id, "custom topic", list(self._customs))
        if producers_only and not by_producer:
            raise _producers_only("custom.custom_id", "custom topic", custom_id)

    def _unknown(self, field: str, name: str, kind: str, known: list[str]) -> Unknown:
        """Raises Invalid if `name` is not a well-formed id."""
        ids.check_id(field, name)
        return Unknown(f"{field}: {shown(name)} is not a {kind} of game {self.game_id!r}; {_one_of(known)}")


def _producers_only(field: str, kind: str, name: str) -> Forbidden:
    return Forbidden(
        f"{field}: {kind} {name!r} is written by producers only, with a token of that role and on "
        "IngestService.Publish; its owner may open another for actors (writers)"
    )


def _one_of(choices: list[str]) -> str:
    shown_choices = ", ".join(choices[:_CHOICES_SHOWN]) + (", …" if len(choices) > _CHOICES_SHOWN else "")
    return f"there are {shown_choices}" if choices else "there are none"
