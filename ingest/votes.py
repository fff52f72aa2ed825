"""Tells a voter of a final poll that the vote is already cast, before the fold ignores it.

The fold is the authority: it counts one vote an actor, whatever comes. This is the courtesy
that lets ingest answer ALREADY_EXISTS. It knows the votes it took lately itself, and asks the
owner of the partition for the others: one request for a block, with one question for each of
its polls. When nobody answers within VOTE_CHECK_S, nothing is refused, and that partition is
not asked again for SILENCE_S: a partition that is being taken over must not slow its votes down.

A second vote whose first is still on its way is not published. It is answered with the first: ALREADY_EXISTS
when the first was stored, else what the first was told.

Bound: RECENT_VOTES_MAX remembered votes, some 430 bytes each, in two halves: when the younger is full, or
RECENT_VOTES_S old, the elder is forgotten (the owner has them by then). So the memory follows the rate of
votes, not their number. A dict that is never reordered costs a third of an LRU.

Rejected: reading the votes from Redis. They lie there as a log that only a fold can read,
and ingest would need a second store to be up.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from struct import pack
from typing import Any

from google.protobuf.message import DecodeError
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import VotedQuestion, VotedRequest, VotedResponse
from grandstand.wire.errors import AlreadyDone, GrandstandError
from ingest import bounds
from ingest.check import Place
from ingest.coalesce import Batch, BatchOrigins, Entry, Outcome
from mesh.explain.recent_refusals import RecentRefusals
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

SILENCE_S = 1.0

_Identity = tuple[bytes, int]
_Voter = tuple[Place, str, int]
"""Where, who, and how often votes had been voided there: see ValidatedEvent.voids."""
_Known = tuple[_Identity, Outcome[Any]]
Refusals = dict[Place, dict[int, AlreadyDone | None]]
"""Of second votes, by their place and where in it they stand; None: to be told when the first is."""


class RecentVotes:
    """The votes taken lately, each with the identity it came under and what becomes of its batch. Pure."""

    def __init__(self, votes_max: int = bounds.RECENT_VOTES_MAX) -> None:
        self._half = votes_max // 2
        self._young: dict[_Voter, _Known] = {}
        self._young_since_s = -math.inf
        self._old: dict[_Voter, _Known] = {}

    def cast(self, voter: _Voter, identity: _Identity, outcome: Outcome[Any], now_s: float) -> _Known | None:
        """The voter's vote as it is known; if none is, this one is remembered. `now_s`: monotonic seconds."""
        known = self._young.get(voter) or self._old.get(voter)
        if known is None:
            if len(self._young) >= self._half or now_s - self._young_since_s >= bounds.RECENT_VOTES_S:
                self._old, self._young = self._young, {}
                self._young_since_s = now_s
            self._young[voter] = identity, outcome
        return known

    def forget(self, voter: _Voter, identity: _Identity) -> None:
        """This vote was not stored after all; its actor may vote again."""
        for votes in (self._young, self._old):
            known = votes.get(voter)
            if known is not None and known[0] == identity:
                del votes[voter]

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class CastVotes:
    """Who has voted in final polls, as far as this ingest can tell."""

    def __init__(self, bus: Bus, refusals: RecentRefusals | None = None) -> None:
        self._bus = bus
        self._refusals = RecentRefusals() if refusals is None else refusals
        self._recent = RecentVotes()
        self._silent_until: dict[int, float] = {}

    async def refusals(self, batch: Batch[Any]) -> Refusals:
        """The refusals of second votes; a resend is none. To be followed by `stored` or `refused`."""
        final = [place for place, entries in batch.sections.items() if entries[0][4].final]
        if not final:
            return {}
        names, origins = batch.actor_ids(), batch.origins()
        refusals: Refusals = {}
        unsure: dict[Place, list[int]] = {}
        now_s = asyncio.get_running_loop().time()
        for place in final:
            for at, (ticket, seq, origin_at, actor_at, said) in enumerate(batch.sections[place]):
                voter, identity = (place, names[actor_at], said.voids), (origins.key(origin_at), seq)
                known = self._recent.cast(voter, identity, batch.outcome, now_s)
                if known is None:
                    unsure.setdefault(place, []).append(at)
                elif known[0] != identity:
                    first = known[1]
                    refusals.setdefault(place, {})[at] = _second(voter) if first.is_stored else None
                    if not first.is_stored:
                        first.waiting.setdefault(voter, []).append((ticket, seq))
        if unsure and self._silent_until.get(batch.partition, 0.0) <= now_s:
            for place, at in await self._ask(batch, unsure, batch.actor_keys(), origins):
                _, seq, origin_at, actor_at, said = batch.sections[place][at]
                voter = place, names[actor_at], said.voids
                refusals.setdefault(place, {})[at] = second = _second(voter)
                # Not the vote that counts: were it remembered, its resend would pass for that.
                self._forget(batch.outcome, voter, (origins.key(origin_at), seq), second)
        return refusals

    def stored(self, batch: Batch[Any]) -> None:
        """All that is left in the batch is; tells the second votes that waited for it."""
        batch.outcome.is_stored = True
        waiting, batch.outcome.waiting = batch.outcome.waiting, {}
        for voter, seconds in waiting.items():
            for ticket, seq in seconds:
                self._refuse(voter, ticket, seq, _second(voter))

    def refused(
        self,
        batch: Batch[Any],
        entries: Sequence[Entry[Any]],
        error: GrandstandError,
        *,
        maybe_stored: bool = False,
    ) -> None:
        """These of the batch were refused: their actors may vote again; seconds that waited hear the same."""
        names, origins = batch.actor_ids(), batch.origins()
        for _, seq, origin_at, actor_at, said in entries:
            if said.final:
                voter, identity = (said.place, names[actor_at], said.voids), (origins.key(origin_at), seq)
                self._forget(batch.outcome, voter, identity, error, maybe_stored=maybe_stored)

    def _forget(
        self,
        outcome: Outcome[Any],
        voter: _Voter,
        identity: _Identity,
        error: GrandstandError,
        *,
        maybe_stored: bool = False,
    ) -> None:
        self._recent.forget(voter, identity)
        for ticket, seq in outcome.waiting.pop(voter, ()):
            self._refuse(voter, ticket, seq, error, maybe_stored=maybe_stored)

    def _refuse(
        self, voter: _Voter, ticket: Any, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        ticket.refused(seq, error, maybe_stored=maybe_stored)
        (game_id, topic, *_), actor_id, _ = voter
        self._refusals.refused(actor_id, game_id, topic, "", seq, error, maybe_stored=maybe_stored)

    async def _ask(
        self, batch: Batch[Any], unsure: dict[Place, list[int]], keys: list[bytes], origins: BatchOrigins
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
                timeout=bounds.VOTE_CHECK_S,
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
    place: Place, entries: Sequence[Entry[Any]], keys: Sequence[bytes], origins: BatchOrigins
) -> VotedQuestion:
    """Which of these are second votes?"""
    _, seqs, origin_at, actor_at, _said = zip(*entries, strict=True)
    return VotedQuestion(
        game_id=place[0],
        topic=place[1],
        actors=b"".join([keys[at] for at in actor_at]),
        producer=bytes([at < 0 for at in origin_at]),
        origins=b"".join(map(origins.key, origin_at)),
        origin_seqs=pack(f"<{len(seqs)}Q", *seqs),
    )


def _second(voter: _Voter) -> AlreadyDone:
    (game_id, topic, *_), actor_id, _ = voter
    return AlreadyDone(
        f"actor {actor_id!r} has already voted in poll {topic.partition('/')[2]!r} of game {game_id!r}; "
        "1 vote is allowed and it cannot be changed"
    )
