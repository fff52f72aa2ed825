"""Tells a voter of a final poll that the vote is already cast, before the fold ignores it.

The fold is the authority: it counts one vote an actor, whatever comes. This is the courtesy
that lets ingest answer ALREADY_EXISTS. It knows the votes it took lately itself, and asks
Redis for the others, one round trip for each batch. While Redis is away it says nothing.

Bound: RECENT_VOTES_MAX remembered votes, the oldest forgotten first (Redis has them by then).
"""

from __future__ import annotations

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

    async def refusals(self, rows: Sequence[Row]) -> list[AlreadyDone | None]:
        """For each row of a final poll the refusal of a second vote, or None; a resend is none."""
        answers: list[AlreadyDone | None] = []
        unsure: list[int] = []
        for at, row in enumerate(rows):
            known = self._recent.get(_key(row))
            if known is None:
                self._remember(row, (row.origin_id, row.origin_seq))
                unsure.append(at)
            answers.append(None if known in (None, (row.origin_id, row.origin_seq)) else _second(row))
        if unsure:
            await self._ask_redis(rows, unsure, answers)
        return answers

    async def _ask_redis(
        self, rows: Sequence[Row], unsure: list[int], answers: list[AlreadyDone | None]
    ) -> None:
        wanted = [
            (store.votes_key(row.partition, row.game_id, row.topic), row.actor_id)
            for row in (rows[at] for at in unsure)
        ]
        try:
            stored = await self._votes.votes(wanted)
        except RedisError as error:
            log.warning("second votes are not checked: %s", error)
            return
        for at, value in zip(unsure, stored, strict=True):
            if value is None:
                continue
            _, origin_id, origin_seq = value.decode().split(":")
            identity = (origin_id, int(origin_seq))
            self._remember(rows[at], identity)
            if identity != (rows[at].origin_id, rows[at].origin_seq):
                answers[at] = _second(rows[at])

    def forget(self, row: Row) -> None:
        """The row was not stored after all; its actor may vote anew."""
        if self._recent.get(_key(row)) == (row.origin_id, row.origin_seq):
            del self._recent[_key(row)]

    def _remember(self, row: Row, identity: _Identity) -> None:
        self._recent[_key(row)] = identity
        self._recent.move_to_end(_key(row))
        if len(self._recent) > limits.RECENT_VOTES_MAX:
            self._recent.popitem(last=False)


def _key(row: Row) -> tuple[str, str, str]:
    return row.game_id, row.topic, row.actor_id


def _second(row: Row) -> AlreadyDone:
    poll_id = row.topic.partition("/")[2]
    return AlreadyDone(
        f"actor {row.actor_id!r} has already voted in poll {poll_id!r} of game {row.game_id!r}; "
        "1 vote is allowed and it cannot be changed"
    )
