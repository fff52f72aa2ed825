"""The scripts of a process over one connection: sent without waiting for the answers to those before.

    run, run, run ──one turn of the event loop, or CORK_BYTES──▶ one write ──▶ the answers in their order

A call of redis-py costs its process some 200 µs, most of it for getting a connection, for the system calls
and for their wake-ups; calls of one turn share those. They stay calls of their own: each is one atomic step,
has its own answer or error, and is tried again by itself (mesh.redis.database). When the connection fails,
whoever waits for an answer fails with it. A call that is cancelled may take effect; its answer is dropped.

The connection is one of redis-py's pool, which makes it, logs in, and finds the master. Once the pool marks
it for reconnect, nothing more is sent on it, and it goes back when its answers are in.

Bounds: as many calls as the database lets under way. An answer that is not there TIMEOUT_S after its call was
sent fails the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from grandstand.wire.tasks import end
from mesh import telemetry
from mesh.redis.connections import TIMEOUT_S, Piped

CORK_BYTES = 16 * 1024
"""So much is sent at once: the server works on it while the process makes the rest."""

Answer = asyncio.Future[Any]


class Pipeline:
    """Of one client, on one event loop."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: list[tuple[bytes, Answer]] = []
        self._waiting_bytes = 0
        self._in_use: _InUse | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_connecting = False

    async def run(self, packed: bytes) -> Any:
        """The answer to a packed command. Raises RedisError."""
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append((packed, answer))
        self._waiting_bytes += len(packed)
        if self._waiting_bytes >= CORK_BYTES:
            self._send()
        return await answer

    async def aclose(self) -> None:
        await end(*self._tasks)
        self._fail_waiting(RedisConnectionError("closed"))

    def _send(self) -> None:
        if not self._waiting or self._is_connecting:
            return
        if self._in_use is not None and self._in_use.is_usable:
            calls, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._in_use.send(calls)
            return
        self._is_connecting = True
        with telemetry.detached():
            task = asyncio.create_task(self._serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self) -> None:
        """With a connection of its own, until that fails or is to be replaced."""
        pool = self._client.connection_pool
        try:
            connection = await pool.get_connection()
        except Exception as error:  # nobody else would tell those who wait
            self._fail_waiting(error)
            return
        finally:
            self._is_connecting = False
        try:
            in_use = self._in_use = _InUse(connection)
            self._send()
            await in_use.read()
        finally:
            await pool.release(connection)

    def _fail_waiting(self, error: Exception) -> None:
        calls, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for _, answer in calls:
            _fail(answer, error)


class _InUse:
    """A connection, and the answers that are still to come over it."""

    def __init__(self, connection: Piped) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._answers: deque[tuple[Answer, float]] = deque()
        """In their order, each with the time by which it must be there."""
        self._is_over = False
        self._watch: asyncio.TimerHandle | None = None
        self._is_late = False

    @property
    def is_usable(self) -> bool:
        if not self._is_over and self._connection.is_to_be_replaced:
            self._is_over = True
            if not self._answers:
                self._connection.abort()
        return not self._is_over

    def send(self, calls: list[tuple[bytes, Answer]]) -> None:
        by_s = self._loop.time() + TIMEOUT_S
        self._answers.extend((answer, by_s) for _, answer in calls)
        self._connection.write_soon([packed for packed, _ in calls])
        if self._watch is None:
            self._watch = self._loop.call_at(by_s, self._look)

    async def read(self) -> None:
        """Until the connection fails, or is to be replaced and has no answer out."""
        error: RedisError | OSError = RedisConnectionError("the connection was closed")
        try:
            while self._answers or not self._is_over:
                found = await self._connection.read_one()
                answer, _ = self._answers.popleft()
                if isinstance(found, ResponseError):
                    _fail(answer, found)
                elif not answer.done():
                    answer.set_result(found)
        except (RedisError, OSError) as failed:
            error = RedisTimeoutError("Redis did not answer in time") if self._is_late else failed
        finally:
            self._is_over = True
            if self._watch is not None:
                self._watch.cancel()
            await self._connection.disconnect(nowait=True)
            for answer, _ in self._answers:
                _fail(answer, error)

    def _look(self) -> None:
        self._watch = None
        if not self._answers:
            return
        by_s = self._answers[0][1]
        if by_s <= self._loop.time():
            self._is_late = True
            self._connection.abort()
        else:
            self._watch = self._loop.call_at(by_s, self._look)


def _fail(answer: Answer, error: Exception) -> None:
    if not answer.done():
        is_raw = isinstance(error, OSError)
        answer.set_exception(RedisConnectionError(f"the connection failed: {error}") if is_raw else error)
