"""How much an actor, a game and this ingest may send: token buckets, and what happens beyond. Pure.

A bucket is kept as one number, the theoretical arrival time (TAT) of the virtual scheduling
algorithm, GCRA: ITU-T I.371 annex A, ATM Forum Traffic Management 4.0. An event that comes at t
moves it to max(TAT, t) + 1/rate; the event is within while TAT stays at most burst/rate ahead
of t. So over any interval of s seconds at most burst + rate*s events are within. A bucket whose
TAT has passed is a full one: it can be forgotten without any change of meaning.

What happens beyond a bucket (I7):

    measure, reaction, presence      shed
    others, for the stream's actor   admitted, charged as a debt; the stream is read no further
                                     until the debt is paid (backpressure through HTTP/2)
    others, that a producer sends    beyond the actor's or the game's bucket: refused, retryable,
    for somebody else                so that one of them does not slow the whole stream;
                                     beyond the instance's: as above, everybody alike

The order of I7 holds between the kinds, too: of a burst that many share (a game's, the instance's)
measures may use half, reactions and presence three quarters, the rest all.
What is shed or refused is not charged. What was admitted is, even if the catalog refuses it
later: the work was done (I10: rate before schema).

Bounds: ACTOR_BUCKETS_MAX and GAME_BUCKETS_MAX keys, none longer than an id may be. A debt is
bounded by what one batch of each open stream holds. Overflow: see Buckets.

Rejected: tokens and a time of refill for each key: two numbers, and a refill to compute. Fixed
windows: twice the rate passes at their edges. A sliding log: memory for each event. A sketch
of rates: an actor would pay for another's collisions.
"""

from __future__ import annotations

from typing import NamedTuple

from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Exhausted, shown
from ingest import bounds
from mesh import limits

SHED = -1.0
"""What `Admission.admit` answers for an event that is not taken, and not to be sent again."""

# Which share of a shared burst a kind may use; the others may use all of it.
SHARE = {"measure": 0.5, "reaction": 0.75, "presence": 0.75}
_LEAST_SHARE = min(SHARE.values())

# How many keys an insertion into a full table looks at.
_SWEEP_KEYS = 8
# A clock that steps back less than this is read twice; one that steps back further was set.
_CLOCK_STEP_S = 1.0
# Of an event: a sum of floats must not cost the last one of a burst.
_ROUNDING = 1e-6


class Rate(NamedTuple):
    """A token bucket's measures."""

    per_s: float
    """Sustained events a second."""
    burst: float
    """Events at once, 1 or more."""


ACTOR_RATE = Rate(bounds.ACTOR_EVENTS_PER_S, bounds.ACTOR_BURST_EVENTS)
GAME_RATE = Rate(bounds.GAME_EVENTS_PER_S, bounds.GAME_BURST_EVENTS)
INSTANCE_RATE = Rate(bounds.INSTANCE_EVENTS_PER_S, bounds.INSTANCE_BURST_EVENTS)


class OverRate(Exhausted):
    """An event beyond its actor's or game's rate. RESOURCE_EXHAUSTED, retryable after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SteadyClock:
    """Turns any clock into one that begins at 0 and never goes back: set back, it stands still once.

    It also keeps the numbers small: at 1.8e9 s a float is too coarse for 100,000 events a second.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._latest_s = 0.0

    def at(self, now_s: float) -> float:
        """Seconds since the first call; `now_s` is the clock that is made steady."""
        if self._offset_s is None:
            self._offset_s = -now_s
        steady_s = now_s + self._offset_s
        if steady_s > self._latest_s:
            self._latest_s = steady_s
        elif steady_s < self._latest_s - _CLOCK_STEP_S:
            self._offset_s = self._latest_s - now_s
        return self._latest_s


def _checked(rate_per_s: float, burst: float) -> tuple[float, float]:
    """Seconds an event takes, and how far ahead of the clock a TAT may be before one more."""
    if not (0 < rate_per_s < float("inf") and 1 <= burst < float("inf")):
        raise ValueError(f"rate {rate_per_s:g}/s, burst {burst:g}: more than 0 and at least 1 are needed")
    return 1 / rate_per_s, (burst - 1 + _ROUNDING) / rate_per_s


class Buckets:
    """A token bucket for each key, all of one rate; at most `keys_max` are remembered. `now_s` never goes
    back (SteadyClock). Raises ValueError for a rate that is not positive or a burst below 1.

    A new key takes the place of one that owes nothing since BUCKET_IDLE_S, if one of the next two in turn is
    such: so the table grows with the keys of a minute or two, and not with all there ever were.
    Overflow: a key that is new to a full table takes another's place. The sweep looks at the next
    _SWEEP_KEYS keys, in turn (CLOCK), and forgets the first whose TAT has passed, which changes
    nothing; if all of them owe, the one that owes least: it gains least by being forgotten, at
    most its burst. With `keys_max` well above what can owe at once, only then does a limit leak.
    A key longer than an id may be is not remembered: such keys share one bucket.

    Rejected: refusing new keys, since a crowd of strangers could then shut everybody out; evicting
    the oldest, since a flooder is the oldest; sweeping all, since one call would pay for it.
    """

    def __init__(self, rate_per_s: float, burst: float, keys_max: int) -> None:
        if keys_max < 1:
            raise ValueError(f"keys_max: is {keys_max}; 1 or more is needed")
        self.event_s, self.slack_s = _checked(rate_per_s, burst)
        self.tat_s: dict[str, float] = {}
        """By key; for Admission, which reads and moves what is there itself."""
        self._keys_max = keys_max
        self._ring: list[str] = []
        self._hand = 0

    def __len__(self) -> int:
        return len(self.tat_s)

    def take(self, key: str, now_s: float, count: int = 1) -> float:
        """Takes `count` events, whatever there is; seconds until the debt is paid, 0.0 when within."""
        tat_s = max(self.tat(key), now_s) + count * self.event_s
        self.move(key, tat_s, now_s)
        return max(0.0, tat_s - self.event_s - self.slack_s - now_s)

    def has_room(self, key: str, now_s: float, count: int = 1) -> bool:
        """Whether `take` would answer 0.0."""
        return max(self.tat(key), now_s) + (count - 1) * self.event_s <= self.slack_s + now_s

    def tat(self, key: str) -> float:
        """The key's TAT; -inf of one that is not remembered."""
        if len(key) > wire_bounds.ID_CHARACTERS_MAX:
            key = ""
        return self.tat_s.get(key, float("-inf"))

    def move(self, key: str, tat_s: float, now_s: float) -> None:
        """Sets the key's TAT, making room for it when it is new."""
        if len(key) > wire_bounds.ID_CHARACTERS_MAX:
            key = ""
        if key not in self.tat_s:
            at = self._idle(now_s) if len(self._ring) < self._keys_max else self._place(now_s)
            if at is None:
                self._ring.append(key)
            else:
                del self.tat_s[self._ring[at]]
                self._ring[at] = key
        self.tat_s[key] = tat_s

    def _idle(self, now_s: float) -> int | None:
        """The place of one of the next two keys in the ring, if it is idle. Two: the hand goes round faster
        than the ring grows."""
        for _ in range(min(2, len(self._ring))):
            at = self._hand
            self._hand = (at + 1) % len(self._ring)
            if self.tat_s[self._ring[at]] <= now_s - bounds.BUCKET_IDLE_S:
                return at
        return None

    def _place(self, now_s: float) -> int:
        """The place in the ring whose key is forgotten for another."""
        least, least_s = self._hand, float("inf")
        for _ in range(min(_SWEEP_KEYS, self._keys_max)):
            at = self._hand
            self._hand = (at + 1) % self._keys_max
            tat_s = self.tat_s[self._ring[at]]
            if tat_s < least_s:
                least, least_s = at, tat_s
                if tat_s <= now_s:
                    break
        return least


class Admission:
    """The buckets of one ingest. `now_s` is any clock in seconds, the same in all calls; it may be set."""

    def __init__(
        self,
        actor: Rate = ACTOR_RATE,
        game: Rate = GAME_RATE,
        instance: Rate = INSTANCE_RATE,
        *,
        actors_max: int = bounds.ACTOR_BUCKETS_MAX,
        games_max: int = limits.GAME_BUCKETS_MAX,
    ) -> None:
        self._rates = {"actor": actor, "game": game, "instance": instance}
        self._clock = SteadyClock()
        self._actors = Buckets(*actor, actors_max)
        self._games = Buckets(*game, games_max)
        self._event_s, self._slack_s = _checked(*instance)
        self._tat_s = float("-inf")
        self._actor_tats = self._actors.tat_s
        self._game_tats = self._games.tat_s
        # The good case: also a measure would be within.
        self._actor_slack_s = self._actors.slack_s
        self._game_calm_s = _slack_s(game, _LEAST_SHARE)
        self._calm_s = _slack_s(instance, _LEAST_SHARE)

    def admit(self, actor_id: str, game_id: str, kind: str, *, own: bool, now_s: float) -> float:
        """Decides about one event, and charges it if it is taken.

        `actor_id`: who acts; "" when no actor's rate applies (a producer that acts for itself).
        `kind`: the name of the event's body, such as "vote"; "" without one. `own`: the event is
        the stream's own, and its stream may be made to wait: an end client, or a producer for itself.

        Returns for how many seconds the stream is not to be read on, 0.0 in the good case: or
        SHED. Raises OverRate (refused, retryable).
        """
        now = self._clock.at(now_s)
        actor_tat = self._actor_tats.get(actor_id, -1.0)
        game_tat = self._game_tats.get(game_id, -1.0)
        tat = self._tat_s
        if not (
            0.0 <= actor_tat <= now + self._actor_slack_s
            and 0.0 <= game_tat <= now + self._game_calm_s
            and tat <= now + self._calm_s
        ):
            return self._decide(actor_id, game_id, kind, own, now)
        if actor_tat < now:
            actor_tat = now
        if game_tat < now:
            game_tat = now
        if tat < now:
            tat = now
        self._actor_tats[actor_id] = actor_tat + self._actors.event_s
        self._game_tats[game_id] = game_tat + self._games.event_s
        self._tat_s = tat + self._event_s
        return 0.0

    def calm(self, game_id: str, count: int, now_s: float) -> float | None:
        """The steady time, if the game and this ingest are so calm that `count` more events of any kind are
        within: then `admit_calm` decides for each by its actor alone, and `charge` takes all it admitted.
        None if not: then `admit` decides. A batch is cheaper this way; the outcome is the same."""
        now = self._clock.at(now_s)
        game_tat = self._game_tats.get(game_id)
        if (
            game_tat is None
            or max(game_tat, now) + count * self._games.event_s > now + self._game_calm_s
            or max(self._tat_s, now) + count * self._event_s > now + self._calm_s
        ):
            return None
        return now

    def admit_calm(self, actor_id: str, now: float) -> bool:
        """Admits and charges one event of the actor, by its own bucket. False, and nothing is charged: ask
        `admit`. `now` is what `calm` answered."""
        tat = self._actor_tats.get(actor_id)
        if tat is None:
            if not 0 < len(actor_id) <= wire_bounds.ID_CHARACTERS_MAX:
                return False
            self._actors.move(actor_id, now + self._actors.event_s, now)
            return True
        if tat > now + self._actor_slack_s:
            return False
        self._actor_tats[actor_id] = (max(now, tat)) + self._actors.event_s
        return True

    def charge(self, game_id: str, count: int, now: float) -> None:
        """Charges the game and the instance for `count` events that `admit_calm` admitted."""
        # The game may have been forgotten meanwhile, for another one.
        game_tat = max(self._games.tat(game_id), now) + count * self._games.event_s
        self._games.move(game_id, game_tat, now)
        self._tat_s = max(self._tat_s, now) + count * self._event_s

    def owes_s(self, actor_id: str, now_s: float) -> float:
        """Seconds until the actor's debt is paid: a stream it opens anew is read no sooner."""
        now = self._clock.at(now_s)
        return max(0.0, self._actors.tat(actor_id) - now - self._actor_slack_s - self._actors.event_s)

    def _decide(self, actor_id: str, game_id: str, kind: str, own: bool, now: float) -> float:
        """As `admit`, for keys that are new and buckets that run low."""
        actors, games = self._actors, self._games
        actor_tat = max(actors.tat(actor_id), now) if actor_id else now
        game_tat = max(games.tat(game_id), now)
        tat = max(self._tat_s, now)
        share = SHARE.get(kind)
        if share is None:
            if not own:
                _refuse_over("actor", actor_id, self._rates["actor"], actor_tat - now - actors.slack_s)
                _refuse_over("game", game_id, self._rates["game"], game_tat - now - games.slack_s)
        elif (
            actor_tat > now + actors.slack_s
            or game_tat > now + _slack_s(self._rates["game"], share)
            or tat > now + _slack_s(self._rates["instance"], share)
        ):
            return SHED
        if actor_id:
            actors.move(actor_id, actor_tat + actors.event_s, now)
        games.move(game_id, game_tat + games.event_s, now)
        self._tat_s = tat + self._event_s
        owed_s = max(tat - self._slack_s, game_tat - games.slack_s, actor_tat - actors.slack_s) - now
        return owed_s if owed_s > 0 else 0.0


def _slack_s(rate: Rate, share: float) -> float:
    """How far ahead of the clock a TAT may be for one more event within this share of the burst."""
    return (max(0.0, share * rate.burst - 1) + _ROUNDING) / rate.per_s


def _refuse_over(what: str, key: str, rate: Rate, over_s: float) -> None:
    """Raises OverRate if `over_s`, by how much the bucket is beyond its bound, is positive."""
    if over_s > 0:
        retry_after_s = max(0.001, over_s)
        raise OverRate(
            f"{what} {shown(key)}: more than {rate.per_s:g} events/s with {rate.burst:g} at once; "
            f"send again after {retry_after_s:.3f} s",
            retry_after_s,
        )
