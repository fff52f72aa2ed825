"""Validates the body of an event against the catalog.

Nothing is trusted before it is checked (I10): first the game, then the topic, then the body. An id that the
catalog knows is valid; an unknown one is refused for its form first. A refusal names the field, its value and
the bound.

Many viewers send identical bodies: a vote for `ana` has the same bytes from everybody. So the body of a vote,
a reaction or a presence is validated once and the result is cached by its bytes until its game changes.
Whether a vote is in time is not part of the cached result: that is decided for each event by the mesh's clock
(I9). So is whether its game has ended.

Bound: VALIDATED_KEPT_MAX results, none of a body longer than BODY_KEPT_BYTES_MAX, and the same again for
producers, who have more rights, and for guests, who have fewer; a full cache is cleared.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.event.v1.event_pb2 import (
    PRESENCE_STATE_GONE,
    PRESENCE_STATE_HERE,
    Custom,
    Measure,
    Presence,
    Reaction,
    Score,
    Vote,
)
from grandstand.internal.v1.internal_pb2 import IncomingEvent
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids, names
from grandstand.wire.errors import Forbidden, Invalid, NotNow, Unknown, shown
from ingest.compiled_definitions import (
    DEFINITIONS_KEPT_MAX,
    CompiledBoard,
    CompiledGame,
    CompiledPoll,
    GameCache,
    OpenPeriod,
)
from mesh.jetstream import subjects

Body = TypeVar("Body", bound=Message)

Place = tuple[str, str, bool, int]
"""Game, topic, whether guests' rows, and the game's generation."""

VALIDATED_KEPT_MAX = 16_384
# A body may be padded with unknown fields: it is valid, and not cached.
BODY_KEPT_BYTES_MAX = 1_024
# Maximum size of a row of a block, besides its strings.
ROW_BYTES = 64
_REPEATED = ("vote", "reaction", "presence")

NO_BODY = "event.body: is not set; give a vote, a score, a reaction, a presence, a measure or a custom"


class ValidatedEvent:
    """The validated body of an event. Events with identical bodies share one object."""

    __slots__ = (
        "cost",
        "final",
        "game",
        "kind",
        "label",
        "name",
        "only",
        "payload",
        "period",
        "place",
        "size",
        "spread",
        "until_s",
        "value",
        "voids",
        "weight",
    )

    def __init__(
        self,
        game: CompiledGame,
        kind: str,
        topic: str,
        value: int | float,
        *,
        period: OpenPeriod | None = None,
        label: str = "",
        weight: int = 0,
        payload: bytes = b"",
        final: bool = False,
        voids: int = 0,
        guest: bool = False,
        name: str = "",
    ) -> None:
        self.game = game
        self.kind = kind
        """vote, score, reaction, presence, measure, custom"""
        generation = game.generation if period is None else period.generation or game.generation
        self.place = (game.game_id, topic, guest, generation)
        """Guests' votes and presences are told apart: they go into sections of their own. The generation is
        that of a poll or a board, whatever this ingest has heard of its game."""
        self.value = value
        """Vote: a mask of the chosen options, bit i the poll's option i. Score: points. Reaction:
        count. Presence: the state, plus 256 times the source. Measure: the value, a float. Custom: 0."""
        self.cost = int(value) if kind == "reaction" else 1
        """How many events of its actor it is charged as: a reaction, as many as it counts."""
        self.period = period
        self.spread = game.spread if period is None else period.spread or game.spread
        """Over how many partitions the topic's actors are spread: those of a poll or a board as it was opened
        with, whatever this ingest has heard of its game. So an event folds in one partition, whoever sends
        it (I2)."""
        self.only = game.first if self.spread <= 1 else None
        """The partition of every actor, where there is only one."""
        self.until_s = game.period.until_s if period is None else min(game.period.until_s, period.until_s)
        """Before this the topic takes events; Unix seconds."""
        self.label = label
        """Kind of a reaction, else ""."""
        self.weight = weight
        """Of a vote in a poll with weights, 1 or more; else 0."""
        self.name = ""
        """Of a score: what its actor is called; "" where nobody says it."""
        self.size = ROW_BYTES + len(payload)
        """Maximum bytes that it adds to a block, besides its actor's name."""
        self.payload = payload
        """Of a custom event."""
        self.final = final
        """Whether it is a vote that its actor may not change."""
        self.voids = voids
        """How often votes had been voided in its poll: an actor that voted before may vote again."""
        if name:
            self.call(name)

    def call(self, name: str) -> None:
        """Of a score: says what its actor is called."""
        self.name = name
        self.size += len(name.encode())

    def partition_of(self, actor_id: str) -> int:
        return ids.partition_of(self.game.game_id, actor_id, self.spread)


class Catalog(Protocol):
    """The look-ups a check needs; each raises Unknown."""

    changes: int
    """Grows with each definition that comes, changes or goes."""

    def changed_since(self, changes: int) -> set[str] | None:
        """The games in which something did; None: all may have."""

    def game(self, game_id: str) -> Game: ...
    def poll(self, game_id: str, poll_id: str) -> Poll: ...
    def board(self, game_id: str, board_id: str) -> Board: ...


class _Dropping(Protocol):
    def drop(self, game_id: str) -> None: ...
    def clear(self) -> None: ...


BodyKey = tuple[str, str | None, bytes]
KnownEvents = dict[BodyKey, ValidatedEvent]
"""By the game's id, the body's kind and its bytes."""


class Checker:
    """Validates events against one catalog, whose definitions may be replaced, but not changed in place."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._changes = -1
        self._known = tuple(GameCache[BodyKey, ValidatedEvent](VALIDATED_KEPT_MAX) for _ in range(4))
        """Of viewers, producers, guests, and guests for whom a producer relays."""
        self._games = GameCache[str, CompiledGame](DEFINITIONS_KEPT_MAX)
        self._polls = GameCache[tuple[str, str], CompiledPoll](DEFINITIONS_KEPT_MAX)
        self._boards = GameCache[tuple[str, str], CompiledBoard](DEFINITIONS_KEPT_MAX)

    def known(self, producer: bool, guest: bool = False) -> KnownEvents:
        """The cached results that still hold. The caller compares `until_s` itself. `producer`: who sends;
        `guest`: who acts."""
        if self._changes != self._catalog.changes:
            self._drop_changed()
        return self._known[producer + 2 * guest].kept

    def _drop_changed(self) -> None:
        changed = self._catalog.changed_since(self._changes)
        self._changes = self._catalog.changes
        caches: list[_Dropping] = [*self._known, self._games, self._polls, self._boards]
        for cache in caches:
            if changed is None:
                cache.clear()
            else:
                for game_id in changed:
                    cache.drop(game_id)

    def validate(
        self,
        game_id: str,
        kind: str | None,
        body: bytes,
        now_s: float,
        producer: bool,
        *,
        guest: bool = False,
        by_producer: bool,
    ) -> ValidatedEvent:
        """Validates a body. `kind` is the name of its field in Event. `producer` and `guest` as in `known`.
        `by_producer`: its sender's token has that role, and it is not relayed for an actor.

        Raises Forbidden, Invalid, Unknown, NotNow.
        """
        game = self._game(game_id)
        game.period.check(now_s)
        match kind:
            case "vote":
                validated = self._vote(game, _parsed(Vote, kind, body), now_s, producer, guest)
            case "score":
                validated = self._score(game, _parsed(Score, kind, body), now_s, producer, by_producer)
            case "reaction":
                validated = _reaction(game, _parsed(Reaction, kind, body))
            case "presence":
                validated = _presence(game, _parsed(Presence, kind, body), producer, guest)
            case "measure":
                validated = _measure(game, _parsed(Measure, kind, body), by_producer)
            case "custom":
                validated = _custom(game, _parsed(Custom, kind, body), by_producer)
            case _:
                raise Invalid(NO_BODY)
        if kind in _REPEATED and len(body) <= BODY_KEPT_BYTES_MAX:
            self._known[producer + 2 * guest].put(game_id, (game_id, kind, body), validated)
        return validated

    def check_open(self, place: Place, now_s: float) -> None:
        """Raises NotNow or Unknown unless the topic takes events at `now_s`, by its current definition."""
        self._game_of(place).period.check(now_s)
        if (period := self._period(place)) is not None:
            kind, _, name = place[1].partition("/")
            period.check(kind, name, now_s)

    def check_stage(self, place: Place, now_s: float) -> None:
        """Raises NotNow or Unknown unless the topic's stage is OPEN, or its game's where it has none, whether
        or not its closing time has passed: while no close is in the event log, what is stored there
        counts."""
        game, period = self._game_of(place), self._period(place)
        if period is None:
            if game.period.is_over:
                raise game.period.refusal(now_s)
        elif not period.is_open:
            kind, _, name = place[1].partition("/")
            raise period.refusal(kind, name, now_s)

    def _game_of(self, place: Place) -> CompiledGame:
        """Raises Unknown, NotNow (there is a later game of the id)."""
        game = self._game(place[0])
        if place[3] < game.generation:
            raise NotNow(f"game {place[0]!r} is another by now: the one that this was sent to is over")
        return game

    def _period(self, place: Place) -> OpenPeriod | None:
        """The period of a poll or a board; None for a topic that lasts as long as its game. Raises
        Unknown."""
        game_id, topic, *_ = place
        kind, _, name = topic.partition("/")
        if kind == "poll":
            return self._poll(game_id, name).period
        return self._board(game_id, name).period if kind == "board" else None

    def _vote(
        self, game: CompiledGame, vote: Vote, now_s: float, producer: bool, guest: bool
    ) -> ValidatedEvent:
        poll = self._poll(game.game_id, vote.poll_id)
        poll.period.check_game("poll", vote.poll_id, game)
        if guest:
            poll.check_guest()
        value = poll.mask(vote.option_ids)
        weight = poll.weight(vote.weight, producer and not guest)
        poll.period.check("poll", vote.poll_id, now_s)
        return ValidatedEvent(
            *(game, "vote", poll.topic, value),
            period=poll.period,
            weight=weight,
            final=poll.final,
            voids=poll.voids,
            guest=guest,
        )

    def _score(
        self, game: CompiledGame, score: Score, now_s: float, producer: bool, by_producer: bool
    ) -> ValidatedEvent:
        board_id, points, name = score.board_id, score.points, score.name
        if name:
            _check_naming(name, may_name=producer or by_producer)
        board = self._board(game.game_id, board_id)
        board.period.check_game("board", board_id, game)
        board.check(points, by_producer=by_producer)
        board.period.check("board", board_id, now_s)
        return ValidatedEvent(game, "score", board.topic, points, period=board.period, name=name)

    def _game(self, game_id: str) -> CompiledGame:
        if self._changes != self._catalog.changes:
            self._drop_changed()
        if (found := self._games.kept.get(game_id)) is not None:
            return found
        try:
            definition = self._catalog.game(game_id)
        except Unknown:
            ids.check_id("event.game_id", game_id)
            raise
        return self._games.put(game_id, game_id, CompiledGame(definition))

    def _poll(self, game_id: str, poll_id: str) -> CompiledPoll:
        if self._changes != self._catalog.changes:
            self._drop_changed()
        if (found := self._polls.kept.get((game_id, poll_id))) is not None:
            return found
        try:
            definition = self._catalog.poll(game_id, poll_id)
        except Unknown:
            ids.check_id("vote.poll_id", poll_id)
            raise
        return self._polls.put(game_id, (game_id, poll_id), CompiledPoll(definition))

    def _board(self, game_id: str, board_id: str) -> CompiledBoard:
        if self._changes != self._catalog.changes:
            self._drop_changed()
        if (found := self._boards.kept.get((game_id, board_id))) is not None:
            return found
        try:
            definition = self._catalog.board(game_id, board_id)
        except Unknown:
            ids.check_id("score.board_id", board_id)
            raise
        return self._boards.put(game_id, (game_id, board_id), CompiledBoard(definition))


def keys_of(events: Iterable[IncomingEvent]) -> tuple[list[str], list[str]]:
    """The catalog's keys that the events depend on: their polls and boards, and their games."""
    topics: dict[str, None] = {}
    games: dict[str, None] = {}
    for event in events:
        game_id = event.game_id
        games[subjects.game_key(game_id)] = None
        with contextlib.suppress(DecodeError):
            if event.vote:
                topics[subjects.poll_key(game_id, Vote.FromString(event.vote).poll_id)] = None
            elif event.score:
                topics[subjects.board_key(game_id, Score.FromString(event.score).board_id)] = None
    return list(topics), list(games)


def _check_naming(name: str, *, may_name: bool) -> None:
    if not may_name:
        raise Forbidden(
            f"score.name: {shown(name)} is given, and only a producer names actors; leave it empty: "
            "others see the claim name of your token"
        )
    names.check_name("score.name", name)


def _reaction(game: CompiledGame, reaction: Reaction) -> ValidatedEvent:
    label = game.kind(reaction.pulse_id, reaction.kind)
    count = reaction.count or 1
    if count > wire_bounds.REACTION_COUNT_MAX:
        raise Invalid(f"reaction.count: is {count}; at most {wire_bounds.REACTION_COUNT_MAX} are allowed")
    return ValidatedEvent(game, "reaction", f"pulse/{reaction.pulse_id}", count, label=label)


def _presence(game: CompiledGame, presence: Presence, producer: bool, guest: bool) -> ValidatedEvent:
    if not producer:
        raise Forbidden(
            "event.presence: who watches is told by gateways, of the streams they serve, and by producers "
            "(hello.producer); open Subscribe with your token"
        )
    if presence.state not in (PRESENCE_STATE_HERE, PRESENCE_STATE_GONE):
        raise Invalid(
            f"presence.state: is {presence.state}; PRESENCE_STATE_HERE ({PRESENCE_STATE_HERE}) "
            f"or PRESENCE_STATE_GONE ({PRESENCE_STATE_GONE}) is needed"
        )
    game.check_audience()
    value = presence.state | presence.source << 8
    return ValidatedEvent(game, "presence", "audience", value, guest=guest)


def _measure(game: CompiledGame, measure: Measure, by_producer: bool) -> ValidatedEvent:
    game.check_metric(measure.metric_id, by_producer=by_producer)
    value = measure.value
    # Not `abs(value) > MEASURE_MAX`: a NaN is not greater than anything.
    if not abs(value) <= wire_bounds.MEASURE_MAX:
        raise Invalid(
            f"measure.value: {_number(value)} is out of range; "
            f"finite values of -10^15 to 10^15 ({wire_bounds.MEASURE_MAX:g}) are allowed"
        )
    return ValidatedEvent(game, "measure", f"metric/{measure.metric_id}", value)


def _custom(game: CompiledGame, custom: Custom, by_producer: bool) -> ValidatedEvent:
    game.check_custom(custom.custom_id, by_producer=by_producer)
    if len(custom.payload) > wire_bounds.CUSTOM_PAYLOAD_BYTES_MAX:
        raise Invalid(
            f"custom.payload: {len(custom.payload)} bytes; "
            f"at most {wire_bounds.CUSTOM_PAYLOAD_BYTES_MAX} are allowed"
        )
    return ValidatedEvent(game, "custom", f"custom/{custom.custom_id}", 0, payload=custom.payload)


def _parsed(body_type: type[Body], kind: str, body: bytes) -> Body:
    try:
        return body_type.FromString(body)
    except DecodeError:
        raise Invalid(f"event.{kind}: {len(body)} bytes that are no {body_type.DESCRIPTOR.name}") from None


def _number(value: float) -> str:
    return repr(value) if not math.isfinite(value) else f"{value:g}"
