"""How results are read from Redis. Where everything lies is said in mesh.redis.layout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, cast

from grandstand.catalog.v1.catalog_pb2 import STAGE_UNSPECIFIED, Stage
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Partial
from grandstand.wire import ids
from grandstand.wire.errors import TooLate, Unavailable
from mesh.redis import layout, scripts
from mesh.redis.applied import AppliedLooks
from mesh.redis.database import Database
from mesh.redis.share import Share, folded_anew
from mesh.shared_looks import SharedLooks

_FOLDED_ANEW_WAIT_S = 0.05
_READS_AT_ONCE = 64
_STAGE = layout.GAME_STAGE.encode()


class ResultStore:
    """Reads the results of a game; for gateways and `Read`.

    All who read a game at the same time share one look, and all who wait for a partition too. Bounds: games
    that are read at once; who waits is the caller's to bound.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._applied = AppliedLooks(database)
        self._looks = SharedLooks(self._read, _READS_AT_ONCE)

    async def read(self, game_id: str, spread: int) -> list[Share]:
        """The game's shares, one for each of its partitions. Raises RedisError."""
        return await self._looks.of((game_id, spread))

    async def read_at_least(
        self,
        game_id: str,
        spread: int,
        positions: Iterable[Position],
        patience_s: float,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> list[Share]:
        """As `read`, of a moment that includes every position (I6), and in which every share is whole.

        Positions of partitions that this game does not fold in are met at once: nothing of
        them can be in its results. `waiting` is entered before anything is waited for, and may raise.

        Raises TooLate after `patience_s`, naming the position, or Unavailable naming the partition that is
        folded again; RedisError.
        """
        wanted: dict[int, int] = {}
        for position in positions:
            wanted[position.partition] = max(position.sequence, wanted.get(position.partition, 0))
        deadline = asyncio.get_running_loop().time() + patience_s
        shares = await self.read(game_id, spread)
        late = _late(shares, wanted)
        if late is None:
            return shares
        with waiting():
            try:
                async with asyncio.timeout_at(deadline):
                    while late is not None:
                        if late.whole:
                            await self._applied.until(late.partition, wanted[late.partition])
                        else:
                            await asyncio.sleep(_FOLDED_ANEW_WAIT_S)
                        shares = await self.read(game_id, spread)
                        late = _late(shares, wanted)
            except TimeoutError:
                assert late is not None
                if not late.whole:
                    raise Unavailable(folded_anew(late.partition)) from None
                raise TooLate(
                    f"position {wanted[late.partition]} of partition {late.partition} was not reached within "
                    f"{patience_s:g} s (applied: {late.applied}); ask again"
                ) from None
        return shares

    async def until_folded(self, positions: Iterable[Position], patience_s: float) -> None:
        """Returns when each partition is folded up to its position. Raises TimeoutError, RedisError."""
        async with asyncio.timeout(patience_s):
            for position in positions:
                await self._applied.until(position.partition, position.sequence)

    async def _read(self, game: tuple[str, int]) -> list[Share]:
        game_id, spread = game
        return list(
            await asyncio.gather(
                *(self._read_share(game_id, p) for p in dict.fromkeys(ids.partitions_of(game_id, spread)))
            )
        )

    async def _read_share(self, game_id: str, partition: int) -> Share:
        (share,) = (await self.shares(partition, [game_id])).values()
        return share

    async def shares(self, partition: int, game_ids: Sequence[str]) -> dict[str, Share]:
        """What the partition holds of each game, all of one moment; for a few dozen games at most, as Redis
        does nothing else meanwhile. Raises RedisError."""
        results = [layout.results_key(partition, game_id) for game_id in game_ids]
        of = (layout.applied_key, layout.stream_key, layout.manifest_key)
        keys = [*(key(partition) for key in of), *results]
        answer = await self._database.run(scripts.READ, keys, [layout.name_of(key) for key in results])
        applied, stream = int(answer[0]), answer[1].decode().rpartition(" ")[0]
        return {
            game_id: Share(partition, applied, _partials(flat), bool(whole), stream, _stage(flat))
            for game_id, whole, flat in zip(game_ids, answer[2::2], answer[3::2], strict=True)
        }

    async def applied(self, partitions: Sequence[int]) -> dict[int, Applied]:
        """How far each of the partitions is folded that has a state to show. Raises RedisError."""
        keys = [layout.applied_key(p) for p in partitions] + [layout.stream_key(p) for p in partitions]
        values = await self._database.strings(keys)
        found = {}
        for partition, applied, value in zip(
            partitions, values[: len(partitions)], values[len(partitions) :], strict=True
        ):
            stream, _, target = value.decode().rpartition(" ")
            if value and int(applied or 0) >= int(target or 0):
                found[partition] = Applied(stream, int(applied or 0))
        return found


class Applied(NamedTuple):
    """How far a partition is folded."""

    stream: str
    """The identity of the event stream that it is folded from."""
    sequence: int


def _partials(flat: Sequence[bytes]) -> dict[str, Partial]:
    return {
        flat[i].decode(): Partial.FromString(flat[i + 1])
        for i in range(0, len(flat), 2)
        if not flat[i].startswith(b"!")
    }


def _stage(flat: Sequence[bytes]) -> Stage:
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        if name == _STAGE:
            return cast("Stage", int(value))
    return STAGE_UNSPECIFIED


def _late(shares: list[Share], wanted: Mapping[int, int]) -> Share | None:
    """One that is no answer yet."""
    return next((s for s in shares if not s.whole), None) or next(
        (s for s in shares if s.applied < wanted.get(s.partition, 0)), None
    )
