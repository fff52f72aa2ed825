"""Which workers live, as one of them knows it from their beats. Pure: `now` comes in, seconds of any clock.

Who was not heard for WORKER_SILENCE_S is dead, who says that it leaves is gone at once. A worker
that was itself deaf (its process stopped, or without NATS) knows nothing of the others and
must not take them for dead: they get the whole time anew. Who asks is not there yet: it takes nothing
before it has heard the others, so nothing is given up for it before it says its first beat. Only among
those that start together are the askers counted too.

An instance name is one process's. A beat of our own name with another life is a second process's, never that
of a life of ours that was killed: the dead say nothing. Who starts and hears one refuses to; of two that
start together the elder life stays. Of two that are both here, the elder was stopped or cut off when the
younger asked whether the name was in use: the elder ends.

Bound: one entry for each instance name that was heard lately.
"""

from __future__ import annotations

from dataclasses import dataclass

from grandstand.internal.v1.internal_pb2 import WorkerBeat
from mesh import limits


@dataclass(frozen=True, slots=True)
class Heard:
    """What a beat asks of who heard it."""

    answer: bool
    """It wants to know at once who else is there."""
    changed: bool
    """Somebody came or went."""
    released: frozenset[int]
    """Leases that are free now."""
    is_taken: bool = False
    """Another process has our name, and it is for us to end."""


_NOTHING = Heard(answer=False, changed=False, released=frozenset())


class Membership:
    def __init__(self, instance: str, life: str, now: float) -> None:
        """`life`: of two lives of one instance the one that began later sorts later."""
        self._instance = instance
        self._life = life
        self._heard_at: dict[str, float] = {}
        self._gone: dict[str, str] = {}
        self._looked_at = now
        self._started = False

    def hear(self, beat: WorkerBeat, now: float) -> Heard:
        """Takes a beat. Our own tell nothing new."""
        if beat.instance == self._instance:
            return self._hear_namesake(beat)
        if not beat.instance:
            return _NOTHING
        known = beat.instance in self._heard_at
        if beat.leaving:
            self._heard_at.pop(beat.instance, None)
            self._gone[beat.instance] = beat.life
            return Heard(answer=False, changed=known, released=frozenset(beat.released))
        if self._gone.get(beat.instance) == beat.life:  # said before it left, and came after
            return _NOTHING
        self._gone.pop(beat.instance, None)
        if beat.asks and self._started and not known:
            return Heard(answer=True, changed=False, released=frozenset())
        self._heard_at[beat.instance] = now
        return Heard(answer=beat.asks, changed=not known, released=frozenset(beat.released))

    def _hear_namesake(self, beat: WorkerBeat) -> Heard:
        if beat.life == self._life or beat.leaving:
            return _NOTHING
        if not self._started:
            # It is here already, or starts as we do: then the elder of us stays.
            is_taken = not beat.asks or beat.life < self._life
            return Heard(answer=not is_taken, changed=False, released=frozenset(), is_taken=is_taken)
        # We are here. Who asks is told so, and who does not has asked while we could not answer.
        is_taken = not beat.asks and beat.life > self._life
        return Heard(answer=beat.asks, changed=False, released=frozenset(), is_taken=is_taken)

    def live(self, now: float) -> frozenset[str]:
        """Who lives, ourselves included. To be asked every WORKER_BEAT_S: asked later, we were deaf."""
        if now - self._looked_at > limits.WORKER_SILENCE_S / 2:
            self.was_deaf(now)
        self._looked_at = now
        self._started = True
        silent = [i for i, at in self._heard_at.items() if now - at > limits.WORKER_SILENCE_S]
        for instance in silent:
            del self._heard_at[instance]
        return frozenset((self._instance, *self._heard_at))

    def was_deaf(self, now: float) -> None:
        """Nobody could be heard until now."""
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
