"""The demo's crowd: some twenty viewers who vote and react, and a game server that scores its players.

Each fan is a session of its own in the viewer role; the scores come on one producer session that names
the player of each. Fans say that they are here, and how long their last ack took. A session that is lost
for good (its token is refused) is replaced by a new one. What the mesh refuses, such as a vote that comes
a moment after the close, is let go.

Bound (I7): a fan whose credit is used up (the mesh is away) skips its turn; nothing piles up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import grpc.aio

from grandstand.client import Publisher, Receipt, SessionLost, Token
from grandstand.event.v1.event_pb2 import (
    PRESENCE_STATE_HERE,
    Event,
    Measure,
    Presence,
    Reaction,
    Score,
    Vote,
)
from toolbox.load.behaviour import Excitement, Preferences

CLIENT = "grandstand-demo"
FANS = 20
PLAYERS = (
    "Nova", "Kestrel", "Juno", "Rook", "Mako", "Pixel",
    "Tempest", "Lynx", "Orbit", "Saffron", "Echo", "Blitz",
)  # fmt: skip
VOTES_PER_S = 3.0
VOTES_AT_FIRST_PER_S = 7.0
AT_FIRST_S = 4.0
SCORES_PER_S = 1.2
MEASURES_PER_S = 2.0
# Well within the 45 s for which a presence counts.
HERE_EVERY_S = 15.0
STEP_S = 0.1


def _fan(at: int) -> str:
    return f"fan-{at + 1:02d}"


class _Seat:
    """One session, replaced when it is lost."""

    def __init__(self, start: Callable[[], Publisher]) -> None:
        self._start = start
        self._publisher = start()
        self.delay_s: float | None = None
        """From handing in the last event that was acked to its ack."""

    async def send(self, event: Event) -> None:
        try:
            receipt = self._publisher.try_submit(event)
        except SessionLost:
            await self._publisher.aclose()
            self._publisher = self._start()
        else:
            if receipt is not None:
                receipt.add_done_callback(partial(self._settled, asyncio.get_running_loop().time()))

    def _settled(self, sent_s: float, receipt: asyncio.Future[Receipt]) -> None:
        if receipt.exception() is None:
            self.delay_s = asyncio.get_running_loop().time() - sent_s

    async def close(self) -> None:
        await self._publisher.aclose()


class Fans:
    """A crowd on one game. `ask` says which poll is open; `run` until cancelled."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        game_id: str,
        *,
        pulse_id: str,
        kinds: Sequence[str],
        board_ids: Sequence[str],
        metric_id: str,
        random: Random,
        token: Token | None = None,
    ) -> None:
        self._channel = channel
        self._token = token
        self._game_id = game_id
        self._pulse_id = pulse_id
        self._kinds = kinds
        self._board_ids = board_ids
        self._metric_id = metric_id
        self._random = random
        self._poll_id: str | None = None
        self._preferences: Preferences | None = None
        self._asked_s = 0.0
        # Some players are better than others.
        self._skill = [random.uniform(0.5, 2.0) for _ in PLAYERS]
        self._seats = [_Seat(partial(self._join, actor_id=_fan(n))) for n in range(FANS)]
        self._server = _Seat(partial(self._join, producer=True))
        self._here_s = [0.0] * FANS

    def ask(self, poll_id: str | None, options: Sequence[str]) -> None:
        """From now on the fans vote in this poll; None: in none."""
        self._poll_id = poll_id
        self._preferences = Preferences(options, self._random) if poll_id else None
        self._asked_s = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """A step at a time: how many of each are due is drawn for the step."""
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        excitement = Excitement(self._kinds, self._random, last_s)
        while True:
            await asyncio.sleep(STEP_S)
            now_s = loop.time()
            elapsed_s, last_s = min(1.0, now_s - last_s), now_s
            await self._vote(now_s, elapsed_s)
            for _ in range(self._due(excitement.rate_per_s(now_s) * elapsed_s)):
                reaction = Reaction(pulse_id=self._pulse_id, kind=excitement.kind(now_s))
                await self._someone().send(Event(game_id=self._game_id, reaction=reaction))
            for _ in range(self._due(SCORES_PER_S * elapsed_s)):
                points = self._random.choice((5, 10, 10, 15, 25, 50))
                player = self._random.choices(PLAYERS, self._skill)[0]
                for board_id in self._board_ids:
                    score = Score(board_id=board_id, points=points)
                    await self._server.send(Event(game_id=self._game_id, actor_id=player, score=score))
            await self._say_here(now_s)
            for _ in range(self._due(MEASURES_PER_S * elapsed_s)):
                seat = self._someone()
                if seat.delay_s is not None:
                    measure = Measure(metric_id=self._metric_id, value=seat.delay_s * 1000)
                    await seat.send(Event(game_id=self._game_id, measure=measure))

    async def close(self) -> None:
        await asyncio.gather(*(seat.close() for seat in (*self._seats, self._server)))

    async def _say_here(self, now_s: float) -> None:
        """From the first poll on: then the game is sure to be defined."""
        if not self._asked_s:
            return
        for at in range(FANS):
            if now_s >= self._here_s[at]:
                self._here_s[at] = now_s + HERE_EVERY_S
                presence = Presence(state=PRESENCE_STATE_HERE)
                await self._server.send(Event(game_id=self._game_id, actor_id=_fan(at), presence=presence))

    async def _vote(self, now_s: float, elapsed_s: float) -> None:
        if self._preferences is None:
            return
        self._preferences.drift(elapsed_s)
        rate_per_s = VOTES_AT_FIRST_PER_S if now_s - self._asked_s < AT_FIRST_S else VOTES_PER_S
        for _ in range(self._due(rate_per_s * elapsed_s)):
            vote = Vote(poll_id=self._poll_id, option_ids=[self._preferences.choose()])
            await self._someone().send(Event(game_id=self._game_id, vote=vote))

    def _someone(self) -> _Seat:
        return self._random.choice(self._seats)

    def _due(self, expected: float) -> int:
        """A whole number whose mean is `expected`."""
        whole = int(expected)
        return whole + (self._random.random() < expected - whole)

    def _join(self, *, actor_id: str = "", producer: bool = False) -> Publisher:
        publisher = Publisher(
            self._channel,
            actor_id=actor_id,
            producer=producer,
            client=CLIENT,
            token=self._token,
            buffer_events_max=0,
        )
        publisher.start()
        return publisher
