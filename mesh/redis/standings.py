"""Where an actor stands on a board, and who is next to it, read from the rankings in Redis.

Each partition of the game ranks the actors that fold in it, in a sorted set for each season:
the score (smaller is better) with the member `<reached, 16 hex digits><actor_id>`. The
actor's own partition says its place there; each other one, how many of its members come
before that score and member. The rank is one plus the sum, and the neighbours are the nearest
of all partitions' nearest.

Cost: O(log n) in each partition, also where all n scores are equal: the place among equals
is found by binary search, each probe one ZRANGE. Nothing is walked. Many actors' places are
looked up together: one call to each partition they fold in and one to each other, for every
LOOKUPS_MAX of them.

One partition is read in one moment, and its applied sequence with it; different ones, as always,
in slightly different ones.

Rejected: a ranking of the whole board in one place (a second writer, against I3), and
ZRANGEBYLEX inside the equals (it is defined only where all scores of a set are equal).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.wire import actors, ids
from mesh.redis import layout
from mesh.redis.database import Database, RedisError, Script
from mesh.redis.ranking import BoardName, Ranking, Standing
from mesh.redis.share import Share
from mesh.redis.standing_scripts import OTHER, OWN, PARTIALS

_REACHED_DIGITS = 16
LOOKUPS_MAX = 64
"""In one step: Redis serves nobody else meanwhile."""


class StandingStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, ranking: Ranking, actor_id: str, neighbours: int) -> Standing:
        """Up to `neighbours` entries above the actor and as many below. Raises RedisError."""
        (found,) = await self.read_many([(ranking, actor_id)], neighbours)
        if found is None:
            raise RedisError(
                f"{ranking.topic} of game {ranking.game_id} is broken at actor {actors.said(actor_id)}"
            )
        return found

    async def read_many(
        self, asked: Sequence[tuple[Ranking, str]], neighbours: int = 0
    ) -> list[Standing | None]:
        """As `read`, of each; None where the stored state is broken. Raises RedisError."""
        searches = [_Search(ranking, actor_id) for ranking, actor_id in asked]
        own = [_Lookup(s.own, s.keys(s.own), s.own_words, s.take_own) for s in searches]
        await self._look_up(OWN, own, [neighbours])
        others: list[_Lookup] = []
        for search in searches:
            words = ("", "") if search.mine is None else (str(search.mine[0]), search.mine[1])
            others += [_Lookup(p, search.keys(p), words, search.take_other) for p in search.others]
        await self._look_up(OTHER, others, [neighbours])
        return [search.standing(neighbours) for search in searches]

    async def shares(self, boards: Sequence[BoardName]) -> list[list[Share]]:
        """What the partitions of each board hold of it: as ResultStore reads it, but of no other topic, and
        in any order. Raises RedisError."""
        found: list[dict[int, Share]] = [{} for _ in boards]
        lookups: list[_Lookup] = []
        for board, shares in zip(boards, found, strict=True):
            topic = f"board/{board.board_id}"
            for p in dict.fromkeys(ids.partitions_of(board.game_id, board.spread)):
                key = layout.results_key(p, board.game_id)
                lookups.append(_Lookup(p, (key,), (topic,), partial(_take_share, topic, shares)))
        await self._look_up(PARTIALS, lookups, [])
        return [list(shares.values()) for shares in found]

    async def _look_up(
        self, script: Script, lookups: Iterable[_Lookup], first: Sequence[str | bytes | int]
    ) -> None:
        """In the partition of each, LOOKUPS_MAX in one step. Raises RedisError."""
        by_partition: dict[int, list[_Lookup]] = {}
        for lookup in lookups:
            by_partition.setdefault(lookup.partition, []).append(lookup)
        await asyncio.gather(
            *(
                self._step(script, partition, several[at : at + LOOKUPS_MAX], first)
                for partition, several in by_partition.items()
                for at in range(0, len(several), LOOKUPS_MAX)
            )
        )

    async def _step(
        self,
        script: Script,
        partition: int,
        lookups: Sequence[_Lookup],
        first: Sequence[str | bytes | int],
    ) -> None:
        keys = [layout.applied_key(partition)]
        places: dict[tuple[str, ...], int] = {}
        arguments = list(first)
        for lookup in lookups:
            place = places.get(lookup.keys)
            if place is None:
                place = places[lookup.keys] = len(keys) + 1
                keys += lookup.keys
            arguments += (place, *lookup.words)
        applied, answers = await self._database.run(script, keys, arguments)
        for lookup, answer in zip(lookups, answers, strict=True):
            lookup.take(partition, int(applied), answer)


class _Lookup(NamedTuple):
    """In one partition: the keys and words of a script, and who takes (partition, applied, answer)."""

    partition: int
    keys: tuple[str, ...]
    words: tuple[str, ...]
    take: Callable[[int, int, Any], None]


class _Search:
    """One actor's place in one ranking, gathered from all partitions."""

    def __init__(self, ranking: Ranking, actor_id: str) -> None:
        game_id, spread = ranking.game_id, ranking.spread
        self.actor_id = actor_id
        self.own = ids.partition_of(game_id, actor_id, spread)
        self.others = [p for p in dict.fromkeys(ids.partitions_of(game_id, spread)) if p != self.own]
        self.mine: tuple[int, str] | None = None
        """The actor's own row, once it is known that there is one."""
        self._ranking = ranking
        self._actors = 0
        self._before = 0
        self._near: list[tuple[int, str]] = []
        self._names: dict[tuple[int, str], str] = {}
        self._applied: dict[int, int] = {}
        self._is_broken = False

    def keys(self, partition: int) -> tuple[str, str]:
        """Of the standings, and of the ranking."""
        ranking = self._ranking
        named = partition, ranking.game_id, ranking.topic, ranking.part
        return layout.part_hash_key(*named), layout.part_ranking_key(*named)

    @property
    def own_words(self) -> tuple[str, ...]:
        """Its field among the standings, and its end of a member of the ranking."""
        return layout.standing_field(self.actor_id), self.actor_id

    def take_own(self, partition: int, applied: int, answer: Sequence[Any]) -> None:
        self._take(partition, applied, answer)
        if len(answer) > 1:
            self.mine = next(row for row in self._near if row[1][_REACHED_DIGITS:] == self.actor_id)

    def take_other(self, partition: int, applied: int, answer: Sequence[Any]) -> None:
        self._take(partition, applied, answer)

    def _take(self, partition: int, applied: int, answer: Sequence[Any]) -> None:
        self._applied[partition] = applied
        if not answer:
            self._is_broken = True
            return
        self._actors += answer[0]
        if len(answer) > 1:
            self._before += answer[1]
            rows = _rows(answer[2])
            self._near += [row for row, _ in rows]
            self._names |= {row: name for row, name in rows if name}

    def standing(self, neighbours: int) -> Standing | None:
        if self._is_broken:
            return None
        if self.mine is None:
            return Standing(None, [], self._actors, self._applied)
        near = sorted(self._near)
        at = near.index(self.mine)
        first = max(0, at - neighbours)
        sign = 1 if self._ranking.lowest_leads else -1
        entries = [
            BoardEntry(
                rank=1 + self._before + n - at,
                actor_id=member[_REACHED_DIGITS:],
                points=sign * score,
                name=self._names.get((score, member)),
            )
            for n, (score, member) in enumerate(near[first : at + neighbours + 1], start=first)
        ]
        return Standing(entries[at - first], entries, self._actors, self._applied)


def _take_share(topic: str, shares: dict[int, Share], partition: int, applied: int, answer: bytes) -> None:
    partials = {}
    if answer:
        with contextlib.suppress(DecodeError):  # as good as none: its owner rewrites it
            partials[topic] = Partial.FromString(answer)
    shares[partition] = Share(partition, applied, partials)


def _rows(flat: Sequence[bytes]) -> list[tuple[tuple[int, str], str]]:
    """((score, member), name) of an answer with scores and names; |score| <= 2^53, so a double is exact.

    Python orders members by code points, which is the order of their bytes in UTF-8, and so that of Redis.
    """
    return [
        ((int(float(flat[i + 1])), flat[i].decode()), flat[i + 2].decode()) for i in range(0, len(flat), 3)
    ]
