"""The viewers of a fan-out benchmark, in a process of its own: `python -m bench._viewers WIRE PORT [GAME]`.

It answers each line on its standard input by one JSON object. WIRE is how its viewers talk: grpc-web,
eventsource, websocket or socket-io.

    open N          opens N more viewers; says how many watch
    begin           counts from here, and reads without being woken
    settle N S      waits until all were shown frame N, or nothing came for S seconds; says what was counted
    return N        from now on whoever loses its stream comes back; resets the connections of the first N
    torn S          waits until somebody has lost its stream, at most so long; says how many watch
    whole S         waits until all are watching again; says how long that took since `return`
"""

from __future__ import annotations

import json
import os
import sys
import time
from random import Random
from typing import Any

from bench._audience import PAUSE_S, ViewerCrowd
from bench._bed import GAME
from bench._child import READY
from bench._marks import POLL
from bench._percentiles import milliseconds
from bench._wire import EventSource, GrpcWeb, ViewerProtocol, WebSocket, WireError
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids

STDIN = 0
NCHAN_PATH = "/watch?game="
SOCKET_IO_PATH = "/socket.io/?EIO=4&transport=websocket&game="


class Viewers:
    """Answers the lines."""

    def __init__(self, audience: ViewerCrowd) -> None:
        self._audience = audience
        self._line = b""
        self._lines: list[str] = []
        self._is_over = False
        self._is_counting = False
        self._cpu_s = 0.0
        self._cut_s = 0.0
        audience.listen(STDIN, self._read)

    def run(self) -> None:
        print(READY, flush=True)
        while not self._is_over:
            (self._audience.turn if self._is_counting else self._audience.rest)(1.0)
            while self._lines:
                verb, *arguments = self._lines.pop(0).split()
                try:
                    answer = getattr(self, f"_{verb}")(*arguments)
                except (WireError, OSError) as error:
                    sys.exit(str(error))
                print(json.dumps(answer), flush=True)
        self._audience.close()

    def _read(self) -> None:
        data = os.read(STDIN, 4096)
        self._is_over = not data
        *lines, self._line = (self._line + data).split(b"\n")
        self._lines += (line.decode() for line in lines)

    def _open(self, count: str) -> dict[str, Any]:
        self._audience.open(int(count))
        return {"watching": self._audience.watching}

    def _begin(self) -> dict[str, Any]:
        self._is_counting = True
        self._cpu_s = time.process_time()
        self._audience.begin()
        return {}

    def _settle(self, number: str, patience_s: str) -> dict[str, Any]:
        audience = self._audience
        behind = audience.settle(int(number), float(patience_s))
        cpu_s = time.process_time() - self._cpu_s
        self._is_counting = False
        took = sorted(audience.latencies_us)
        return {
            "frames": audience.frames,
            "skipped": audience.skipped,
            "backwards": audience.backwards,
            "behind": behind,
            "ended": audience.ended,
            "bytes": audience.bytes,
            "cpu_s": cpu_s,
            "gap_ms": audience.gap_us() / 1000,
            "returned_gap_ms": audience.gap_us(of_the_cut=True) / 1000,
            "watching": audience.watching,
            "returns": audience.returns,
            "return_lag": audience.return_lag,
            **{f"p{percent}_ms": milliseconds(took, percent) for percent in (50, 99, 100)},
        }

    def _return(self, count: str) -> dict[str, Any]:
        self._audience.comes_back = True
        self._cut_s = time.monotonic()
        self._audience.cut(int(count))
        return {"watching": self._audience.watching}

    def _torn(self, patience_s: str) -> dict[str, Any]:
        until_s = time.monotonic() + float(patience_s)
        while self._audience.is_whole and time.monotonic() < until_s:
            self._audience.turn(PAUSE_S)
        return {"watching": self._audience.watching}

    def _whole(self, patience_s: str) -> dict[str, Any]:
        until_s = time.monotonic() + float(patience_s)
        while not self._audience.is_whole and time.monotonic() < until_s:
            self._audience.turn(PAUSE_S)
        return {"took_s": time.monotonic() - self._cut_s, "watching": self._audience.watching}


def wire_of(name: str, port: int, game_id: str) -> ViewerProtocol:
    if name == "grpc-web":
        wanted = SubscribeRequest(
            game_id=game_id, topics=[POLL], max_updates_per_s=wire_bounds.UPDATES_PER_S_MAX, deltas=False
        )
        (partition,) = ids.partitions_of(game_id, 1)
        return GrpcWeb(port, wanted, partition)
    if name == "eventsource":
        return EventSource(port, NCHAN_PATH + GAME)
    if name == "websocket":
        return WebSocket(port, NCHAN_PATH + GAME)
    assert name == "socket-io", name
    return WebSocket(port, SOCKET_IO_PATH + GAME, socket_io=True)


def main() -> None:
    name, port, *rest = sys.argv[1:]
    wire = wire_of(name, int(port), rest[0] if rest else "")
    Viewers(ViewerCrowd(wire, int(port), Random(1))).run()


if __name__ == "__main__":
    main()
