"""What this ingest or gateway refused and shed lately, by actor, for whoever explains it. Pure.

A refusal leaves no trace in the event stream, and its client may not have kept what it was told. So each
remembers the last REFUSALS_PER_ACTOR of each of the REFUSED_ACTORS_MAX actors that it refused last,
and counts the others. It ends with the process. What is taken costs nothing here.

Overflow: of an actor the oldest goes; of actors the one that was refused longest ago. So one who sends
nonsense all day pushes out no other's refusals.

Rejected: lines in the log. A crowd at a closed poll would write megabytes, and whoever looks for one actor
would have to read the logs of all instances.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from google.protobuf.message import DecodeError

from grandstand.event.v1.event_pb2 import Custom, Measure, Reaction, Score, Vote
from grandstand.internal.v1.internal_pb2 import IncomingEvent, Refusal, RefusalsResponse, Shed
from grandstand.wire.errors import GrandstandError
from mesh import limits, wall_clock

_Refused = tuple[float, str, str, bytes, str, int, int, str, bool]
"""When, the game, the topic or the kind of the body, the body of an event that was not taken; the origin, the
number, the code, the message, and whether a copy may be stored. Made into a Refusal when it is asked for."""


class _Actor:
    __slots__ = ("refusals", "refused", "sheds")

    def __init__(self) -> None:
        self.refused = 0
        self.refusals: deque[_Refused] = deque(maxlen=limits.REFUSALS_PER_ACTOR)
        self.sheds: dict[tuple[str, str], Shed] = {}


class RecentRefusals:
    """`now_s`: Unix seconds of the mesh's clock."""

    def __init__(self, now_s: Callable[[], float] = wall_clock.now_s) -> None:
        self._now_s = now_s
        self._since_us = int(now_s() * 1e6)
        self._actors: OrderedDict[str, _Actor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._actors)

    def refused(
        self,
        actor_id: str,
        game_id: str,
        topic: str,
        origin_id: str,
        seq: int,
        error: GrandstandError,
        *,
        maybe_stored: bool = False,
    ) -> None:
        self._put(actor_id, game_id, topic, b"", origin_id, seq, error, maybe_stored)

    def refused_event(
        self, actor_id: str, origin_id: str, event: IncomingEvent, error: GrandstandError
    ) -> None:
        """As `refused`, of an event that was not taken. `actor_id` and `origin_id`: the stream's own, for an
        event that names none."""
        kind = event.WhichOneof("body") or ""
        body: bytes = getattr(event, kind) if kind else b""
        self._put(
            *(event.actor_id or actor_id, event.game_id, kind, body),
            *(event.origin_id or origin_id, event.origin_seq, error, False),
        )

    def _put(
        self,
        actor_id: str,
        game_id: str,
        topic: str,
        body: bytes,
        origin_id: str,
        seq: int,
        error: GrandstandError,
        maybe_stored: bool,
    ) -> None:
        actor, most = self._actor(actor_id), limits.REFUSED_TEXT_MAX
        actor.refused += 1
        message = error.message[: limits.REFUSED_MESSAGE_MAX]
        said = game_id[:most], topic[:most], body[: limits.REFUSED_BODY_MAX], origin_id[:most]
        actor.refusals.append((self._now_s(), *said, seq, error.code, message, maybe_stored))

    def shed(self, actor_id: str, game_id: str, kind: str) -> None:
        actor, now_us = self._actor(actor_id), int(self._now_s() * 1e6)
        shed = actor.sheds.get((game_id, kind))
        if shed is None:
            while len(actor.sheds) >= limits.REFUSALS_PER_ACTOR:
                del actor.sheds[next(iter(actor.sheds))]
            game = game_id[: limits.REFUSED_TEXT_MAX]
            shed = actor.sheds[game_id, kind] = Shed(game_id=game, kind=kind, first_us=now_us)
        shed.count += 1
        shed.last_us = now_us

    def _actor(self, actor_id: str) -> _Actor:
        found = self._actors.get(actor_id)
        if found is None:
            if len(self._actors) >= limits.REFUSED_ACTORS_MAX:
                self._actors.popitem(last=False)
            found = self._actors[actor_id[: limits.REFUSED_TEXT_MAX]] = _Actor()
        else:
            self._actors.move_to_end(actor_id)
        return found

    def of(self, actor_id: str, instance: str, service: str = "ingest") -> RefusalsResponse:
        """What is remembered of the actor."""
        response = RefusalsResponse(instance=instance, service=service, since_us=self._since_us)
        found = self._actors.get(actor_id)
        if found is not None:
            response.refused = found.refused
            response.refusals.extend(map(_refusal, found.refusals))
            response.sheds.extend(found.sheds.values())
        return response


def _refusal(refused: _Refused) -> Refusal:
    at_s, game_id, topic, body, origin_id, seq, code, message, maybe_stored = refused
    return Refusal(
        at_us=int(at_s * 1e6),
        game_id=game_id,
        topic=_topic_of(topic, body) if body else topic if "/" in topic else _OF_NOTHING.get(topic, ""),
        origin_id=origin_id,
        origin_seq=seq,
        code=code,
        message=message,
        maybe_stored=maybe_stored,
    )


_OF_NOTHING = {"presence": "audience", "audience": "audience"}


def _topic_of(kind: str, body: bytes) -> str:
    """Where an event was to count; "" if it does not say."""
    try:
        match kind:
            case "vote":
                return f"poll/{Vote.FromString(body).poll_id}"
            case "score":
                return f"board/{Score.FromString(body).board_id}"
            case "reaction":
                return f"pulse/{Reaction.FromString(body).pulse_id}"
            case "measure":
                return f"metric/{Measure.FromString(body).metric_id}"
            case "custom":
                return f"custom/{Custom.FromString(body).custom_id}"
            case "presence":
                return "audience"
    except DecodeError:
        pass
    return ""
