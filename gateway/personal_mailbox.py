"""What one viewer is still to be told of its personal topics. Pure.

Of a topic it holds the newest state and nothing else: what could not be told in time is replaced by what came
after it (I8). Versions of a topic only grow (I5).

Bound: one state for each personal topic of a subscription.
"""

from __future__ import annotations

from collections.abc import Sequence


class Mailbox:
    __slots__ = ("_versions", "_waiting")

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._waiting: dict[str, bytes] = {}

    def offer(self, topic: str, state: bytes, version: int) -> bool:
        """Takes an encoded TopicState unless that version of its topic, or a newer one, came before; True if
        taken."""
        if version <= self._versions.get(topic, -1):
            return False
        self._versions[topic] = version
        self._waiting[topic] = state
        return True

    @property
    def waiting(self) -> Sequence[bytes]:
        """What is to be told, in one message."""
        return list(self._waiting.values())

    def told(self) -> None:
        """All that was waiting."""
        self._waiting.clear()
