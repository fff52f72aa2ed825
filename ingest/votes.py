"""Tells a voter of a final poll that the vote is already cast, before the fold ignores it.

The fold is the authority: it counts one vote an actor, whatever comes. This is the courtesy
that lets ingest answer ALREADY_EXISTS. It knows the votes it took lately itself, and asks the
owner of the partition for the others: one request for a block, with one question for each of
its polls. When nobody answers within VOTE_CHECK_S, nothing is refused, and that partition is
not asked again for SILENCE_S: a partition that is being taken over must not slow its votes down.

Bound: RECENT_VOTES_MAX remembered votes, in two halves: when the younger is full, the elder is
forgotten (the owner has them by then). A dict that is never reordered costs a third of an LRU.

Rejected: reading the votes from Redis. They lie there as a log that only a fold can read,
and ingest would need a second store to be up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import VotedQuestion, VotedRequest, VotedResponse
from ingest.coalesce import Batch, Entry, Origins, Place
from mesh import limits, subjects
from mesh.bus import Bus
from mesh.errors import AlreadyDone

log = logging.getLogger(__name__)

SILENCE_S = 1.0

_Identity = tuple[bytes, int]
_Voter = tuple[Place, str]
Refusals = dict[Place, dict[int, AlreadyDone]]
"""Of second votes, by their place and where in it they stand."""


class RecentVotes:
    """The votes taken lately, each with the identity it came under. Pure."""

    def __init__(self, votes_max: int = limits.RECENT_VOTES_MAX) -> None:
        self._half = votes_max // 2
        self._young: dict[_Voter, _Identity] = {}
        self._old: dict[_Voter, _Identity] = {}

    def cast(self, voter: _Voter, identity: _Identity) -> _Identity | None:
        """The identity under which the voter's vote is known; it is remembered if there is none."""
        known = self._young.get(voter) or self._old.get(voter)
        if known is None:
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
            self._young[voter] = identity
        return known

    def forget(self, voter: _Voter, identity: _Identity) -> None:
        """This vote was not stored after all; its actor may vote anew."""
        for votes in (self._young, self._old):
            if votes.get(voter) == identity:
                del votes[voter]

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class CastVotes:
    """Who has voted in final polls, as far as this ingest can tell."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._recent = RecentVotes()
        self._silent_until: dict[int, float] = {}

    async def refusals(self, batch: Batch[Any]) -> Refusals:
        """The refusals of second votes; a resend is none."""
        final = [place for place, entries in batch.sections.items() if entries[0][4].final]
        if not final:
            return {}
        names, origins = batch.actor_ids(), batch.origins()
        refusals: Refusals = {}
        unsure: dict[Place, list[int]] = {}
        for place in final:
            for at, (_, seq, origin_at, actor_at, _said) in enumerate(batch.sections[place]):
                identity = (origins.key(origin_at), seq)
                known = self._recent.cast((place, names[actor_at]), identity)
                if known is None:
                    unsure.setdefault(place, []).append(at)
                elif known != identity:
                    refusals.setdefault(place, {})[at] = _second(place, names[actor_at])
        if unsure and self._silent_until.get(batch.partition, 0.0) <= asyncio.get_running_loop().time():
            for place, at in await self._ask(batch, unsure, batch.actor_keys(), origins):
                _, seq, origin_at, actor_at, _said = batch.sections[place][at]
                refusals.setdefault(place, {})[at] = _second(place, names[actor_at])
                # Not the vote that counts: were it remembered, its resend would pass for that.
                self._recent.forget((place, names[actor_at]), (origins.key(origin_at), seq))
        return refusals

    def forget(self, batch: Batch[Any], entries: Sequence[Entry[Any]]) -> None:
        """These of the batch were not stored after all; their actors may vote anew."""
        names, origins = batch.actor_ids(), batch.origins()
        for _, seq, origin_at, actor_at, said in entries:
            if said.final:
                self._recent.forget((said.place, names[actor_at]), (origins.key(origin_at), seq))

    async def _ask(
        self, batch: Batch[Any], unsure: dict[Place, list[int]], keys: list[bytes], origins: Origins
    ) -> list[tuple[Place, int]]:
        """Where second votes stand, as the partition's owner knows; none when it does not answer."""
        questions = [
            question(place, [batch.sections[place][at] for at in places], keys, origins)
            for place, places in unsure.items()
        ]
        try:
            message = await self._bus.client.request(
                subjects.votes(batch.partition),
                VotedRequest(questions=questions).SerializeToString(),
                timeout=limits.VOTE_CHECK_S,
            )
            answers = VotedResponse.FromString(message.data).second
        except (NatsError, TimeoutError, DecodeError) as error:
            log.warning(
                "second votes of partition %d are not checked: %s",
                batch.partition,
                str(error) or type(error).__name__,
            )
            self._silent_until[batch.partition] = asyncio.get_running_loop().time() + SILENCE_S
            return []
        if [len(answer) for answer in answers] != [len(places) for places in unsure.values()]:
            log.error("partition %d answered %d of %d questions", batch.partition, len(answers), len(unsure))
            return []
        return [
            (place, places[at])
            for (place, places), answer in zip(unsure.items(), answers, strict=True)
            if any(answer)
            for at, second in enumerate(answer)
            if second
        ]


def question(
    place: Place, entries: Sequence[Entry[Any]], keys: Sequence[bytes], origins: Origins
) -> VotedQuestion:
    """Which of these are second votes?"""
    _, seqs, origin_at, actor_at, _said = zip(*entries, strict=True)
    return VotedQuestion(
        game_id=place[0],
        topic=place[1],
        actors=b"".join([keys[at] for at in actor_at]),
        producer=bytes([at < 0 for at in origin_at]),
        origins=b"".join(map(origins.key, origin_at)),
        origin_seqs=np.array(seqs, dtype="<u8").tobytes(),
    )


def _second(place: Place, actor_id: str) -> AlreadyDone:
    game_id, topic = place
    return AlreadyDone(
        f"actor {actor_id!r} has already voted in poll {topic.partition('/')[2]!r} of game {game_id!r}; "
        "1 vote is allowed and it cannot be changed"
    )
