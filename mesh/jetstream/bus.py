"""The NATS connection of a process, and the event stream.

A connection that breaks is recreated, at any of the servers named or of their cluster, trying every
_RECONNECT_S for as long as it takes. A server that leaves _PINGS_MAX pings unanswered is as good as dead and
is left, so a stopped node of a cluster costs three to four seconds. Not less: one that works hard
answers late, and to reconnect then adds to its work.

Why nats-py's own `publish_async` and `fetch` are not used: a rejected `publish_async` never
resolves and leaks its slot, and a lost ack has no deadline; `fetch` after a timed-out fetch
stalls. `mesh.jetstream.pipeline` and `mesh.jetstream.pull` take their places.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js import api as js_api
from nats.js.errors import APIError, NotFoundError

from grandstand.wire.errors import NotNow
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.client import NatsClient, inbox_prefix

log = logging.getLogger(__name__)

_RECONNECT_S = 0.1
_PING_S = 1.0
_PINGS_MAX = 3
_ASK_S = 1.0
_PROBE_AGE_S = 3600.0
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
# Error codes of JetStream.
_STREAM_EXISTS = 10058
_NO_CLUSTER = 10074

Answer = TypeVar("Answer")


def first_sequence(made_at: datetime.datetime) -> int:
    """The first sequence of a stream made at that time: its microseconds since 1970.

    It is beyond every sequence of one that was made earlier, since none stores a message each microsecond.
    So no purge, position or cursor of that one names anything in this one. Below 2^52, which every store of
    sequences can hold (aggregate.manifest the least), until 2112.
    """
    return (made_at - _EPOCH) // _MICROSECOND


class Bus:
    """A NATS connection that comes back by itself, and who wants to know that it did.

    `replicas`: how many servers of the cluster shall hold each stream that this process makes. One
    that exists keeps what it has.
    """

    def __init__(self, client: NatsClient, replicas: int = 1) -> None:
        self.client = client
        self.replicas = replicas
        self.js: JetStreamContext = client.jetstream(timeout=limits.PUBLISH_DEADLINE_S)
        self.loads: set[object] = set()
        """As NatsClient.loads."""
        self._reconnected: list[Callable[[], None]] = []
        self._disconnected: list[Callable[[], None]] = []
        self._closing = False
        self._events_bytes_max = limits.STREAM_BYTES_MAX

    @classmethod
    async def connect(cls, url: str, name: str, replicas: int = 1) -> Bus:
        """Connects, waiting as long as it takes: the supervisor decides when that is too long.

        `url`: one, or several servers of a cluster with commas between them.
        """
        client = NatsClient()
        bus = cls(client, replicas)
        client.loads = bus.loads

        async def on_reconnect() -> None:
            log.info("nats is back")
            for callback in bus._reconnected:
                callback()

        async def on_disconnect() -> None:
            if not bus._closing:
                log.warning("nats is away")
                for callback in bus._disconnected:
                    callback()

        async def on_error(error: Exception) -> None:
            log.warning("nats: %s: %s", type(error).__name__, error)

        servers = [each for part in url.split(",") if (each := part.strip())]
        await client.connect(
            servers,
            name=name,
            inbox_prefix=inbox_prefix(servers[0]),
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_S,  # type: ignore[arg-type]  # seconds; a float is fine
            ping_interval=_PING_S,  # type: ignore[arg-type]
            max_outstanding_pings=_PINGS_MAX,
            connect_timeout=1,
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

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """`callback` runs when the connection is lost; it must not block."""
        self._disconnected.append(callback)

    def off_disconnect(self, callback: Callable[[], None]) -> None:
        self._disconnected.remove(callback)

    async def ensure_events_stream(self, bytes_max: int | None = None) -> None:
        """Creates the event stream unless it exists; waits for JetStream as long as it takes.

        `bytes_max`: its room; None means what this process named before, or limits.STREAM_BYTES_MAX.

        `discard=new`: a full stream refuses new events, and so does ingest; it never forgets
        one that was acked (I4). Raises NotNow as `ensure_stream`.
        """
        self._events_bytes_max = bytes_max or self._events_bytes_max
        config = js_api.StreamConfig(
            name=subjects.EVENTS_STREAM,
            retention=js_api.RetentionPolicy.LIMITS,
            storage=js_api.StorageType.FILE,
            discard=js_api.DiscardPolicy.NEW,
            max_bytes=self._events_bytes_max,
            duplicate_window=limits.DEDUPE_WINDOW_S,
        )
        await self.ensure_stream(config, [subjects.EVENTS_ALL, subjects.PURGED_ALL])

    async def ensure_stream(self, config: js_api.StreamConfig, taken: list[str]) -> None:
        """Creates a stream whose sequences follow those of any that had its name before, unless it exists;
        waits for JetStream as long as it takes.

        `taken`: its subjects, which the configuration does not name. One of an older release gets those that
        it lacks. Raises NotNow when no cluster is there to hold that many replicas.

            created without our subjects ──▶ purged up to `first_sequence` ──▶ given the subjects

        So it takes nothing before its first sequence is set, and each step may be repeated, by anybody.
        Rejected: the setting `first_seq`. nats-server before 2.10.28 and 2.11.2 empties a stream that has it
        when it restarts, unless the first message is gone.
        """
        config.num_replicas = self.replicas
        await self._until_jetstream_answers(lambda: self._add_stream(config, taken))

    async def await_events_stream(self) -> None:
        """Returns once the event stream, which aggregates create, takes events."""

        async def look() -> None:
            info = await self.js.stream_info(subjects.EVENTS_STREAM)
            if not _takes_events(info):
                raise NotFoundError(description="the event stream has no subjects yet")

        await self._until_jetstream_answers(look)

    async def ensure_probes_stream(self) -> None:
        """Creates the stream that storing is proven with, made as the event stream is: on as many servers,
        in files. Bounds: a message a subject, for _PROBE_AGE_S. Raises NatsError, TimeoutError."""
        config = js_api.StreamConfig(
            name=subjects.PROBES_STREAM,
            subjects=[subjects.PROBES_ALL],
            storage=js_api.StorageType.FILE,
            max_msgs_per_subject=1,
            max_age=_PROBE_AGE_S,
            num_replicas=self.replicas,
        )
        request = f"$JS.API.STREAM.CREATE.{subjects.PROBES_STREAM}"
        reply = await self.client.request(request, json.dumps(config.as_dict()).encode(), timeout=_ASK_S)
        error = json.loads(reply.data).get("error")
        if error is not None and error.get("err_code") != _STREAM_EXISTS:
            raise APIError.from_error(error)

    async def remove_probes_stream(self) -> None:
        """Raises NatsError, TimeoutError."""
        await self.client.request(f"$JS.API.STREAM.DELETE.{subjects.PROBES_STREAM}", timeout=_ASK_S)

    async def events_stream(self) -> tuple[str, int]:
        """The identity of the event stream, which a stream recreated does not share, and its last
        sequence. Makes the stream if it is gone. Raises NatsError, TimeoutError."""
        try:
            info = await self.js.stream_info(subjects.EVENTS_STREAM)
        except NotFoundError:
            info = None
        if info is None or not _takes_events(info):
            await self.ensure_events_stream()
            info = await self.js.stream_info(subjects.EVENTS_STREAM)
        assert info.created is not None
        return info.created.isoformat(), info.state.last_seq

    async def stream_end(self, stream: str) -> tuple[str, int]:
        """What a stream of that name recreated does not share, and its last sequence. Raises NatsError,
        TimeoutError."""
        info = await self.js.stream_info(stream)
        assert info.created is not None
        return info.created.isoformat(), info.state.last_seq

    async def await_stream_end(self, stream: str) -> tuple[str, int]:
        """As stream_end; waits for JetStream as long as it takes."""
        return await self._until_jetstream_answers(lambda: self.stream_end(stream))

    async def _add_stream(self, config: js_api.StreamConfig, taken: list[str]) -> None:
        name = config.name
        assert name is not None
        try:
            found = await self.js.stream_info(name)
        except NotFoundError:
            try:
                found = await self.js.add_stream(config)
            except APIError as error:
                if error.err_code == _NO_CLUSTER:
                    raise NotNow(
                        f"{self.replicas} replicas of the stream {name} want a NATS cluster of at least that "
                        "many servers, and this is none; start with --replicas 1 or name a cluster"
                    ) from None
                if error.err_code != _STREAM_EXISTS:  # another service was faster
                    raise
                found = await self.js.stream_info(name)
        else:
            if (held := found.config.num_replicas or 1) != self.replicas:
                log.warning("the stream %s keeps its replicas: %d, not %d", name, held, self.replicas)
        if taken[0] not in (found.config.subjects or ()) and not found.state.last_seq:
            assert found.created is not None
            await self.js.purge_stream(name, seq=first_sequence(found.created))
        if not {*taken} <= {*(found.config.subjects or ())}:
            await self._change_stream(name, lambda held: held.update(subjects=taken))

    async def widen_events_stream(self, more_bytes: int) -> int:
        """Its new bound. Raises NatsError, TimeoutError."""
        changed = await self._change_stream(
            subjects.EVENTS_STREAM, lambda held: held.update(max_bytes=held["max_bytes"] + more_bytes)
        )
        return int(changed["max_bytes"])

    async def forbid_rollups(self, stream: str) -> None:
        """That no message erases others of `stream`: one with the header `Nats-Rollup: all`, on any subject
        that its sender may publish on, erases the whole stream where that is allowed, as nats-py allows it
        in the buckets it makes. Where this cannot be changed, that is logged."""
        try:
            if (await self._ask(f"STREAM.INFO.{stream}", b""))["config"].get("allow_rollup_hdrs"):
                await self._change_stream(stream, lambda held: held.update(allow_rollup_hdrs=False))
        except (NatsError, TimeoutError) as error:
            log.warning("%s still allows rollups: %s", stream, str(error) or type(error).__name__)

    async def _change_stream(self, stream: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Its configuration, changed. As JSON: nats-py would drop what it does not know of a newer server's.
        Raises NatsError, TimeoutError."""
        held = (await self._ask(f"STREAM.INFO.{stream}", b""))["config"]
        change(held)
        answer = await self._ask(f"STREAM.UPDATE.{stream}", json.dumps(held).encode())
        changed: dict[str, Any] = answer["config"]
        return changed

    async def _ask(self, request: str, payload: bytes) -> dict[str, Any]:
        subject = f"$JS.API.{request}"
        reply = await self.client.request(subject, payload, timeout=limits.PUBLISH_DEADLINE_S)
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise APIError.from_error(answer["error"])
        return answer

    async def _until_jetstream_answers(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        while True:
            try:
                async with asyncio.timeout(_ASK_S):  # without a leader nobody answers
                    return await call()
            except (NatsError, TimeoutError) as error:
                log.info("waiting for jetstream: %s", str(error) or type(error).__name__)
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        self._closing = True
        # The connection may break meanwhile, which nats-py lets through.
        with contextlib.suppress(NatsError, TimeoutError, OSError):
            await asyncio.wait_for(self.client.drain(), 2)
        if not self.client.is_closed:
            with contextlib.suppress(OSError):
                await self.client.close()


def _takes_events(stream: js_api.StreamInfo) -> bool:
    return subjects.EVENTS_ALL in (stream.config.subjects or ())
