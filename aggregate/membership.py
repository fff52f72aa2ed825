"""Which workers are alive, as one of them knows it from their beats. Pure: `now` is passed in, seconds of any
clock.

A worker that was not heard for WORKER_SILENCE_S counts as dead; one that announces its stop is removed at
once. A worker that could not receive for a while (its process was suspended, or NATS was away) knows nothing
of the others and must not take them for dead: their silence is counted from the moment it can receive again.

A beat with `asks` is the first of a worker that starts. It owns nothing until it has heard the others, so no
partition is given up for it before its first ordinary beat. Only workers that start at the same time count
each other's `asks` beats.

An instance name belongs to one process. A beat with our name and another life comes from a second process,
never from an earlier life of ours: a dead process sends nothing. A starting worker that receives one refuses
to start; of two that start together, the elder life stays. If both already run, the elder was suspended or
cut off when the younger asked whether the name was in use, and the elder ends.

Bound: one entry for each instance name that was heard recently.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregate import bounds
from grandstand.internal.v1.internal_pb2 import WorkerBeat


@dataclass(frozen=True, slots=True)
class BeatEffect:
    """What the receiver of a beat has to do."""

    answer: bool
    """Send a beat at once: the sender wants to know who is there."""
    changed: bool
    """A worker came or went: assign the partitions again."""
    released: frozenset[int]
    """Partitions whose leases are free now."""
    is_taken: bool = False
    """Another process has our name, and this one has to end."""


_NOTHING = BeatEffect(answer=False, changed=False, released=frozenset())


class Membership:
    def __init__(self, instance: str, life: str, now: float) -> None:
        """`life`: identifies the process; of two with one instance name, the one that began later sorts
        later."""
        self._instance = instance
        self._life = life
        self._heard_at: dict[str, float] = {}
        self._gone: dict[str, str] = {}
        self._looked_at = now
        self._started = False

    def hear(self, beat: WorkerBeat, now: float) -> BeatEffect:
        """Takes a beat; our own have no effect."""
        if beat.instance == self._instance:
            return self._hear_namesake(beat)
        if not beat.instance:
            return _NOTHING
        known = beat.instance in self._heard_at
        if beat.leaving:
            self._heard_at.pop(beat.instance, None)
            self._gone[beat.instance] = beat.life
            return BeatEffect(answer=False, changed=known, released=frozenset(beat.released))
        if self._gone.get(beat.instance) == beat.life:  # sent before it left, and received after
            return _NOTHING
        self._gone.pop(beat.instance, None)
        if beat.asks and self._started and not known:
            return BeatEffect(answer=True, changed=False, released=frozenset())
        self._heard_at[beat.instance] = now
        return BeatEffect(answer=beat.asks, changed=not known, released=frozenset(beat.released))

    def _hear_namesake(self, beat: WorkerBeat) -> BeatEffect:
        if beat.life == self._life or beat.leaving:
            return _NOTHING
        if not self._started:
            # It runs already, or starts at the same time: then the elder stays.
            is_taken = not beat.asks or beat.life < self._life
            return BeatEffect(answer=not is_taken, changed=False, released=frozenset(), is_taken=is_taken)
        # We run already. If it asks, we answer; if it does not, it asked while we could not answer.
        is_taken = not beat.asks and beat.life > self._life
        return BeatEffect(answer=beat.asks, changed=False, released=frozenset(), is_taken=is_taken)

    def live(self, now: float) -> frozenset[str]:
        """The instances that are alive, including ours. Call it every WORKER_BEAT_S: a longer gap means that
        this process was suspended."""
        if now - self._looked_at > bounds.WORKER_SILENCE_S / 2:
            self.was_deaf(now)
        self._looked_at = now
        self._started = True
        silent = [i for i, at in self._heard_at.items() if now - at > bounds.WORKER_SILENCE_S]
        for instance in silent:
            del self._heard_at[instance]
        return frozenset((self._instance, *self._heard_at))

    def was_deaf(self, now: float) -> None:
        """No beat could be received until now."""
        for instance in self._heard_at:
            self._heard_at[instance] = now

    def beat(
        self, *, asks: bool = False, leaving: bool = False, released: frozenset[int] = frozenset()
    ) -> WorkerBeat:
        return WorkerBeat(
            instance=self._instance,
            life=self._life,
            asks=asks,
            leaving=leaving,
            released=sorted(released),
        )
