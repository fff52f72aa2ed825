"""NATS as one process has it: mesh.jetstream.bus.Bus, its client and its JetStream, over the modelled
network."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import Header
from nats.js.errors import APIError, KeyWrongLastSequenceError, NotFoundError

from grandstand.internal.v1.internal_pb2 import PartitionResults
from grandstand.wire.errors import Unavailable
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.ordered_consumer import Delivered
from tests.simulation.bucket import BucketClient, Entry, Watching
from tests.simulation.calls import PATIENCE_S, ask
from tests.simulation.cuts import Thing
from tests.simulation.notice_streams import NAMES, expected_in, stream_of
from tests.simulation.process import Process
from tests.simulation.stream import Stored

if TYPE_CHECKING:
    from tests.simulation.mesh import Mesh

_STREAM_FULL = 10077
_WRONG_LAST_SEQUENCE = 10071
_NO_MESSAGE = 10037
_KEYS = f"$KV.{subjects.CATALOG_BUCKET}."
_TOMBSTONES = subjects.tombstone("")


class ModelBus:
    replicas = 1

    def __init__(self, process: Process, mesh: Mesh) -> None:
        self.process = process
        self.mesh = mesh
        self.bucket = BucketClient(process, mesh.bucket, mesh.cuts)
        self.client = ModelClient(self)
        self.js = ModelJetStream(self)

    def on_reconnect(self, callback: Callable[[], None]) -> None: ...
    def off_reconnect(self, callback: Callable[[], None]) -> None: ...
    def on_disconnect(self, callback: Callable[[], None]) -> None: ...
    def off_disconnect(self, callback: Callable[[], None]) -> None: ...

    async def events_stream(self) -> tuple[str, int]:
        stream = self.mesh.stream
        return await self.ask(lambda: (stream.identity, stream.last))

    async def stream_end(self, stream: str) -> tuple[str, int]:
        if stream in NAMES:
            of = self.mesh.notice_streams[stream]
            return await self.ask(lambda: (of.identity, of.last))  # type: ignore[no-any-return]
        return "never recreated", await self.bucket.last()

    async def await_stream_end(self, stream: str) -> tuple[str, int]:
        while True:
            try:
                return await self.stream_end(stream)
            except NatsTimeoutError:
                await asyncio.sleep(0.2)

    async def ensure_stream(self, config: Any, taken: list[str]) -> None:
        """It is there."""

    async def widen_events_stream(self, more_bytes: int) -> int:
        stream = self.mesh.stream

        def widen() -> int:
            stream.bytes_max += more_bytes
            return stream.bytes_max

        return await self.ask(widen)

    async def ask(
        self, effect: Callable[[], Any], thing: Thing = "events", patience_s: float = PATIENCE_S
    ) -> Any:
        """A request to the event stream, or to another. Raises what `effect` does, NatsTimeoutError."""
        return await ask(self.process, self.mesh.cuts, thing, effect, NatsTimeoutError, patience_s)


class ModelClient:
    is_connected = True
    is_closed = False
    max_payload = 1024 * 1024

    def __init__(self, bus: ModelBus) -> None:
        self._bus = bus

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        bus, mesh = self._bus, self._bus.mesh
        name = bus.process.name
        if subject.startswith(_KEYS):
            key = subject.removeprefix(_KEYS)
            if not mesh.world.odds(0.01):
                mesh.cuts.through(name, "bucket", lambda: mesh.bucket.put(key, payload), 0.003)
        elif subject.startswith("results."):
            mesh.on_results(bus.process, PartitionResults.FromString(payload))
            self._tell(subject, subject, payload)
        elif subject.startswith("health.notify."):
            self._tell(subjects.HEALTH_OF_NOTIFY, subject, payload)
        elif subject.startswith(("inbox.", "crowd.")):
            mesh.told.pushes += 1
        else:
            raise AssertionError(f"the model knows no {subject}")

    def _tell(self, listened: str, subject: str, payload: bytes) -> None:
        """Some may miss it."""
        bus, mesh = self._bus, self._bus.mesh
        message = SimpleNamespace(subject=subject, data=payload, headers=None)
        for each in mesh.listeners.get(listened, ()):
            if not mesh.world.odds(0.05):
                mesh.cuts.through(bus.process.name, "events", lambda to=each: to.arrive(message), 0.004)

    async def flush(self, timeout: float = 1.0) -> None:  # noqa: ASYNC109
        """What was sent is sent."""

    async def subscribe(self, subject: str, cb: Callable[[Any], Awaitable[None]]) -> ModelSubscription:
        return ModelSubscription(self._bus, subject, cb)

    async def request(
        self,
        subject: str,
        payload: bytes,
        timeout: float = 1.0,  # noqa: ASYNC109
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Asks a stream to store it, or one of those who take themselves for the one to answer."""
        process, cuts = self._bus.process, self._bus.mesh.cuts
        stream = stream_of(self._bus.mesh.notice_streams, subject)
        if stream is not None:
            expected = expected_in(headers)
            found = await self._bus.ask(lambda: stream.answer(subject, payload, expected), patience_s=timeout)
            return SimpleNamespace(data=found)
        future, life = process.loop.create_future(), process.life

        def settle(data: bytes) -> None:
            if not future.done():
                future.set_result(SimpleNamespace(data=data))

        async def respond(data: bytes) -> None:
            cuts.through(process.name, "events", lambda: process.in_turn(lambda: settle(data), life), 0.003)

        def arrive() -> None:
            there = self._bus.mesh.listeners.get(subject, [])
            if there:
                message = SimpleNamespace(reply="there is one", data=payload, respond=respond)
                process.world.random.choice(there).take(message)

        if not process.world.odds(0.1):
            cuts.through(process.name, "events", arrive, 0.003)
        async with asyncio.timeout(timeout):
            return await future


class ModelSubscription:
    def __init__(self, bus: ModelBus, subject: str, cb: Callable[[Any], Awaitable[None]]) -> None:
        self._process = bus.process
        self._life = bus.process.life
        self._cuts = bus.mesh.cuts
        self._cb = cb
        self._listeners = bus.mesh.listeners.setdefault(subject, [])
        self._listeners.append(self)

    def take(self, message: Any) -> None:
        async def called() -> None:
            await self._cb(message)

        self._process.in_turn(lambda: self._process.spawn(called()), self._life)

    def arrive(self, message: Any) -> None:
        """As `take`, once its process is reached, if it is."""
        self._cuts.through(self._process.name, "events", lambda: self.take(message), 0.001)

    async def unsubscribe(self) -> None:
        self._listeners.remove(self)


class ModelJetStream:
    def __init__(self, bus: ModelBus) -> None:
        self._bus = bus

    async def key_value(self, bucket: str) -> BucketClient:
        return self._bus.bucket

    async def get_last_msg(self, stream: str, subject: str, direct: bool = False) -> Any:
        """Raises NotFoundError."""
        mesh = self._bus.mesh
        if stream == subjects.TOMBSTONES_STREAM:
            stone = await self._bus.ask(lambda: mesh.tombstones.get(subject), "bucket")
            if stone is None:
                raise NotFoundError
            return SimpleNamespace(seq=1, data=stone)
        if stream in NAMES:
            kept = await self._bus.ask(lambda: mesh.notice_streams[stream].last_of(subject))
            if kept is None:
                raise NotFoundError(err_code=_NO_MESSAGE)
            return SimpleNamespace(seq=kept.sequence, data=kept.data)
        if subject.startswith(_KEYS):
            entry = await self._bus.bucket.last_of(subject.removeprefix(_KEYS))
            if entry is None:
                raise NotFoundError
            return SimpleNamespace(seq=entry.revision, data=entry.value)
        return await self._bus.ask(lambda: _message(mesh.stream.last_of(subject)))

    async def get_msg(self, stream: str, seq: int, subject: str = "", next: bool = False) -> Any:  # noqa: A002
        """With `next`, the first of the subject from there on. Raises NotFoundError."""
        of = self._bus.mesh.stream
        return await self._bus.ask(lambda: _message(of.next_of(subject, seq) if next else of.get(seq)))

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> Any:
        """Raises APIError where the stream is full, or the last message of the subject is another."""
        given = headers or {}
        if subject.startswith(_KEYS):
            last = int(given[Header.EXPECTED_LAST_SUBJECT_SEQUENCE])
            try:
                seq = await self._bus.bucket.update(subject.removeprefix(_KEYS), payload, last)
            except KeyWrongLastSequenceError:
                raise APIError(code=400, err_code=_WRONG_LAST_SEQUENCE, description="wrong last") from None
            return SimpleNamespace(seq=seq)
        if subject.startswith(_TOMBSTONES):
            stones = self._bus.mesh.tombstones
            return await self._bus.ask(lambda: stones.update({subject: payload}), "bucket")
        stream = self._bus.mesh.stream
        partition = int(subject.rpartition(".")[2])

        def store() -> None:
            last = stream.last_of(subject)
            if int(given[Header.EXPECTED_LAST_SUBJECT_SEQUENCE]) != (last.sequence if last else 0):
                raise APIError(code=400, err_code=_WRONG_LAST_SEQUENCE, description="wrong last sequence")
            message_id = f"marker {self._bus.process.world.random.random()}"
            if not stream.store(partition, payload, message_id, subject):
                raise APIError(code=503, err_code=_STREAM_FULL, description="maximum bytes exceeded")

        return await self._bus.ask(store)

    async def purge_stream(self, stream: str, *, subject: str, seq: int = 0, keep: int = 0) -> None:
        mesh = self._bus.mesh
        if subject.startswith(_KEYS):
            await self._bus.bucket.purge(subject.removeprefix(_KEYS), seq)
            return
        if stream in NAMES:
            await self._bus.ask(lambda: mesh.notice_streams[stream].purge(subject, seq))
            return

        def purge() -> None:
            mesh.told.purges += bool(mesh.stream.purge(subject, below=seq, keep=keep)) and bool(seq)

        await self._bus.ask(purge)

    async def stream_info(self, stream: str) -> Any:
        events = self._bus.mesh.stream

        def info() -> Any:
            state = SimpleNamespace(bytes=events.bytes, last_seq=events.last)
            return SimpleNamespace(config=SimpleNamespace(max_bytes=events.bytes_max), state=state)

        return await self._bus.ask(info)


def _message(found: Stored | None) -> Any:
    if found is None:
        raise NotFoundError
    time = datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(
        microseconds=found.stored_at_us
    )
    return SimpleNamespace(seq=found.sequence, data=found.data, time=time)


class ModelPipeline:
    """mesh.jetstream.pipeline.PublishPipeline."""

    def __init__(self, bus: ModelBus) -> None:
        self._bus = bus
        self.away = False
        self.trouble = ""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        deadline_at: float | None = None,
    ) -> int:
        """Raises Unavailable."""
        process, stream = self._bus.process, self._bus.mesh.stream
        loop, life = process.loop, process.life
        if deadline_at is None:
            deadline_at = loop.time() + limits.PUBLISH_DEADLINE_S
        future = loop.create_future()
        partition = int(subject.rpartition(".")[2])

        def acked(sequence: int) -> None:
            if not future.done() and loop.time() <= deadline_at:
                future.set_result(sequence)

        def attempt() -> None:
            if future.done():
                return
            if loop.time() >= deadline_at:
                future.set_exception(Unavailable("simulated: not stored by its deadline"))
                return
            stream.publish(
                process.name,
                partition,
                payload,
                message_id,
                lambda sequence: process.in_turn(lambda: acked(sequence), life),
            )
            loop.call_later(min(limits.PUBLISH_ATTEMPT_S, deadline_at - loop.time()), attempt)

        attempt()
        return await future


class ModelConsumer:
    """mesh.jetstream.ordered_consumer.OrderedConsumer over the catalog's bucket."""

    def __init__(
        self, bus: ModelBus, on_message: Callable[[Delivered], None], on_broken: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._on_message = on_message
        self._watching: Watching | None = None

    async def open(self, stream: str, filters: Sequence[str]) -> None:
        keys = [each.removeprefix(_KEYS) for each in filters]
        starts = tuple(key.removesuffix(">") for key in keys if key.endswith(">"))
        process, bucket = self._bus.process, self._bus.mesh.bucket

        def begin() -> Watching:
            return bucket.watch(process, lambda key: key in keys or key.startswith(starts), self._take)

        self._watching = await ask(process, self._bus.mesh.cuts, "bucket", begin, NatsTimeoutError)

    async def close(self) -> None:
        if self._watching is not None:
            self._bus.mesh.bucket.stop(self._watching)

    def _take(self, entry: Entry) -> None:
        message = Delivered(_KEYS + entry.key, entry.revision, entry.created_us / 1e6, entry.value)
        self._bus.process.loop.call_soon(self._on_message, message)
