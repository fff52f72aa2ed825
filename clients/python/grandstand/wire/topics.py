"""What a reader asks for: topics and positions, checked.

Shared topics are those of a game, the same for everybody, and asked for by patterns. Personal topics are one
actor's own: each must be named, no pattern matches one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import bounds, ids
from grandstand.wire.errors import Invalid, shown

KINDS = ("poll", "board", "pulse", "audience", "metric", "custom")
_NAMED = tuple(kind for kind in KINDS if kind != "audience")

INBOX = "inbox"
STANDING = "standing"
PERSONAL_KINDS = (INBOX, STANDING)


class TopicPatterns:
    """A set of shared topics: exact ones, `<kind>/*`, `*`. Equal sets compare equal, whatever their order."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """None means `*`; see `nothing`. Raises Invalid."""
        if len(patterns) > bounds.TOPIC_PATTERNS_MAX:
            raise Invalid(f"topics: {len(patterns)} topics; at most {bounds.TOPIC_PATTERNS_MAX} are allowed")
        kinds: set[str] = set()
        exact: set[str] = set()
        for pattern in patterns or ["*"]:
            kind, _, name = pattern.partition("/")
            if pattern == "*":
                kinds.update(KINDS)
            elif name == "*" and kind in _NAMED:
                kinds.add(kind)
            elif "*" in pattern:
                raise Invalid(
                    f"topics: {shown(pattern)} is no pattern; * and {', '.join(f'{k}/*' for k in _NAMED)} are"
                )
            else:
                exact.add(str(ids.parse_topic(pattern)))
        self._kinds = frozenset(kinds)
        self.exact = frozenset(topic for topic in exact if topic.partition("/")[0] not in kinds)

    @classmethod
    def nothing(cls) -> TopicPatterns:
        """Matches no topic at all."""
        made = cls(())
        made._kinds = made.exact = frozenset()
        return made

    def match(self, topic: str) -> bool:
        return topic.partition("/")[0] in self._kinds or topic in self.exact

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopicPatterns) and (self._kinds, self.exact) == (other._kinds, other.exact)

    def __hash__(self) -> int:
        return hash((self._kinds, self.exact))


@dataclass(frozen=True, slots=True)
class PersonalTopics:
    """What an actor wants to see of its own; false if that is nothing."""

    inbox: bool = False
    boards: frozenset[str] = frozenset()
    """Those on which it wants to see its own standing; at most STANDINGS_MAX."""

    def __bool__(self) -> bool:
        return self.inbox or bool(self.boards)


def standing_of(board_id: str) -> str:
    """The topic of an actor's own place on a board."""
    return f"{STANDING}/{board_id}"


def is_personal(topic: str) -> bool:
    """By its kind alone: it may still be malformed."""
    return topic.partition("/")[0] in PERSONAL_KINDS


def split_topics(topics: Sequence[str]) -> tuple[TopicPatterns, PersonalTopics]:
    """The shared and the personal topics among those asked for.

    Who names personal topics only is shown no shared one; who names none at all is shown all shared ones.
    Raises Invalid.
    """
    if len(topics) > bounds.TOPIC_PATTERNS_MAX:
        raise Invalid(f"topics: {len(topics)} topics; at most {bounds.TOPIC_PATTERNS_MAX} are allowed")
    shared = [topic for topic in topics if not is_personal(topic)]
    named = [topic for topic in topics if is_personal(topic)]
    patterns = TopicPatterns(shared) if shared or not named else TopicPatterns.nothing()
    boards = frozenset(_board_of(topic) for topic in named if topic != INBOX)
    if len(boards) > bounds.STANDINGS_MAX:
        raise Invalid(
            f"topics: {len(boards)} of standing/<board>; at most {bounds.STANDINGS_MAX} are allowed, "
            "ask AggregateService.ReadStanding for more"
        )
    return patterns, PersonalTopics(INBOX in named, boards)


def _board_of(topic: str) -> str:
    """Raises Invalid."""
    kind, _, board_id = topic.partition("/")
    if kind == INBOX:
        raise Invalid(
            f"topics: {shown(topic)} is no topic; an actor's notifications are 'inbox', without a name"
        )
    if "*" in board_id:
        raise Invalid(f"topics: {shown(topic)} is no topic; personal ones have no patterns: name each board")
    return ids.check_id(f"topics: {shown(topic)}: board", board_id)


def check_positions(positions: Iterable[Position], field: str = "positions") -> list[Position]:
    """The positions if there can be such. Raises Invalid."""
    found = list(positions)
    if len(found) > bounds.POSITIONS_MAX:
        raise Invalid(f"{field}: {len(found)} positions; at most {bounds.POSITIONS_MAX} are allowed")
    for position in found:
        if position.partition >= bounds.PARTITIONS:
            raise Invalid(
                f"{field}.partition: is {position.partition}; 0 to {bounds.PARTITIONS - 1} are allowed"
            )
        if position.sequence >= 2**63:
            raise Invalid(f"{field}.sequence: is {position.sequence}; at most 2^63-1 is allowed")
    return found
