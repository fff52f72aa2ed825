"""What rules judge: a topic's results, as gateways merge them (mesh.merge), and its definition. Pure.

Only what a rule needs is merged: most results change nothing for any rule, and each is judged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from heapq import nsmallest
from typing import NamedTuple

from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_LOWEST, STAGE_UNSPECIFIED, Board, Game, Poll, Stage
from grandstand.internal.v1.internal_pb2 import PanePartial, Partial, SeasonShare
from mesh import limits, seasons


class Who(NamedTuple):
    """An option of a poll, or an actor on a board."""

    id: str
    """Of an actor its own, which others may not see."""
    name: str = ""
    points: int = 0


class Results(NamedTuple):
    topic: str
    definition: Game | Poll | Board | None
    """Of a poll or board its own; of any other topic, the game's."""
    partials: Sequence[Partial] = ()
    """The newest of each partition, in their order."""
    stage: Stage = STAGE_UNSPECIFIED


def closes_at_s(definition: Game | Poll | Board | None) -> float | None:
    if isinstance(definition, Poll | Board) and definition.HasField("closes_at"):
        return definition.closes_at.ToNanoseconds() / 1e9
    return None


def voters(results: Results) -> int:
    if len(results.partials) == 1:
        return results.partials[0].tally.voters
    return sum(partial.tally.voters for partial in results.partials)


def options_ahead(results: Results) -> tuple[Who, ...]:
    """The options of a poll that weigh most; none without a vote."""
    if len(results.partials) == 1:
        tally = results.partials[0].tally
        ids, weights = tally.option_ids, list(tally.weights or tally.votes)
    else:
        sums: dict[str, int] = {}
        for partial in results.partials:
            tally = partial.tally
            for option_id, weight in zip(tally.option_ids, tally.weights or tally.votes, strict=True):
                sums[option_id] = sums.get(option_id, 0) + weight
        ids, weights = list(sums), list(sums.values())  # type: ignore[assignment]
    most = max(weights, default=0)
    if not most:
        return ()
    if weights.count(most) == 1:
        return (Who(ids[weights.index(most)], "", most),)
    return tuple(Who(ids[at], "", most) for at, weight in enumerate(weights) if weight == most)


def season_of(results: Results) -> int:
    """The number of a board's newest season; 0 without seasons."""
    if len(results.partials) == 1:
        return results.partials[0].board.current.number
    return max((partial.board.current.number for partial in results.partials), default=0)


def season_ends_at_s(results: Results, number: int) -> float:
    """Of a board with seasons."""
    return seasons.ends_at_us(results.partials[0].board.season, number) / 1e6


def is_season_sealed(results: Results, number: int) -> bool:
    """Whether the season before the newest is, which is `number`."""
    return all(
        partial.board.current.number == number + 1 and partial.board.previous.sealed
        for partial in results.partials
    )


def first_of(results: Results, season: int, most: int) -> list[Who]:
    """The first of a board in a season, best first."""
    shares = [share for share in _shares(results, season) if share.actor_ids]
    if len(shares) == 1:
        (share,) = shares
        return [_who(share, at) for at in range(min(most, len(share.actor_ids)))]
    sign = 1 if is_lowest_first(results) else -1
    rows = (
        (sign * share.points[at], share.reached[at], share.actor_ids[at], at, share)
        for share in shares
        for at in range(min(most, len(share.actor_ids)))
    )
    return [_who(share, at) for *_, at, share in nsmallest(most, rows, key=lambda row: row[:3])]


def first_ids(results: Results, season: int, most: int) -> list[str]:
    """As `first_of`, the ids alone."""
    if len(results.partials) == 1:
        current = results.partials[0].board.current
        if current.number == season:
            return current.actor_ids[:most]
    return [who.id for who in first_of(results, season, most)]


def is_lowest_first(results: Results) -> bool:
    return bool(results.partials) and results.partials[0].board.mode == BOARD_MODE_LOWEST


def _shares(results: Results, season: int) -> list[SeasonShare]:
    found = []
    for partial in results.partials:
        board = partial.board
        if board.current.number == season:
            found.append(board.current)
        elif board.HasField("previous") and board.previous.number == season:
            found.append(board.previous)
    return found


def _who(share: SeasonShare, at: int) -> Who:
    return Who(share.actor_ids[at], share.names[at] if share.names else "", share.points[at])


def reactions(results: Results, from_s: float, until_s: float, width_s: int) -> float:
    """How many came in (from_s, until_s], by panes of that width; taken as even within a pane."""
    found = 0.0
    for partial in results.partials:
        panes = partial.pulse.panes
        for at in range(bisect_right(panes, (width_s, from_s - width_s), key=_place), len(panes)):
            pane = panes[at]
            starts_at_s = pane.starts_at_s
            if pane.width_s != width_s or starts_at_s >= until_s:
                break
            share = min(until_s, starts_at_s + width_s) - max(from_s, starts_at_s)
            found += sum(pane.counts) * share / width_s
    return found


def _place(pane: PanePartial) -> tuple[int, int]:
    return pane.width_s, pane.starts_at_s


def recent_reactions(results: Results, now_s: float) -> int:
    """Of the window in which viewers see the rate."""
    # What is stamped within this second is in: its pane is counted whole.
    return round(reactions(results, now_s - limits.RATE_WINDOW_S, now_s + 1, 1))
