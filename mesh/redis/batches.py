"""Sends the scripts that a process runs at about the same time to one server in one write.

    run, run, run ──one turn of the event loop──▶ one connection: one write, then the answers in their order

A call of redis-py costs its process some 200 µs, most of it for the connection, the system calls and their
wake-ups; calls of one turn share those. They stay calls of their own: each is one atomic step, has its own
answer or error, and is tried again by itself (see mesh.redis.database). When the connection fails, all whose
answer is still out fail. A call that is cancelled may take effect; its answer is dropped.

Bounds: BATCH_MAX calls in a batch. Batches wait for nothing but a slot of the database's, so a batch that is
slow holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from grandstand.wire.tasks import end
from mesh import telemetry

BATCH_MAX = 64

Call = tuple[bytes, "asyncio.Future[Any]"]


class Batches:
    def __init__(self, slot: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        """`slot`: held while a batch is under way."""
        self._slot = slot
        self._waiting: list[Call] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, client: Redis, packed: bytes) -> Any:
        """The answer to a packed command. Raises RedisError, OSError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send, client)
        self._waiting.append((packed, answer))
        return await answer

    async def aclose(self) -> None:
        await end(*self._tasks)

    def _send(self, client: Redis) -> None:
        waiting, self._waiting = self._waiting, []
        for at in range(0, len(waiting), BATCH_MAX):
            with telemetry.detached():
                task = asyncio.create_task(self._exchange(client, waiting[at : at + BATCH_MAX]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _exchange(self, client: Redis, calls: Sequence[Call]) -> None:
        try:
            async with self._slot():
                pool = client.connection_pool
                connection = await pool.get_connection()
                try:
                    await connection.send_packed_command([packed for packed, _ in calls])
                    for _, answer in calls:
                        try:
                            found = await connection.read_response()
                        except ResponseError as error:
                            _fail(answer, error)
                        else:
                            if not answer.done():
                                answer.set_result(found)
                finally:
                    await pool.release(connection)
        except (RedisError, OSError) as error:
            for _, answer in calls:
                _fail(answer, error)
        finally:
            for _, answer in calls:
                if not answer.done():
                    _fail(answer, RedisConnectionError("the connection was closed"))


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


__all__ = ["BATCH_MAX", "Batches"]
