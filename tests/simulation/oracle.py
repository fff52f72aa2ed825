"""The naive count of one partition's stream: event by event, in plain dictionaries.

It is told what the blocks were made of, so it also proves that encoding and decoding keep it.
An identity is counted when it comes for the first time and is within its origin's window: that
is what I2 promises, and RFC 6479 describes. `at` answers the figures of a topic after any block.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_SUM,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    BoardMode,
)
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE
from grandstand.internal.v1.internal_pb2 import Block, Control, Partial
from ingest.coalesce import Row
from mesh import ids, limits
from tests.simulation.stream import Stored

TopicKey = tuple[str, str]
Identity = tuple[str, int]
Figures = Any


class NaiveTopic:
    """One topic; `value` is whatever its rule makes of its rows."""

    def __init__(self, rule: Callable[[Any, Row, int], None], value: Any, figures: Callable[[Any], Figures]):
        self.stage = STAGE_UNSPECIFIED
        self.rule = rule
        self.value = value
        self._figures = figures
        self._sequences: list[int] = []
        self._history: list[Figures] = []

    def note(self, sequence: int) -> None:
        self._sequences.append(sequence)
        self._history.append((self.stage, self._figures(self.value)))

    def at(self, sequence: int) -> Figures:
        """After the block of this sequence."""
        found = bisect_right(self._sequences, sequence)
        return self._history[found - 1] if found else None


class NaivePartition:
    def __init__(self) -> None:
        self.counted: dict[Identity, int] = {}
        """Every identity that was counted, and the sequence of its block."""
        self.stored: set[Identity] = set()
        """Every identity that is in the stream, counted or not."""
        self.topics: dict[TopicKey, NaiveTopic] = {}
        self._seen: dict[str, set[int]] = defaultdict(set)

    def apply(self, message: Stored) -> None:
        if message.rows:
            self._apply_rows(message)
        elif not message.is_foreign:
            self._apply_control(message.sequence, Block.FromString(message.data).control)

    def _apply_control(self, sequence: int, control: Control) -> None:
        game = control.game
        for key, topic in _made_by(control):
            known = self.topics.setdefault(key, topic)
            if not game.game_id:
                stage = control.poll.stage or control.board.stage
                if known.stage >= stage:
                    continue
                known.stage = stage
            known.note(sequence)

    def _apply_rows(self, message: Stored) -> None:
        at_us = Block.FromString(message.data).stamped_at.ToMicroseconds()
        changed = set()
        for row in message.rows:
            key = (row.game_id, row.topic)
            identity = (row.origin_id, row.origin_seq)
            self.stored.add(identity)
            topic = self.topics[key]
            if not self._is_new(row) or topic.stage == STAGE_SEALED:
                continue
            assert identity not in self.counted, f"{identity} twice"
            self.counted[identity] = message.sequence
            changed.add(key)
            topic.rule(topic.value, row, at_us)
        for key in changed:
            self.topics[key].note(message.sequence)

    def _is_new(self, row: Row) -> bool:
        seen = self._seen[row.origin_id]
        if row.origin_seq in seen or row.origin_seq <= max(seen, default=0) - ids.origin_window(
            row.origin_id
        ):
            return False
        seen.add(row.origin_seq)
        return True


def _made_by(control: Control) -> list[tuple[TopicKey, NaiveTopic]]:
    """The topics that a control makes."""
    match control.WhichOneof("definition"):
        case "poll":
            poll = control.poll
            rule = _changeable_vote if poll.changeable else _final_vote
            key = (poll.game_id, f"poll/{poll.poll_id}")
            return [(key, NaiveTopic(rule, {}, _votes_of(len(poll.options), weighted=poll.weight_max > 1)))]
        case "board":
            board = control.board
            key = (board.game_id, f"board/{board.board_id}")
            return [(key, NaiveTopic(_SCORES[board.mode], {}, _standings))]
    game = control.game
    topics = [(f"pulse/{pulse.pulse_id}", NaiveTopic(_reaction, _Pulse(), _pulse)) for pulse in game.pulses]
    topics += [(f"metric/{each.metric_id}", NaiveTopic(_measure, [], _metric)) for each in game.metrics]
    if game.audience:
        topics.append(("audience", NaiveTopic(_presence, set(), len)))
    return [((game.game_id, topic), made) for topic, made in topics]


def _final_vote(votes: dict[str, Row], row: Row, at_us: int) -> None:
    votes.setdefault(row.actor_id, row)


def _changeable_vote(votes: dict[str, Row], row: Row, at_us: int) -> None:
    before = votes.get(row.actor_id)
    if before is None or before.origin_id != row.origin_id or before.origin_seq < row.origin_seq:
        votes[row.actor_id] = row


def _votes_of(options: int, *, weighted: bool) -> Callable[[dict[str, Row]], Figures]:
    def figures(votes: dict[str, Row]) -> Figures:
        chosen = [[row for row in votes.values() if int(row.value) >> at & 1] for at in range(options)]
        weights = [sum(row.weight or 1 for row in rows) for rows in chosen] if weighted else []
        return [len(rows) for rows in chosen], weights, len(votes)

    return figures


Standing = tuple[int, int, Row]
"""Points, when they were reached, and the row that was last."""


def _sum(standings: dict[str, Standing], row: Row, at_us: int) -> None:
    points, reached, _ = standings.get(row.actor_id, (0, 0, row))
    standings[row.actor_id] = (points + int(row.value), max(reached, at_us), row)


def _best(standings: dict[str, Standing], row: Row, at_us: int) -> None:
    before = standings.get(row.actor_id)
    if before is None or (-int(row.value), at_us) < (-before[0], before[1]):
        standings[row.actor_id] = (int(row.value), at_us, row)


def _last(standings: dict[str, Standing], row: Row, at_us: int) -> None:
    before = standings.get(row.actor_id)
    if before is not None and before[2].origin_id == row.origin_id and before[2].origin_seq > row.origin_seq:
        return
    same = before is not None and before[0] == int(row.value)
    standings[row.actor_id] = (int(row.value), before[1] if before and same else at_us, row)


_SCORES: dict[BoardMode, Callable[[dict[str, Standing], Row, int], None]] = {
    BOARD_MODE_SUM: _sum,
    BOARD_MODE_BEST: _best,
    BOARD_MODE_LAST: _last,
}


def _standings(standings: dict[str, Standing]) -> Figures:
    return sorted((-points, reached, actor) for actor, (points, reached, _) in standings.items())


class _Pulse:
    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.late = 0
        self.newest_us = -math.inf


def _reaction(pulse: _Pulse, row: Row, at_us: int) -> None:
    pulse.totals[row.label] += int(row.value)
    if at_us < pulse.newest_us - limits.LATENESS_S * 1_000_000:
        pulse.late += int(row.value)
    pulse.newest_us = max(pulse.newest_us, at_us)


def _pulse(pulse: _Pulse) -> Figures:
    return dict(pulse.totals), pulse.late


def _measure(values: list[float], row: Row, at_us: int) -> None:
    values.append(float(row.value))


def _metric(values: list[float]) -> Figures:
    return (len(values), min(values), max(values)) if values else (0, 0.0, 0.0)


def _presence(actors: set[str], row: Row, at_us: int) -> None:
    assert row.value == PRESENCE_STATE_HERE
    actors.add(row.actor_id)


def figures_of(partial: Partial) -> Figures:
    """Of a real partial, the same figures that the naive topics have."""
    return partial.stage, _figures_of(partial)


def _figures_of(partial: Partial) -> Figures:
    match partial.WhichOneof("value"):
        case "tally":
            tally = partial.tally
            return list(tally.votes), list(tally.weights), tally.voters
        case "board":
            share = partial.board.current
            assert share.actors == len(share.actor_ids), "a history has no more actors than a board shows"
            columns = (share.points, share.reached, share.actor_ids)
            return [(-points, reached, actor) for points, reached, actor in zip(*columns, strict=True)]
        case "pulse":
            pulse = partial.pulse
            return dict(zip(pulse.kinds, pulse.totals, strict=True)), pulse.late
        case "metric":
            return partial.metric.count, partial.metric.min, partial.metric.max
        case "audience":
            return partial.audience.uniques
    raise AssertionError(f"no figures of {partial}")
