"""What a Subscribe request asks for, checked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.cohort import CohortKey
from gateway.overload import Tier
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Forbidden, Invalid, Unauthenticated
from grandstand.wire.topics import PERSONAL_KINDS, PersonalTopics, check_positions, split_topics
from mesh.auth import Identity
from mesh.results_feed.view import GameView


@dataclass(frozen=True, slots=True)
class Subscription:
    """A checked request."""

    key: CohortKey
    personal: PersonalTopics
    actor_id: str | None
    """Who watches; None without a token of somebody."""
    guest: bool
    barrier: Barrier
    personal_positions: Sequence[Position]
    """The barrier again, for personal topics; empty if none is asked for."""
    personal_cursors: Sequence[tuple[str, Sequence[Position]]]
    """What was seen of personal topics (I5)."""

    @property
    def game_id(self) -> str:
        return self.key.game_id

    @property
    def resumes(self) -> bool:
        """Whether it must be shown at least something."""
        return self.barrier.is_set

    def missing(self, view: GameView) -> Position | None:
        """Something that the view does not include yet."""
        return self.barrier.missing(view)

    def is_outside(self, view: GameView) -> bool:
        """Whether it names a partition that the game, as far as the view knows, does not fold in."""
        return self.barrier.is_outside(view)


class Barrier:
    """What a viewer must be shown at least: positions of any topic (I6), and what it has seen of topics (I5).

    A request may hold thousands of positions, and one with forged ones waits for as long as may be, beside
    hundreds of its kind: so of each topic and partition the newest is kept, as a number, and after the first
    look one number for each partition.
    """

    __slots__ = ("_wanted", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._wanted: dict[tuple[str, int], int] = {}
        """By topic, "" for all of them, and partition."""

    def want(self, positions: Iterable[Position], topic: str = "") -> None:
        for position in positions:
            key = (topic, position.partition)
            self._wanted[key] = max(position.sequence, self._wanted.get(key, 0))
            self.is_set = True

    def is_outside(self, view: GameView) -> bool:
        return any(not view.folds_in(partition) for _, partition in self._wanted)

    def missing(self, view: GameView) -> Position | None:
        """Something that the view does not include yet. What it includes is not asked for again, and what it
        lacks is from now on waited for by partition: what is folded there says it of all topics."""
        lacking: dict[tuple[str, int], int] = {}
        for (topic, partition), sequence in self._wanted.items():
            if not view.includes(partition, sequence, topic):
                lacking["", partition] = max(sequence, lacking.get(("", partition), 0))
        self._wanted = lacking
        for (_, partition), sequence in lacking.items():
            return Position(partition=partition, sequence=sequence)
        return None


def check(request: SubscribeRequest, identity: Identity | None) -> Subscription:
    """Raises Invalid, Forbidden, Unauthenticated."""
    game_id = ids.check_id("game_id", request.game_id)
    if identity is not None:
        identity.check_game("game_id", game_id)
    rate = request.max_updates_per_s or wire_bounds.UPDATES_PER_S_MAX
    if rate > wire_bounds.UPDATES_PER_S_MAX:
        raise Invalid(f"max_updates_per_s: is {rate}; 1 to {wire_bounds.UPDATES_PER_S_MAX} are allowed")
    if len(request.cursors) > wire_bounds.POSITIONS_MAX:
        raise Invalid(
            f"cursors: {len(request.cursors)} cursors; at most {wire_bounds.POSITIONS_MAX} are allowed"
        )
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
    barrier = Barrier()
    positions = check_positions(request.positions)
    barrier.want(positions)
    applied = check_positions(request.applied, "applied")
    barrier.want(applied)
    personal_cursors: list[tuple[str, Sequence[Position]]] = []
    for cursor in request.cursors:
        if cursor.topic.partition("/")[0] in PERSONAL_KINDS:
            # The inbox has a version where others have a position.
            if actor_id is not None:
                seen = list(cursor.cursor.positions)[: wire_bounds.POSITIONS_MAX]
                personal_cursors.append((cursor.topic, seen))
        else:
            seen = check_positions(cursor.cursor.positions, "cursors.positions")
            barrier.want(seen, str(ids.parse_topic(cursor.topic)))
    return Subscription(
        key=CohortKey(game_id, patterns, rate, _tier(identity), request.deltas),
        personal=personal,
        actor_id=actor_id,
        guest=identity is not None and identity.guest,
        barrier=barrier,
        personal_positions=[*positions, *applied] if personal else (),
        personal_cursors=personal_cursors,
    )


def _tier(identity: Identity | None) -> Tier:
    if identity is None:
        return Tier.ANONYMOUS
    return Tier.PRODUCER if identity.producer else Tier.VIEWER
