"""What a process knows of a game: the merged state of every topic, and when each changed.

The view numbers its changes. Whoever was last sent version v is owed the topics that changed after v, each
in its newest state: that is conflation (I8), and because merges never go back, so does no viewer (I5).

A state is merged and encoded once for all cohorts, when it is first asked for. A TopicState that was given
out is never changed, only replaced.

Bound: the topics of one game.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.wire.topics import TopicPatterns
from mesh.merge import TopicMerge
from mesh.pseudonyms import UNKEYED, PublicId
from mesh.redis.share import Share
from mesh.results_feed.partition_results import Progress
from mesh.results_feed.shown import Shown, ShownTally


class _Known:
    """How far one partition of the game is known."""

    __slots__ = ("floor", "loaded", "progress", "stream")

    def __init__(self) -> None:
        self.progress = Progress()
        self.stream = ""
        """The event stream that the partials are of; "" before the first."""
        self.loaded = -1
        """All up to it is in, by the store or by messages before a gap; -1: it was never loaded whole."""
        self.floor = 0
        """What is loaded up to here is complete with what was heard since."""

    @property
    def applied(self) -> int:
        progress = self.progress
        if self.loaded < self.floor or self.stream != progress.stream:
            return self.loaded
        return max(self.loaded, progress.after)


class GameView:
    """The pure core; `version` grows with every change."""

    def __init__(self, public: PublicId = UNKEYED) -> None:
        """`public`: under which ids actors are shown."""
        self.version = 0
        self._public = public
        self._merges: dict[str, TopicMerge] = {}
        self._changed_at: dict[str, int] = {}
        """In this order."""
        self._shown: dict[str, Shown] = {}
        self._moving: dict[str, float] = {}
        """When the value of a topic may change next with time alone."""
        self._known: dict[int, _Known] = {}
        self._partitions: frozenset[int] = frozenset()
        """In which the game folds, as far as is known."""
        self._ordered: list[int] = []

    def offer(self, partial: Partial) -> bool:
        """Takes a partial; True if it changed anything."""
        return self._offer(partial.topic, partial)

    def _offer(self, topic: str, partial: Partial) -> bool:
        merge = self._merges.get(topic)
        if merge is None:
            merge = self._merges[topic] = TopicMerge(topic, self._public)
        if not merge.offer(partial):
            return False
        self._touch(topic)
        if merge.moves:
            self._moving[topic] = 0.0
        return True

    # The partitions of the game.

    @property
    def partitions(self) -> frozenset[int]:
        """In which the game folds, as far as is known."""
        return self._partitions

    def fold_in(self, partitions: Iterable[int]) -> None:
        """The partitions that the game folds in; those that are new are not loaded yet."""
        self._partitions = frozenset(partitions)
        self._ordered = sorted(self._partitions)

    def follow(self, partition: int, progress: Progress) -> None:
        """What is heard of the partition from now on, this view hears too."""
        known = self._of(partition)
        known.progress = progress
        known.floor = progress.after

    def settle(self, partition: int, floor: int) -> None:
        """Messages of the partition are missing: what is known up to `floor` is complete with the next."""
        known = self._of(partition)
        known.loaded = known.applied
        known.floor = floor

    def hear(self, partials: Iterable[bytes], stream: str) -> list[str]:
        """Takes what the owner of a partition said, encoded; the topics that it changed. Raises
        DecodeError."""
        changed = []
        for encoded in partials:
            partial = Partial.FromString(encoded)
            known = self._known.get(partial.partition) or self._of(partial.partition)
            if known.stream != stream:
                if known.stream:
                    continue  # it is loaded first: of two streams no sequence says which is newer
                known.stream = stream
            topic = partial.topic
            if self._offer(topic, partial):
                changed.append(topic)
        return changed

    def take(self, share: Share) -> list[str]:
        """Takes what the store holds of a partition; the topics that it changed. A share that is not whole is
        left out: what is known of its partition stands."""
        if not share.whole:
            return []
        known = self._of(share.partition)
        if share.stream != known.stream:
            if known.stream:
                for merge in self._merges.values():
                    merge.begin_anew(share.partition)
                known.loaded = -1
            known.stream = share.stream
        known.loaded = max(known.loaded, share.applied)
        return [topic for topic, partial in share.partials.items() if self.offer(partial)]

    def load(self, shares: Sequence[Share]) -> bool:
        """Takes one share for each partition of the game; True if it changed anything."""
        self.fold_in(share.partition for share in shares)
        return bool([topic for share in shares for topic in self.take(share)])

    def applied(self, partition: int) -> int | None:
        """Everything of the partition up to this sequence is in; None of a partition that the game lacks, or
        that was not loaded yet."""
        known = self._known.get(partition)
        return None if known is None or known.loaded < 0 else known.applied

    def partial(self, topic: str, partition: int) -> Partial | None:
        """What is known of the topic in one partition."""
        merge = self._merges.get(topic)
        return None if merge is None else merge.partial(partition)

    def has(self, topic: str) -> bool:
        return topic in self._merges

    def positions(self) -> list[tuple[int, int]]:
        """How far each partition of the game is known, in their order: everything up to there is in what
        is shown now."""
        known = self._known
        return [
            (partition, each.applied)
            for partition in self._ordered
            if (each := known.get(partition)) is not None and each.loaded >= 0
        ]

    def stream(self, partition: int) -> str:
        """The event stream that what is known of the partition is of; "" before anything is."""
        known = self._known.get(partition)
        return "" if known is None else known.stream

    def lacks(self, partition: int) -> bool:
        """Whether the partition is to be loaded: never was, or something was missed since."""
        known = self._of(partition)
        heard = known.progress.stream
        return known.loaded < known.floor or known.loaded < 0 or bool(heard and heard != known.stream)

    def _of(self, partition: int) -> _Known:
        known = self._known.get(partition)
        if known is None:
            known = self._known[partition] = _Known()
        return known

    def unloaded(self) -> int | None:
        """A partition that the game folds in and that was never loaded whole: without it, what there is here
        is a fraction. None once there is no such."""
        return min((p for p in self._partitions if self.applied(p) is None), default=None)

    def folds_in(self, partition: int) -> bool:
        """As far as is known here."""
        return partition in self._partitions

    def includes(self, partition: int, sequence: int, topic: str = "") -> bool:
        """Whether all up to `sequence` of the partition is in; for a cursor, all of its `topic`.

        Of partitions that the game does not fold in everything is: nothing of them can be in its results.
        Whether that is so, who asks makes sure of: the spread known here may be of yesterday.
        """
        applied = self.applied(partition)
        if applied is None:
            return partition not in self._partitions
        if applied >= sequence:
            return True
        merge = self._merges.get(topic)
        return merge is not None and merge.sequence(partition) >= sequence

    def merge_of(self, topic: str) -> TopicMerge | None:
        """What is known of a topic, not merged yet; to be read only."""
        return self._merges.get(topic)

    def let_time_pass(self, now_s: float) -> bool:
        """Touches the topics whose shown value changed with time alone; True if there are any."""
        before = self.version
        for topic in [topic for topic, at_s in self._moving.items() if at_s <= now_s]:
            at_s = self._merges[topic].moves_at_s(now_s)
            if at_s is None:
                del self._moving[topic]  # what is shown below is its end
            else:
                self._moving[topic] = at_s
            shown = self._shown.get(topic)
            # One that nobody has asked for since it changed last is merged when it is asked for.
            if shown is not None and shown.state != (state := self._state(topic, now_s)):
                self._touch(topic)
                self._shown[topic] = Shown(state)
        return self.version > before

    def changed(self, patterns: TopicPatterns, since: int) -> list[str]:
        """The matching topics that changed after version `since`, by name."""
        return sorted(topic for topic in self.changed_since(since) if patterns.match(topic))

    def changed_at(self, topic: str) -> int:
        """In which version the topic changed last."""
        return self._changed_at[topic]

    def changed_since(self, since: int) -> list[str]:
        """The topics that changed after version `since`, the latest first."""
        found = []
        for topic, at in reversed(self._changed_at.items()):
            if at <= since:
                break
            found.append(topic)
        return found

    def shown(self, topic: str, now_s: float) -> Shown:
        """The state of a topic there is."""
        shown = self._shown.get(topic)
        if shown is None:
            shown = self._shown[topic] = self._merged(topic, now_s)
        return shown

    def _merged(self, topic: str, now_s: float) -> Shown:
        merge = self._merges[topic]
        partials = merge.partials()
        if partials and partials[0].HasField("tally"):
            return ShownTally(merge, partials, len(self._partitions) or 1)
        return Shown(self._state(topic, now_s))

    def _state(self, topic: str, now_s: float) -> TopicState:
        return self._merges[topic].state(now_s, partitions=len(self._partitions) or 1)

    def _touch(self, topic: str) -> None:
        self.version += 1
        self._changed_at.pop(topic, None)
        self._changed_at[topic] = self.version
        self._shown.pop(topic, None)
