"""Ingest: what an event costs, beside the floor of grpc.aio and beside nats-py; acks; idle streams.

Real processes: a nats-server with JetStream's file store, `python -m ingest`, and a load generator of our own
that speaks HTTP/2 as Envoy would (bench/_drive.py; it costs a fraction of what it measures, and says how
much). An event counts when it is acked, and at the end the event log is read from first to last: every acked
event must be in it, under its own identity. CPU is that of the measured process alone, all threads.

    single    viewers' streams, one event a message, and in turns with it the floor: a grpc.aio handler
              that only reads the bytes of the very same messages, at the same depth
    batched   game servers' streams, 64 events a message, and in turns with it nats-py, which publishes each
              of the same events by `publish_async`
    acks      viewers' streams at a fixed rate; an ack's time counts from when its event was due
    idle      streams that have had one event acked and now say only that they live: resident memory for each

The ratios are medians of the rounds' ratios: what the machine does to one it does to the other.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable

from bench._arguments import check_least
from bench._bed import Bed, bed
from bench._child import BenchChild
from bench._drive import Drive
from bench._h2 import H2Error
from bench._ingest_figures import IngestFigures, IngestTurn, show
from bench._messages import BATCH, Batches, Messages, Singles
from bench._pace import pace
from bench._say import say, say_nothing
from bench._stored import StoredRows, read_stored
from toolbox.cli.console import one_line_errors
from toolbox.local.errors import MeshError

GAME = "bench"
_WARM_UP = 0.5
"""Of a turn."""
_PEER_FIRST_EVENTS = 2_000
_IDLE_S = 10.0


class IngestBench:
    """One run."""

    def __init__(self, bed: Bed, asked: argparse.Namespace) -> None:
        self._bed = bed
        self._asked = asked
        self._drives: list[Drive] = []
        self.figures = IngestFigures(
            single_streams=asked.streams,
            batched_streams=asked.producers,
            idle_streams=asked.idle_streams,
            ack_rate_per_s=asked.rate,
            spread=asked.spread,
        )

    def run(self) -> None:
        """Raises MeshError, H2Error."""
        self._idle()
        ingest = self._bed.ingest("ingest-2")
        self._single(ingest)
        self._batched(ingest)
        self._acks(ingest)
        say("reading the event log")
        self._check(asyncio.run(read_stored(self._bed.nats_url)))

    def _idle(self) -> None:
        """First, and on a process of its own: what it grew by is the streams'."""
        asked = self._asked
        say(f"idle: opening {asked.idle_streams} streams")
        ingest = self._bed.ingest("ingest-1")
        before_kib = ingest.rss_kib()
        drive = self._drive(ingest, Singles(GAME), asked.idle_streams, 1 << 62)
        try:
            for stream in drive.streams:
                drive.send(stream)
                drive.turn(0.0)
            drive.settle()
            say(f"idle: {asked.idle_streams} streams are idle")
            drive.idle(min(_IDLE_S, 3 * asked.seconds))
            grown_kib = ingest.rss_kib() - before_kib
        finally:
            drive.close()
        self.figures.rss_kib_per_stream = round(grown_kib / asked.idle_streams, 1)
        ingest.end()

    def _single(self, ingest: BenchChild) -> None:
        asked, figures = self._asked, self.figures
        say("single: opening the streams")
        floor = self._bed.floor()
        messages = Singles(GAME)
        depth = asked.depth * asked.streams
        ours = self._drive(ingest, messages, asked.streams, depth)
        count: Callable[[], int] = lambda: int(floor.ask("read?"))  # noqa: E731
        theirs = Drive(floor.port, messages, asked.streams, depth, self._bed.viewer, count)
        try:
            for drive in (ours, theirs):
                self._press(drive, _WARM_UP * asked.seconds)
            for turn in range(asked.rounds):
                say(f"single: round {turn + 1} of {asked.rounds}")
                acks = ours.acks
                figures.single.append(self._turn(ours, ingest))
                figures.events_per_ack.append(figures.single[-1].events / max(1, ours.acks - acks))
                figures.floor.append(self._turn(theirs, floor))
        finally:
            for drive in (ours, theirs):
                drive.close()
        floor.end()

    def _batched(self, ingest: BenchChild) -> None:
        asked, figures = self._asked, self.figures
        say("batched: opening the streams")
        peer = self._bed.peer()
        drive = self._drive(
            ingest, Batches(GAME), asked.producers, asked.depth * asked.producers * BATCH // 2
        )
        try:
            self._press(drive, _WARM_UP * asked.seconds)
            speed = _PEER_FIRST_EVENTS / self._publish(peer, _PEER_FIRST_EVENTS).wall_s
            for turn in range(asked.rounds):
                say(f"batched: round {turn + 1} of {asked.rounds}")
                figures.batched.append(self._turn(drive, ingest))
                figures.nats_py.append(self._publish(peer, max(1_000, int(speed * asked.seconds))))
        finally:
            drive.close()
        peer.end()

    def _acks(self, ingest: BenchChild) -> None:
        asked, figures = self._asked, self.figures
        say(f"acks: {asked.rate:g} events/s")
        drive = self._drive(ingest, Singles(GAME), asked.streams, 1 << 62)
        try:
            pace(drive, asked.rate, _WARM_UP * asked.seconds)
            before_s, began_s = time.process_time(), time.monotonic()
            paced = pace(drive, asked.rate, 2 * asked.seconds)
            figures.generator_pace_share = round(
                (time.process_time() - before_s) / (time.monotonic() - began_s), 2
            )
        finally:
            drive.close()
        figures.take_acks(paced.took_s)
        figures.generator_late_ms = round(1_000 * paced.late_s, 2)

    def _drive(self, ingest: BenchChild, messages: Messages, streams: int, in_flight: int) -> Drive:
        shown = self._bed.producer if messages.producer else self._bed.viewer
        drive = Drive(ingest.port, messages, streams, in_flight, shown)
        self._drives.append(drive)
        return drive

    def _press(self, drive: Drive, seconds: float) -> None:
        drive.press(seconds)
        drive.settle()

    def _turn(self, drive: Drive, child: BenchChild) -> IngestTurn:
        """All that is sent in it is settled in it, so it counts to the last event."""
        gc.collect()
        began_s, own_s, cpu_s = time.monotonic(), time.process_time(), child.cpu_s()
        done = drive.settled - drive.lost
        self._press(drive, self._asked.seconds)
        return IngestTurn(
            events=drive.settled - drive.lost - done,
            cpu_s=child.cpu_s() - cpu_s,
            wall_s=time.monotonic() - began_s,
            generator_cpu_s=time.process_time() - own_s,
        )

    def _publish(self, peer: BenchChild, events: int) -> IngestTurn:
        began_s, cpu_s = time.monotonic(), peer.cpu_s()
        if (stored := peer.ask(str(events))) != str(events):
            raise MeshError(f"nats-py published {events} events, and {stored} are stored")
        return IngestTurn(events, peer.cpu_s() - cpu_s, time.monotonic() - began_s, 0.0)

    def _check(self, stored: StoredRows) -> None:
        """Every acked event is stored, and nothing else is."""
        figures = self.figures
        figures.blocks, figures.stored = stored.blocks, sum(map(len, stored.numbers.values()))
        for drive in self._drives:
            figures.sent += drive.sent
            figures.settled += drive.settled
            figures.shed += drive.shed
            figures.refused += sum(drive.refused.values())
            for stream in drive.streams:
                numbers = stored.numbers.get(stream.origin_id)
                if numbers is not None and numbers.max() > stream.acked:
                    raise MeshError(
                        f"{stream.origin_id} is acked up to {stream.acked}, and {numbers.max()} is stored"
                    )
            for why, times in list(drive.refused.items())[:1]:
                print(f"refused, {times} times: {why}", file=sys.stderr)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench ingest",
        description="Events that ingest makes durable in a CPU second, beside a grpc.aio handler that only "
        "reads, and beside nats-py; how long acks take; what an idle stream holds.",
        epilog="Example: ./grandstand bench ingest --json",
    )
    parser.add_argument("--streams", type=int, default=1_000, help="of viewers (default 1,000)")
    parser.add_argument("--producers", type=int, default=64, help="streams of game servers (default 64)")
    parser.add_argument("--idle-streams", type=int, default=5_000, help="idle ones (default 5,000)")
    parser.add_argument("--depth", type=int, default=16, help="unacked messages for each stream (default 16)")
    parser.add_argument("--rate", type=float, default=20_000.0, help="events/s, for acks (default 20,000)")
    parser.add_argument("--spread", type=int, default=1, help="partitions of the game (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each one takes (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn (default 4)")
    parser.add_argument("--quick", action="store_true", help="few streams, short turns: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.streams, asked.producers, asked.idle_streams = 40, 4, 100
        asked.rate, asked.rounds, asked.seconds = 1_000.0, 1, 0.5
    check_least(
        parser,
        asked,
        (
            ("streams", 1),
            ("producers", 1),
            ("idle_streams", 1),
            ("depth", 1),
            ("rate", 1.0),
            ("spread", 1),
            ("rounds", 1),
            ("seconds", 0.1),
        ),
    )
    return asked


def main() -> None:
    asked = parse()
    with one_line_errors(), bed(asked.spread) as made:
        bench = IngestBench(made, asked)
        try:
            bench.run()
        except (H2Error, OSError) as error:
            raise MeshError(f"the load generator: {error}") from None
    say_nothing()
    figures = bench.figures
    if asked.json:
        print(json.dumps(figures.as_json()))
    else:
        show(figures)
    if not figures.is_sound:
        print(f"grandstand: {figures.unsound}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
