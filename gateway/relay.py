"""The gateway's one stream to ingest, which carries what browsers send.

Every event keeps the identity its sender gave it, so the relay resends whatever was not
receipted when a stream broke: it is counted once (I2). Each origin's unanswered numbers
span at most its credit, so none can fall behind its anti-replay window.

Bounds: SENDS_PENDING_MAX unanswered events (RESOURCE_EXHAUSTED beyond), each at most
`SEND_PATIENCE_S` (then UNAVAILABLE: send again with the same identity).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from typing import Any

import grpc

from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse, Reject
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from mesh import ids, limits, telemetry
from mesh.errors import AlreadyDone, Exhausted, GrandstandError, Unavailable, from_code

log = logging.getLogger(__name__)

SEND_PATIENCE_S = limits.PUBLISH_DEADLINE_S + 2
_BACKOFF_FIRST_S = 0.02
_BACKOFF_MAX_S = 0.5

# Room in a message for its envelope and the trace context, and for each event's tag and length.
_ENVELOPE_BYTES = 1_024
_EVENT_OVERHEAD_BYTES = 8

_Identity = tuple[str, int]


class _Pending:
    """One event on its way: what to resend, and who waits."""

    __slots__ = ("answer", "event", "traceparent", "waiters")

    def __init__(self, event: Event, traceparent: str) -> None:
        self.event = event
        self.traceparent = traceparent
        self.answer: asyncio.Future[Position] = asyncio.get_running_loop().create_future()
        self.waiters = 0


class Relay:
    def __init__(self, channel: grpc.aio.Channel, instance: str) -> None:
        self._stub: Any = IngestServiceStub(channel)
        self._instance = instance
        self._pending: dict[_Identity, _Pending] = {}
        self._origins: dict[str, set[int]] = {}
        self._unsent: deque[_Identity] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def send(self, event: Event) -> Position:
        """Returns where the event is stored. The same identity sent twice at once is sent once.

        Raises what ingest refused it with; Exhausted, Unavailable (not acked: send it again).
        """
        identity = (event.origin_id, event.origin_seq)
        pending = self._pending.get(identity)
        if pending is None:
            pending = self._admit(identity, event)
        elif pending.event != event:
            raise AlreadyDone(
                f"event.origin_seq: {event.origin_seq} is under way with another body; "
                "an identity names one event"
            )
        pending.waiters += 1
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                return await asyncio.shield(pending.answer)
        except TimeoutError:
            raise Unavailable(
                f"not acked within {SEND_PATIENCE_S:g} s; send again with the same origin_id and origin_seq"
            ) from None
        finally:
            pending.waiters -= 1
            if not pending.waiters:
                self._forget(identity)

    def _admit(self, identity: _Identity, event: Event) -> _Pending:
        if len(self._pending) >= limits.SENDS_PENDING_MAX:
            raise Exhausted(
                f"{limits.SENDS_PENDING_MAX} events wait for their ack, the most this gateway holds; "
                "wait a second"
            )
        origin_id, origin_seq = identity
        numbers = self._origins.setdefault(origin_id, set())
        credit = ids.origin_credit(origin_id)
        if numbers and max(*numbers, origin_seq) - min(*numbers, origin_seq) >= credit:
            raise Exhausted(
                f"event.origin_seq: {origin_seq} is {credit} or more from {min(numbers)}, "
                f"which is not acked yet; at most {credit} may be unacked, wait for answers"
            )
        numbers.add(origin_seq)
        pending = self._pending[identity] = _Pending(event, telemetry.current_traceparent())
        self._unsent.append(identity)
        self._wake.set()
        return pending

    def _forget(self, identity: _Identity) -> None:
        pending = self._pending.pop(identity, None)
        if pending is None:
            return
        if pending.answer.done() and not pending.answer.cancelled():
            pending.answer.exception()  # taken, also when its waiter has gone
        numbers = self._origins[identity[0]]
        numbers.discard(identity[1])
        if not numbers:
            del self._origins[identity[0]]

    async def _run(self) -> None:
        """Keeps a stream up, with full-jitter backoff between attempts."""
        backoff_s = _BACKOFF_FIRST_S
        while True:
            call = self._stub.Publish()
            writer = asyncio.create_task(self._write(call))
            try:
                while (response := await call.read()) is not grpc.aio.EOF:
                    backoff_s = _BACKOFF_FIRST_S
                    self._on_response(response)
            except grpc.aio.AioRpcError as error:
                log.info("the stream to ingest ended: %s %s", error.code().name, error.details())
            finally:
                # Before the next stream's writer starts: two would take from one queue.
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
                call.cancel()
            await asyncio.sleep(random.uniform(0, backoff_s))
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)

    async def _write(self, call: Any) -> None:
        """Until cancelled, or the stream breaks: its reader says why."""
        self._unsent = deque(self._pending)  # all that is unanswered goes again
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(
                PublishRequest(hello=Hello(producer=True, client=f"gateway {self._instance}"[:64]))
            )
            while True:
                self._wake.clear()
                while self._unsent:
                    batch = self._batch()
                    if batch.events:
                        await call.write(PublishRequest(events=batch))
                await self._wake.wait()

    def _batch(self) -> EventBatch:
        """What has gathered, as far as one message may hold; one batch carries one trace.

        Empty when nobody waits any more for what was unsent.
        """
        batch = EventBatch()
        room = limits.INGEST_MESSAGE_BYTES_MAX - _ENVELOPE_BYTES
        while self._unsent and len(batch.events) < limits.BATCH_EVENTS_MAX:
            pending = self._pending.get(self._unsent[0])
            if pending is not None:
                room -= pending.event.ByteSize() + _EVENT_OVERHEAD_BYTES
                if batch.events and (room < 0 or pending.traceparent != batch.traceparent):
                    break
                batch.traceparent = pending.traceparent
                batch.events.append(pending.event)
            self._unsent.popleft()
        return batch

    def _on_response(self, response: PublishResponse) -> None:
        match response.WhichOneof("message"):
            case "ack":
                for receipt in response.ack.receipts:
                    self._answer((receipt.origin_id, receipt.origin_seq), receipt.position)
            case "reject":
                reject = response.reject
                self._answer((reject.origin_id, reject.origin_seq), _refusal(reject))

    def _answer(self, identity: _Identity, answer: Position | GrandstandError) -> None:
        pending = self._pending.get(identity)
        if pending is None or pending.answer.done():
            return
        if isinstance(answer, GrandstandError):
            pending.answer.set_exception(answer)
        else:
            pending.answer.set_result(answer)


def _refusal(reject: Reject) -> GrandstandError:
    return from_code(reject.code, reject.message)
