"""What becomes of a block that the event log did not take in time. Pure.

Its events may be stored all the same, and none is acked. While somebody waits for them they go off
again, so each is judged anew by the clock of now (I9: a vote that was not stored in time must
not slip in after the close it was received before): what came too late by now is refused. A relayed
event is refused for its relay to send again. What nobody waits for any more is left out: its client
sends it again on another stream, under the same identity (I2).
"""

from __future__ import annotations

from typing import NamedTuple

from ingest.check import Checker
from ingest.coalesce import Batch, Entry, Place
from ingest.intake import Ticket
from mesh.errors import GrandstandError


class Sifted(NamedTuple):
    kept: dict[Place, list[Entry[Ticket]]]
    """What goes off again, by place."""
    refused: list[tuple[list[Entry[Ticket]], GrandstandError]]
    """What is refused, and why; a copy of each may be stored."""


def sift(batch: Batch[Ticket], error: GrandstandError, checker: Checker, now_s: float) -> Sifted:
    """`error`: why the log did not take the batch; `now_s`: Unix seconds."""
    kept: dict[Place, list[Entry[Ticket]]] = {}
    refused: list[tuple[list[Entry[Ticket]], GrandstandError]] = []
    told: list[Entry[Ticket]] = []
    for place, entries in batch.sections.items():
        try:
            checker.check_open(place, now_s)
        except GrandstandError as closed:
            refused.append((entries, closed))
            continue
        kept[place] = [entry for entry in entries if not (entry[0].is_relayed or entry[0].is_gone)]
        told += [entry for entry in entries if entry[0].is_relayed or entry[0].is_gone]
    if told:
        refused.append((told, error))
    return Sifted(kept, refused)
