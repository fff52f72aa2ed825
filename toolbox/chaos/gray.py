"""Gray strikes: what is struck lives, answers, and does not do its work (I11). Pure.

A `deck` has one strike of each family, with a target, a length and an amount drawn for it; it is shuffled,
and used up before the next one is made, so that a few runs leave nothing out and the seed decides the rest.

`gray_schedule` is a run of nothing else: one strike or two at a time, on different targets, and then a time
in which nothing is wrong; one in `LONG_CALM_ONE_IN` of those is longer than anything may take to heal. One
strike in `_LONG_ONE_IN` lasts longer than every bound within which it must be noticed; the others end
before.

Bounds: `SHORT_S`, `LONG_S`, `CALM_S`, `LONG_CALM_S`, `SLOW_S`, `CLOCK_S`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from toolbox.chaos.strike import Kind, Strike

SHORT_S, LONG_S = (4.0, 7.0), (11.0, 13.0)
CALM_S, LONG_CALM_S = (3.0, 5.0), (16.0, 17.0)
LONG_CALM_ONE_IN = 2
SLOW_S = (1.0, 4.0)
CLOCK_S = (2.0, 60.0)
"""How far a clock is off, in either direction; each order of magnitude as often as another."""
FIRST_S = 3.0
TAIL_S = 3.0
"""Strikes end so long before the load does: whatever they broke is under load once more."""
TOGETHER_S = 1.5
"""How much later than the first the second of a pair begins, at most."""
_PAIRS = 0.5
_LONG_ONE_IN = 3
_STORES = ("nats", "valkey")
FAMILIES = (
    *((kind, store) for kind in (Kind.DISK, Kind.HANG, Kind.SLOW) for store in _STORES),
    *((Kind.DROP, store) for store in _STORES),
    (Kind.CLOCK, "nats"),
    (Kind.CLOCK, "service"),
    (Kind.LOSE, "valkey"),
    (Kind.FAILOVER, "valkey"),
)


def deck(random: Random, targets: Sequence[str]) -> list[Strike]:
    """One strike of each family that `targets` have, shuffled; not placed in time."""
    services = [target for target in targets if "-" in target]
    found = [
        _drawn(random, kind, place, services)
        for kind, place in FAMILIES
        if (place in targets or place == "service") and (services or kind not in (Kind.DROP, Kind.CLOCK))
    ]
    random.shuffle(found)
    return found


def gray_schedule(seed: int, seconds: float, targets: Sequence[str]) -> list[Strike]:
    """The strikes of a run of `seconds`, in the order of their moments."""
    if not targets:
        raise ValueError("no targets; name at least one process")
    random = Random(f"gray {seed}")
    drawn = _endless(random, targets)
    held: list[Strike] = []
    placed: list[Strike] = []
    at_s, rounds = FIRST_S, 0
    while True:
        first = held.pop(0) if held else next(drawn)
        ends_s = at_s + first.for_s
        if ends_s > seconds - TAIL_S:
            return placed
        placed.append(replace(first, at_s=round(at_s, 3)))
        if random.random() < _PAIRS:
            other = next(drawn)
            later_s = at_s + random.uniform(0.0, TOGETHER_S)
            if other.target != first.target and later_s + other.for_s <= seconds - TAIL_S:
                placed.append(replace(other, at_s=round(later_s, 3)))
                ends_s = max(ends_s, later_s + other.for_s)
            else:
                held.append(other)
        rounds += 1
        at_s = ends_s + random.uniform(*(CALM_S if rounds % LONG_CALM_ONE_IN else LONG_CALM_S))


def _endless(random: Random, targets: Sequence[str]) -> Iterator[Strike]:
    return itertools.chain.from_iterable(deck(random, targets) for _ in itertools.count())


def _drawn(random: Random, kind: Kind, place: str, services: Sequence[str]) -> Strike:
    lasts = LONG_S if random.randrange(_LONG_ONE_IN) == 0 else SHORT_S
    for_s = round(random.uniform(*lasts), 3)
    match kind:
        case Kind.SLOW:
            return Strike(0.0, kind, place, for_s, round(random.uniform(*SLOW_S), 3))
        case Kind.DROP:
            how = f"{place} {random.choice(('up', 'down', 'both'))}"
            return Strike(0.0, kind, random.choice(services), for_s, how=how)
        case Kind.CLOCK:
            target = random.choice(services) if place == "service" else place
            off_s = math.exp(random.uniform(*map(math.log, CLOCK_S))) * random.choice((-1, 1))
            return Strike(0.0, kind, target, for_s, round(off_s, 3), random.choice(("jump", "drift")))
        case Kind.LOSE | Kind.FAILOVER:
            return Strike(0.0, kind, place)
        case _:
            return Strike(0.0, kind, place, for_s)
