"""Where one actor stands on a board, and who is next to it, read from the rankings in Redis.

Each partition of the game ranks the actors that fold in it, in a sorted set for each season:
the score (smaller is better) with the member `<reached_at_us, 14 hex digits><actor_id>`. The
actor's own partition says its place there; each other one, how many of its members come
before that score and member. The rank is one plus the sum, and the neighbours are the nearest
of all partitions' nearest.

Cost: O(log n) in each partition, also where all n scores are equal: the place among equals
is found by binary search, each probe one ZRANGE. Nothing is walked.

One partition is read in one moment; different ones, as always, in slightly different ones.

Rejected: a ranking of the whole board in one place (a second writer, against I3), and
ZRANGEBYLEX inside the equals (it is defined only where all scores of a set are equal).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry, SeasonSpan
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_LOWEST
from mesh import ids, layout
from mesh.database import Database, Script
from mesh.errors import Unknown, shown
from mesh.merge.board import merge_board
from mesh.store import Share

_AT_DIGITS = 14

# KEYS: standings, ranking. ARGV: actor, neighbours.
# {actors}, or {actors, members before, members above and below with the actor's, each with its score}.
_OWN = Script("""
local actors = redis.call('ZCARD', KEYS[2])
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then return {actors} end
local points, at = struct.unpack('<i8I8', packed)
local before = redis.call('ZRANK', KEYS[2], string.format('%014x', at) .. ARGV[1])
if not before then return redis.error_reply('UNRANKED ' .. KEYS[2] .. ' lacks ' .. ARGV[1]) end
local k = tonumber(ARGV[2])
return {actors, before, redis.call('ZRANGE', KEYS[2], math.max(0, before - k), before + k, 'WITHSCORES')}
""")

# KEYS: ranking. ARGV: score, member, neighbours. As above, without the actor's own.
# Lua compares strings by the server's locale, a ranking by their bytes.
_OTHER = Script("""
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[1])
local high = low + redis.call('ZCOUNT', KEYS[1], ARGV[1], ARGV[1])
while low < high do
  local middle = math.floor((low + high) / 2)
  if less(redis.call('ZRANGE', KEYS[1], middle, middle)[1], ARGV[2]) then
    low = middle + 1
  else
    high = middle
  end
end
local k, near = tonumber(ARGV[3]), {}
if k > 0 then
  near = redis.call('ZRANGE', KEYS[1], math.max(0, low - k), low + k - 1, 'WITHSCORES')
end
return {redis.call('ZCARD', KEYS[1]), low, near}
""")

# KEYS: ranking.
_ACTORS = Script("return redis.call('ZCARD', KEYS[1])")


@dataclass(frozen=True, slots=True)
class Ranking:
    """One season of one board; `season` is None for a board without seasons."""

    game_id: str
    board_id: str
    spread: int
    lowest_leads: bool
    season: SeasonSpan | None

    @property
    def topic(self) -> str:
        return f"board/{self.board_id}"

    @property
    def part(self) -> str:
        """The name of its part of the stored state."""
        return "" if self.season is None else str(self.season.number)


def ranking_of(
    game_id: str, spread: int, board_id: str, shares: Iterable[Share], *, previous: bool = False
) -> Ranking:
    """The season that is shown, or the one before it. Raises Unknown."""
    topic = f"board/{board_id}"
    boards = [share.partials[topic].board for share in shares if topic in share.partials]
    if not boards:
        raise Unknown(f"board {shown(board_id)} is not known in game {shown(game_id)}")
    result = merge_board(boards)
    if previous and not result.HasField("previous"):
        why = "is in its first season" if result.HasField("season") else "has no seasons"
        raise Unknown(f"previous_season: board {shown(board_id)} of game {shown(game_id)} {why}")
    span = result.previous.season if previous else result.season
    return Ranking(
        game_id=game_id,
        board_id=board_id,
        spread=spread,
        lowest_leads=boards[0].mode == BOARD_MODE_LOWEST,
        season=span if result.HasField("season") else None,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """`entry` is None for an actor without a score; `neighbours` are best first and include it."""

    entry: BoardEntry | None
    neighbours: Sequence[BoardEntry]
    actors: int


class StandingStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, ranking: Ranking, actor_id: str, neighbours: int) -> Standing:
        """Up to `neighbours` entries above the actor and as many below. Raises RedisError."""
        game_id, topic = ranking.game_id, ranking.topic
        own = ids.partition_of(game_id, actor_id, ranking.spread)
        others = [p for p in dict.fromkeys(ids.partitions_of(game_id, ranking.spread)) if p != own]

        def key_of(partition: int) -> str:
            return layout.part_ranking_key(partition, game_id, topic, ranking.part)

        keys = [layout.part_hash_key(own, game_id, topic, ranking.part), key_of(own)]
        actors, *place = await self._database.run(_OWN, keys, [actor_id, neighbours])
        if not place:
            counts = await asyncio.gather(*(self._database.run(_ACTORS, [key_of(p)]) for p in others))
            return Standing(None, [], actors + sum(counts))
        before, flat = place
        near = _rows(flat)
        mine = next(row for row in near if row[1][_AT_DIGITS:] == actor_id)
        answers: list[Any] = await asyncio.gather(
            *(self._database.run(_OTHER, [key_of(p)], [str(mine[0]), mine[1], neighbours]) for p in others)
        )
        for more, further, flat in answers:
            actors += more
            before += further
            near += _rows(flat)
        near.sort()
        at = near.index(mine)
        first = max(0, at - neighbours)
        sign = 1 if ranking.lowest_leads else -1
        entries = [
            BoardEntry(rank=1 + before + n - at, actor_id=member[_AT_DIGITS:], points=sign * score)
            for n, (score, member) in enumerate(near[first : at + neighbours + 1], start=first)
        ]
        return Standing(entries[at - first], entries, actors)


def _rows(flat: Sequence[bytes]) -> list[tuple[int, str]]:
    """(score, member) of an answer with scores; |score| <= 2^53, so a double is exact.

    Ids are ASCII: Python orders members as Redis does, by their bytes.
    """
    return [(int(float(flat[i + 1])), flat[i].decode()) for i in range(0, len(flat), 2)]
