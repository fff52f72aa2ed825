"""The viewers of thousands of games, in a process of its own: `python -m bench._games_viewers PORT GAMES EACH
NAME`. It answers lines as `bench._viewers` does:

    join S              all of them come at once; says how long that took, and who was turned away
    begin BASE AT RATE  counts from here: the votes of a phase (`bench._games_crowd.Schedule`)
    settle N S          waits until all were shown N votes, or nothing came for S seconds; says what was seen
"""

from __future__ import annotations

import sys
from random import Random
from typing import Any

from bench._games_crowd import GamesCrowd, Schedule, voters_in
from bench._games_votes import POLL_ID, game_id
from bench._viewers import Viewers
from bench._wire import GrpcWeb
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest


class GamesViewers(Viewers):
    """Answers the lines."""

    def __init__(self, crowd: GamesCrowd) -> None:
        super().__init__(crowd)
        self._crowd = crowd

    def _join(self, patience_s: str) -> dict[str, Any]:
        took_s = self._crowd.join(float(patience_s))
        return {"took_s": took_s, "errors": self._crowd.errors, "missing": self._crowd.missing}

    def _begin(self, *of: str) -> dict[str, Any]:
        base, begin_us, rate = of
        games = self._crowd.schedule.games
        self._crowd.schedule = Schedule(games, int(base), int(begin_us), float(rate))
        return super()._begin()


def main() -> None:
    port, games, each, name = sys.argv[1:]

    def request(game: int, _: int) -> bytes:
        wanted = SubscribeRequest(game_id=game_id(name, game), topics=[f"poll/{POLL_ID}"], deltas=True)
        return GrpcWeb(int(port), wanted, 0).request(0)

    wire = GrpcWeb(int(port), SubscribeRequest(), 0, voters_in)
    crowd = GamesCrowd(wire, int(port), Random(1), int(games), int(each), request)
    GamesViewers(crowd).run()


if __name__ == "__main__":
    main()
