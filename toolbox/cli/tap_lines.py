"""What passes on a stream of a game, a line for each topic in each frame. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from google.protobuf import json_format

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import Stage
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from toolbox.cli.printable import printable

_NAME_MAX = 40
_NAMED_MAX = 5
_STATE_MAX = 300
_NEWS = ("announcement", "rendition", "drain", "token_expiring", "game_ended")


@dataclass(frozen=True, slots=True)
class TapLine:
    at: str
    """When the gateway made the frame, UTC."""
    kind: str
    """full, delta, or what else was said: announcement, rendition, drain, token_expiring, game_ended."""
    topic: str
    bytes: int
    """Of the topic in the frame; of the whole message where it is about no topic."""
    frame_bytes: int
    state: Mapping[str, Any]
    """What is shown from now on, or what was said, in the JSON form of its proto."""
    text: str
    """The same for a person."""

    def json(self) -> str:
        fields = asdict(self)
        del fields["text"]
        return json.dumps(fields)

    def __str__(self) -> str:
        return (
            f"{self.at[11:23]}  {self.kind:<5}  {self.bytes:>6} B  {printable(self.topic):<16}  {self.text}"
        )


def tap_lines(message: SubscribeResponse, states: Mapping[str, TopicState]) -> Iterator[TapLine]:
    """`states`: with the message applied. A heartbeat is no line."""
    size, what = message.ByteSize(), message.WhichOneof("message") or ""
    at = message.as_of.ToDatetime().isoformat(timespec="milliseconds")
    if what in _NEWS:
        said = _dict(getattr(message, what))
        text = printable(json.dumps(said, ensure_ascii=False), _STATE_MAX)
        yield TapLine(at, what, "", size, size, said, text)
        return
    if what not in ("snapshot", "update", "personal"):
        return
    part = getattr(message, what)
    for kind, topics in (("full", part.topics), ("delta", part.deltas if what == "update" else ())):
        for each in topics:
            state = states.get(each.topic, TopicState(topic=each.topic))
            yield TapLine(at, kind, each.topic, each.ByteSize(), size, _dict(state), _said(state))


def _dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message)


def _said(state: TopicState) -> str:
    stage = "" if not state.stage else Stage.Name(state.stage).removeprefix("STAGE_").lower() + ": "
    return printable(stage + _value(state), _STATE_MAX)


def _value(state: TopicState) -> str:
    match state.WhichOneof("value"):
        case "tally":
            counts = _few(f"{_name(each.option_id)} {each.votes:,}" for each in state.tally.options)
            return f"{counts} of {state.tally.voters:,} voters"
        case "board":
            board = state.board
            rows = _few(
                f"{each.rank}. {_name(each.name or each.actor_id)} {each.points:,}" for each in board.entries
            )
            return f"{rows} of {board.actors:,} actors"
        case "pulse":
            return _few(f"{_name(each.kind)} {each.rate_per_s:.1f}/s" for each in state.pulse.kinds)
        case "audience":
            return f"{state.audience.viewers:,} watch, {state.audience.uniques:,} ever did"
        case "metric":
            metric = state.metric
            quantiles = _few(f"p{100 * each.quantile:g} {each.value:g}" for each in metric.quantiles)
            return f"{metric.count:,} measured, {quantiles}"
        case "custom":
            return f"{_name(state.custom.fold)}, {len(state.custom.value):,} B"
        case "standing":
            place = state.standing.standing
            return f"{place.rank or 'no place'} of {state.standing.actors:,}"
        case "inbox":
            return f"{state.inbox.unread:,} unread"
    return "nothing yet"


def _name(text: str) -> str:
    return printable(text, _NAME_MAX)


def _few(told: Iterator[str]) -> str:
    shown = list(told)
    more = f" and {len(shown) - _NAMED_MAX:,} more" if len(shown) > _NAMED_MAX else ""
    return ", ".join(shown[:_NAMED_MAX]) + more if shown else "nothing"


def ended_line(game_id: str, ended_at: datetime) -> str:
    return f"{printable(game_id)} ended at {ended_at:%Y-%m-%d %H:%M:%S} UTC; its results are final"
