"""Tells a voter of a final poll that the vote is already cast, before the fold ignores it.

The fold is the authority: it counts one vote an actor, whatever comes. This is the courtesy
that lets ingest answer ALREADY_EXISTS. It knows the votes it took lately itself, and asks the
owner of the partition for the others: one request for a block, with one question for each of
its polls. When nobody answers within VOTE_CHECK_S, nothing is refused, and that partition is
not asked again for SILENCE_S: a partition that is being taken over must not slow its votes down.

Bound: RECENT_VOTES_MAX remembered votes, the oldest forgotten first (the owner has them by then).

Rejected: reading the votes from Redis. They lie there as a log that only a fold can read,
and ingest would need a second store to be up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from struct import pack

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import VotedQuestion, VotedRequest, VotedResponse
from ingest.check import Row
from mesh import ids, limits, subjects
from mesh.bus import Bus
from mesh.errors import AlreadyDone

log = logging.getLogger(__name__)

SILENCE_S = 1.0

_Identity = tuple[str, int]


class CastVotes:
    """Who has voted in final polls, as far as this ingest can tell."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._recent: OrderedDict[tuple[str, str, str], _Identity] = OrderedDict()
        self._silent_until: dict[int, float] = {}

    async def refusals(self, partition: int, rows: Sequence[Row]) -> dict[int, AlreadyDone]:
        """The refusals of second votes, by their place in `rows`, all of one partition; a resend is none."""
        refusals: dict[int, AlreadyDone] = {}
        unsure: dict[tuple[str, str], list[int]] = {}
        for at, row in enumerate(rows):
            if not row.final:
                continue
            known = self._recent.get(_key(row))
            if known is None:
                self._remember(row)
                unsure.setdefault((row.game_id, row.topic), []).append(at)
            elif known != _identity(row):
                refusals[at] = _second(row)
        if unsure and self._silent_until.get(partition, 0.0) <= asyncio.get_running_loop().time():
            for at in await self._ask(partition, rows, unsure):
                refusals[at] = _second(rows[at])
                # Not the vote that counts: were it remembered, its resend would pass for that.
                self.forget(rows[at])
        return refusals

    async def _ask(
        self, partition: int, rows: Sequence[Row], unsure: dict[tuple[str, str], list[int]]
    ) -> list[int]:
        """The places of second votes, as the partition's owner knows; none when it does not answer."""
        request = VotedRequest(questions=[_question(rows, places) for places in unsure.values()])
        try:
            message = await self._bus.client.request(
                subjects.votes(partition), request.SerializeToString(), timeout=limits.VOTE_CHECK_S
            )
            answers = VotedResponse.FromString(message.data).second
        except (NatsError, TimeoutError, DecodeError) as error:
            log.warning(
                "second votes of partition %d are not checked: %s",
                partition,
                str(error) or type(error).__name__,
            )
            self._silent_until[partition] = asyncio.get_running_loop().time() + SILENCE_S
            return []
        if [len(answer) for answer in answers] != [len(places) for places in unsure.values()]:
            log.error("partition %d answered %d of %d questions", partition, len(answers), len(unsure))
            return []
        return [
            at
            for places, answer in zip(unsure.values(), answers, strict=True)
            for at, second in zip(places, answer, strict=True)
            if second
        ]

    def forget(self, row: Row) -> None:
        """The row was not stored after all; its actor may vote anew."""
        if self._recent.get(_key(row)) == _identity(row):
            del self._recent[_key(row)]

    def _remember(self, row: Row) -> None:
        self._recent[_key(row)] = _identity(row)
        if len(self._recent) > limits.RECENT_VOTES_MAX:
            self._recent.popitem(last=False)


def _question(rows: Sequence[Row], places: Sequence[int]) -> VotedQuestion:
    asked = [rows[at] for at in places]
    return VotedQuestion(
        game_id=asked[0].game_id,
        topic=asked[0].topic,
        actors=b"".join(ids.actor_key(row.actor_id) for row in asked),
        producer=bytes(row.origin_id[0] == "p" for row in asked),
        origins=b"".join(ids.origin_key(row.origin_id) for row in asked),
        origin_seqs=pack(f"<{len(asked)}Q", *(row.origin_seq for row in asked)),
    )


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
