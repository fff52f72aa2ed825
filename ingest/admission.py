"""How much an actor, a producer, a game and this ingest may send, and what happens beyond. Pure.

Each has a token bucket (ingest.buckets):

    actor in a game       of what it does there, whoever sends it
    actor, in all games   ACTOR_GAMES times as much, of what it sends itself or through a gateway
    producer              of all that it sends, for whomever; not the mesh's own gateways
    game, instance        of all

So a producer of one game can use up what an actor may do in that game, and nothing of what it may elsewhere.

What happens beyond a bucket (I7):

    measure, reaction, presence      shed; beyond the producer's bucket as others
    others, for the stream's actor   admitted, charged as a debt; the stream is read no further
                                     until the debt is paid (backpressure through HTTP/2)
    others, that a producer sends    beyond the actor's or the game's bucket: refused, retryable,
    for somebody else                so that one of them does not slow the whole stream;
                                     beyond the producer's or the instance's: as above

The order of I7 holds between the kinds, too: of a burst that many share (a game's, the instance's)
measures may use half, reactions and presence three quarters, the rest all.
What is shed or refused is not charged. What was admitted is, even if the catalog refuses it
later: the work was done (I10: rate before schema). An event that is charged to its actor as several, which is
known after its check, is admitted as one; the others are a debt.

Bounds: ACTOR_BUCKETS_MAX, PRODUCER_BUCKETS_MAX and GAME_BUCKETS_MAX keys, none longer than an id may be. A
debt is bounded by what one batch of each open stream holds. Overflow: see Buckets.
"""

from __future__ import annotations

from typing import NoReturn

from grandstand.wire.actors import is_surely_actor
from grandstand.wire.errors import Exhausted, shown
from ingest import bounds
from ingest.buckets import Buckets, Rate, SteadyClock, checked
from mesh import limits

SHED = -1.0
"""What `Admission.admit` answers for an event that is not taken, and not to be sent again."""

# Which share of a shared burst a kind may use; the others may use all of it.
SHARE = {"measure": 0.5, "reaction": 0.75, "presence": 0.75}
_LEAST_SHARE = min(SHARE.values())
_NO_TATS: dict[str, float] = {}

ACTOR_RATE = Rate(bounds.ACTOR_EVENTS_PER_S, bounds.ACTOR_BURST_EVENTS)
PRODUCER_RATE = Rate(bounds.PRODUCER_EVENTS_PER_S, bounds.PRODUCER_BURST_EVENTS)
GAME_RATE = Rate(bounds.GAME_EVENTS_PER_S, bounds.GAME_BURST_EVENTS)
INSTANCE_RATE = Rate(bounds.INSTANCE_EVENTS_PER_S, bounds.INSTANCE_BURST_EVENTS)


class OverRate(Exhausted):
    """An event beyond its actor's or game's rate. RESOURCE_EXHAUSTED, retryable after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Admission:
    """The buckets of one ingest. `now_s` is any clock in seconds, the same in all calls; it may be set.
    `actor`: an actor's rate in one game."""

    def __init__(
        self,
        actor: Rate = ACTOR_RATE,
        game: Rate = GAME_RATE,
        instance: Rate = INSTANCE_RATE,
        producer: Rate = PRODUCER_RATE,
        *,
        actors_max: int = bounds.ACTOR_BUCKETS_MAX,
        games_max: int = limits.GAME_BUCKETS_MAX,
    ) -> None:
        self._actor_rate, self._game_rate, self._instance_rate = actor, game, instance
        self._total_rate = Rate(*(bounds.ACTOR_GAMES * each for each in actor))
        self._clock = SteadyClock()
        self._actors = Buckets(*actor, actors_max)
        self._totals = Buckets(*self._total_rate, actors_max)
        self._producers = Buckets(*producer, bounds.PRODUCER_BUCKETS_MAX)
        self._games = Buckets(*game, games_max)
        self._event_s, self._slack_s = checked(instance)
        self._tat_s = float("-inf")
        self._by_game = self._actors.groups
        self._game_tats = self._games.tat_s
        # The good case: also a measure would be within.
        self._actor_slack_s = self._actors.slack_s
        self._game_calm_s = game.slack_s(_LEAST_SHARE)
        self._calm_s = instance.slack_s(_LEAST_SHARE)
        # Of the last `calm`.
        self._calm_actors = _NO_TATS
        self._calm_payers, self._calm_payer = self._totals, ""

    def admit(
        self,
        actor_id: str,
        game_id: str,
        kind: str,
        *,
        own: bool,
        now_s: float,
        producer: str | None = None,
    ) -> float:
        """Decides about one event, and charges it if it is taken.

        `actor_id`: who acts; "" when no actor's rate applies (a producer that acts for itself).
        `kind`: the name of the event's body, such as "vote"; "" without one. `own`: the event is
        the stream's own, and its stream may be made to wait: an end client, or a producer for itself.
        `producer`: who sends it, if that is a producer and none of the mesh's own.

        Returns for how many seconds the stream is not to be read on, 0.0 in the good case: or
        SHED. Raises OverRate (refused, retryable).
        """
        if self.admit_usual(actor_id, game_id, now_s, producer):
            return 0.0
        return self._decide(actor_id, game_id, kind, own, self._clock.at(now_s), producer)

    def admit_usual(
        self, actor_id: str, game_id: str, now_s: float, producer: str | None = None, cost: int = 1
    ) -> bool:
        """Admits and charges one event of any kind where everybody is known and well within. False, and
        nothing is charged: ask `admit`. `cost`: the events that the actor is charged, as by `charge_more`."""
        clock = self._clock
        now = now_s + clock.offset_s
        if now > clock.latest_s:  # as SteadyClock.at, where time goes on
            clock.latest_s = now
        else:
            now = clock.at(now_s)
        if producer is None:
            payers, payer, paid = self._totals, actor_id, cost
        else:
            payers, payer, paid = self._producers, producer, 1
        actor_tats = self._by_game.get(game_id, _NO_TATS)
        actor_tat = actor_tats.get(actor_id, -1.0)
        payer_tat = payers.tat_s.get(payer, -1.0)
        game_tat = self._game_tats.get(game_id, -1.0)
        tat = self._tat_s
        if not (
            0.0 <= actor_tat <= now + self._actor_slack_s
            and 0.0 <= payer_tat <= now + payers.slack_s
            and 0.0 <= game_tat <= now + self._game_calm_s
            and tat <= now + self._calm_s
        ):
            return False
        if actor_tat < now:
            actor_tat = now
        if payer_tat < now:
            payer_tat = now
        if game_tat < now:
            game_tat = now
        if tat < now:
            tat = now
        actor_tats[actor_id] = actor_tat + cost * self._actors.event_s
        payers.tat_s[payer] = payer_tat + paid * payers.event_s
        self._game_tats[game_id] = game_tat + self._games.event_s
        self._tat_s = tat + self._event_s
        return True

    def charge_more(
        self, actor_id: str, game_id: str, count: int, *, now_s: float, producer: str | None = None
    ) -> None:
        """Charges the actor for `count` more events than the one that `admit` has taken. The game, the
        instance and a producer are charged for the work, which is that of one."""
        now = self._clock.at(now_s)
        if actor_id:
            tat = max(self._actors.tat(actor_id, game_id), now) + count * self._actors.event_s
            self._actors.move(actor_id, tat, now, game_id)
            if producer is None:
                self._totals.take(actor_id, now, count)

    def calm(
        self, game_id: str, count: int, now_s: float, actor_id: str, producer: str | None = None
    ) -> float | None:
        """The steady time, if the game, this ingest and who pays are so calm that `count` more events of any
        kind are within: then `admit_calm` decides for each by its actor alone, and `charge` takes all it
        admitted. None if not: then `admit` decides. A batch is cheaper this way; the outcome is the same.
        `actor_id`: of all of them, unless a `producer` sends them."""
        now = self._clock.at(now_s)
        if producer is None:
            payers, payer = self._totals, actor_id
        else:
            payers, payer = self._producers, producer
        game_tat = self._game_tats.get(game_id)
        payer_tat = payers.tat_s.get(payer)
        if game_tat is None or payer_tat is None:
            return None
        # Without `max`: a call of it costs more than the rest of such a line.
        cost_s, slack_s = (count - 1) * payers.event_s, payers.slack_s
        if cost_s > slack_s or payer_tat + cost_s > now + slack_s:
            return None
        cost_s, slack_s = count * self._games.event_s, self._game_calm_s
        if cost_s > slack_s or game_tat + cost_s > now + slack_s:
            return None
        cost_s, slack_s = count * self._event_s, self._calm_s
        if cost_s > slack_s or self._tat_s + cost_s > now + slack_s:
            return None
        self._calm_actors = self._by_game.get(game_id, _NO_TATS)
        self._calm_payers, self._calm_payer = payers, payer
        return now

    def admit_calm(self, game_id: str, actor_id: str, now: float, cost: int = 1) -> bool:
        """Admits one event of the actor, by its own bucket, which is charged `cost` events. False, and then
        nothing is charged: ask `admit`. `game_id` is what `calm` was asked for, `now` what it answered. The
        id of an actor that is not known is looked at; who is known has one."""
        tats = self._calm_actors
        tat = tats.get(actor_id)
        if tat is None:
            if not is_surely_actor(actor_id):
                return False
            # A group that was empty for a while is another one.
            tats = self._by_game.get(game_id, _NO_TATS)
            tat = tats.get(actor_id)
            if tat is None:
                tat_s = now + cost * self._actors.event_s
                self._calm_actors = self._actors.add(actor_id, tat_s, now, game_id)
                return True
            self._calm_actors = tats
        if tat > now + self._actor_slack_s:
            return False
        if tat < now:
            tat = now
        tats[actor_id] = tat + cost * self._actors.event_s
        return True

    def charge(self, game_id: str, count: int, now: float, extra: int = 0) -> None:
        """Charges the game, the instance and who pays for `count` events that `admit_calm` admitted; who pays
        for `extra` more."""
        cost_s, tat = count * self._games.event_s, self._game_tats.get(game_id)
        if tat is None:  # forgotten meanwhile, for another
            self._games.move(game_id, now + cost_s, now)
        else:
            if tat < now:
                tat = now
            self._game_tats[game_id] = tat + cost_s
        payers, payer = self._calm_payers, self._calm_payer
        cost_s, tat = (count + extra) * payers.event_s, payers.tat_s.get(payer)
        if tat is None:
            payers.move(payer, now + cost_s, now)
        else:
            if tat < now:
                tat = now
            payers.tat_s[payer] = tat + cost_s
        tat = self._tat_s
        if tat < now:
            tat = now
        self._tat_s = tat + count * self._event_s

    def owes_s(self, actor_id: str, now_s: float) -> float:
        """Seconds until the actor's debt is paid: a stream it opens again is read no sooner."""
        totals, now = self._totals, self._clock.at(now_s)
        return max(0.0, totals.tat(actor_id) - now - totals.slack_s - totals.event_s)

    def _decide(
        self, actor_id: str, game_id: str, kind: str, own: bool, now: float, producer: str | None
    ) -> float:
        """As `admit`, for keys that are new and buckets that run low."""
        actors, games, totals = self._actors, self._games, self._totals
        actor_tat = max(actors.tat(actor_id, game_id), now) if actor_id else now
        total_tat = max(totals.tat(actor_id), now) if actor_id and producer is None else now
        game_tat = max(games.tat(game_id), now)
        tat = max(self._tat_s, now)
        over_actor_s, over_total_s = actor_tat - now - actors.slack_s, total_tat - now - totals.slack_s
        share = SHARE.get(kind)
        if share is None:
            over_game_s = game_tat - now - games.slack_s
            if not own and max(over_actor_s, over_total_s, over_game_s) > 0:
                if over_actor_s > 0:
                    _refuse(f"actor {shown(actor_id)}", self._actor_rate, over_actor_s)
                if over_total_s > 0:
                    _refuse(f"actor {shown(actor_id)}, in all games", self._total_rate, over_total_s)
                _refuse(f"game {shown(game_id)}", self._game_rate, over_game_s)
        elif (
            max(over_actor_s, over_total_s) > 0
            or game_tat > now + self._game_rate.slack_s(share)
            or tat > now + self._instance_rate.slack_s(share)
        ):
            return SHED
        owed_s = max(tat - self._slack_s, game_tat - games.slack_s) - now
        if producer is not None:
            owed_s = max(owed_s, self._producers.take(producer, now))
        owed_s = max(owed_s, over_actor_s, over_total_s)
        if actor_id:
            actors.move(actor_id, actor_tat + actors.event_s, now, game_id)
            if producer is None:
                if over_actor_s > 0:
                    # A debt in one game holds up all of the actor's streams: a new one would not help.
                    total_tat = max(total_tat, now + over_actor_s + totals.slack_s)
                totals.move(actor_id, total_tat + totals.event_s, now)
        games.move(game_id, game_tat + games.event_s, now)
        self._tat_s = tat + self._event_s
        return owed_s if owed_s > 0 else 0.0


def _refuse(whose: str, rate: Rate, over_s: float) -> NoReturn:
    """`over_s`: by how much the bucket is beyond its bound."""
    retry_after_s = max(0.001, over_s)
    raise OverRate(
        f"{whose}: more than {rate.per_s:g} events/s with {rate.burst:g} at once; "
        f"send again after {retry_after_s:.3f} s",
        retry_after_s,
    )
