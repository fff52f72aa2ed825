"""What a process knows of a game: the merged state of every topic, and when each changed.

The view numbers its changes. Whoever was last sent version v is owed the topics that changed after v, each
in its newest state: that is conflation (I8), and because merges never go back, so does no viewer (I5).

A state is merged and encoded once for all cohorts, when it is first asked for. A TopicState that was given
out is never changed, only replaced. Of a poll that folds in one partition even the partial is decoded only
when more than a delta is asked for (mesh.results_feed.plain_tally).

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
from mesh.results_feed.plain_tally import Form, PlainTally, name_end, number
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
        loaded, progress = self.loaded, self.progress
        after = progress.after
        if after <= loaded or loaded < self.floor or self.stream != progress.stream:
            return loaded
        return after


class _Topic:
    """What is known of a topic, and what is shown of it, once somebody has asked."""

    __slots__ = ("_merge", "changed_at", "form", "name", "sequence", "shown", "unmerged")

    def __init__(self, merge: TopicMerge) -> None:
        self._merge = merge
        self.name = merge.topic
        self.changed_at = 0
        self.shown: Shown | None = None
        self.form: Form | None = None
        self.sequence = 0
        """Of the partial that was taken last."""
        self.unmerged: PlainTally | None = None
        """The newest partial, if it was not decoded yet."""

    @property
    def merge(self) -> TopicMerge:
        if self.unmerged is not None:
            self._merge.offer(Partial.FromString(self.unmerged.partial_bytes))
            self.unmerged = None
        return self._merge


class GameView:
    """The pure core; `version` grows with every change."""

    def __init__(self, public: PublicId = UNKEYED) -> None:
        """`public`: under which ids actors are shown."""
        self.version = 0
        self._public = public
        self._topics: dict[str, _Topic] = {}
        """Those that changed last stand last."""
        self.newest = ""
        """The name of the last of them."""
        self._plain: dict[bytes, _Topic] = {}
        """Those that have a form, by its name, while the game folds in one partition."""
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
        known = self._topics.get(topic)
        if known is None:
            known = self._topics[topic] = _Topic(TopicMerge(topic, self._public))
        merge = known.merge
        if not merge.offer(partial):
            return False
        known.sequence = partial.sequence
        self._touch(topic, known)
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
        if len(self._ordered) > 1:
            for topic in self._plain.values():
                topic.form = topic.shown = None
            self._plain.clear()

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
            plain = self._plain.get(encoded[: name_end(encoded)])
            if plain is not None and self._take_plain(plain, encoded, stream):
                changed.append(plain.name)
                continue
            partial = Partial.FromString(encoded)
            partition = partial.partition
            known = self._known.get(partition) or self._of(partition)
            if known.stream != stream:
                if known.stream:
                    continue  # it is loaded first: of two streams no sequence says which is newer
                known.stream = stream
            topic = partial.topic
            if self._offer(topic, partial):
                changed.append(topic)
        return changed

    def _take_plain(self, topic: _Topic, encoded: bytes, stream: str) -> bool:
        """Takes it without decoding it; False: it is to be decoded first."""
        form = topic.form
        assert form is not None
        found = form.read(encoded)
        if found is None or self._of(form.partition).stream != stream:
            return False
        sequence = number(found.sequence)
        if sequence <= topic.sequence:
            return False
        topic.sequence = sequence
        self._touch(topic.name, topic)
        topic.shown = topic.unmerged = found
        return True

    def take(self, share: Share) -> list[str]:
        """Takes what the store holds of a partition; the topics that it changed. A share that is not whole is
        left out: what is known of its partition stands."""
        if not share.whole:
            return []
        known = self._of(share.partition)
        if share.stream != known.stream:
            if known.stream:
                for topic in self._topics.values():
                    topic.merge.begin_anew(share.partition)
                known.loaded = -1
            known.stream = share.stream
        known.loaded = max(known.loaded, share.applied)
        return [name for name, partial in share.partials.items() if self.offer(partial)]

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
        known = self._topics.get(topic)
        return None if known is None else known.merge.partial(partition)

    def has(self, topic: str) -> bool:
        return topic in self._topics

    def positions(self) -> list[tuple[int, int]]:
        """How far each partition of the game is known, in their order: everything up to there is in what
        is shown now."""
        known = self._known
        found = []
        for partition in self._ordered:
            each = known.get(partition)
            if each is not None and each.loaded >= 0:
                found.append((partition, each.applied))
        return found

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
        known = self._topics.get(topic)
        return known is not None and known.merge.sequence(partition) >= sequence

    def merge_of(self, topic: str) -> TopicMerge | None:
        """What is known of a topic, not merged yet; to be read only."""
        known = self._topics.get(topic)
        return None if known is None else known.merge

    def let_time_pass(self, now_s: float) -> bool:
        """Touches the topics whose shown value changed with time alone; True if there are any."""
        before = self.version
        for topic in [topic for topic, at_s in self._moving.items() if at_s <= now_s]:
            known = self._topics[topic]
            at_s = known.merge.moves_at_s(now_s)
            if at_s is None:
                del self._moving[topic]  # what is shown below is its end
            else:
                self._moving[topic] = at_s
            shown = known.shown
            # One that nobody has asked for since it changed last is merged when it is asked for.
            if shown is not None and shown.state != (state := self._state(known.merge, now_s)):
                self._touch(topic, known)
                known.shown = Shown(state)
        return self.version > before

    def changed(self, patterns: TopicPatterns, since: int) -> list[str]:
        """The matching topics that changed after version `since`, by name."""
        return sorted(topic for topic in self.changed_since(since) if patterns.match(topic))

    def changed_at(self, topic: str) -> int:
        """In which version the topic changed last."""
        return self._topics[topic].changed_at

    def changed_since(self, since: int) -> list[str]:
        """The topics that changed after version `since`, the latest first."""
        found = []
        for topic, known in reversed(self._topics.items()):
            if known.changed_at <= since:
                break
            found.append(topic)
        return found

    def shown(self, topic: str, now_s: float) -> Shown:
        """The state of a topic there is."""
        known = self._topics[topic]
        shown = known.shown
        if shown is None:
            merge = known.merge
            partials = merge.partials()
            if partials and partials[0].HasField("tally"):
                shown = ShownTally(merge, partials, len(self._partitions) or 1)
                if known.form is None and len(partials) == len(self._partitions) == 1:
                    known.form = Form(partials[0])
                    self._plain[known.form.name] = known
            else:
                shown = Shown(self._state(merge, now_s))
            known.shown = shown
        return shown

    def _state(self, merge: TopicMerge, now_s: float) -> TopicState:
        return merge.state(now_s, partitions=len(self._partitions) or 1)

    def _touch(self, topic: str, known: _Topic) -> None:
        """What is shown of it has changed."""
        self.version = known.changed_at = self.version + 1
        known.shown = None
        if topic != self.newest:
            self.newest = topic
            del self._topics[topic]
            self._topics[topic] = known
