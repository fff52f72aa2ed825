"""Limits on the streams of a process: in all, of one actor and of one address. Pure.

A refused caller is told when to come back. A crowd that was told the same delay would come back as a crowd,
so each gets the next turn of a virtual queue: turns follow each other at the rate of the limit that was
reached, so the delay grows with the number of recent refusals and shrinks as time passes. The queue is
one number, the time of its last turn (the virtual scheduling of GCRA, ITU-T I.371). No delay exceeds
STREAM_RETRY_MAX_S: beyond it delays are random in the upper half of that.

A stream counts from its request headers on: before its first message, a caller may hold no more of them than
afterwards.

Bounds: the counts and queues of actors and addresses that have a stream here; each is removed with its last.
On overflow: Exhausted, naming the limit that was reached, the narrowest first.

Rejected: a limit on the rate of joins: a crowd that joins costs little, and is the normal case. A plain
random delay: it spreads a crowd of any size over the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from grandstand.wire.errors import Exhausted, shown
from mesh import addresses, limits

Key = TypeVar("Key", str, int)


@dataclass(frozen=True, slots=True)
class StreamBounds:
    what: str
    """Such as "viewers"."""
    where: str
    """Such as "gateway"."""
    total_max: int
    per_actor_max: int
    per_address_max: int
    total_retries_per_s: float
    """How fast those come back who were refused for the total."""


class StreamAdmission:
    """An admitted stream's place in the counts; given back once, when it ends."""

    __slots__ = ("actor_id", "address", "is_in")

    def __init__(self, actor_id: str | None, address: int | None) -> None:
        self.actor_id = actor_id
        self.address = address
        self.is_in = True


class StreamLimits:
    """`random` returns floats from 0 to 1, 1 excluded. `now_s`: seconds of a clock that never goes back."""

    def __init__(self, bounds: StreamBounds, *, random: Callable[[], float]) -> None:
        self._bounds = bounds
        self._random = random
        self._streams = 0
        self._actors: dict[str, int] = {}
        self._addresses: dict[int, int] = {}
        self._turns: dict[str | int | None, float] = {}
        """The last turn of each queue: None the total's, a str an actor's, an int an address's."""
        self.refused = {"total": 0, "actor": 0, "address": 0}
        """By the limit that was reached."""

    @property
    def streams(self) -> int:
        """How many are admitted now."""
        return self._streams

    def enter(
        self, actor_id: str | None, address: int | None, now_s: float, actor_max: int | None = None
    ) -> StreamAdmission:
        """Admits a stream. `actor_id`: None without a token; `address`: its key, None where no bound applies
        (mesh.addresses); `actor_max`: of this actor, where it is not the usual one. Raises Exhausted with
        `retry_after_s`."""
        bounds = self._bounds
        what, where = bounds.what, bounds.where
        if actor_id is not None:
            most = bounds.per_actor_max if actor_max is None else actor_max
            if self._actors.get(actor_id, 0) >= most:
                who = f"actor {shown(actor_id)}{'' if actor_id else ' (tokens without a sub)'}"
                raise self._refusal(
                    actor_id,
                    limits.ACTOR_RETRIES_PER_S,
                    now_s,
                    f"{who} has {most} {what} on this {where}, the most one actor may have; close one",
                )
        if address is not None and self._addresses.get(address, 0) >= bounds.per_address_max:
            raise self._refusal(
                address,
                limits.ADDRESS_RETRIES_PER_S,
                now_s,
                f"address {addresses.named(address)} has {bounds.per_address_max} {what} on this {where}, "
                "the most one address may have; close one, or use another network",
            )
        if self._streams >= bounds.total_max:
            raise self.refusal(
                f"this {where} has {bounds.total_max} {what}, the most it takes; another may have room",
                now_s,
            )
        self._streams += 1
        if actor_id is not None:
            self._actors[actor_id] = self._actors.get(actor_id, 0) + 1
        if address is not None:
            self._addresses[address] = self._addresses.get(address, 0) + 1
        return StreamAdmission(actor_id, address)

    def leave(self, admission: StreamAdmission) -> None:
        """The stream has ended. Idempotent."""
        if not admission.is_in:
            return
        admission.is_in = False
        self._streams -= 1
        if admission.actor_id is not None:
            self._leave(self._actors, admission.actor_id)
        if admission.address is not None:
            self._leave(self._addresses, admission.address)

    def refusal(self, why: str, now_s: float) -> Exhausted:
        """The refusal by the process as a whole, also when it is overloaded. `why` is for a person, and ends
        without a full stop."""
        return self._refusal(None, self._bounds.total_retries_per_s, now_s, why)

    def _leave(self, counts: dict[Key, int], key: Key) -> None:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
            self._turns.pop(key, None)

    def _refusal(self, queue: str | int | None, per_s: float, now_s: float, why: str) -> Exhausted:
        limit = "total" if queue is None else "actor" if isinstance(queue, str) else "address"
        self.refused[limit] += 1
        turn_s = max(self._turns.get(queue, 0.0), now_s + limits.STREAM_RETRY_MIN_S)
        last_s = now_s + limits.STREAM_RETRY_MAX_S - 1 / per_s
        if turn_s <= last_s:
            self._turns[queue] = turn_s + 1 / per_s
            after_s = turn_s + self._random() / per_s - now_s
        else:
            after_s = limits.STREAM_RETRY_MAX_S * (1 + self._random()) / 2
        return Exhausted(f"{why}; come again in {after_s:.1f} s", retry_after_s=after_s)
