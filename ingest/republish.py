"""Splits a block that the event log did not take in time: what is published again, and what is refused. Pure.

The events may be stored all the same; none is acked. Each is validated again at the current time (I9: a vote
that was not stored in time must not be counted because it was received before the close), and refused if its
topic has closed. A relayed event is refused with the original error, and its relay resends it. An event whose
stream is gone is dropped: its client resends it on another stream under the same identity (I2). The rest is
published again.
"""

from __future__ import annotations

from typing import NamedTuple

from grandstand.wire.errors import GrandstandError
from ingest.check import Checker, Place
from ingest.coalesce import Batch, Entry
from ingest.intake import Ticket


class RepublishSplit(NamedTuple):
    kept: dict[Place, list[Entry[Ticket]]]
    """What is published again, by topic."""
    refused: list[tuple[list[Entry[Ticket]], GrandstandError]]
    """What is refused, and why. A copy of each may already be stored."""


def split_for_republish(
    batch: Batch[Ticket], error: GrandstandError, checker: Checker, now_s: float
) -> RepublishSplit:
    """`error`: why the event log did not take the batch; `now_s`: Unix seconds."""
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
    return RepublishSplit(kept, refused)
