"""The baseline of the notices benchmark: a notice to everyone as a row in Redis and a message for each actor.

What servers do that keep no crowds: a hash for each actor, which expires, and a message that tells the
gateway to show it. Written in pipelines, so that the network costs it as little as can be.

`python -m bench._notify_rows HOME ACTORS`, in a process of its own, answers each line on its standard input
by one number: `write N` writes a row to each actor, N times, and says how many messages that took; `weigh`
gives the bytes of all hashes; `end` deletes them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import nats
import redis

from bench._child import READY
from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1.notify_pb2 import Notice
from toolbox.local.running import store_urls
from toolbox.local.store_users import ADMIN

EXPIRES_S = 600
_PREFIX = "bench-rows:"
_BATCH = 500


class Rows:
    """A hash for each actor."""

    def __init__(self, redis_url: str, bus: Any, actors: int) -> None:
        self._store: Any = redis.Redis.from_url(redis_url)
        self._bus = bus
        self._actors = [f"viewer-{number}" for number in range(actors)]
        self._written = 0

    async def write(self, rounds: int) -> int:
        stored = StoredNotice(notice=Notice(key="k" * 16, code="bench", title="0", text="x" * 64))
        payload = stored.SerializeToString()
        for _ in range(rounds):
            self._written += 1
            for at in range(0, len(self._actors), _BATCH):
                pipeline = self._store.pipeline(transaction=False)
                for actor in self._actors[at : at + _BATCH]:
                    pipeline.hset(_PREFIX + actor, str(self._written), payload)
                    pipeline.expire(_PREFIX + actor, EXPIRES_S)
                pipeline.execute()
            for actor in self._actors:
                await self._bus.publish(f"bench.rows.{actor}", payload)
            await self._bus.flush()
        return rounds * len(self._actors)

    def weigh(self) -> int:
        return weigh(self._store, [_PREFIX + actor for actor in self._actors])

    def end(self) -> int:
        for at in range(0, len(self._actors), _BATCH):
            self._store.delete(*(_PREFIX + actor for actor in self._actors[at : at + _BATCH]))
        return 0


def weigh(store: Any, keys: list[str]) -> int:
    """Bytes of Redis's memory that these keys take, by its own account."""
    pipeline = store.pipeline(transaction=False)
    for key in keys:
        pipeline.memory_usage(key, samples=0)
    return sum(size or 0 for size in pipeline.execute())


async def main() -> None:
    urls = store_urls(Path(sys.argv[1]), ADMIN)
    rows = Rows(urls.redis, await nats.connect(urls.nats, name="bench-rows"), int(sys.argv[2]))
    loop = asyncio.get_running_loop()
    print(READY, flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *arguments = line.split()
        if verb == "write":
            print(json.dumps(await rows.write(int(arguments[0]))), flush=True)
        else:
            print(json.dumps(rows.weigh() if verb == "weigh" else rows.end()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
