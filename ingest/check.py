"""Judges what an event says against the catalog.

Nothing is trusted before it is checked (I10): the game, then the topic and what the body says
of it. An id that the catalog knows is a valid one; one that it does not is refused for its
form first. A refusal names the field, its value and the bound.

A crowd says the same few things over and over: a vote for `ana` is the same bytes from
everybody. So the body of a vote, a reaction or a presence is judged once, and the judgement
is kept by its bytes until a definition changes. Whether a vote is in time is no part of it:
that is decided for each event, by the mesh's clock, and nowhere later (I9).

Bound: JUDGEMENTS_KEPT_MAX, none of a body longer than BODY_KEPT_BYTES_MAX, and the same again for
producers, who may say more; then all are forgotten and made anew.
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
from ingest.compiled_definitions import Ballot, GameRules, Kept, Span
from mesh import ids, limits
from mesh.errors import Invalid, Unknown
from mesh.jetstream import subjects

Body = TypeVar("Body", bound=Message)

JUDGEMENTS_KEPT_MAX = 16_384
# A body may be padded with fields that nobody knows: it is good, and not kept.
BODY_KEPT_BYTES_MAX = 1_024
# What a row of a block has at most, besides its strings.
ROW_BYTES = 64
_REPEATED = ("vote", "reaction", "presence")

NO_BODY = "event.body: is not set; give a vote, a score, a reaction, a presence, a measure or a custom"


class Judged:
    """What an event says, found good. One object may stand for all events that say the same."""

    __slots__ = (
        "final",
        "game",
        "kind",
        "label",
        "only",
        "payload",
        "place",
        "size",
        "span",
        "spread",
        "until_s",
        "value",
        "weight",
    )

    def __init__(
        self,
        game: GameRules,
        kind: str,
        topic: str,
        value: int | float,
        *,
        span: Span | None = None,
        label: str = "",
        weight: int = 0,
        payload: bytes = b"",
        final: bool = False,
    ) -> None:
        self.game = game
        self.kind = kind
        """vote, score, reaction, presence, measure, custom"""
        self.place = (game.game_id, topic)
        self.value = value
        """Vote: a mask of the chosen options, bit i the poll's option i. Score: points. Reaction:
        count. Presence: the state. Measure: the value, a float. Custom: 0."""
        self.span = span
        self.spread = game.spread if span is None else span.spread or game.spread
        """Over how many partitions the topic's actors are spread: those of a poll or a board as it was opened
        with, whatever this ingest has heard of its game. So an event folds in one partition, whoever sends
        it (I2)."""
        self.only = game.first if self.spread <= 1 else None
        """The partition of every actor, where there is only one."""
        self.until_s = math.inf if span is None else span.until_s
        """Before this the topic takes events; Unix seconds."""
        self.label = label
        """Kind of a reaction, else ""."""
        self.weight = weight
        """Of a vote in a poll with weights, 1 or more; else 0."""
        self.size = ROW_BYTES + len(payload)
        """What it adds to a block at most, in bytes, besides its actor's name."""
        self.payload = payload
        """Of a custom event."""
        self.final = final
        """A vote that its actor may not change."""

    def partition_of(self, actor_id: str) -> int:
        return ids.partition_of(self.game.game_id, actor_id, self.spread)


class Catalog(Protocol):
    """The look-ups a check needs; each raises Unknown."""

    changes: int
    """Grows with each definition that comes or changes."""

    def game(self, game_id: str) -> Game: ...
    def poll(self, game_id: str, poll_id: str) -> Poll: ...
    def board(self, game_id: str, board_id: str) -> Board: ...


Known = dict[tuple[str, str | None, bytes], Judged]
"""By the game's id, the body's kind and its bytes."""


class Checker:
    """Judges events by one catalog. A definition may be replaced in it, not altered."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._changes = -1
        self._known: tuple[Known, Known] = ({}, {})
        self._games: Kept[GameRules] = Kept()
        self._ballots: Kept[Ballot] = Kept()
        self._boards: Kept[Span] = Kept()

    def known(self, producer: bool) -> Known:
        """What was judged before and still holds, but for its time."""
        if self._changes != self._catalog.changes:
            self._changes = self._catalog.changes
            for known in self._known:
                known.clear()
        return self._known[producer]

    def judge(self, game_id: str, kind: str | None, body: bytes, now_s: float, producer: bool) -> Judged:
        """What the body says; `kind` is the name of its field in Event.

        Raises Invalid, Unknown, NotNow.
        """
        game = self._game(game_id)
        match kind:
            case "vote":
                judged = self._vote(game, _parsed(Vote, kind, body), now_s, producer)
            case "score":
                judged = self._score(game, _parsed(Score, kind, body), now_s)
            case "reaction":
                judged = _reaction(game, _parsed(Reaction, kind, body))
            case "presence":
                judged = _presence(game, _parsed(Presence, kind, body))
            case "measure":
                judged = _measure(game, _parsed(Measure, kind, body))
            case "custom":
                judged = _custom(game, _parsed(Custom, kind, body))
            case _:
                raise Invalid(NO_BODY)
        if kind in _REPEATED and len(body) <= BODY_KEPT_BYTES_MAX:
            known = self.known(producer)
            if len(known) >= JUDGEMENTS_KEPT_MAX:
                known.clear()
            known[game_id, kind, body] = judged
        return judged

    def check_open(self, place: tuple[str, str], now_s: float) -> None:
        """Whether the topic takes events now, by the definition of now. Raises NotNow, Unknown."""
        if (span := self._span(place)) is not None:
            kind, _, name = place[1].partition("/")
            span.check(kind, name, now_s)

    def check_stage(self, place: tuple[str, str], now_s: float) -> None:
        """Whether the topic is still open by its stage, be its time over or not: nobody has closed it in
        the event log, so what is stored there counts. Raises NotNow, Unknown."""
        span = self._span(place)
        if span is not None and not span.is_open:
            kind, _, name = place[1].partition("/")
            raise span.refusal(kind, name, now_s)

    def _span(self, place: tuple[str, str]) -> Span | None:
        """Of a poll or a board; None for what is always open. Raises Unknown."""
        game_id, topic = place
        kind, _, name = topic.partition("/")
        if kind == "poll":
            return self._ballot(game_id, name).span
        return self._board(game_id, name) if kind == "board" else None

    def _vote(self, game: GameRules, vote: Vote, now_s: float, producer: bool) -> Judged:
        ballot = self._ballot(game.game_id, vote.poll_id)
        value = ballot.mask(vote.option_ids)
        weight = ballot.weight(vote.weight, producer)
        ballot.span.check("poll", vote.poll_id, now_s)
        return Judged(game, "vote", ballot.topic, value, span=ballot.span, weight=weight, final=ballot.final)

    def _score(self, game: GameRules, score: Score, now_s: float) -> Judged:
        board_id, points = score.board_id, score.points
        span = self._board(game.game_id, board_id)
        if abs(points) > limits.POINTS_MAX:
            raise Invalid(
                f"score.points: {points} is out of range; -2^53 to 2^53 ({limits.POINTS_MAX}) are allowed"
            )
        span.check("board", board_id, now_s)
        return Judged(game, "score", f"board/{board_id}", points, span=span)

    def _game(self, game_id: str) -> GameRules:
        try:
            definition = self._catalog.game(game_id)
        except Unknown:
            ids.check_id("event.game_id", game_id)
            raise
        return self._games.of(definition) or self._games.keep(definition, GameRules(definition))

    def _ballot(self, game_id: str, poll_id: str) -> Ballot:
        try:
            definition = self._catalog.poll(game_id, poll_id)
        except Unknown:
            ids.check_id("vote.poll_id", poll_id)
            raise
        return self._ballots.of(definition) or self._ballots.keep(definition, Ballot(definition))

    def _board(self, game_id: str, board_id: str) -> Span:
        try:
            definition = self._catalog.board(game_id, board_id)
        except Unknown:
            ids.check_id("score.board_id", board_id)
            raise
        return self._boards.of(definition) or self._boards.keep(definition, Span(definition))


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


def _reaction(game: GameRules, reaction: Reaction) -> Judged:
    label = game.kind(reaction.pulse_id, reaction.kind)
    count = reaction.count or 1
    if count > limits.REACTION_COUNT_MAX:
        raise Invalid(f"reaction.count: is {count}; at most {limits.REACTION_COUNT_MAX} are allowed")
    return Judged(game, "reaction", f"pulse/{reaction.pulse_id}", count, label=label)


def _presence(game: GameRules, presence: Presence) -> Judged:
    if presence.state not in (PRESENCE_STATE_HERE, PRESENCE_STATE_GONE):
        raise Invalid(
            f"presence.state: is {presence.state}; PRESENCE_STATE_HERE ({PRESENCE_STATE_HERE}) "
            f"or PRESENCE_STATE_GONE ({PRESENCE_STATE_GONE}) is needed"
        )
    game.check_audience()
    return Judged(game, "presence", "audience", presence.state)


def _measure(game: GameRules, measure: Measure) -> Judged:
    game.check_metric(measure.metric_id)
    value = measure.value
    # Not `abs(value) > MEASURE_MAX`: a NaN is not greater than anything.
    if not abs(value) <= limits.MEASURE_MAX:
        raise Invalid(
            f"measure.value: {_number(value)} is out of range; "
            f"finite values of -10^15 to 10^15 ({limits.MEASURE_MAX:g}) are allowed"
        )
    return Judged(game, "measure", f"metric/{measure.metric_id}", value)


def _custom(game: GameRules, custom: Custom) -> Judged:
    game.check_custom(custom.custom_id)
    if len(custom.payload) > limits.CUSTOM_PAYLOAD_BYTES_MAX:
        raise Invalid(
            f"custom.payload: {len(custom.payload)} bytes; "
            f"at most {limits.CUSTOM_PAYLOAD_BYTES_MAX} are allowed"
        )
    return Judged(game, "custom", f"custom/{custom.custom_id}", 0, payload=custom.payload)


def _parsed(body_type: type[Body], kind: str, body: bytes) -> Body:
    try:
        return body_type.FromString(body)
    except DecodeError:
        raise Invalid(f"event.{kind}: {len(body)} bytes that are no {body_type.DESCRIPTOR.name}") from None


def _number(value: float) -> str:
    return repr(value) if not math.isfinite(value) else f"{value:g}"
