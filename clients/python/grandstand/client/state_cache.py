"""What a viewer shows: the newest state of every topic, never an older one (I5). Pure.

A Snapshot and an Update change the topics they name, Personal replaces personal topics. A Snapshot shows only
this many topics: what it does not name stays as it is. A delta changes what its own stream said of the topic
before, which is not always what is shown: a stream that follows another one may start behind it. So two
states of a topic are kept, most often the same: what is shown, and what the stream said last. A state is
shown once its cursor includes that of the one shown.

What a stream promises is never to go back behind its own states and behind what was shown when it was
opened. A state that breaks this is counted in `went_back`: it must never happen, and the count is how a test
or a simulation proves it. A delta that does not fit is a DeltaMismatch: only a new stream helps.

Cursors compare partition by partition; a partition absent from a cursor stands for sequence 0.

Bound: two states for each topic of the subscription. Beyond TOPICS_KEPT_MAX a Snapshot drops sealed topics
that it does not name, those first that were shown first.
"""

from __future__ import annotations

from collections.abc import Iterable

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.delta_pb2 import TopicDelta
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse, TopicCursor
from grandstand.wire import bounds
from grandstand.wire.delta import DeltaMismatch, apply

TOPICS_KEPT_MAX = 1_024


def sequence_in(cursor: Cursor, partition: int) -> int:
    """The newest sequence of `partition` that the cursor holds; 0 for none."""
    for position in cursor.positions:
        if position.partition == partition:
            return position.sequence
    return 0


def includes(cursor: Cursor, positions: Iterable[Position]) -> bool:
    """Whether a state with this cursor includes the events at all of these positions."""
    return all(sequence_in(cursor, position.partition) >= position.sequence for position in positions)


class StateCache:
    """The merged states of one subscription. For a client of your own on the generated stubs; Viewer has
    one."""

    def __init__(self) -> None:
        self.states: dict[str, TopicState] = {}
        """By topic. A state is never changed, only replaced."""
        self.went_back = 0
        self._said: dict[str, TopicState] = {}
        self._promised: dict[str, Cursor] = {}
        self._personal: set[str] = set()
        self._applied: dict[int, int] = {}

    def begin(self, seen: Iterable[TopicCursor] = ()) -> None:
        """A new stream speaks from now on. `seen`: the cursors of what was shown when it was opened, from
        `seen()`."""
        self._said.clear()
        self._promised = {cursor.topic: cursor.cursor for cursor in seen}

    def apply(self, message: SubscribeResponse) -> list[str]:
        """Merges a message of the stream. Returns the topics whose state was replaced, in the message's
        order.

        Raises DeltaMismatch for a delta that does not fit its state: open a new stream. What came before it
        in the message is applied.
        """
        taken = self._apply(message)
        for position in message.applied:
            self._applied[position.partition] = max(
                position.sequence, self._applied.get(position.partition, 0)
            )
        return taken

    def _apply(self, message: SubscribeResponse) -> list[str]:
        match message.WhichOneof("message"):
            case "snapshot":
                taken = [state.topic for state in message.snapshot.topics if self._take(state)]
                self._begin_again({state.topic for state in message.snapshot.topics} | self._personal)
                return taken
            case "update":
                update = message.update
                replaced = [state.topic for state in update.topics if self._take(state)]
                return replaced + [delta.topic for delta in update.deltas if self._take(self._changed(delta))]
            case "personal":
                self._personal.update(state.topic for state in message.personal.topics)
                return [state.topic for state in message.personal.topics if self._take(state)]
        return []

    def applied(self) -> list[Position]:
        """Positions to hand in with the next Subscribe: everything up to them is in what is shown."""
        return [Position(partition=p, sequence=s) for p, s in sorted(self._applied.items())]

    def cursors(self) -> list[TopicCursor]:
        """Cursors to hand in besides `applied`: of topics that it does not cover, at most 64. For further
        topics, this cache itself refuses an older state."""
        cursors = [each for each in self.seen() if not self._applied or each.topic in self._personal]
        return cursors[: bounds.POSITIONS_MAX]

    def seen(self) -> list[TopicCursor]:
        """The cursor of every topic that is shown."""
        return [TopicCursor(topic=t, cursor=s.cursor) for t, s in self.states.items() if s.cursor.positions]

    def _changed(self, delta: TopicDelta) -> TopicState:
        said = self._said.get(delta.topic)
        if said is None:
            raise DeltaMismatch(
                f"a delta of {delta.topic!r}, which the stream has not shown; subscribe again"
            )
        return apply(said, delta)

    def _take(self, state: TopicState) -> bool:
        topic = state.topic
        before = self._said.get(topic)
        promised = self._promised.get(topic) if before is None else before.cursor
        if promised is not None and not includes(state.cursor, promised.positions):
            self.went_back += 1
        self._said[topic] = state
        shown = self.states.get(topic)
        if shown is not None and not includes(state.cursor, shown.cursor.positions):
            return False
        self.states[topic] = state
        return True

    def _begin_again(self, named: set[str]) -> None:
        """Of what a Snapshot does not name the stream has said nothing: no delta fits it."""
        self._said = {topic: state for topic, state in self._said.items() if topic in named}
        if len(self.states) <= TOPICS_KEPT_MAX:
            return
        sealed = [t for t, state in self.states.items() if state.stage == STAGE_SEALED and t not in named]
        for topic in sealed[: len(self.states) - TOPICS_KEPT_MAX]:
            del self.states[topic]
