"""What a reader asks for: topic patterns and positions, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grandstand.event.v1.event_pb2 import Position
from mesh import ids, limits
from mesh.errors import Invalid, shown

KINDS = ("poll", "board", "pulse", "audience", "metric", "custom")
_NAMED = tuple(kind for kind in KINDS if kind != "audience")


class TopicPatterns:
    """A set of topics: exact ones, `<kind>/*`, `*`. Equal sets compare equal, whatever their order."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """None means `*`. Raises Invalid."""
        if len(patterns) > limits.TOPIC_PATTERNS_MAX:
            raise Invalid(f"topics: {len(patterns)} topics; at most {limits.TOPIC_PATTERNS_MAX} are allowed")
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

    def match(self, topic: str) -> bool:
        return topic.partition("/")[0] in self._kinds or topic in self.exact

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopicPatterns) and (self._kinds, self.exact) == (other._kinds, other.exact)

    def __hash__(self) -> int:
        return hash((self._kinds, self.exact))


def check_positions(positions: Iterable[Position], field: str = "positions") -> list[Position]:
    """The positions if there can be such. Raises Invalid."""
    found = list(positions)
    if len(found) > limits.POSITIONS_MAX:
        raise Invalid(f"{field}: {len(found)} positions; at most {limits.POSITIONS_MAX} are allowed")
    for position in found:
        if position.partition >= limits.PARTITIONS:
            raise Invalid(
                f"{field}.partition: is {position.partition}; 0 to {limits.PARTITIONS - 1} are allowed"
            )
        if position.sequence >= 2**63:
            raise Invalid(f"{field}.sequence: is {position.sequence}; at most 2^63-1 is allowed")
    return found
