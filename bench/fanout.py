"""One frame on thousands of screens: what that costs gateway and Envoy, beside grpc.aio, Nchan, Socket.IO.

Real processes on this machine: `python -m gateway` behind Envoy as `up` configures it, fed as aggregation
feeds it; the viewers are browsers' (gRPC-Web over HTTP/1.1, a connection each). One poll changes `--rate`
times a second and every change is a frame, sent whole (`deltas` off, so that the peers' frames are of equal
length). CPU is what the kernel accounts to the processes measured, all threads and children; the viewers
run in a process of their own, whose CPU is said too. Contestants take turns of some seconds each, with the
others' viewers connected and silent; ratios are medians of the rounds' ratios.

    ours        gateway_us_per_frame, edge_us_per_frame (Envoy), p50_ms and p99_ms from the publication of a
                partial to a frame's last byte, memory that the processes grew by for each viewer
    grpc_aio    the same Subscribe by grpc.aio, a coroutine for each viewer, behind an equal Envoy:
                vs_grpc_aio_gateway is its gateway's CPU for a frame over ours
    nchan       nginx with as many workers as Envoy, one channel, EventSource: vs_nchan is our frames a CPU
                second, Envoy's and the gateway's together, over its
    socketio    Socket.IO on Node, WebSocket only, emitted to a room: vs_socketio likewise

A frame is lost when a viewer was shown a later one or none instead: the gateway conflates what a viewer, or
the Envoy before it, has no room for (I8). The run ends non-zero when ours lost any, went back, or lost a
stream. grpc.aio may lose some: it cannot keep up with what the others are given.

`--plot FILE` goes up through several counts of viewers and draws frames a CPU second over them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import _contestants
from bench._arguments import check_least
from bench._bed import bed
from bench._contestants import Contestant
from bench._fanout_bed import FanBed
from bench._fanout_figures import BASELINE, NCHAN, OURS, SOCKET_IO, FanoutFigures, show
from bench._fanout_plot import plot
from bench._marks import Mark, frame_of, partial_of
from bench._say import say, say_nothing
from toolbox.cli.console import one_line_errors
from toolbox.local.provision import ProvisionError

LADDER = (250, 1_000, 2_500)
FIRST_VIEWERS = 50
"""Who come before memory is measured: what a process needs at all is not the viewers'."""
_WARM_UP = 0.4
"""Of a turn."""

Enters = Callable[[FanBed], Contestant]


class FanoutBench:
    """One run."""

    def __init__(self, fan: FanBed, asked: argparse.Namespace) -> None:
        self._fan = fan
        self._asked = asked
        self._peers: dict[str, str] = {}
        self._entered: dict[str, Contestant] = {}

    def run(self) -> FanoutFigures:
        """Raises MeshError, ProvisionError."""
        asked = self._asked
        self._enter()
        ours = self._entered[OURS]
        ours.open(min(FIRST_VIEWERS, asked.viewers))
        self._round(1.0)
        ours.remember_memory()
        ladder = [viewers for viewers in LADDER if viewers < asked.viewers] if asked.plot else []
        for viewers in (*ladder, asked.viewers):
            self._measure(viewers)
        grown_kib = ours.kib_per_viewer()
        frame = frame_of(partial_of(Mark(ours.number, time.monotonic_ns() // 1000), "", 0), time.time())
        return FanoutFigures(
            viewers=asked.viewers,
            rate_per_s=asked.rate,
            turns={name: contestant.turns for name, contestant in self._entered.items()},
            frame_bytes=len(frame),
            peers=self._peers,
            gateway_kib=grown_kib["gateway"],
            rss_kib=sum(grown_kib.values()),
        )

    def _enter(self) -> None:
        say("starting: ours and the baseline")
        self._entered[OURS] = _contestants.ours(self._fan)
        self._entered[BASELINE] = _contestants.grpc_aio(self._fan)
        nchan = partial(_contestants.nchan, subscriber=self._asked.nchan)
        peers: tuple[tuple[str, Enters], ...] = ((NCHAN, nchan), (SOCKET_IO, _contestants.socket_io))
        for name, enters in peers:
            try:
                if self._asked.without_peers:
                    raise ProvisionError("--without-peers")
                say(f"starting {name}: fetched on first use")
                self._entered[name] = contestant = enters(self._fan)
                self._peers[name] = contestant.version
            except ProvisionError as error:
                self._peers[name] = f"skipped: {error}"
                print(f"{name} is left out: {error}", file=sys.stderr)

    def _measure(self, viewers: int) -> None:
        asked = self._asked
        for name, contestant in self._entered.items():
            say(f"{viewers} viewers, opening: {name}")
            contestant.open(viewers)
        self._round(_WARM_UP * asked.seconds)
        for at in range(asked.rounds):
            for name, contestant in self._entered.items():
                say(f"{viewers} viewers, measuring: round {at + 1} of {asked.rounds}, {name}")
                contestant.turns.append(contestant.turn(asked.rate, asked.seconds))

    def _round(self, seconds: float) -> None:
        """One that does not count."""
        for contestant in self._entered.values():
            if contestant.watching:
                contestant.turn(self._asked.rate, seconds)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench fanout",
        description="What a frame on a screen costs our gateway and Envoy, beside a grpc.aio gateway, Nchan "
        "and Socket.IO, in one run.",
        epilog="Example: ./grandstand bench fanout --plot docs/fanout.svg --json",
    )
    parser.add_argument("--viewers", type=int, default=5_000, help="of each contestant (default 5,000)")
    parser.add_argument("--rate", type=float, default=10.0, help="frames/s to each viewer (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each one takes (default 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn (default 5)")
    parser.add_argument(
        "--nchan",
        choices=("eventsource", "websocket"),
        default="eventsource",
        help="how Nchan's viewers subscribe (default eventsource)",
    )
    parser.add_argument("--without-peers", action="store_true", help="no Nchan, no Socket.IO")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="measures fewer viewers too, and draws")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    check_least(parser, asked, (("viewers", 1), ("rate", 0.1), ("rounds", 1), ("seconds", 0.1)))
    if asked.rate > 20:
        parser.error(f"--rate {asked.rate:g}: no viewer is sent more than 20 frames a second")
    return asked


def measure(asked: argparse.Namespace) -> FanoutFigures:
    """Raises MeshError, ProvisionError."""
    with bed(1) as ground:
        return FanoutBench(FanBed(ground), asked).run()


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    with one_line_errors():
        figures = measure(asked)
        if asked.plot:
            asked.plot.write_text(plot(figures))
    say_nothing()
    if asked.json:
        print(json.dumps(figures.as_json()))
    else:
        show(figures)
    if not figures.is_sound:
        print(f"grandstand: {figures.unsound}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
