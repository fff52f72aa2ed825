"""What a gateway knows of a game: the merged state of every topic, and when each changed.

The view numbers its changes. A cohort that was last sent version v is sent the topics that
changed after v, each in its newest state: that is conflation (I8), and because merges never
go back, so does no viewer (I5).

Bound: the topics of one game.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.internal.v1.internal_pb2 import Partial
from mesh.merge import TopicMerge
from mesh.store import Share
from mesh.topics import TopicPatterns


class GameView:
    """The pure core; `version` grows with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._merges: dict[str, TopicMerge] = {}
        self._changed_at: dict[str, int] = {}
        self._states: dict[str, TopicState] = {}
        self._moving: set[str] = set()
        self._partitions = 1

    def offer(self, partial: Partial) -> bool:
        """Takes a partial; True if it changed anything."""
        merge = self._merges.get(partial.topic)
        if merge is None:
            merge = self._merges[partial.topic] = TopicMerge(partial.topic)
        if not merge.offer(partial):
            return False
        self._touch(partial.topic)
        if partial.WhichOneof("value") in ("pulse", "audience"):
            self._moving.add(partial.topic)
        return True

    def load(self, shares: Sequence[Share]) -> bool:
        """Takes what the store holds, one share for each partition; True if it changed anything."""
        self._partitions = len(shares)
        taken = [self.offer(partial) for share in shares for partial in share.partials.values()]
        return any(taken)

    def let_time_pass(self, now_s: float) -> bool:
        """Touches the topics whose shown value changed with time alone; True if there are any."""
        before = self.version
        for topic in list(self._moving):
            merge = self._merges[topic]
            if not merge.is_moving(now_s):
                self._moving.discard(topic)  # what is shown below is its end
            shown = self._states.get(topic)
            # One that nobody has asked for since it changed last is merged when it is asked for.
            if shown is not None and shown != (state := self._state(topic, now_s)):
                self._touch(topic)
                self._states[topic] = state
        return self.version > before

    def states(self, patterns: TopicPatterns, since: int, now_s: float) -> list[TopicState]:
        """The matching topics that changed after version `since`, by name."""
        found = []
        for topic in sorted(self._merges):
            if self._changed_at[topic] > since and patterns.match(topic):
                state = self._states.get(topic)
                if state is None:
                    state = self._states[topic] = self._state(topic, now_s)
                found.append(state)
        return found

    def _state(self, topic: str, now_s: float) -> TopicState:
        return self._merges[topic].state(now_s, partitions=self._partitions)

    def changed(self, patterns: TopicPatterns, since: int) -> bool:
        """True if a matching topic changed after version `since`."""
        return any(at > since and patterns.match(topic) for topic, at in self._changed_at.items())

    def _touch(self, topic: str) -> None:
        self.version += 1
        self._changed_at[topic] = self.version
        self._states.pop(topic, None)
