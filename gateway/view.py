"""What a gateway knows of a game: the merged state of every topic, and when each changed.

The view numbers its changes. Whoever was last sent version v is owed the topics that changed after v, each
in its newest state: that is conflation (I8), and because merges never go back, so does no viewer (I5).

A state is merged and encoded once for all cohorts, when it is first asked for. A TopicState that was given
out is never changed, only replaced.

Bound: the topics of one game.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.wire.topics import TopicPatterns
from mesh.merge import TopicMerge
from mesh.pseudonyms import UNKEYED, PublicId
from mesh.redis.share import Share


class Shown(NamedTuple):
    """A topic's state, and its encoding."""

    state: TopicState
    encoded: bytes


class GameView:
    """The pure core; `version` grows with every change."""

    def __init__(self, public: PublicId = UNKEYED) -> None:
        """`public`: under which ids actors are shown."""
        self.version = 0
        self._public = public
        self._merges: dict[str, TopicMerge] = {}
        self._changed_at: dict[str, int] = {}
        self._shown: dict[str, Shown] = {}
        self._moving: set[str] = set()
        self._applied: dict[int, int] = {}
        """Of the partitions that were loaded whole."""
        self._partitions: frozenset[int] = frozenset()
        """In which the game folds, as of the last load."""

    def offer(self, partial: Partial) -> bool:
        """Takes a partial; True if it changed anything."""
        merge = self._merges.get(partial.topic)
        if merge is None:
            merge = self._merges[partial.topic] = TopicMerge(partial.topic, self._public)
        if not merge.offer(partial):
            return False
        self._touch(partial.topic)
        if partial.WhichOneof("value") in ("pulse", "audience"):
            self._moving.add(partial.topic)
        return True

    def load(self, shares: Sequence[Share]) -> bool:
        """Takes what the store holds, one share for each partition; True if it changed anything. A share that
        is not whole is left out: what is known of its partition stands."""
        self._partitions = frozenset(share.partition for share in shares)
        whole = [share for share in shares if share.whole]
        taken = [self.offer(partial) for share in whole for partial in share.partials.values()]
        for share in whole:
            self._applied[share.partition] = max(share.applied, self._applied.get(share.partition, 0))
        return any(taken)

    def applied(self, partition: int) -> int | None:
        """Everything of the partition up to this sequence is in; None of a partition that the game lacks, or
        that was not loaded yet."""
        return self._applied.get(partition)

    def unloaded(self) -> int | None:
        """A partition that the game folds in and that was never loaded whole: without it, what there is here
        is a fraction. None once there is no such."""
        return min(self._partitions - self._applied.keys(), default=None)

    def folds_in(self, partition: int) -> bool:
        """As far as is known here."""
        return partition in self._partitions

    def includes(self, partition: int, sequence: int, topic: str = "") -> bool:
        """Whether all up to `sequence` of the partition is in; for a cursor, all of its `topic`.

        Of partitions that the game does not fold in everything is: nothing of them can be in its results.
        Whether that is so, who asks makes sure of: the spread known here may be of yesterday.
        """
        applied = self._applied.get(partition)
        if applied is None:
            return partition not in self._partitions
        if applied >= sequence:
            return True
        merge = self._merges.get(topic)
        return merge is not None and merge.sequence(partition) >= sequence

    def let_time_pass(self, now_s: float) -> bool:
        """Touches the topics whose shown value changed with time alone; True if there are any."""
        before = self.version
        for topic in list(self._moving):
            merge = self._merges[topic]
            if not merge.is_moving(now_s):
                self._moving.discard(topic)  # what is shown below is its end
            shown = self._shown.get(topic)
            # One that nobody has asked for since it changed last is merged when it is asked for.
            if shown is not None and shown.state != (state := self._state(topic, now_s)):
                self._touch(topic)
                self._shown[topic] = Shown(state, state.SerializeToString())
        return self.version > before

    def changed(self, patterns: TopicPatterns, since: int) -> list[str]:
        """The matching topics that changed after version `since`, by name."""
        return sorted(t for t, at in self._changed_at.items() if at > since and patterns.match(t))

    def has_changed(self, patterns: TopicPatterns, since: int) -> bool:
        return any(at > since and patterns.match(topic) for topic, at in self._changed_at.items())

    def shown(self, topic: str, now_s: float) -> Shown:
        """The state of a topic there is."""
        shown = self._shown.get(topic)
        if shown is None:
            state = self._state(topic, now_s)
            shown = self._shown[topic] = Shown(state, state.SerializeToString())
        return shown

    def _state(self, topic: str, now_s: float) -> TopicState:
        return self._merges[topic].state(now_s, partitions=len(self._partitions) or 1)

    def _touch(self, topic: str) -> None:
        self.version += 1
        self._changed_at[topic] = self.version
        self._shown.pop(topic, None)
