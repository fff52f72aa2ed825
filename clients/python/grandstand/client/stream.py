"""One Publish stream to its end: the thin shell around a pure side of the conversation.

A reader (the caller's task), a writer, and one timer that looks whether the server is gone. The side decides
everything; it is told of every response, and asked what to send whenever `work` is set or a time it named has
come. The reader and the writer may run concurrently, as gRPC allows; nobody else touches the call.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, Protocol

import grpc.aio

from grandstand.client.session import Wait
from grandstand.client.stream_state import Due
from grandstand.ingest.v1.ingest_pb2 import Heartbeat, PublishRequest, PublishResponse
from grandstand.wire import tasks

# How often the timer looks at least whether the server is gone.
LOOK_S = 1.0

_OK = 0
_DEADLINE_EXCEEDED = 4


class Side(Protocol):
    """What drives a stream. `now_s` is the loop's clock."""

    @property
    def gone_at_s(self) -> float:
        """When the server counts as gone, unless it is heard before; it only moves on."""
        ...

    def silence(self, now_s: float) -> str:
        """Why the stream is given up then."""
        ...

    def receive(self, response: PublishResponse, now_s: float) -> None:
        """Raises ValueError where the server breaks the protocol."""
        ...

    def next(self, now_s: float) -> PublishRequest | Due | Wait:
        """What to do now."""
        ...

    def renew(self, now_s: float) -> None:
        """Ask for a fresh token."""
        ...


async def converse(
    open_call: Callable[[], Any], hello: PublishRequest, side: Side, work: asyncio.Event
) -> tuple[int, str]:
    """Returns how the stream ended, as a google.rpc.Code and a message; the call is over then, whatever ends
    this. Raises ValueError where the server breaks the protocol."""
    loop = asyncio.get_running_loop()
    call = open_call()
    given_up: list[str] = []
    writer = loop.create_task(_write(call, hello, side, work))
    timer = _Timer(call, side, given_up)
    try:
        while (response := await call.read()) is not grpc.aio.EOF:
            side.receive(response, loop.time())
            work.set()
    except grpc.aio.AioRpcError as error:
        return error.code().value[0], error.details() or "no details"
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        if writer.done():
            writer.result()
        if not given_up:
            raise
        return _DEADLINE_EXCEEDED, given_up[0]
    finally:
        timer.cancel()
        call.cancel()
        await tasks.end(writer)
    return _OK, ""


async def _write(call: Any, hello: PublishRequest, side: Side, work: asyncio.Event) -> None:
    """Says hello and what the side says is due. How the stream ended is the reader's to see."""
    loop = asyncio.get_running_loop()
    try:
        await call.write(hello)
        while True:
            work.clear()
            match side.next(loop.time()):
                case Wait(until_s):
                    await _wait(work, until_s)
                case Due.HEARTBEAT:
                    await call.write(PublishRequest(heartbeat=Heartbeat()))
                case Due.RENEW:
                    side.renew(loop.time())
                case Due.HALF_CLOSE:
                    await call.done_writing()
                case request:
                    await call.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return
    except Exception:
        call.cancel()
        raise


async def _wait(work: asyncio.Event, until_s: float) -> None:
    """Until there is work or the time has come."""
    if math.isinf(until_s):
        await work.wait()
        return
    try:
        async with asyncio.timeout_at(until_s):
            await work.wait()
    except TimeoutError:
        return


class _Timer:
    """Cancels the call once the server is gone, and says why in `given_up`."""

    def __init__(self, call: Any, side: Side, given_up: list[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._call = call
        self._side = side
        self._given_up = given_up
        self._handle: asyncio.TimerHandle | None = None
        self._arm()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        # Looked at in between, too: a Welcome names an interval that ends sooner than the first bound.
        look_s = min(max(self._side.gone_at_s - self._loop.time(), 0.0), LOOK_S)
        self._handle = self._loop.call_later(look_s, self._look)

    def _look(self) -> None:
        now_s = self._loop.time()
        if now_s < self._side.gone_at_s:
            self._arm()
        else:
            self._given_up.append(self._side.silence(now_s))
            self._call.cancel()
