"""What a simulated crowd does beside voting and scoring: it reacts, says that it watches, and measures.

Only what the game counts. Others may do the same in it, so these events are sent and acked but not
proved. Each viewer of the plan says every HERE_EVERY_S that it is here; what is measured is how long
the measures' own acks take.
"""

from __future__ import annotations

import asyncio
from random import Random

import grpc.aio

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client import Receipt, Token
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE, Event, Measure, Presence, Reaction
from toolbox.load.account import LoadPlan
from toolbox.load.voters import BotPool, Cast, producers

BOTS_MAX = 16
# Well within the 45 s for which a presence counts.
HERE_EVERY_S = 20.0
# Of the votes' rate.
MEASURES = 0.1


class SideTraffic:
    """The troupes, by what they send, and their rates a second."""

    def __init__(self, plan: LoadPlan, game: catalog.Game, random: Random, run: str) -> None:
        self.troupes: dict[str, BotPool] = {}
        self.rates: dict[str, float] = {}
        self._plan = plan
        self._game = game
        self._random = random
        self._run = run
        self._delay_ms = 0.0

    def join(
        self, channels: list[grpc.aio.Channel], bots: int, client: str, token: Token | None = None
    ) -> None:
        """Starts their sessions."""
        plan, game = self._plan, self._game
        bots = min(bots, BOTS_MAX)
        if game.pulses:
            self.troupes["reactions"] = BotPool(producers(channels, bots, client, token), self._react)
            self.rates["reactions"] = plan.rate * plan.reactions
        if game.audience:
            self.troupes["presences"] = BotPool(producers(channels, 1, client, token), self._say_here)
            self.rates["presences"] = max(1, plan.viewers) / HERE_EVERY_S
        if game.metrics:
            self.troupes["measures"] = BotPool(
                producers(channels, 1, client, token), self._measure, self._timed
            )
            self.rates["measures"] = plan.rate * MEASURES

    def _react(self, bot: int, number: int) -> Cast:
        pulse = self._game.pulses[0]
        reaction = Reaction(pulse_id=pulse.pulse_id, kind=self._random.choice(pulse.kinds))
        return Cast(Event(game_id=self._plan.game_id, actor_id=f"bot-{bot + 1}", reaction=reaction))

    def _say_here(self, bot: int, number: int) -> Cast:
        actor_id = f"{self._run}-{number % max(1, self._plan.viewers)}"
        presence = Presence(state=PRESENCE_STATE_HERE)
        return Cast(Event(game_id=self._plan.game_id, actor_id=actor_id, presence=presence))

    def _measure(self, bot: int, number: int) -> Cast:
        measure = Measure(metric_id=self._game.metrics[0].metric_id, value=self._delay_ms)
        return Cast(Event(game_id=self._plan.game_id, actor_id=f"bot-{bot + 1}", measure=measure))

    def _timed(self, receipt: Receipt, sent_s: float) -> None:
        self._delay_ms = (asyncio.get_running_loop().time() - sent_s) * 1000
