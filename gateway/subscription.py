"""What a Subscribe request asks for, checked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cohort import CohortKey
from gateway.heat import Tier
from gateway.view import GameView
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from mesh import ids, limits
from mesh.auth import Identity
from mesh.errors import Forbidden, Invalid, Unauthenticated
from mesh.topics import PERSONAL_KINDS, PersonalTopics, check_positions, split_topics


@dataclass(frozen=True, slots=True)
class Subscription:
    """A checked request."""

    key: CohortKey
    personal: PersonalTopics
    actor_id: str | None
    """Who watches; None without a token of somebody."""
    positions: Sequence[Position]
    """The read barrier (I6)."""
    cursors: Sequence[tuple[str, Sequence[Position]]]
    """What was seen of which topic (I5)."""
    personal_cursors: Sequence[tuple[str, Sequence[Position]]]
    """The same, of personal topics."""

    @property
    def game_id(self) -> str:
        return self.key.game_id

    @property
    def resumes(self) -> bool:
        """Whether it must be shown at least something."""
        return bool(self.positions or self.cursors)

    def missing(self, view: GameView) -> Position | None:
        """The first position that the view does not include yet."""
        late = view.missing(self.positions)
        for topic, positions in self.cursors:
            late = late or view.missing(positions, topic)
        return late


def check(request: SubscribeRequest, identity: Identity | None) -> Subscription:
    """Raises Invalid, Forbidden, Unauthenticated."""
    game_id = ids.check_id("game_id", request.game_id)
    if identity is not None:
        identity.check_game("game_id", game_id)
    rate = request.max_updates_per_s or limits.UPDATES_PER_S_MAX
    if rate > limits.UPDATES_PER_S_MAX:
        raise Invalid(f"max_updates_per_s: is {rate}; 1 to {limits.UPDATES_PER_S_MAX} are allowed")
    if len(request.cursors) > limits.POSITIONS_MAX:
        raise Invalid(f"cursors: {len(request.cursors)} cursors; at most {limits.POSITIONS_MAX} are allowed")
    patterns, personal = split_topics(request.topics)
    actor_id = None if identity is None else identity.actor_id or None
    if personal and identity is None:
        raise Unauthenticated(
            "topics: inbox and standing/<board> are an actor's own; get a token from the platform or "
            "IssueGuest, and send metadata authorization: Bearer <JWT>"
        )
    if personal and actor_id is None:
        raise Forbidden(
            "topics: inbox and standing/<board> are an actor's own, and this token names no actor"
        )
    positions = check_positions(request.positions)
    cursors: list[tuple[str, Sequence[Position]]] = []
    personal_cursors: list[tuple[str, Sequence[Position]]] = []
    for cursor in request.cursors:
        if cursor.topic.partition("/")[0] in PERSONAL_KINDS:
            # The inbox has a version where others have a position.
            personal_cursors.append((cursor.topic, list(cursor.cursor.positions)[: limits.POSITIONS_MAX]))
        else:
            seen = check_positions(cursor.cursor.positions, "cursors.positions")
            cursors.append((str(ids.parse_topic(cursor.topic)), seen))
    return Subscription(
        key=CohortKey(game_id, patterns, rate, _tier(identity), request.deltas),
        personal=personal,
        actor_id=actor_id,
        positions=positions,
        cursors=[(topic, seen) for topic, seen in cursors if seen],
        personal_cursors=personal_cursors,
    )


def _tier(identity: Identity | None) -> Tier:
    if identity is None:
        return Tier.ANONYMOUS
    return Tier.PRODUCER if identity.producer else Tier.VIEWER
