"""What one viewer is still to be told of its personal topics. Pure.

Of a topic it holds the newest state and nothing else: what could not be told in time is replaced by what came
after it (I8). Versions of a topic only grow (I5).

Bound: one state for each personal topic of a subscription.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandstand.aggregate.v1.aggregate_pb2 import TopicState


class Mailbox:
    __slots__ = ("_versions", "_waiting")

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._waiting: dict[str, TopicState] = {}

    def offer(self, state: TopicState, version: int) -> bool:
        """Takes a state unless that version of its topic, or a newer one, came before; True if taken."""
        if version <= self._versions.get(state.topic, -1):
            return False
        self._versions[state.topic] = version
        self._waiting[state.topic] = state
        return True

    @property
    def waiting(self) -> Sequence[TopicState]:
        """What is to be told, in one message."""
        return list(self._waiting.values())

    def told(self) -> None:
        """All that was waiting."""
        self._waiting.clear()
