"""Folding with the flush to a real Valkey: votes a second, and a thousand games at once.

One process plays the worker: each partition folds its blocks and flushes them by the store's
one atomic step, all partitions at once, as in the mesh; the blocks come from memory. Valkey
runs as the mesh runs it, with an append-only file.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from aggregate import bounds as aggregate_bounds
from aggregate.partition import Loaded, Partition
from aggregate.partition_store import PartitionStore
from aggregate.results_messages import results_messages
from bench._cpu import cpu_s, spent_s
from bench._votes import block, crowd, opening, row
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from mesh import limits
from mesh.redis import layout
from mesh.redis.database import Database, RedisError, connect
from toolbox.local import provision
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.stores import valkey_conf

_SMALL, _BUSY = 1, 5
"""Votes for each game in a tick: a small poll, and one at the edge of what a worker folds."""
_READY_S = 20.0


@dataclass(slots=True)
class FlushFigures:
    flushed_events_per_s: int
    flushed_worker_us: float
    flushed_valkey_us: float
    flushed_state_bytes: float
    """What a vote leaves in Redis."""
    games: int
    tick_ms: float
    small: TickFigures
    busy: TickFigures

    def as_json(self) -> dict[str, float | int]:
        found = asdict(self)
        del found["small"], found["busy"]
        return {**found, **self.small.as_json("games"), **self.busy.as_json("busy_games")}


@dataclass(slots=True)
class TickFigures:
    events_per_tick: int
    tick_p50_ms: float
    tick_p99_ms: float
    ticks: int
    ticks_behind: int
    """Ticks that took longer than they may: the next one began late."""

    def as_json(self, name: str) -> dict[str, float | int]:
        return {f"{name}_{key}": value for key, value in asdict(self).items()}


class Owned:
    """A partition with its store, owned by this process."""

    def __init__(self, database: Database, index: int) -> None:
        self.partition = Partition(index, Loaded(), salt=int.from_bytes(os.urandom(8)))
        self._store = PartitionStore(database, index, "bench")
        self._token = ""
        self._renewed_s = 0.0

    async def take(self, controls: Sequence[bytes]) -> None:
        self._token = os.urandom(8).hex()
        acquired = await self._store.acquire(self._token)
        assert acquired is not None
        assert acquired.applied == 0, "an empty Valkey"
        for control in controls:
            self.fold(control)
        await self.flush()

    def fold(self, data: bytes) -> None:
        letters = self.partition.fold(self.partition.folded + 1, data)
        assert not letters, letters[0].reason

    async def flush(self) -> None:
        flush = self.partition.take_flush()
        if flush is not None:
            await self._store.flush(self._token, flush.before, flush.state, flush.writes)
            list(
                results_messages(
                    partition=self.partition.index,
                    before=flush.before,
                    after=flush.after,
                    stream="",
                    partials=flush.partials,
                    bytes_max=1024 * 1024,
                )
            )

    async def fold_all(self, blocks: Sequence[bytes]) -> None:
        """As the worker does: a flush when the interval has passed, or when enough is waiting."""
        loop = asyncio.get_running_loop()
        flushed_s = loop.time()
        for data in blocks:
            self.fold(data)
            await asyncio.sleep(0)
            waiting = self.partition.unflushed_events
            if (
                loop.time() - flushed_s >= aggregate_bounds.FLUSH_INTERVAL_S
                or waiting >= aggregate_bounds.FLUSH_EVENTS_MAX
            ):
                await self.flush()
                flushed_s = loop.time()
        await self.flush()


async def measure_flushes(
    blocks: int, games: int, seconds: float, say: Callable[[str], None]
) -> FlushFigures:
    say("making votes for all partitions")
    made = crowd(blocks, limits.BLOCK_EVENTS_MAX, seed=2)
    async with _valkey() as (database, pid):
        say("flushing to Valkey")
        owned = [Owned(database, p) for p in range(wire_bounds.PARTITIONS)]
        await asyncio.gather(*(each.take([made.opening]) for each in owned))
        before = cpu_s({"worker": os.getpid(), "valkey": pid})
        began_s = time.perf_counter()
        shares = [made.blocks[p :: wire_bounds.PARTITIONS] for p in range(wire_bounds.PARTITIONS)]
        await asyncio.gather(*(each.fold_all(share) for each, share in zip(owned, shares, strict=True)))
        wall_s = time.perf_counter() - began_s
        spent = spent_s(before, cpu_s({"worker": os.getpid(), "valkey": pid}))
        stored = sum(
            [
                len(await database.string(layout.log_key(p, name)))
                for p in range(wire_bounds.PARTITIONS)
                for name in ("origins", "votes")
            ]
        )
    return FlushFigures(
        flushed_events_per_s=round(made.rows / wall_s),
        flushed_worker_us=round(1e6 * spent["worker"] / made.rows, 2),
        flushed_valkey_us=round(1e6 * spent["valkey"] / made.rows, 2),
        flushed_state_bytes=round(stored / made.rows, 1),
        games=games,
        tick_ms=1_000 * aggregate_bounds.FLUSH_INTERVAL_S,
        small=await _ticks(games, _SMALL, seconds, say),
        busy=await _ticks(games, _BUSY, seconds, say),
    )


async def _ticks(games: int, votes: int, seconds: float, say: Callable[[str], None]) -> TickFigures:
    async with _valkey() as (database, _):
        ticks, behind = await _games(database, games, votes, seconds, say)
    milliseconds = sorted(1_000 * tick for tick in ticks)
    return TickFigures(
        events_per_tick=games * votes,
        tick_p50_ms=round(statistics.median(milliseconds), 2),
        tick_p99_ms=round(milliseconds[int(len(milliseconds) * 0.99)], 2),
        ticks=len(ticks),
        ticks_behind=behind,
    )


async def _games(
    database: Database, games: int, votes: int, seconds: float, say: Callable[[str], None]
) -> tuple[list[float], int]:
    """How long each tick took to fold and flush, in seconds, and how many began late."""
    say(f"making votes for {games} games, {votes} a tick")
    rng = Random(3)
    by_partition: dict[int, list[str]] = {p: [] for p in range(wire_bounds.PARTITIONS)}
    for n in range(games):
        by_partition[ids.partition_of(f"game-{n}", "", 1)].append(f"game-{n}")
    owned = {p: Owned(database, p) for p in range(wire_bounds.PARTITIONS)}
    # Every tick has votes of its own: a block that comes again would change nothing.
    made = [
        {
            p: block([row(rng, game_id) for game_id in by_partition[p] for _ in range(votes)])
            for p in owned
            if by_partition[p]
        }
        for _ in range(max(2, int(seconds / aggregate_bounds.FLUSH_INTERVAL_S)))
    ]
    # As the mesh's processes do once they have started.
    gc.collect()
    gc.freeze()
    await asyncio.gather(*(owned[p].take([opening(g) for g in by_partition[p]]) for p in owned))
    say(f"{games} games, {votes} votes a tick each")
    took: list[float] = []
    behind = 0
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for tick in made:
        began_s = loop.time()
        await asyncio.gather(*(owned[p].fold_all([data]) for p, data in tick.items()))
        ended_s = loop.time()
        took.append(ended_s - began_s)
        due_s += aggregate_bounds.FLUSH_INTERVAL_S
        if ended_s > due_s:
            behind += 1
            due_s = ended_s
        await asyncio.sleep(due_s - loop.time())
    return took, behind


@contextlib.asynccontextmanager
async def _valkey() -> AsyncIterator[tuple[Database, int]]:
    """A Valkey of its own, and its process id."""
    with (
        tempfile.TemporaryDirectory(prefix="grandstand-bench-") as folder,
        contextlib.closing(Ports()) as ports,
    ):
        home = Home(Path(folder))
        home.valkey.mkdir()
        port = ports.take()
        config = home.root / "valkey.conf"
        config.write_text(valkey_conf(home, port))
        process = await asyncio.create_subprocess_exec(
            str(provision.valkey_server()), str(config), stdout=asyncio.subprocess.DEVNULL
        )
        database = connect(f"redis://127.0.0.1:{port}")
        try:
            await _until_it_answers(database)
            yield database, process.pid
        finally:
            await database.aclose()
            process.terminate()
            await process.wait()


async def _until_it_answers(database: Database) -> None:
    give_up_s = time.monotonic() + _READY_S
    while True:
        try:
            await database.string("ready")
            return
        except RedisError:
            if time.monotonic() > give_up_s:
                raise
            await asyncio.sleep(0.05)
