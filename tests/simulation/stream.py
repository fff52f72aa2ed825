"""JetStream as ingest and the workers see it: one stream of many partitions.

A message is stored once for each message id within the stream's dedupe window; a copy of it
is acked with the sequence of the first. Messages may be lost, stored late and in any order; acks
may be lost. What is stored stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest.coalesce import Row
from mesh import limits
from tests.simulation.world import World

FOREIGN = b"not a block"


@dataclass(frozen=True, slots=True)
class Stored:
    """One message. `rows` are what its bytes say, for the oracle."""

    sequence: int
    partition: int
    data: bytes
    rows: Sequence[Row]

    @property
    def is_foreign(self) -> bool:
        """Neither ingest nor the catalog wrote it."""
        return self.data.startswith(FOREIGN)


class ModelStream:
    def __init__(self, world: World) -> None:
        self._world = world
        self.messages: list[Stored] = []
        self._by_partition: dict[int, list[Stored]] = {}
        self._known: dict[str, tuple[float, int]] = {}
        self.on_stored: Callable[[int], None] = lambda partition: None
        """Told the partition of each new message."""

    @property
    def last(self) -> int:
        return len(self.messages)

    def publish(
        self,
        partition: int,
        data: bytes,
        message_id: str,
        rows: Sequence[Row],
        on_ack: Callable[[int], None],
    ) -> None:
        """One attempt: it may be lost on either way, and be late."""
        if self._world.odds(0.06):
            return
        mean_s = 0.8 if self._world.odds(0.06) else 0.004

        def arrive() -> None:
            sequence = self.store(partition, data, message_id, rows)
            if not self._world.odds(0.06):
                self._world.soon(lambda: on_ack(sequence), 0.8 if self._world.odds(0.05) else 0.004)

        self._world.soon(arrive, mean_s)

    def store(self, partition: int, data: bytes, message_id: str, rows: Sequence[Row]) -> int:
        known = self._known.get(message_id)
        if known is not None and self._world.now_s - known[0] < limits.DEDUPE_WINDOW_S:
            return known[1]
        stored = Stored(self.last + 1, partition, data, rows)
        self.messages.append(stored)
        self._by_partition.setdefault(partition, []).append(stored)
        self._known[message_id] = (self._world.now_s, stored.sequence)
        self.on_stored(partition)
        return stored.sequence

    def of(self, partition: int) -> Sequence[Stored]:
        return self._by_partition.get(partition, [])
