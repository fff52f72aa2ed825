"""When which process is struck, and how: a pure function of a seed. Pure.

Every pair of a target and a kind of strike is in a bag once; the bag is shuffled, emptied in that
order, and filled again when nothing in it can be struck just now. So a run of a minute strikes
every process, in nearly every way, and no seed leaves one out by chance; the seed decides the
order, the moments, the lengths and which strikes fall together.

Bounds. Strikes are `GAP_MIN_S` to `GAP_MAX_S` apart; one in five takes a second process along. A
target that is struck is left alone until it should be back (`RECOVERY_S` after the strike's
end): striking what is down proves nothing. A pause is at most `PAUSE_MAX_S`: longer than every
deadline of the path (limits.PUBLISH_DEADLINE_S, LEASE_S), shorter than the supervisor's patience.

Rejected: independent random strikes. Three runs of four missed a process altogether.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

GAP_MIN_S, GAP_MAX_S = 1.2, 3.6
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 6.0
RECOVERY_S = 5.0
FIRST_S = 2.0
TOGETHER = 0.2
_KINDS_MAX = 4


class Kind(enum.StrEnum):
    """How a process is struck."""

    KILL = "kill"
    """SIGKILL."""
    PAUSE = "pause"
    """SIGSTOP, and SIGCONT after a while."""
    RESTART = "restart"
    """SIGTERM: a graceful end, and the supervisor starts it anew."""
    EMPTY = "empty"
    """FLUSHALL: Redis lives, and has forgotten everything."""


@dataclass(frozen=True, slots=True)
class Strike:
    """`at_s` counts from the beginning of the load; `for_s` is the length of a pause."""

    at_s: float
    kind: Kind
    target: str
    for_s: float = 0.0


def schedule(seed: int, seconds: float, targets: Sequence[str], store: str = "valkey") -> list[Strike]:
    """The strikes of a run of `seconds`, in the order of their moments. `store` is what can be emptied."""
    if not targets:
        raise ValueError("no targets; name at least one process")
    random = Random(f"chaos {seed}")
    free_at = dict.fromkeys(targets, 0.0)
    bag: list[tuple[str, Kind]] = []
    strikes: list[Strike] = []
    at_s = FIRST_S
    while at_s < seconds:
        wanted = 2 if random.random() < TOGETHER else 1
        for _ in range(wanted):
            drawn = _free(bag, free_at, at_s)
            if drawn is None and len(bag) < _KINDS_MAX * len(targets):
                bag += _filled(targets, store, random)
                drawn = _free(bag, free_at, at_s)
            if drawn is None:
                break
            bag.remove(drawn)
            target, kind = drawn
            for_s = random.uniform(PAUSE_MIN_S, PAUSE_MAX_S) if kind is Kind.PAUSE else 0.0
            strikes.append(Strike(round(at_s, 3), kind, target, round(for_s, 3)))
            free_at[target] = at_s + for_s + RECOVERY_S
        at_s += random.uniform(GAP_MIN_S, GAP_MAX_S)
    return strikes


def _free(
    bag: Sequence[tuple[str, Kind]], free_at: Mapping[str, float], at_s: float
) -> tuple[str, Kind] | None:
    """The first of the bag whose target is not down or recovering."""
    return next((pair for pair in bag if free_at[pair[0]] <= at_s), None)


def _filled(targets: Sequence[str], store: str, random: Random) -> list[tuple[str, Kind]]:
    bag = [(target, kind) for target in targets for kind in (Kind.KILL, Kind.PAUSE, Kind.RESTART)]
    if store in targets:
        bag.append((store, Kind.EMPTY))
    random.shuffle(bag)
    return bag
