"""The peer of the fold benchmark: the same tally written for Bytewax.

    python -m bench._bytewax_tally FILE

Run by `bench fold` with Bytewax on its path; FILE is a pickle of the batches. Prints one JSON
object: events a CPU second of the same tally (batches parsed, replays left out, one vote an
actor), and of a bare one (options that were parsed beforehand, counted, nothing else).
Written as Bytewax is fastest: `flat_map_batch` and `stateful_batch`, one worker, no recovery
store, a source that hands over whole batches.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from grandstand.ingest.v1.ingest_pb2 import EventBatch

_WIDTH = 64
_MASK = (1 << _WIDTH) - 1
_BARE_BATCH = 4_096


class BytewaxTally(op.StatefulBatchLogic):  # type: ignore[misc]
    """One final poll: windows by origin, a vote by actor."""

    def __init__(self, _: Any) -> None:
        self.windows: dict[str, tuple[int, int]] = {}
        self.cast: dict[str, str] = {}
        self.votes: dict[str, int] = {}

    def on_batch(self, values: list[tuple[str, int, str, str]]) -> tuple[Iterable[Any], bool]:
        windows, cast, votes = self.windows, self.cast, self.votes
        for origin_id, sequence, actor_id, option_id in values:
            highest, seen = windows.get(origin_id, (0, 0))
            if sequence > highest:
                shift = sequence - highest
                seen = 1 if shift >= _WIDTH else ((seen << shift) | 1) & _MASK
                windows[origin_id] = (sequence, seen)
            else:
                behind = highest - sequence
                if behind >= _WIDTH or seen >> behind & 1:
                    continue
                windows[origin_id] = (highest, seen | 1 << behind)
            if actor_id not in cast:
                cast[actor_id] = option_id
                votes[option_id] = votes.get(option_id, 0) + 1
        return [], False

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [len(self.cast)], True

    def snapshot(self) -> Any:
        return None


class Bare(op.StatefulBatchLogic):  # type: ignore[misc]
    """Counts what it is given."""

    def __init__(self, _: Any) -> None:
        self.votes: dict[str, int] = {}

    def on_batch(self, values: list[str]) -> tuple[Iterable[Any], bool]:
        votes = self.votes
        for option_id in values:
            votes[option_id] = votes.get(option_id, 0) + 1
        return [], False

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        return [sum(self.votes.values())], True

    def snapshot(self) -> Any:
        return None


def parsed(batches: list[bytes]) -> Iterable[tuple[str, tuple[str, int, str, str]]]:
    """Keyed by poll, as Bytewax wants it."""
    return [
        (event.vote.poll_id, (event.origin_id, event.origin_seq, event.actor_id, event.vote.option_ids[0]))
        for batch in batches
        for event in EventBatch.FromString(batch).events
    ]


def run(name: str, source: TestingSource, logic: type, parse: bool) -> tuple[float, Any]:
    """CPU seconds, and what came out."""
    out: list[Any] = []
    flow = Dataflow(name)
    stream = op.input("in", flow, source)
    if parse:
        stream = op.flat_map_batch("parse", stream, parsed)
    op.output("out", op.stateful_batch("tally", stream, logic), TestingSink(out))
    began_s = time.process_time()
    run_main(flow)
    return time.process_time() - began_s, out[0][1]


def main() -> None:
    batches: list[bytes] = pickle.loads(Path(sys.argv[1]).read_bytes())
    keyed = [(poll_id, vote[3]) for poll_id, vote in parsed(batches)]
    same_s, voters = run("same", TestingSource(batches), BytewaxTally, parse=True)
    bare_s, count = run("bare", TestingSource(keyed, batch_size=_BARE_BATCH), Bare, parse=False)
    assert count == len(keyed), "the bare tally counts everything"
    print(
        json.dumps(
            {
                "events_per_cpu_s": len(keyed) / same_s,
                "bare_events_per_cpu_s": len(keyed) / bare_s,
                "voters": voters,
            }
        )
    )


if __name__ == "__main__":
    main()
