"""Send: what a unary call costs the gateway, beside the same gateway on grpc.aio; how long an answer takes.

Real processes: a nats-server with JetStream's file store, `python -m ingest`, `python -m gateway`, and the
baseline, which has the same checks and the same relay behind a unary handler of grpc.aio; before each its own
Envoy, as `up` configures it. The crowd speaks HTTP/2 to Envoy, as gRPC's clients do (grpc) and as pages do
(web); each of its viewers has its own token and origin, and may send again once it is answered.

A call counts when it was answered with a position. At the end the event log is read from first to last: what
was acked must be in it, under its own identity, and nothing else. CPU is that of the gateway's process alone,
all threads. Contestants take turns, and the ratios are medians of the rounds' ratios: what the machine does
to one it does to the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import math
import sys
import time
from collections.abc import Iterator

from bench import _send_bed
from bench._arguments import check_least
from bench._bed import GAME, Bed, bed
from bench._h2 import H2Error
from bench._say import say, say_nothing
from bench._send_bed import SendBed, Way
from bench._send_crowd import Crowd
from bench._send_figures import GRPC, GRPC_AIO, OURS, WEB, SendFigures, SendTurn, show
from bench._stored import StoredRows, read_stored
from mesh.envoy.listeners import EDGE_STREAMS_MAX
from toolbox.cli.console import one_line_errors
from toolbox.local.errors import MeshError

_WARM_UP = 0.5
"""Of a turn."""
_WIRES = 32


class SendBench:
    """One run."""

    def __init__(self, ground: Bed, asked: argparse.Namespace) -> None:
        self._ground = ground
        self._asked = asked
        self._crowds: list[Crowd] = []
        self.figures = SendFigures(asked.viewers, asked.depth, asked.rate)

    def run(self) -> None:
        """Raises MeshError, H2Error, OSError."""
        asked, ground = self._asked, self._ground
        say("starting")
        made = SendBed(ground)
        ways = {
            OURS: made.way("gateway-1", _send_bed.OURS),
            GRPC_AIO: made.way("grpc-aio", _send_bed.GRPC_AIO),
        }
        shown = [ground.viewer(number) for number in range(asked.viewers)]
        wires = max(_WIRES, math.ceil(asked.viewers / EDGE_STREAMS_MAX))
        for wire in (GRPC, WEB):
            crowds = {
                name: Crowd(way.envoy.port, GAME, shown, ground.origin, wires=wires, is_web=wire == WEB)
                for name, way in ways.items()
            }
            with self._kept(crowds):
                for number in range(asked.rounds):
                    for name, crowd in crowds.items():
                        say(f"{wire}: round {number + 1} of {asked.rounds}, {name}")
                        crowd.press(_WARM_UP * asked.seconds, asked.depth)
                        turn = self._turn(crowd, ways[name], made)
                        self.figures.turns.setdefault((name, wire), []).append(turn)
                if wire == GRPC:
                    self._pace(crowds)
        say("reading the event log")
        self.check(asyncio.run(read_stored(ground.nats_url)))

    def _turn(self, crowd: Crowd, way: Way, made: SendBed) -> SendTurn:
        """All that is sent in it is answered in it, so it counts to the last call."""
        gc.collect()
        acked = crowd.tally.acked
        gateway_s, edge_s, ingest_s = (child.cpu_s() for child in (way.gateway, way.envoy, made.ingest))
        began_s, own_s = time.monotonic(), time.process_time()
        crowd.press(self._asked.seconds, self._asked.depth)
        return SendTurn(
            sends=crowd.tally.acked - acked,
            wall_s=time.monotonic() - began_s,
            gateway_s=way.gateway.cpu_s() - gateway_s,
            edge_s=way.envoy.cpu_s() - edge_s,
            ingest_s=made.ingest.cpu_s() - ingest_s,
            crowd_s=time.process_time() - own_s,
        )

    def _pace(self, crowds: dict[str, Crowd]) -> None:
        rate, seconds = self._asked.rate, self._asked.seconds
        took: dict[str, list[float]] = {name: [] for name in crowds}
        for number in range(self._asked.rounds):
            for name, crowd in crowds.items():
                say(f"{rate:g} calls a second: round {number + 1} of {self._asked.rounds}, {name}")
                crowd.pace(rate, _WARM_UP * seconds)
                took_s, late_s = crowd.pace(rate, seconds)
                took[name] += took_s
                self.figures.crowd_late_ms = max(self.figures.crowd_late_ms, round(1_000 * late_s, 2))
        for name, took_s in took.items():
            self.figures.took_us[name] = sorted(round(1e6 * each) for each in took_s)

    @contextlib.contextmanager
    def _kept(self, crowds: dict[str, Crowd]) -> Iterator[None]:
        self._crowds += crowds.values()
        try:
            yield
        finally:
            for crowd in crowds.values():
                crowd.close()

    def check(self, stored: StoredRows) -> None:
        """What was acked is stored, and nothing else is."""
        figures = self.figures
        figures.stored = sum(map(len, stored.numbers.values()))
        for crowd in self._crowds:
            figures.sent += crowd.tally.sent
            figures.acked += crowd.tally.acked
            for why, times in crowd.tally.failed.items():
                figures.failures[why] = figures.failures.get(why, 0) + times
            for sender in crowd.senders:
                numbers = stored.numbers.get(sender.origin_id, ())
                figures.lost += len(sender.acked - set(map(int, numbers)))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench send",
        description="Calls of Send that the gateway answers in a CPU second, beside a gateway on grpc.aio; "
        "how long an answer takes.",
        epilog="Example: ./grandstand bench send --json",
    )
    parser.add_argument("--viewers", type=int, default=1_000, help="who send (default 1,000)")
    parser.add_argument("--depth", type=int, default=256, help="calls under way (default 256)")
    parser.add_argument("--rate", type=float, default=500.0, help="calls/s, for the times (default 500)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each one takes (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn (default 3)")
    parser.add_argument("--quick", action="store_true", help="few viewers, short turns: does it run?")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.viewers, asked.depth = 60, 20
        asked.rate, asked.rounds, asked.seconds = 100.0, 1, 0.5
    check_least(parser, asked, (("viewers", 1), ("depth", 1), ("rate", 1.0), ("rounds", 1), ("seconds", 0.1)))
    return asked


def report(figures: SendFigures, *, as_json: bool) -> int:
    """Prints them; the exit code."""
    if as_json:
        print(json.dumps(figures.as_json()))
    else:
        show(figures)
    if figures.is_sound:
        return 0
    print(f"grandstand: {figures.unsound}", file=sys.stderr)
    return 1


def main() -> None:
    asked = parse()
    with one_line_errors(), bed(spread=1) as ground:
        bench = SendBench(ground, asked)
        try:
            bench.run()
        except (H2Error, OSError) as error:
            raise MeshError(f"the crowd: {error}") from None
    say_nothing()
    sys.exit(report(bench.figures, as_json=asked.json))


if __name__ == "__main__":
    main()
