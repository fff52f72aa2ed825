"""Games that come and go: defined, voted in, ended, forgotten. What of them stays in the memory of the
processes, in Redis, and in the catalog's bucket.

CALLERS at once take one game after the other through its life. Games are forgotten as soon as they are
sealed, where a mesh outside a test waits for a day and more. Memory is looked at each time SAMPLE_GAMES more
have ended; its slope over the second half is what a game leaves behind, whatever the first ones filled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from bench._cpu import tree_rss_kib
from bench._games_catalog import backend_of, by_callers, poll_of
from bench._games_votes import OPTIONS, POLL_ID
from bench._mesh import BenchMesh, temporary_mesh
from bench._say import say
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.client import Publisher, open_channel
from grandstand.event.v1.event_pb2 import Event, Vote
from mesh.catalog.markers import MARKER_KEPT_S
from mesh.jetstream import subjects
from toolbox.local import store_users
from toolbox.local.errors import MeshError
from toolbox.local.running import store_urls

PREFIX = "churn-"
FORGET_VARIABLE = "GRANDSTAND_FORGET_AFTER_S"
SAMPLE_GAMES = 500
VOTES = 3
"""In each game."""
SERVICES = ("ingest", "aggregate", "gateway", "notify")
_PATIENCE_S = MARKER_KEPT_S + 30.0
_LOOK_S = 1.0
_NAMED = 3
"""Of what was left behind, in what is said."""


@dataclass
class Churn:
    """What was seen."""

    games: int
    samples: list[tuple[int, Mapping[str, int]]] = field(default_factory=list)
    """How many games had been ended by then, and the memory of each process in KiB."""
    left: list[str] = field(default_factory=list)
    """Of the games in Redis and the catalog's bucket, when all were forgotten."""
    took_s: float = 0.0

    def slopes(self) -> dict[str, float]:
        """KiB for each 1,000 games, by process, over the second half."""
        late = [(ended, rss) for ended, rss in self.samples if ended >= self.games // 2]
        if len(late) < 2:
            return {}
        return {
            name: round(1_000 * slope([(ended, rss[name]) for ended, rss in late]), 1) for name in late[0][1]
        }

    def as_json(self) -> dict[str, Any]:
        slopes = self.slopes()
        return {
            "churn_rss_kib_per_1000_games": max(
                (kib for name, kib in slopes.items() if name.startswith(SERVICES)), default=None
            ),
            "churn_by_process": slopes,
            "churn_games": self.games,
            "churn_games_per_s": round(self.games / self.took_s, 1) if self.took_s else None,
            "churn_left": len(self.left),
        }

    @property
    def unsound(self) -> str:
        if not self.left:
            return ""
        return f"forgotten games left {len(self.left)} things behind: {', '.join(self.left[:_NAMED])}"


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line of least squares; 0 when all lie at one place."""
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else 0.0


def churn(home: Path, games: int) -> Churn:
    """In a mesh of its own. Raises MeshError, ClientError."""
    with forgetting_at_once(), temporary_mesh(home) as mesh:
        return asyncio.run(_churn(mesh, games))


@contextlib.contextmanager
def forgetting_at_once() -> Iterator[None]:
    """For a mesh that is started meanwhile."""
    before = os.environ.get(FORGET_VARIABLE)
    os.environ[FORGET_VARIABLE] = "0"
    try:
        yield
    finally:
        os.environ.pop(FORGET_VARIABLE)
        if before is not None:
            os.environ[FORGET_VARIABLE] = before


async def _churn(mesh: BenchMesh, games: int) -> Churn:
    found = Churn(games)
    began_s = time.monotonic()
    async with backend_of(mesh) as backend, _publishing(mesh) as publisher, _bucket(mesh) as bucket:
        ended = 0

        async def live(game_id: str) -> None:
            nonlocal ended
            await backend.define_game(Game(game_id=game_id, title=f"Game {game_id}"))
            await backend.open_poll(poll_of(game_id))
            who = f"voter-{game_id.removeprefix(PREFIX)}"
            receipts = [await publisher.submit(_vote(game_id, f"{who}-{at}")) for at in range(VOTES)]
            await asyncio.gather(*receipts)
            await backend.end_game(game_id)
            ended += 1
            if ended % SAMPLE_GAMES == 0:
                found.samples.append((ended, {name: tree_rss_kib(pid) for name, pid in mesh.pids().items()}))
                say(f"churn: {ended} of {games} games have come and gone")

        await by_callers((f"{PREFIX}{number}" for number in range(games)), live)
        found.took_s = time.monotonic() - began_s
        left = await _until_forgotten(bucket)
    found.left = [*left, *await _left_in_redis(mesh)]
    return found


def _vote(game_id: str, actor_id: str) -> Event:
    return Event(game_id=game_id, actor_id=actor_id, vote=Vote(poll_id=POLL_ID, option_ids=[OPTIONS[0]]))


@contextlib.asynccontextmanager
async def _publishing(mesh: BenchMesh) -> AsyncIterator[Publisher]:
    from toolbox.local.development import producer_token

    async with (
        open_channel(mesh.addresses.mesh, own_connection=True) as channel,
        Publisher(channel, producer=True, client="grandstand-bench", token=producer_token(mesh.home)) as made,
    ):
        yield made


@contextlib.asynccontextmanager
async def _bucket(mesh: BenchMesh) -> AsyncIterator[Any]:
    """The stream manager of the mesh's NATS."""
    client = await nats.connect(store_urls(mesh.home, store_users.ADMIN).nats, name="bench-churn")
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def _until_forgotten(js: Any) -> list[str]:
    """Entries of the games in the catalog's stream, and markers in their place, once no more of them go."""
    left, give_up_s = await _entries(js), time.monotonic() + _PATIENCE_S
    while left and time.monotonic() < give_up_s:
        say(f"churn: {len(left)} entries to go")
        await asyncio.sleep(_LOOK_S)
        before, left = left, await _entries(js)
        if len(left) < len(before):
            give_up_s = time.monotonic() + _PATIENCE_S
    return left


async def _entries(js: Any) -> list[str]:
    try:
        info = await js.stream_info(
            subjects.CATALOG_STREAM, subjects_filter=f"$KV.{subjects.CATALOG_BUCKET}.>"
        )
    except NotFoundError as error:
        raise MeshError(f"the catalog's bucket: {error}") from None
    return [subject for subject in info.state.subjects or () if PREFIX in subject]


async def _left_in_redis(mesh: BenchMesh) -> list[str]:
    """Keys that name one of the games, and keys whose fields or values do."""
    redis: Any = Redis.from_url(store_urls(mesh.home, store_users.ADMIN).redis)
    wanted = PREFIX.encode()
    try:
        return [
            key.decode(errors="replace")
            async for key in redis.scan_iter(count=1_000)
            if wanted in key or wanted in await _content(redis, key)
        ]
    finally:
        await redis.aclose()


async def _content(redis: Any, key: bytes) -> bytes:
    kind = await redis.type(key)
    if kind == b"hash":
        return b" ".join(part for pair in (await redis.hgetall(key)).items() for part in pair)
    if kind == b"zset":
        return b" ".join(await redis.zrange(key, 0, -1))
    if kind == b"string":
        return bytes(await redis.get(key) or b"")
    return b""
