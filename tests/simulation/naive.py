"""What the events of each kind of topic make of it, one event at a time, in plain dictionaries.

A rule takes a topic's value, a row and the row's moment, and alters the value; figures are what of it is
compared with a real partial.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aggregate import bounds as aggregate_bounds
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    Board,
    BoardMode,
    Poll,
)
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.wire import bounds as wire_bounds
from mesh import limits
from tests.simulation.blocks import Row

Figures = Any


class At(NamedTuple):
    """The moment of a row."""

    stamp_us: int
    """Of its block, as it is."""
    event_us: int
    """The stamp, clamped to what the partition's watermark allows."""
    watermark_us: int
    place: int
    """Of the row in its section."""

    @property
    def reached(self) -> int:
        return self.stamp_us * 4096 + self.place


class Votes:
    """Of one poll: the vote of each actor that counts."""

    def __init__(self, poll: Poll) -> None:
        self._changeable = poll.changeable
        self._options = len(poll.options)
        self._weighted = poll.weight_max > 1
        self._counts: dict[str, Row] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._voided: set[str] = set()

    def take(self, row: Row, at: At) -> None:
        """The first one of a final poll. Of a changeable one the latest. Never an older one of
        its origin than what that origin has set before."""
        if row.actor_id in self._counts and not self._changeable:
            return
        key = (row.actor_id, row.origin_id)
        if self._newest.get(key, 0) < row.origin_seq:
            self._newest[key] = row.origin_seq
            self._counts[row.actor_id] = row
            self._voided.discard(row.actor_id)

    def void(self, actor_id: str) -> None:
        if self._counts.pop(actor_id, None):
            self._voided.add(actor_id)

    def figures(self) -> Figures:
        rows = self._counts.values()
        chosen = [[row for row in rows if int(row.value) >> at & 1] for at in range(self._options)]
        weights = [sum(row.weight or 1 for row in rows) for rows in chosen] if self._weighted else []
        guest_voters = sum(row.guest for row in rows)
        guests = [sum(row.guest for row in rows) for rows in chosen] if guest_voters else []
        counts = [len(rows) for rows in chosen], weights, len(self._counts)
        return *counts, guests, guest_voters, len(self._voided)


class Standing(NamedTuple):
    points: int
    reached: int


class Season:
    """The standings of one season, or all there are of a board without seasons."""

    def __init__(self, mode: BoardMode) -> None:
        self._combine = _COMBINED[mode]
        self._by_last_origin = mode == BOARD_MODE_LAST
        self._sign = 1 if mode == BOARD_MODE_LOWEST else -1
        self._standings: dict[str, Standing] = {}
        self._newest: dict[tuple[str, str], int] = {}

    def take(self, row: Row, at: At) -> None:
        if self._by_last_origin:
            key = (row.actor_id, row.origin_id)
            if self._newest.get(key, 0) > row.origin_seq:
                return
            self._newest[key] = row.origin_seq
        before = self._standings.get(row.actor_id)
        said = Standing(int(row.value), at.reached)
        self._standings[row.actor_id] = said if before is None else self._combine(before, said)

    def remove(self, actor_id: str) -> None:
        self._standings.pop(actor_id, None)
        self._newest = {key: newest for key, newest in self._newest.items() if key[0] != actor_id}

    def figures(self) -> Figures:
        """Best first: what each shows, when it was reached, and whose it is."""
        bound = wire_bounds.POINTS_MAX
        shown = (
            (max(-bound, min(bound, standing.points)), standing.reached, actor)
            for actor, standing in self._standings.items()
        )
        return sorted((self._sign * points, reached, actor) for points, reached, actor in shown)


def _sum(before: Standing, said: Standing) -> Standing:
    """Whole numbers without a bound; reached by the latest of what it is made of."""
    return Standing(before.points + said.points, max(before.reached, said.reached))


def _best(before: Standing, said: Standing) -> Standing:
    return min(before, said, key=lambda each: (-each.points, each.reached))


def _lowest(before: Standing, said: Standing) -> Standing:
    return min(before, said, key=lambda each: (each.points, each.reached))


def _last(before: Standing, said: Standing) -> Standing:
    """The same score again is not reached again."""
    return before if before.points == said.points else said


_COMBINED: Mapping[BoardMode, Callable[[Standing, Standing], Standing]] = {
    BOARD_MODE_SUM: _sum,
    BOARD_MODE_BEST: _best,
    BOARD_MODE_LOWEST: _lowest,
    BOARD_MODE_LAST: _last,
}


class Standings:
    """Of one board. What was scored belongs to the season of its moment, unless that is sealed."""

    def __init__(self, board: Board) -> None:
        self._mode = board.mode
        self._seasons: dict[int, Season] = defaultdict(lambda: Season(self._mode))
        self._has_seasons = board.HasField("season")
        self._starts_us = board.season.starts_at.ToMicroseconds()
        self._every_us = board.season.every.ToMicroseconds()
        self._first = self._current = self._number_at(board.opened_at.ToMicroseconds())
        self._sealed = False
        self.turned = 0
        """Seasons that began after the first."""

    def _number_at(self, at_us: int) -> int:
        return max(1, 1 + (at_us - self._starts_us) // self._every_us) if self._has_seasons else 0

    def ends_us(self, number: int) -> int:
        return self._starts_us + number * self._every_us

    def last_us(self, closes_us: int) -> float:
        """The last moment of the season in which the board closes: its time passes no further."""
        return self.ends_us(self._number_at(closes_us - 1)) - 1 if self._has_seasons else math.inf

    def pass_time(self, now_us: float) -> None:
        if not self._has_seasons:
            return
        number = self._number_at(int(now_us))
        if number > self._current:
            self.turned += number - self._current
            self._current, self._sealed = number, False
        if self._current > self._first:
            sealed_at_us = self.ends_us(self._current - 1) + int(limits.SEAL_GRACE_S * 1e6)
            self._sealed |= now_us >= sealed_at_us

    def take(self, row: Row, at: At) -> None:
        number = max(self._number_at(at.event_us), self._first)
        if number < self._current and (number < self._current - 1 or self._sealed):
            number = self._current
        self._seasons[number].take(row, at)

    def remove(self, actor_id: str, number: int) -> bool:
        """False for a season that is over."""
        is_past = self._first <= number == self._current - 1 and not self._sealed
        if number == self._current or is_past:
            self._seasons[number].remove(actor_id)
        return number >= self._current or is_past

    def figures(self) -> Figures:
        current = self._seasons[self._current].figures()
        if not self._has_seasons:
            return 0, current, None, False
        before = self._seasons[self._current - 1].figures() if self._current > self._first else None
        return self._current, current, before, self._sealed


class Reactions:
    def __init__(self) -> None:
        self._totals: Counter[str] = Counter()
        self._late = 0
        self._newest_us = -math.inf

    def take(self, row: Row, at: At) -> None:
        """By its stamp, as far as the watermark has come."""
        at_us = min(at.stamp_us, at.watermark_us)
        self._totals[row.label] += int(row.value)
        if at_us < self._newest_us - aggregate_bounds.LATENESS_S * 1_000_000:
            self._late += int(row.value)
        self._newest_us = max(self._newest_us, at_us)

    def figures(self) -> Figures:
        return dict(self._totals), self._late


class Measures:
    def __init__(self) -> None:
        self._values: list[float] = []

    def take(self, row: Row, at: At) -> None:
        self._values.append(float(row.value))

    def figures(self) -> Figures:
        values = self._values
        return (len(values), min(values), max(values)) if values else (0, 0.0, 0.0)


class Audience:
    def __init__(self) -> None:
        self._actors: set[str] = set()
        self._guests: set[str] = set()

    def take(self, row: Row, at: At) -> None:
        assert row.value == PRESENCE_STATE_HERE
        self._actors.add(row.actor_id)
        if row.guest:
            self._guests.add(row.actor_id)

    def figures(self) -> Figures:
        return len(self._actors), len(self._guests)


class Heard:
    """Of a custom topic with the fold `scene.Heard`: every event that came, in its order."""

    def __init__(self, config: bytes) -> None:
        self._config = config
        self._payloads: list[str] = []

    def take(self, row: Row, at: At) -> None:
        self._payloads.append(f"{row.actor_id} {row.payload.decode()}")

    def figures(self) -> Figures:
        return self._config.decode() if self._payloads else "", sorted(self._payloads)


Naive = Votes | Standings | Reactions | Measures | Audience | Heard


def figures_of(partial: Partial) -> Figures:
    """Of a real partial, the same figures that the naive topics have."""
    return partial.stage, _figures_of(partial)


def _figures_of(partial: Partial) -> Figures:
    match partial.WhichOneof("value"):
        case "tally":
            tally = partial.tally
            guests = list(tally.guest_votes), tally.guest_voters
            return list(tally.votes), list(tally.weights), tally.voters, *guests, tally.voided
        case "board":
            board = partial.board
            sign = 1 if board.mode == BOARD_MODE_LOWEST else -1
            before = _share(board.previous, sign) if board.HasField("previous") else None
            return board.current.number, _share(board.current, sign), before, board.previous.sealed
        case "pulse":
            pulse = partial.pulse
            return dict(zip(pulse.kinds, pulse.totals, strict=True)), pulse.late
        case "metric":
            return partial.metric.count, partial.metric.min, partial.metric.max
        case "audience":
            return partial.audience.uniques, partial.audience.guests.uniques
        case "custom":
            config, payloads = json.loads(partial.custom.value or '["", []]')
            return config, sorted(payloads)
    raise AssertionError(f"no figures of {partial}")


def _share(share: Any, sign: int) -> list[tuple[int, int, str]]:
    assert share.actors == len(share.actor_ids), "a history has no more actors than a board shows"
    columns = zip(share.points, share.reached, share.actor_ids, strict=True)
    return [(sign * points, reached, actor) for points, reached, actor in columns]
