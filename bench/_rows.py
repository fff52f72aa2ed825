"""Events as plain rows, for benchmarks and tests: rows to blocks, as ingest encodes them, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire import ids
from ingest.check import ValidatedEvent
from ingest.coalesce import Batch
from ingest.compiled_definitions import CompiledGame

Ticket = TypeVar("Ticket")


class Row(NamedTuple):
    """One event by itself. See ingest.check.ValidatedEvent."""

    partition: int
    game_id: str
    topic: str
    origin_id: str
    origin_seq: int
    actor_id: str
    value: int | float
    label: str = ""
    weight: int = 0
    payload: bytes = b""
    final: bool = False
    guest: bool = False
    voids: int = 0
    generation: int = 0


def add_rows(batch: Batch[None], rows: Iterable[Row]) -> None:
    """Adds rows without tickets."""
    games: dict[tuple[str, int], CompiledGame] = {}
    for row in rows:
        key = (row.game_id, row.generation)
        if key not in games:
            games[key] = CompiledGame(Game(game_id=row.game_id, generation=row.generation))
        validated = ValidatedEvent(
            games[key],
            _KINDS[row.topic.partition("/")[0]],
            row.topic,
            row.value,
            label=row.label,
            weight=row.weight,
            payload=row.payload,
            final=row.final,
            guest=row.guest,
            voids=row.voids,
        )
        origin, producer = ids.origin_key(row.origin_id), row.origin_id[0] == "p"
        batch.add(validated, origin, producer, row.origin_seq, row.actor_id, None)


def encode(rows: Iterable[Row], stamped_at_ns: int) -> Block:
    """The rows, all of one partition, as a block."""
    batch: Batch[None] = Batch(0, 0.0)
    add_rows(batch, rows)
    return batch.encode(stamped_at_ns)


def rows_of(batch: Batch[Ticket]) -> list[Row]:
    """A batch's events as rows."""
    names = batch.actor_ids()
    origins = batch.origins()
    return [
        Row(
            batch.partition,
            *said.place[:2],
            ids.origin_of(origins.key(origin), producer=origin < 0),
            seq,
            names[actor],
            said.value,
            said.label,
            said.weight,
            said.payload,
            said.final,
            said.place[2],
            said.voids,
            said.place[3],
        )
        for _, seq, origin, actor, said in batch.entries()
    ]


_KINDS = {
    "poll": "vote",
    "board": "score",
    "pulse": "reaction",
    "audience": "presence",
    "metric": "measure",
    "custom": "custom",
}
