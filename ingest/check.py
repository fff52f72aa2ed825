"""Checks an event against the catalog and turns it into a row of a block.

Nothing is trusted before it is checked (I10): the game, who acts, then the topic and what the
body says of it. An id that the catalog knows is a valid one; one that it does not is refused
for its form first. A refusal names the field, its value and the bound. Whether a vote is in
time is judged here, by this server's clock, and nowhere later (I9): what passes is counted.

Ingest spends its time here: what a definition says is read from its `rulebook`.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE, Event
from ingest.rulebook import Ballot, GameRules, Kept, Span
from mesh import ids, limits
from mesh.errors import Invalid, Unknown, shown


class Row(NamedTuple):
    """One checked event, ready for its partition's block."""

    partition: int
    game_id: str
    topic: str
    origin_id: str
    origin_seq: int
    actor_id: str
    value: int | float
    """Vote: a mask of the chosen options, bit i the poll's option i. Score: points. Reaction:
    count. Presence: the state. Measure: the value, a float. Custom: 0."""
    label: str = ""
    """Kind of a reaction, else ""."""
    weight: int = 0
    """Of a vote in a poll with weights, 1 or more; else 0."""
    payload: bytes = b""
    """Of a custom event."""
    final: bool = False
    """A vote that its actor may not change."""


class Catalog(Protocol):
    """The look-ups a check needs; each raises Unknown."""

    def game(self, game_id: str) -> Game: ...
    def poll(self, game_id: str, poll_id: str) -> Poll: ...
    def board(self, game_id: str, board_id: str) -> Board: ...


class Checker:
    """Checks events against one catalog. A definition may be replaced in it, not altered."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._games: Kept[GameRules] = Kept()
        self._ballots: Kept[Ballot] = Kept()
        self._boards: Kept[Span] = Kept()

    def check(
        self, event: Event, *, origin_id: str, actor_id: str, now_s: float, producer: bool = False
    ) -> Row:
        """The event as a row. `origin_id`, `actor_id` and `producer` are the stream's: the first
        two for events that name none.

        Raises Invalid, Unknown, NotNow.
        """
        if event.origin_id:
            origin_id = ids.check_origin("event.origin_id", event.origin_id, now_s)
            if not 1 <= event.origin_seq < 2**63:
                raise Invalid(f"event.origin_seq: is {event.origin_seq}; 1 to 2^63-1 expected")
        game_id = event.game_id
        game = self._game(game_id)
        named = event.actor_id
        if named and actor_id and named != actor_id:
            raise Invalid(
                f"event.actor_id: {shown(named)} is not the stream's actor {actor_id!r}; "
                "only a producer acts for others"
            )
        actor_id = ids.check_id("event.actor_id", named or actor_id)
        value: int | float
        label, weight, payload, final = "", 0, b"", False
        match event.WhichOneof("body"):
            case "vote":
                vote = event.vote
                poll_id = vote.poll_id
                ballot = self._ballot(game_id, poll_id)
                value = ballot.mask(vote.option_ids)
                weight = ballot.weight(vote.weight, producer)
                ballot.span.check("poll", poll_id, now_s)
                topic, final = ballot.topic, ballot.final
            case "score":
                board_id = event.score.board_id
                span = self._board(game_id, board_id)
                value = event.score.points
                if abs(value) > limits.POINTS_MAX:
                    raise Invalid(
                        f"score.points: {value} is out of range; "
                        f"-2^53 to 2^53 ({limits.POINTS_MAX}) are allowed"
                    )
                span.check("board", board_id, now_s)
                topic = f"board/{board_id}"
            case "reaction":
                reaction = event.reaction
                pulse_id = reaction.pulse_id
                label = game.kind(pulse_id, reaction.kind)
                value = reaction.count or 1
                if value > limits.REACTION_COUNT_MAX:
                    raise Invalid(
                        f"reaction.count: is {value}; at most {limits.REACTION_COUNT_MAX} are allowed"
                    )
                topic = f"pulse/{pulse_id}"
            case "presence":
                value = event.presence.state
                if value not in (PRESENCE_STATE_HERE, PRESENCE_STATE_GONE):
                    raise Invalid(
                        f"presence.state: is {value}; PRESENCE_STATE_HERE ({PRESENCE_STATE_HERE}) "
                        f"or PRESENCE_STATE_GONE ({PRESENCE_STATE_GONE}) is needed"
                    )
                game.check_audience()
                topic = "audience"
            case "measure":
                metric_id = event.measure.metric_id
                game.check_metric(metric_id)
                value = event.measure.value
                # Not `abs(value) > MEASURE_MAX`: a NaN is not greater than anything.
                if not abs(value) <= limits.MEASURE_MAX:
                    raise Invalid(
                        f"measure.value: {_number(value)} is out of range; "
                        f"finite values of -10^15 to 10^15 ({limits.MEASURE_MAX:g}) are allowed"
                    )
                topic = f"metric/{metric_id}"
            case "custom":
                custom_id = event.custom.custom_id
                game.check_custom(custom_id)
                value, payload = 0, event.custom.payload
                if len(payload) > limits.CUSTOM_PAYLOAD_BYTES_MAX:
                    raise Invalid(
                        f"custom.payload: {len(payload)} bytes; "
                        f"at most {limits.CUSTOM_PAYLOAD_BYTES_MAX} are allowed"
                    )
                topic = f"custom/{custom_id}"
            case _:
                raise Invalid(
                    "event.body: is not set; "
                    "give a vote, a score, a reaction, a presence, a measure or a custom"
                )
        return Row(
            game.partition_of(actor_id),
            game_id,
            topic,
            origin_id,
            event.origin_seq,
            actor_id,
            value,
            label,
            weight,
            payload,
            final,
        )

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


def _number(value: float) -> str:
    return repr(value) if not math.isfinite(value) else f"{value:g}"
