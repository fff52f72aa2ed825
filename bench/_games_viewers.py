"""The viewers of thousands of games, in a process of its own: `python -m bench._games_viewers WIRE PORT GAMES
EACH`. WIRE is grpc-web, eventsource or socket-io; EACH says how many of a game. It answers lines as
`bench._viewers` does:

    join S              all of them come at once; says how long that took, and who was turned away
    phase BASE AT RATE [PARTITION]
                        counts from here: the votes of a phase (`bench._games_schedule`). Only the votes of
                        games that fold in the partition are timed
    settle N S          waits until all were shown N votes, or nothing came for S seconds; says what was seen
"""

from __future__ import annotations

import sys
from random import Random
from typing import Any

from bench._games_crowd import GamesCrowd, Requests, VotersIn
from bench._games_schedule import Schedule
from bench._games_votes import POLL_ID, games_in
from bench._viewers import NCHAN_PATH, SOCKET_IO_PATH, Viewers
from bench._wire import EventSource, GrpcWeb, ViewerProtocol, WebSocket
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.wire import ids


class GamesViewers(Viewers):
    """Answers the lines."""

    def __init__(self, crowd: GamesCrowd, games: list[str], payloads: VotersIn) -> None:
        super().__init__(crowd)
        self._crowd = crowd
        self._games = games
        self._payloads = payloads

    def _join(self, patience_s: str) -> dict[str, Any]:
        took_s = self._crowd.join(float(patience_s))
        return {"took_s": took_s, "errors": self._crowd.errors, "missing": self._crowd.missing}

    def _phase(self, base: str, begin_us: str, rate: str, partition: str = "") -> dict[str, Any]:
        games = self._games
        self._crowd.schedule = Schedule(len(games), int(base), int(begin_us), float(rate))
        self._crowd.timed = frozenset(
            number
            for number, game in enumerate(games)
            if not partition or ids.partition_of(game, "", 1) == int(partition)
        )
        return self._begin()

    def _settle(self, number: str, patience_s: str) -> dict[str, Any]:
        return {**super()._settle(number, patience_s), "frame_bytes": self._payloads.bytes}


def wire_of(name: str, port: int, games: list[str], payloads: VotersIn) -> tuple[ViewerProtocol, Requests]:
    """Deltas, where there are any."""
    if name == "grpc-web":

        def subscribe(game: int) -> bytes:
            wanted = SubscribeRequest(game_id=games[game], topics=[f"poll/{POLL_ID}"], deltas=True)
            return GrpcWeb(port, wanted, 0).request(0)

        return GrpcWeb(port, SubscribeRequest(), 0, payloads), subscribe
    if name == "eventsource":
        return EventSource(port, NCHAN_PATH), lambda game: EventSource(
            port, NCHAN_PATH + games[game]
        ).request(0)
    assert name == "socket-io", name
    wire = WebSocket(port, SOCKET_IO_PATH, socket_io=True)
    return wire, lambda game: WebSocket(port, SOCKET_IO_PATH + games[game]).request(0)


def main() -> None:
    kind, port, games, each = sys.argv[1:]
    payloads = VotersIn()
    names = games_in(games)
    wire, requests = wire_of(kind, int(port), names, payloads)
    crowd = GamesCrowd(wire, int(port), Random(1), len(names), int(each), requests)
    GamesViewers(crowd, names, payloads).run()


if __name__ == "__main__":
    main()
