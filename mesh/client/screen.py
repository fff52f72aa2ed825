"""What a viewer shows: the newest state of every topic, never an older one (I5). Pure.

A stream's states are absolute and replace each other. A Snapshot replaces everything shown; an
Update replaces the topics it names. A state whose cursor lies behind the one shown, in any
partition, is not taken and is counted in `went_back`: the gateway promises that this never
happens, and the count is how a test or a simulation proves it.

Cursors compare partition by partition; a partition absent from a cursor stands for sequence 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse, TopicCursor


def sequence_in(cursor: Cursor, partition: int) -> int:
    """The newest sequence of `partition` that the cursor holds; 0 for none."""
    for position in cursor.positions:
        if position.partition == partition:
            return position.sequence
    return 0


def includes(cursor: Cursor, positions: Iterable[Position]) -> bool:
    """Whether a state with this cursor includes the events at all of these positions."""
    return all(sequence_in(cursor, position.partition) >= position.sequence for position in positions)


class Screen:
    """The merged states of one subscription."""

    def __init__(self) -> None:
        self.states: dict[str, TopicState] = {}
        self.went_back = 0

    def apply(self, message: SubscribeResponse) -> list[str]:
        """Takes a message of the stream; returns the topics whose state was replaced, in its order."""
        kind = message.WhichOneof("message")
        if kind == "update":
            return [state.topic for state in message.update.topics if self._replace(state)]
        if kind != "snapshot":
            return []
        shown = {state.topic for state in message.snapshot.topics}
        for topic in [topic for topic in self.states if topic not in shown]:
            del self.states[topic]
        return [state.topic for state in message.snapshot.topics if self._replace(state)]

    def cursors(self) -> list[TopicCursor]:
        """What to hand in with the next Subscribe."""
        return [TopicCursor(topic=topic, cursor=state.cursor) for topic, state in self.states.items()]

    def _replace(self, state: TopicState) -> bool:
        shown = self.states.get(state.topic)
        if shown is not None and not includes(state.cursor, shown.cursor.positions):
            self.went_back += 1
            return False
        self.states[state.topic] = state
        return True
