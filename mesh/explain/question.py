"""What is asked: about whose events, of which game. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.wire import actors, ids
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Invalid, shown
from mesh.recount.blocks import EventRow
from mesh.recount.partition import CLOCK_BOUND_S, ORIGIN_WINDOW_LIFE_S
from mesh.recount.scope import RecountScope

PRODUCERS_MAX = 64
_ORIGIN = re.compile(r"[vp][0-9a-f]{32}\Z")
_EVENTS_TAG = b"\x22"
"""Of Block.events, as it stands behind Block.stamped_at."""


@dataclass(frozen=True, slots=True)
class ExplainQuestion:
    game_id: str
    actor_id: str
    topic: str = ""
    """"" for all."""
    origin_id: str = ""
    """"" for all; else only the event `origin_seq` of that origin."""
    origin_seq: int = 0

    def check(self) -> None:
        """Raises Invalid."""
        ids.check_id("game_id", self.game_id)
        actors.check_actor("actor_id", self.actor_id)
        if self.topic:
            ids.parse_topic(self.topic)
        if self.origin_id and not _ORIGIN.match(self.origin_id):
            raise Invalid(f"origin_id: {shown(self.origin_id)} is not an origin id: v or p and 32 hex digits")
        if bool(self.origin_id) != bool(self.origin_seq):
            raise Invalid("origin_seq: an event is named by origin_id and origin_seq; give both or none")

    def asks_of(self, row: EventRow) -> bool:
        """Whether it is told what became of this event."""
        if self.origin_id:
            key = ids.origin_key(self.origin_id)
            if (row.origin, row.seq, row.producer) != (key, self.origin_seq, self.origin_id[0] == "p"):
                return False
        return self.counts(row)

    def counts(self, row: EventRow) -> bool:
        return (
            row.actor_id == self.actor_id
            and row.game_id == self.game_id
            and (not self.topic or row.topic == self.topic)
        )

    def scope(self, producers: frozenset[bytes]) -> RecountScope:
        """`producers`: the keys of the producers' origins that the events came under. A viewer's origin is
        its actor's own, so all its events are the actor's."""
        return RecountScope(self.counts, lambda row: row.actor_id == self.actor_id or row.origin in producers)

    def partitions(self, game: Game | None, topics: list[Poll | Board]) -> list[int]:
        """Where the actor's events in this game may be. All partitions are looked through for a game that
        the catalog does not know (any more): nobody knows over how many it was spread."""
        spreads = {1, *range(1, wire_bounds.PARTITIONS + 1)} if game is None else {max(1, game.spread)}
        spreads |= {max(1, topic.spread) for topic in topics if self.topic in ("", topic_of(topic))}
        found = {ids.partition_of(self.game_id, self.actor_id, spread) for spread in spreads}
        return sorted(found)

    def begins_s(self, game: Game | None, topics: list[Poll | Board]) -> float:
        """Before that nothing was stored that matters; Unix seconds. An origin's window is older than the
        topic by at most its life."""
        defined_s = game.generation / 1e6 if game is not None else 0.0
        for topic in topics:
            if topic_of(topic) == self.topic:
                defined_s = max(defined_s, topic.opened_at.ToNanoseconds() / 1e9)
        return max(0.0, defined_s - ORIGIN_WINDOW_LIFE_S - 2 * CLOCK_BOUND_S)


def topic_of(definition: Poll | Board) -> str:
    return f"poll/{definition.poll_id}" if isinstance(definition, Poll) else f"board/{definition.board_id}"


def may_be_control(data: bytes) -> bool:
    """Whether a block may be a control; True of one that is made in no usual way."""
    if len(data) < 2 or data[0] != 0x0A or data[1] > 0x7F:
        return True
    return data[2 + data[1] : 3 + data[1]] != _EVENTS_TAG
