"""Publishes the frames of a fan-out benchmark, in a process of its own: `python -m bench._publisher …`.

    nats URL REDIS GAME     as aggregation does: a partial into the store, then to core NATS
    nchan PORT              a text, by POST
    socket-io PORT          a text, a line of TCP to our Socket.IO server, which emits it

It answers a line `COUNT RATE` by the number of the last frame, and how late one was at most in milliseconds,
once this many frames are published at that rate. Frames are never sent early to make up for late ones.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import time
from typing import Protocol

from aggregate.partition_store import PartitionStore
from bench._bed import GAME
from bench._child import READY
from bench._marks import POLL, Mark, frame_of, partial_of, text_of
from grandstand.internal.v1.internal_pb2 import GameResults, PartitionResults, PartitionState
from grandstand.wire import ids
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from mesh.redis.database import Database, connect
from mesh.redis.errors import Fenced
from mesh.redis.layout import Write

NCHAN_PUBLISH_PATH = "/publish?game="
_STREAM = "bench"


class Publishes(Protocol):
    async def newest(self) -> int:
        """The number that was published last; 0: none was."""

    async def publish(self, number: int) -> None:
        """The mark's time is taken in here, as late as can be."""


class ToMesh:
    """What a partition's owner says of a poll."""

    def __init__(self, bus: Bus, database: Database, game_id: str) -> None:
        self._bus = bus
        self._game_id = game_id
        (self._partition,) = ids.partitions_of(game_id, 1)
        self._store = PartitionStore(database, self._partition, "aggregate-bench")
        self._token = ""

    async def newest(self) -> int:
        return await self._store.applied()

    async def publish(self, number: int) -> None:
        partial = partial_of(_mark(number), self._game_id, self._partition)
        encoded = partial.SerializeToString()
        try:
            await self._flush(number, encoded)
        except Fenced:
            # The lease lapsed while nothing was published.
            self._token = secrets.token_hex(8)
            acquired = await self._store.acquire(self._token)
            if acquired is not None and not acquired.stream:
                await self._store.reset(self._token, _STREAM, 0)
            await self._flush(number, encoded)
        said = PartitionResults(
            partition=self._partition,
            before=number - 1,
            after=number,
            stream=_STREAM,
            games=[GameResults(game_id=self._game_id, partials=[encoded])],
        )
        await self._bus.client.publish(subjects.results(self._partition), said.SerializeToString())

    async def _flush(self, number: int, encoded: bytes) -> None:
        write = Write("HSET", layout.results_key(self._partition, self._game_id), [POLL, encoded])
        await self._store.flush(self._token, number - 1, PartitionState(applied=number), [write])


class ToPeer:
    """A text of as many bytes as the mesh's frame has."""

    def __init__(self, port: int, *, by_post: bool) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._by_post = by_post

    async def newest(self) -> int:
        return 0

    async def publish(self, number: int) -> None:
        length = len(frame_of(partial_of(_mark(number), "bench", 0), time.time()))
        text = text_of(_mark(number), length)
        self._socket.sendall(
            post(GAME, length) + text if self._by_post else f"{GAME} ".encode() + text + b"\n"
        )
        if self._by_post:
            self._socket.recv(4096)


def post(game_id: str, length: int) -> bytes:
    """The head of a request that publishes this many bytes to a game's channel."""
    return (
        f"POST {NCHAN_PUBLISH_PATH}{game_id} HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def _mark(number: int) -> Mark:
    return Mark(number, time.monotonic_ns() // 1000)


async def _serve(kind: str, arguments: list[str]) -> None:
    if kind != "nats":
        await _answer(ToPeer(int(arguments[0]), by_post=kind == "nchan"))
        return
    url, redis, game_id = arguments
    bus = await Bus.connect(url, "bench-publisher")
    database = connect(redis)
    try:
        await _answer(ToMesh(bus, database, game_id))
    finally:
        await database.aclose()
        await bus.close()


async def _answer(to: Publishes) -> None:
    loop = asyncio.get_running_loop()
    number = await to.newest()
    print(READY, flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        count, rate = line.split()
        late_s = 0.0
        due_s = loop.time()
        for _ in range(int(count)):
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            late_s = max(late_s, loop.time() - due_s)
            number += 1
            await to.publish(number)
            due_s = max(due_s + 1 / float(rate), loop.time())
        print(number, round(late_s * 1000, 2), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2:]))
