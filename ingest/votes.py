"""Tells a voter of a final poll that the vote is already cast, before the fold ignores it.

The fold is the authority: it counts one vote an actor, whatever comes. This is the courtesy
that lets ingest answer ALREADY_EXISTS. It knows the votes it took lately itself, and asks
Redis for the others, one round trip for each poll in a block. While Redis is away,
or slower than VOTE_CHECK_S, it says nothing.

Bound: RECENT_VOTES_MAX remembered votes, the oldest forgotten first (Redis has them by then).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence

from ingest.check import Row
from mesh import limits, store
from mesh.errors import AlreadyDone
from mesh.store import RedisError, VoteStore

log = logging.getLogger(__name__)

_Identity = tuple[str, int]


class CastVotes:
    """Who has voted in final polls, as far as this ingest can tell."""

    def __init__(self, votes: VoteStore) -> None:
        self._votes = votes
        self._recent: OrderedDict[tuple[str, str, str], _Identity] = OrderedDict()

    async def refusals(self, rows: Sequence[Row]) -> dict[int, AlreadyDone]:
        """The refusals of second votes, by their place in `rows`; a resend is none."""
        refusals: dict[int, AlreadyDone] = {}
        unsure: list[int] = []
        for at, row in enumerate(rows):
            if not row.final:
                continue
            known = self._recent.get(_key(row))
            if known is None:
                self._remember(row, _identity(row))
                unsure.append(at)
            elif known != _identity(row):
                refusals[at] = _second(row)
        if unsure:
            await self._ask_redis(rows, unsure, refusals)
        return refusals

    async def _ask_redis(
        self, rows: Sequence[Row], unsure: list[int], refusals: dict[int, AlreadyDone]
    ) -> None:
        wanted: dict[str, list[int]] = {}
        for at in unsure:
            row = rows[at]
            wanted.setdefault(store.votes_key(row.partition, row.game_id, row.topic), []).append(at)
        try:
            async with asyncio.timeout(limits.VOTE_CHECK_S):
                for key, places in wanted.items():
                    stored = await self._votes.votes(key, [rows[at].actor_id for at in places])
                    for at, value in zip(places, stored, strict=True):
                        self._compare(rows[at], at, value, refusals)
        except (RedisError, TimeoutError) as error:
            log.warning("second votes are not checked: %s", str(error) or type(error).__name__)

    def _compare(self, row: Row, at: int, value: bytes | None, refusals: dict[int, AlreadyDone]) -> None:
        if value is None:
            return
        _, origin_id, origin_seq = value.decode().split(":")
        identity = (origin_id, int(origin_seq))
        self._remember(row, identity)
        if identity != _identity(row):
            refusals[at] = _second(row)

    def forget(self, row: Row) -> None:
        """The row was not stored after all; its actor may vote anew."""
        if self._recent.get(_key(row)) == _identity(row):
            del self._recent[_key(row)]

    def _remember(self, row: Row, identity: _Identity) -> None:
        self._recent[_key(row)] = identity
        self._recent.move_to_end(_key(row))
        if len(self._recent) > limits.RECENT_VOTES_MAX:
            self._recent.popitem(last=False)


def _key(row: Row) -> tuple[str, str, str]:
    return row.game_id, row.topic, row.actor_id


def _identity(row: Row) -> _Identity:
    return row.origin_id, row.origin_seq


def _second(row: Row) -> AlreadyDone:
    poll_id = row.topic.partition("/")[2]
    return AlreadyDone(
        f"actor {row.actor_id!r} has already voted in poll {poll_id!r} of game {row.game_id!r}; "
        "1 vote is allowed and it cannot be changed"
    )
