"""The NATS connection of a process, and the event stream.

Why nats-py's own `publish_async` and `fetch` are not used: a rejected `publish_async` never
resolves and leaks its slot, and a lost ack has no deadline; `fetch` after a timed-out fetch
stalls. `mesh.pipeline` and `mesh.pull` take their places.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js import api as js_api
from nats.js.errors import BadRequestError, NotFoundError

from mesh import limits, subjects

log = logging.getLogger(__name__)


class Bus:
    """A NATS connection that comes back by itself, and who wants to know that it did."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=limits.PUBLISH_DEADLINE_S)
        self._reconnected: list[Callable[[], None]] = []
        self._closing = False

    @classmethod
    async def connect(cls, url: str, name: str) -> Bus:
        """Connects, waiting as long as it takes: the supervisor decides when that is too long."""
        client = Client()
        bus = cls(client)

        async def on_reconnect() -> None:
            log.info("nats is back")
            for callback in bus._reconnected:
                callback()

        async def on_disconnect() -> None:
            if not bus._closing:
                log.warning("nats is away")

        async def on_error(error: Exception) -> None:
            log.warning("nats: %s: %s", type(error).__name__, error)

        await client.connect(
            url,
            name=name,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]  # seconds; a float is fine
            ping_interval=5,
            max_outstanding_pings=2,
            connect_timeout=2,
            reconnected_cb=on_reconnect,
            disconnected_cb=on_disconnect,
            error_cb=on_error,
        )
        return bus

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """`callback` runs after each reconnect; it must not block."""
        self._reconnected.append(callback)

    def off_reconnect(self, callback: Callable[[], None]) -> None:
        self._reconnected.remove(callback)

    async def ensure_events_stream(self, replicas: int = 1, bytes_max: int = limits.STREAM_BYTES_MAX) -> None:
        """Creates the event stream unless it exists; waits for JetStream as long as it takes.

        `discard=new`: a full stream refuses new events, and so does ingest; it never forgets
        one that was acked (I4).
        """
        config = js_api.StreamConfig(
            name=subjects.EVENTS_STREAM,
            subjects=[subjects.EVENTS_ALL],
            retention=js_api.RetentionPolicy.LIMITS,
            storage=js_api.StorageType.FILE,
            discard=js_api.DiscardPolicy.NEW,
            max_bytes=bytes_max,
            duplicate_window=limits.DEDUPE_WINDOW_S,
            num_replicas=replicas,
        )
        await self._until_jetstream_answers(lambda: self._add_stream(config))

    async def events_stream(self) -> tuple[str, int]:
        """The identity of the event stream, which a stream made anew does not share, and its last
        sequence. Makes the stream if it is gone. Raises NatsError, TimeoutError."""
        try:
            info = await self.js.stream_info(subjects.EVENTS_STREAM)
        except NotFoundError:
            await self.ensure_events_stream()
            info = await self.js.stream_info(subjects.EVENTS_STREAM)
        assert info.created is not None
        return info.created.isoformat(), info.state.last_seq

    async def _add_stream(self, config: js_api.StreamConfig) -> None:
        try:
            await self.js.stream_info(subjects.EVENTS_STREAM)
        except NotFoundError:
            with contextlib.suppress(BadRequestError):  # another service was faster
                await self.js.add_stream(config)

    async def _until_jetstream_answers(self, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await call()
            except (NatsError, TimeoutError) as error:
                log.info("waiting for jetstream: %s", error)
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        self._closing = True
        with contextlib.suppress(NatsError, TimeoutError):
            await asyncio.wait_for(self.client.drain(), 2)
        if not self.client.is_closed:
            await self.client.close()
