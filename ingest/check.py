"""Checks an event against the catalog and turns it into a row of a block.

Nothing is trusted before it is checked (I10): ids, then the game, then the topic and what
the body says of it. A refusal names the field, its value and the bound. Whether a vote is
in time is judged here, by this server's clock, and nowhere later (I9): what passes is counted.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple, Protocol

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, STAGE_UNSPECIFIED, Board, Game, Poll
from grandstand.event.v1.event_pb2 import Event
from mesh import ids, limits
from mesh.errors import Invalid, NotNow, Unknown, shown

_CHOICES_SHOWN = 8


class Row(NamedTuple):
    """One checked event, ready for its partition's block."""

    partition: int
    game_id: str
    topic: str
    origin_id: str
    origin_seq: int
    actor_id: str
    label: str
    """Option id of a vote, kind of a reaction, "" for a score."""
    amount: int
    """Points of a score, count of a reaction, 0 for a vote."""
    final: bool
    """A vote that its actor may not change."""


class Catalog(Protocol):
    """The look-ups a check needs; each raises Unknown."""

    def game(self, game_id: str) -> Game: ...
    def poll(self, game_id: str, poll_id: str) -> Poll: ...
    def board(self, game_id: str, board_id: str) -> Board: ...


def check(event: Event, catalog: Catalog, *, origin_id: str, actor_id: str, now_s: float) -> Row:
    """The event as a row. `origin_id` and `actor_id` are the stream's, for events that name none.

    Raises Invalid, Unknown, NotNow.
    """
    if event.origin_id:
        origin_id = ids.check_origin("event.origin_id", event.origin_id, now_s)
        if not 1 <= event.origin_seq < 2**63:
            raise Invalid(f"event.origin_seq: is {event.origin_seq}; 1 to 2^63-1 expected")
    game_id = ids.check_id("event.game_id", event.game_id)
    if event.actor_id and actor_id and event.actor_id != actor_id:
        raise Invalid(
            f"event.actor_id: {shown(event.actor_id)} is not the stream's actor {actor_id!r}; "
            "only a producer acts for others"
        )
    actor_id = ids.check_id("event.actor_id", event.actor_id or actor_id)
    game = catalog.game(game_id)
    label, amount, final = "", 0, False
    match event.WhichOneof("body"):
        case "vote":
            poll_id = ids.check_id("vote.poll_id", event.vote.poll_id)
            poll = catalog.poll(game_id, poll_id)
            label = _option(event, poll)
            _check_open("poll", poll_id, poll, now_s)
            topic, final = f"poll/{poll_id}", not poll.changeable
        case "score":
            board_id = ids.check_id("score.board_id", event.score.board_id)
            board = catalog.board(game_id, board_id)
            amount = event.score.points
            if abs(amount) > limits.POINTS_MAX:
                raise Invalid(
                    f"score.points: {amount} is out of range; -2^53 to 2^53 ({limits.POINTS_MAX}) are allowed"
                )
            _check_open("board", board_id, board, now_s)
            topic = f"board/{board_id}"
        case "reaction":
            pulse_id = ids.check_id("reaction.pulse_id", event.reaction.pulse_id)
            label = _kind(event, game)
            amount = event.reaction.count or 1
            if amount > limits.REACTION_COUNT_MAX:
                raise Invalid(f"reaction.count: is {amount}; at most {limits.REACTION_COUNT_MAX} are allowed")
            topic = f"pulse/{pulse_id}"
        case _:
            raise Invalid("event.body: is not set; give a vote, a score or a reaction")
    return Row(
        ids.partition_of(game_id, actor_id, game.spread),
        game_id,
        topic,
        origin_id,
        event.origin_seq,
        actor_id,
        label,
        amount,
        final,
    )


def _option(event: Event, poll: Poll) -> str:
    chosen = event.vote.option_ids
    if len(chosen) != 1:
        raise Invalid(f"vote.option_ids: {len(chosen)} options; exactly 1 is allowed")
    options = [option.option_id for option in poll.options]
    if chosen[0] not in options:
        raise Unknown(
            f"vote.option_ids: {shown(chosen[0])} is not an option of poll {poll.poll_id!r}; "
            f"{_one_of(options)}"
        )
    return str(chosen[0])


def _kind(event: Event, game: Game) -> str:
    reaction = event.reaction
    for pulse in game.pulses:
        if pulse.pulse_id == reaction.pulse_id:
            if reaction.kind not in pulse.kinds:
                raise Unknown(
                    f"reaction.kind: {shown(reaction.kind)} is not a kind of pulse {pulse.pulse_id!r}; "
                    f"{_one_of(list(pulse.kinds))}"
                )
            return str(reaction.kind)
    raise Unknown(
        f"reaction.pulse_id: {shown(reaction.pulse_id)} is not a pulse of game {game.game_id!r}; "
        f"{_one_of([p.pulse_id for p in game.pulses])}"
    )


def _check_open(kind: str, name: str, definition: Poll | Board, now_s: float) -> None:
    if definition.stage == STAGE_UNSPECIFIED:
        raise Unknown(f"{kind} {name!r} of game {definition.game_id!r} is not open yet")
    closes_at_s = definition.closes_at.ToNanoseconds() / 1e9 if definition.HasField("closes_at") else None
    if definition.stage == STAGE_OPEN and (closes_at_s is None or now_s < closes_at_s):
        return
    closed = ""
    if closes_at_s is not None:
        at = datetime.datetime.fromtimestamp(closes_at_s, datetime.UTC)
        moment = f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
        closed = f" at {moment}, {now_s - closes_at_s:.1f} s before this came"
    raise NotNow(f"{kind} {name!r} of game {definition.game_id!r} closed{closed}")


def _one_of(choices: list[str]) -> str:
    shown_choices = ", ".join(choices[:_CHOICES_SHOWN]) + (", …" if len(choices) > _CHOICES_SHOWN else "")
    return f"there are {shown_choices}" if choices else "there are none"
