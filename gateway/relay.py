"""The gateway's stream to ingest, which carries the events of Send calls.

Every event keeps the identity that its sender gave it, so when a stream breaks the relay resends what was not
answered: it is counted once (I2). One stream takes unsent events. When it has to finish (the ingest drains,
the token expires) the next one opens at once, and the old one, half-closed, delivers the answers it still
owes. With a credit of 0 nothing can be stored, and unsent events are held back.

The submitter of an event is called back with the answer, from the reader of the stream. There is no task,
future or timer for an event: at a few thousand a second they cost more than all the rest. Waiters are kept in
order of arrival; as all have the same timeout, one timer for the first is enough.

In an outage that lasts, senders are refused at once, with the reason (gateway.send_outage).

Bounds: SENDS_PENDING_MAX unanswered events (RESOURCE_EXHAUSTED beyond) with WAITERS_MAX waiters for each, for
at most `SEND_PATIENCE_S` (then UNAVAILABLE: send again with the same identity); one stream, and those that
finish, each given up once its server is silent.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import grpc

from gateway.origins import SendOrigins
from gateway.send_outage import SendOutage
from grandstand.client.attempts import Again, Attempts
from grandstand.client.backoff import Backoff
from grandstand.client.credentials import StreamToken, metadata_of
from grandstand.client.session import ENVELOPE_BYTES, EVENT_OVERHEAD_BYTES, Wait
from grandstand.client.stream import converse
from grandstand.client.stream_state import Due, Phase, StreamState
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse, Reject
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import tasks
from grandstand.wire.errors import (
    AlreadyDone,
    Exhausted,
    GrandstandError,
    OriginRefused,
    Unavailable,
    from_code,
)
from mesh import limits

log = logging.getLogger(__name__)

SEND_PATIENCE_S = limits.PUBLISH_DEADLINE_S + 2
# Maximum delay before an expired wait is reported.
SWEEP_S = 0.05
# Maximum calls that send the same event before it is answered.
WAITERS_MAX = 16
_BACKOFF = Backoff(base_s=0.02, cap_s=0.5)

_UNAVAILABLE = 14

Answer = Position | GrandstandError
"""Where the event is stored, or why it is not."""

_Identity = tuple[str, int]


class AnswerWaiter:
    """A submitter that waits for the answer to an event."""

    __slots__ = ("_pending", "_relay", "on_answer", "until_s")

    def __init__(
        self, relay: Relay, pending: _Pending, on_answer: Callable[[Answer], None], until_s: float
    ) -> None:
        self._relay = relay
        self._pending = pending
        self.on_answer = on_answer
        self.until_s = until_s

    def cancel(self) -> None:
        """Stops waiting: `on_answer` is not called. The event may be stored all the same."""
        self._relay.leave(self, self._pending)


class _Pending:
    """An unanswered event, and its waiters."""

    __slots__ = ("event", "identity", "is_over", "sent", "traceparent", "waiters")

    def __init__(self, identity: _Identity, event: Event, traceparent: str) -> None:
        self.identity = identity
        self.event = event
        self.traceparent = traceparent
        self.waiters: list[AnswerWaiter] = []
        self.is_over = False
        """Answered, or without waiters."""
        # On how many streams: above 1, an earlier copy may be stored.
        self.sent = 0


class Relay:
    """`token` is asked afresh for each stream, and again when ingest says that it expires."""

    def __init__(
        self, channel: grpc.aio.Channel, instance: str, token: Callable[[], str] | None = None
    ) -> None:
        self._stub: Any = IngestServiceStub(channel)
        self._instance = instance
        self._token = token
        self._pending: dict[_Identity, _Pending] = {}
        self._origins = SendOrigins()
        self._unsent: OrderedDict[_Pending, None] = OrderedDict()
        self._waiting: OrderedDict[AnswerWaiter, None] = OrderedDict()
        self._sweeping: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.Event()
        self._attempts = Attempts(_BACKOFF, random.random)
        self._streams: set[asyncio.Task[None]] = set()
        self._outage = SendOutage()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Waiters get no answer."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._task is not None:
            await tasks.end(self._task, *self._streams)

    @property
    def pending(self) -> int:
        """How many events are not answered."""
        return len(self._pending)

    def submit(
        self, event: Event, on_answer: Callable[[Answer], None], traceparent: str = ""
    ) -> AnswerWaiter:
        """Sends the event, which the caller changes no more. The same identity submitted twice at once is
        sent once, and answers both.

        `on_answer` is called once, after `submit` has returned: with what ingest refused it with, or with
        Unavailable (not acked in time: send it again). Raises Exhausted, NotNow (too far behind),
        AlreadyDone (the identity is under way with another body), Unavailable (nothing can be stored now).
        """
        if refusal := self._outage.refusal(self._loop.time()):
            raise Unavailable(f"{refusal}; send again with the same origin_id and origin_seq")
        identity = (event.origin_id, event.origin_seq)
        pending = self._pending.get(identity)
        if pending is None:
            pending = self._admit(identity, event, traceparent)
        elif pending.event != event:
            raise AlreadyDone(
                f"event.origin_seq: {event.origin_seq} is under way with another body; "
                "an identity names one event"
            )
        elif len(pending.waiters) >= WAITERS_MAX:
            raise Exhausted(
                f"event.origin_seq: {event.origin_seq} is under way {WAITERS_MAX} times; wait for the answer",
                retry_after_s=1.0,
            )
        waiter = AnswerWaiter(self, pending, on_answer, self._loop.time() + SEND_PATIENCE_S)
        pending.waiters.append(waiter)
        self._waiting[waiter] = None
        if self._sweeping is None:
            self._sweeping = self._loop.call_at(waiter.until_s, self._sweep)
        return waiter

    def _admit(self, identity: _Identity, event: Event, traceparent: str) -> _Pending:
        if len(self._pending) >= limits.SENDS_PENDING_MAX:
            raise Exhausted(
                f"{limits.SENDS_PENDING_MAX} events wait for their ack, the most this gateway holds; "
                "wait a second",
                retry_after_s=1.0,
            )
        self._origins.take(*identity)
        pending = self._pending[identity] = _Pending(identity, event, traceparent)
        self._unsent[pending] = None
        self._work.set()
        return pending

    def leave(self, waiter: AnswerWaiter, pending: _Pending) -> None:
        """Removes a waiter. Has no effect after its answer."""
        if waiter in self._waiting:
            del self._waiting[waiter]
            pending.waiters.remove(waiter)
            if not pending.waiters:
                self._forget(pending)

    def _sweep(self) -> None:
        """Answers the waiters whose time is over."""
        self._sweeping = None
        now_s = self._loop.time()
        while self._waiting:
            waiter = next(iter(self._waiting))
            if waiter.until_s > now_s:
                self._sweeping = self._loop.call_at(max(waiter.until_s, now_s + SWEEP_S), self._sweep)
                return
            waiter.cancel()
            self._outage.expired(SEND_PATIENCE_S, now_s)
            why = f" ({self._outage.reason})" if self._outage.reason else ""
            late = Unavailable(
                f"not acked within {SEND_PATIENCE_S:g} s{why}; "
                "send again with the same origin_id and origin_seq"
            )
            _tell(waiter, late)

    def _forget(self, pending: _Pending) -> None:
        pending.is_over = True
        del self._pending[pending.identity]
        self._origins.answered(*pending.identity)
        self._unsent.pop(pending, None)

    async def _run(self) -> None:
        """Keeps a stream up."""
        while True:
            stream = _RelayStream(self)
            task = asyncio.create_task(stream.run())
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
            await stream.leaves.wait()
            await asyncio.sleep(stream.next_after_s)

    # Called by _RelayStream.

    def open_call(self, jwt: str) -> Any:
        return self._stub.Publish(metadata=metadata_of(jwt))

    def hello(self) -> PublishRequest:
        return PublishRequest(hello=Hello(producer=True, client=f"gateway {self._instance}"[:64]))

    def stream_token(self) -> StreamToken:
        return StreamToken(self._token)

    @property
    def work(self) -> asyncio.Event:
        return self._work

    def welcomed(self) -> None:
        self._attempts.welcomed()

    def batch(self) -> tuple[EventBatch, list[_Pending]]:
        """Unsent events, as many as one message holds; one batch carries one trace context."""
        batch, carried = EventBatch(), list[_Pending]()
        room = wire_bounds.INGEST_MESSAGE_BYTES_MAX - ENVELOPE_BYTES
        unsent = self._unsent
        while unsent and len(carried) < wire_bounds.BATCH_EVENTS_MAX:
            pending = next(iter(unsent))
            room -= pending.event.ByteSize() + EVENT_OVERHEAD_BYTES
            if carried and (room < 0 or pending.traceparent != batch.traceparent):
                break
            batch.traceparent = pending.traceparent
            batch.events.append(pending.event)
            carried.append(pending)
            pending.sent += 1
            del unsent[pending]
        return batch, carried

    def credited(self, credit: int, reason: str) -> None:
        if credit:
            self._outage.flows()
        else:
            self._outage.held(reason or "nothing can be stored at the moment", self._loop.time())

    def lost(self, message: str) -> None:
        """The stream that took events ended."""
        self._outage.held(f"ingest is away: {message or 'its stream ended'}", self._loop.time())

    def answer(self, identity: _Identity, answer: Position | Reject) -> None:
        self._outage.answered(self._loop.time())
        pending = self._pending.get(identity)
        if pending is None:
            return
        self._forget(pending)
        told = _refusal(answer, again=pending.sent > 1) if isinstance(answer, Reject) else answer
        waiters, pending.waiters = pending.waiters, []
        for waiter in waiters:
            del self._waiting[waiter]
        for waiter in waiters:
            _tell(waiter, told)

    def ended(
        self,
        code: int,
        message: str,
        carried: dict[_Identity, _Pending],
        *,
        useful: bool,
        finished_after_s: float | None,
    ) -> float:
        """A stream has ended: its unanswered events go first on the next one. Returns the delay in
        seconds."""
        for pending in reversed(carried.values()):
            if not pending.is_over:
                self._unsent[pending] = None
                self._unsent.move_to_end(pending, last=False)
        then = self._attempts.ended(code, message, useful=useful, finished_after_s=finished_after_s)
        # A gateway never gives up: the cause may be fixed.
        return then.delay_s if isinstance(then, Again) else _BACKOFF.cap_s


class _RelayStream:
    """One stream, and the unanswered events that it carried."""

    def __init__(self, relay: Relay) -> None:
        self.leaves = asyncio.Event()
        """Set once the next stream is to be opened, after `next_after_s`."""
        self.next_after_s = 0.0
        self._relay = relay
        self._token = relay.stream_token()
        self._carried: dict[_Identity, _Pending] = {}
        self._useful = False
        self._talk = StreamState(asyncio.get_running_loop().time())

    async def run(self) -> None:
        relay = self._relay
        code, message = _UNAVAILABLE, ""
        try:
            jwt = self._token.ask()
            code, message = await converse(lambda: relay.open_call(jwt), relay.hello(), self, relay.work)
        except Exception as error:
            message = repr(error)
        finally:
            log.info("the stream to ingest ended: %s", message or "finished")
            after_s = relay.ended(
                code,
                message,
                self._carried,
                useful=self._useful or self._talk.stood_well(asyncio.get_running_loop().time()),
                finished_after_s=self._talk.reconnect_after_s,
            )
            if not self.leaves.is_set():
                relay.lost(message)
                self.next_after_s = after_s
            self.leaves.set()
            relay.work.set()

    @property
    def gone_at_s(self) -> float:
        return self._talk.gone_at_s

    def silence(self, now_s: float) -> str:
        return self._talk.silence(now_s)

    def receive(self, response: PublishResponse, now_s: float) -> None:
        kind = self._talk.receive(response, now_s)
        relay = self._relay
        if kind == "ack":
            for receipt in response.ack.receipts:
                self._answer((receipt.origin_id, receipt.origin_seq), receipt.position)
        elif kind == "reject":
            reject = response.reject
            self._answer((reject.origin_id, reject.origin_seq), reject)
        elif kind == "welcome":
            relay.welcomed()
        if kind in ("welcome", "credit"):
            relay.credited(self._talk.credit, self._talk.reason)
        self._leave_if_finished()

    def next(self, now_s: float) -> PublishRequest | Due | Wait:
        talk = self._talk
        if talk.may_send and talk.credit:
            batch, carried = self._relay.batch()
            if carried:
                self._carried.update((pending.identity, pending) for pending in carried)
                talk.spoke(now_s)
                return PublishRequest(events=batch)
        due = talk.due(now_s)
        if due is None:
            return Wait(talk.due_at_s)
        if due is Due.HALF_CLOSE:
            talk.half_closed(now_s)
        elif due is Due.HEARTBEAT:
            talk.spoke(now_s)
        return due

    def renew(self, now_s: float) -> None:
        if self._token.is_renewed():
            self._talk.renewed()
            self._leave_if_finished()
        else:
            self._talk.renew_later(now_s)

    def _leave_if_finished(self) -> None:
        """Lets the next stream open while this one waits for its last answers."""
        if self._talk.phase is Phase.FINISHING:
            self.leaves.set()

    def _answer(self, identity: _Identity, answer: Position | Reject) -> None:
        self._useful = True
        self._carried.pop(identity, None)
        self._relay.answer(identity, answer)


def _refusal(reject: Reject, *, again: bool) -> GrandstandError:
    """`again`: the event was sent on an earlier stream too."""
    message = reject.message
    if reject.origin_refused:
        return OriginRefused(message)
    if not reject.retryable:
        if again or reject.maybe_stored:
            message += " (an earlier copy of the event may be stored, and then it counts)"
        return from_code(reject.code, message)
    wait_s = reject.retry_after.ToNanoseconds() / 1e9
    if wait_s and f"{wait_s:.3f} s" not in message:
        message += f"; wait {wait_s:.3f} s"
    kind = Exhausted if reject.code == Exhausted.code else Unavailable
    return kind(message, retry_after_s=wait_s or None)


def _tell(waiter: AnswerWaiter, answer: Answer) -> None:
    """A callback that raises does not affect the other waiters."""
    try:
        waiter.on_answer(answer)
    except Exception:
        log.exception("who waited for an event's answer failed")
