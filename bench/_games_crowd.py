"""The viewers of thousands of games, some to each: what they are sent, and how old it is when it comes.

Every vote is a new actor's, so the voters that a poll shows say which votes are in it; each vote's age is
taken when a viewer is first shown it (`bench._games_schedule`). Peers' frames carry the count as a mark's
number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from random import Random

from bench._audience import CrowdViewer, ViewerCrowd
from bench._games_schedule import Schedule
from bench._marks import Mark
from bench._wire import ParsedBytes, ViewerProtocol
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse

Requests = Callable[[int], bytes]
"""The first bytes of a viewer of the game with this number."""


class GamesCrowd(ViewerCrowd):
    """A mark's number is how many votes were shown."""

    def __init__(
        self, wire: ViewerProtocol, port: int, random: Random, games: int, each: int, requests: Requests
    ) -> None:
        """`each`: viewers of a game."""
        super().__init__(wire, port, random)
        self.schedule = Schedule(games)
        self.timed: Container[int] = range(games)
        """The games whose votes' ages are kept."""
        self.errors: dict[str, int] = {}
        """Why viewers were turned away while they joined, and how often."""
        self._each = each
        self._requests = requests

    def join(self, patience_s: float) -> float:
        """All come at once; who is turned away comes again. How long until all watched, in seconds."""
        began_s = time.monotonic()
        self.comes_back = True
        for number in range(self.schedule.games * self._each):
            self._connect(CrowdViewer(number))
            self.turn(0.0)
        while not self.is_whole and time.monotonic() < began_s + patience_s:
            self.turn(0.001)
        took_s = time.monotonic() - began_s
        self.comes_back = False
        self.errors, self.ended = self.ended, {}
        return took_s

    @property
    def missing(self) -> int:
        """Who does not watch."""
        return self.schedule.games * self._each - self.watching

    def _request_of(self, viewer: CrowdViewer) -> bytes:
        return self._requests(viewer.number // self._each)

    def _see(self, viewer: CrowdViewer, heard: ParsedBytes, now_us: int) -> None:
        newest = viewer.newest
        viewer.seen_us = now_us
        if not viewer.is_watching:
            self._watching += 1
            viewer.is_watching = True
            viewer.failures = 0
            viewer.newest = max(newest, heard.marks[-1].number)
            return
        game = viewer.number // self._each
        is_timed = game in self.timed
        for number, _ in heard.marks:
            if number <= newest:
                self.backwards += number < newest
                continue
            self.frames += 1
            self.skipped += number - newest - 1
            for vote in range(newest + 1, number + 1) if is_timed else ():
                self.latencies_us.append(now_us - self.schedule.due_us(game, vote))
            newest = number
        viewer.newest = newest


class VotersIn:
    """Reads an encoded SubscribeResponse: None where it says nothing of a poll."""

    def __init__(self) -> None:
        self.bytes = 0
        """Of the last Update."""

    def __call__(self, payload: bytes) -> Mark | None:
        response = SubscribeResponse.FromString(payload)
        if response.HasField("update"):
            self.bytes = len(payload)
            told = response.update.deltas or response.update.topics
        else:
            told = response.snapshot.topics
        return next((Mark(each.tally.voters, 0) for each in told if each.HasField("tally")), None)
