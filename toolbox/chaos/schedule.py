"""When what is struck, and how: a pure function of a seed. Pure.

Four layers, each placed around the one before it:

    long      every LONG_EVERY_S an ingest or a worker is frozen, or an ingest is cut off from NATS, for
              longer than every grace (limits.SEAL_GRACE_S above all). Polls close just after it begins (see
              `closings`), so that who wakes has a view from before a seal. No two of them overlap on one
    special   rebuilds of everything and of one partition, each with a gateway killed beside it, so that a
              view is recreated while the fold is; and single keys of Redis deleted, whose owners are killed
    gray      every GRAY_EVERY_S something lives and lies (see `gray`), if its target is free then
    bag       every pair of a process and a kind of strike is in a bag once; the bag is shuffled, emptied in
              that order, and filled again when nothing in it can be struck just now. So a run of a minute
              strikes every process, in nearly every way, and no seed leaves one out by chance; the seed
              decides the order, the moments, the lengths and which strikes fall together.

Bounds. Strikes of the bag are `GAP_MIN_S` to `GAP_MAX_S` apart; one in five takes a second process along. A
target that is struck is left alone until it should be back (`RECOVERY_S` after the strike's end): striking
what is down proves nothing. A pause is at most `PAUSE_MAX_S`: longer than every deadline of the path
(limits.PUBLISH_DEADLINE_S, LEASE_S). A freeze is at most `FREEZE_MAX_S`, well below the supervisor's patience
with a silent process (lifecycle.Policy.silent_max_s and a probe), which is asserted in a test.

Around a rebuild it is quiet: what it needs to be carried out at all (stores, Envoy), and what would show an
older state for a reason of its own (a stopped gateway), is left alone. So the stores and Envoy come first in
the bag: they are struck whenever they may be.

Rejected: independent random strikes. Three runs of four missed a process altogether.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from mesh import limits
from toolbox.chaos import gray
from toolbox.chaos.strike import ALL, KEYS, ONE, Kind, Strike

GAP_MIN_S, GAP_MAX_S = 1.2, 3.6
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 6.0
RECOVERY_S = 5.0
FIRST_S = 2.0
TOGETHER = 0.2
_KINDS_MAX = 4

LONG_FIRST_S, LONG_EVERY_S = 3.0, 8.0
GRAY_FIRST_S, GRAY_EVERY_S = 3.0, 13.0
GRAY_APART_S = 20.0
"""Between two gray strikes on one target, at least."""
_MOMENTS = 10
CLOSE_AFTER_MAX_S = 0.8
"""A poll is closed by hand this long after a freeze begins, at most."""
FREEZE_MIN_S, FREEZE_MAX_S = 11.0, 13.0
LONG_TAIL_S = 11.0
"""Before the end of a run no freeze begins any more: whoever wakes wakes under load."""
_JITTER_S = 0.8
_QUIET_BEFORE_S, QUIET_AFTER_S = 2.5, 3.5

assert FREEZE_MIN_S > CLOSE_AFTER_MAX_S + limits.CLOSE_LEAD_S + limits.SEAL_GRACE_S + 1.0, (
    "who was frozen before a close wakes after the seal"
)


# After which time of a cycle of three long strikes; the workers are whole at the deletion.
_CYCLE_S = 3 * LONG_EVERY_S
_SPECIALS = ((6.0, Kind.REBUILD, ALL), (13.0, Kind.REBUILD, ONE), (26.0, Kind.FORGET, KEYS))


@dataclass(frozen=True, slots=True)
class _Span:
    """Strikes of these kinds on this target do not fall here."""

    target: str
    begins_s: float
    ends_s: float
    kinds: frozenset[Kind] = frozenset(Kind)
    before_s: float = RECOVERY_S
    """How long before it a strike must have ended."""

    def forbids(self, target: str, kind: Kind, begins_s: float, ends_s: float) -> bool:
        return (
            target == self.target
            and begins_s < self.ends_s
            and self.begins_s < ends_s + self.before_s
            and kind in self.kinds
        )


def schedule(seed: int, seconds: float, targets: Sequence[str], store: str = "valkey") -> list[Strike]:
    """The strikes of a run of `seconds`, in the order of their moments. `store` is what can be emptied."""
    if not targets:
        raise ValueError("no targets; name at least one process")
    random = Random(f"chaos {seed}")
    long = _long(seconds, targets, random)
    special = _special(seconds, targets, random)
    spans = [*_busy(long), *_quiet(special, targets)]
    lying = _gray(seconds, targets, spans, Random(f"chaos gray {seed}"))
    bag = _from_the_bag(seconds, targets, store, [*spans, *_busy(lying)], random)
    return sorted([*long, *special, *lying, *bag], key=lambda strike: strike.at_s)


def _of(kind: str, targets: Iterable[str]) -> list[str]:
    return [target for target in targets if target.partition("-")[0] == kind]


def _long(seconds: float, targets: Sequence[str], random: Random) -> list[Strike]:
    """An ingest is frozen, then a worker, then another ingest cut off; and so on."""
    ingests, workers = _of("ingest", targets), _of("aggregate", targets)
    if not (ingests and workers):
        return []
    random.shuffle(ingests)
    random.shuffle(workers)
    turns = [(Kind.FREEZE, ingests[0]), (Kind.FREEZE, workers[0]), (Kind.CUT, ingests[-1])]
    turns += [(Kind.FREEZE, ingests[0]), (Kind.FREEZE, workers[-1]), (Kind.CUT, ingests[-1])]
    found: list[Strike] = []
    at_s = LONG_FIRST_S
    while at_s <= seconds - LONG_TAIL_S:
        kind, target = turns[len(found) % len(turns)]
        begins_s = at_s + random.uniform(-_JITTER_S, _JITTER_S)
        length_s = random.uniform(FREEZE_MIN_S, FREEZE_MAX_S)
        found.append(Strike(round(begins_s, 3), kind, target, round(length_s, 3)))
        at_s += LONG_EVERY_S
    return found


def _special(seconds: float, targets: Sequence[str], random: Random) -> list[Strike]:
    gateways = _of("gateway", targets)
    found = []
    for n in range(int(seconds / _CYCLE_S) + 1):
        for offset_s, kind, target in _SPECIALS:
            at_s = round(n * _CYCLE_S + offset_s + random.uniform(-_JITTER_S, _JITTER_S), 3)
            if at_s >= seconds - 1:
                continue
            found.append(Strike(at_s, kind, target))
            if kind is Kind.REBUILD and gateways:
                found.append(Strike(at_s, Kind.KILL, random.choice(gateways)))
    return found


def _gray(seconds: float, targets: Sequence[str], spans: Sequence[_Span], random: Random) -> list[Strike]:
    taken = list(spans)
    deck: list[Strike] = []
    found: list[Strike] = []
    first_s, last_s = GRAY_FIRST_S, seconds - gray.TAIL_S
    while first_s < last_s:
        deck = deck or gray.deck(random, targets)
        moments = [first_s + n * GRAY_EVERY_S / _MOMENTS for n in range(_MOMENTS)]

        def free(of: Sequence[Strike], at: Sequence[float] = moments) -> tuple[Strike, float] | None:
            return next(((s, at_s) for s in of for at_s in at if _fits(s, at_s, last_s, taken)), None)

        # What is left of a deck may be for those that are struck all along.
        place = free(deck) or free(deck := [*deck, *gray.deck(random, targets)])
        if place is not None:
            drawn, at_s = place
            deck.remove(drawn)
            found.append(replace(drawn, at_s=round(at_s, 3)))
            # Between two of them the bag may have it.
            taken.append(_Span(drawn.target, at_s, at_s + drawn.for_s + GRAY_APART_S))
        first_s += GRAY_EVERY_S + random.uniform(-_JITTER_S, _JITTER_S)
    return found


def _fits(strike: Strike, at_s: float, last_s: float, taken: Sequence[_Span]) -> bool:
    """Whether its target, and the store it is kept from, are free at that time."""
    ends_s = at_s + strike.for_s
    names = [strike.target, strike.how.split()[0]] if strike.kind is Kind.DROP else [strike.target]
    return ends_s <= last_s and not any(
        span.forbids(name, strike.kind, at_s, ends_s) for span in taken for name in names
    )


def _busy(strikes: Iterable[Strike]) -> list[_Span]:
    return [_Span(s.target, s.at_s, s.at_s + s.for_s + RECOVERY_S) for s in strikes]


def _quiet(special: Iterable[Strike], targets: Sequence[str]) -> list[_Span]:
    spans = []
    for strike in special:
        ends_s = strike.at_s + QUIET_AFTER_S
        every, stopped = frozenset(Kind), frozenset({Kind.PAUSE})
        if strike.kind is Kind.REBUILD:
            quiet = [(name, every) for name in targets if "-" not in name]
            quiet += [(name, stopped) for name in _of("gateway", targets)]
            spans += [_Span(name, strike.at_s, ends_s, kinds, _QUIET_BEFORE_S) for name, kinds in quiet]
        elif strike.kind is Kind.FORGET:
            spans += [_Span(n, strike.at_s, strike.at_s + RECOVERY_S) for n in _of("aggregate", targets)]
        else:
            spans += _busy([strike])
    return spans


def _from_the_bag(
    seconds: float, targets: Sequence[str], store: str, spans: Sequence[_Span], random: Random
) -> list[Strike]:
    taken = list(spans)
    bag: list[tuple[str, Kind, float]] = []
    strikes: list[Strike] = []
    at_s = FIRST_S
    while at_s < seconds:
        taken = [span for span in taken if span.ends_s > at_s]
        wanted = 2 if random.random() < TOGETHER else 1
        for _ in range(wanted):
            drawn = _free(bag, taken, at_s)
            if drawn is None and len(bag) < _KINDS_MAX * len(targets):
                bag += _filled(targets, store, random)
                drawn = _free(bag, taken, at_s)
            if drawn is None:
                break
            bag.remove(drawn)
            target, kind, for_s = drawn
            strikes.append(Strike(round(at_s, 3), kind, target, for_s))
            taken += _busy(strikes[-1:])
        at_s += random.uniform(GAP_MIN_S, GAP_MAX_S)
    return strikes


def _free(
    bag: Sequence[tuple[str, Kind, float]], taken: Sequence[_Span], at_s: float
) -> tuple[str, Kind, float] | None:
    """The first of the bag whose target is neither down nor recovering, nor to be left alone."""

    def allowed(target: str, kind: Kind, for_s: float) -> bool:
        return not any(span.forbids(target, kind, at_s, at_s + for_s) for span in taken)

    return next((drawn for drawn in bag if allowed(*drawn)), None)


def _filled(targets: Sequence[str], store: str, random: Random) -> list[tuple[str, Kind, float]]:
    bag = [(target, kind) for target in targets for kind in (Kind.KILL, Kind.PAUSE, Kind.RESTART)]
    if store in targets:
        bag.append((store, Kind.EMPTY))
    random.shuffle(bag)
    firsts = dict(reversed(bag))

    def turn(pair: tuple[str, Kind]) -> tuple[bool, bool]:
        """The stores and Envoy before the services, and each of them once before one of them again."""
        is_service = "-" in pair[0]
        return is_service, not is_service and firsts[pair[0]] is not pair[1]

    return [
        (target, kind, round(random.uniform(PAUSE_MIN_S, PAUSE_MAX_S), 3) if kind is Kind.PAUSE else 0.0)
        for target, kind in sorted(bag, key=turn)
    ]
