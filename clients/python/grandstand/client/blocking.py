"""A Publisher for game servers that are not asyncio: it runs an event loop in a thread of its own.

    answers = queue.SimpleQueue()
    with BlockingPublisher("127.0.0.1:8080", producer=True, token=my_token) as publisher:
        while playing:                                       # the game's own loop
            publisher.post(event, on_done=answers.put)       # never waits
            while not answers.empty():
                look_at(answers.get())                       # a Receipt or a ClientError, in its thread

`post` and `send` may be called from any thread. `on_done` is called on the publisher's own thread: hand the
answer over, as above, or be quick. Bounds and policies are the Publisher's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from grandstand.client.connect import open_channel
from grandstand.client.pending import OnDone, Receipt
from grandstand.client.publish_driver import PublisherCounts
from grandstand.client.publisher import Publisher
from grandstand.event.v1.event_pb2 import Event

T = TypeVar("T")


class BlockingPublisher:
    """Sends the events of one origin to `target` (host:port). `options` are those of Publisher.

    Leaving the block waits until every event is settled; leaving it with an exception does not wait.
    """

    def __init__(self, target: str, **options: Any) -> None:
        """`target`: host:port, or an http or https URL. `options`: those of Publisher, but for `channel`.
        Starts nothing yet."""
        self._target = target
        self._options = options
        self._started: Future[tuple[Publisher, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="grandstand-publisher", daemon=True)

    def __enter__(self) -> BlockingPublisher:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        if kind is None:
            self.drain()
        self.close()

    def start(self) -> None:
        """Starts the thread; the session connects by itself. `with` calls it. Raises what Publisher raises
        for its options, and ValueError for a target that is no address."""
        self._thread.start()
        self._started.result()

    def post(self, event: Event, on_done: OnDone) -> None:
        """Hands the event over without waiting, as Publisher.post does, and raises what it raises."""
        self._publisher.post(event, on_done)

    def send(self, event: Event, timeout_s: float | None = None) -> Receipt:
        """Sends one event and waits until it is stored, at most `timeout_s` seconds; None: for as long as it
        takes. Returns its receipt. Raises what Publisher.send raises, and TimeoutError: then the event may or
        may not be stored."""
        return self._wait(self._publisher.send(event), timeout_s)

    def connected(self, timeout_s: float) -> None:
        """Waits until the first stream has its Welcome, at most `timeout_s` seconds. Raises SessionLost, or
        ClientError (UNAVAILABLE) after that."""
        self._wait(self._publisher.connected(timeout_s))

    def drain(self, timeout_s: float | None = None) -> int:
        """Waits until every event is settled, at most `timeout_s` seconds. Returns how many events are not
        settled."""
        return self._wait(self._publisher.drain(timeout_s))

    def close(self) -> None:
        """Ends the session and the thread now. What is not settled fails with SessionLost."""
        _, loop, stop = self._started.result()
        if self._thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
            self._thread.join()

    @property
    def counts(self) -> PublisherCounts:
        """What happened so far, in events."""
        return self._publisher.counts

    @property
    def unsettled(self) -> int:
        """How many events have neither a receipt nor an error."""
        return self._publisher.unsettled

    @property
    def _publisher(self) -> Publisher:
        if not self._thread.is_alive():
            raise RuntimeError("the publisher is not running; use it in `with`")
        return self._started.result()[0]

    def _wait(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        _, loop, _ = self._started.result()
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        stop = asyncio.Event()
        try:
            channel = open_channel(self._target, own_connection=True)
            publisher = Publisher(channel, **self._options)
        except BaseException as error:
            self._started.set_exception(error)
            return
        async with channel:
            publisher.start()
            self._started.set_result((publisher, asyncio.get_running_loop(), stop))
            await stop.wait()
            await publisher.aclose()
