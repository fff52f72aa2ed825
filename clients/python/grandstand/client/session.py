"""The publishing side of one origin, over any number of streams: what to send, and what became of it. Pure.

Events wait in a buffer without a number, get one when they are first sent (`outbox`), and leave with exactly
one outcome: stored, shed, refused, given way, or abandoned with the session. The shell tells what happens
(`submit`, `opened`, `receive`, `ended`) and asks what to do (`next`); `now_s` is in seconds of one clock, and
each answer is complete: nothing here waits.

Refused for now. A retryable Reject settles the number, so the event goes out again under a new one after
the wait it names, at most RETRIES_MAX times; its sender just waits. But never when a copy under the old
number may be stored (the Reject says so, or the event was sent on an earlier stream too): under a new
number it would be counted twice (I2). Then its sender is told, with `maybe_stored`.

Another origin. A server that does not take the origin any more welcomes with a new one. What was sent under
the old one and not settled may be stored, and would count twice under the new one: its senders are told
ABORTED with `maybe_stored`. What was never sent goes out under the new one; the session goes on.

Bounds (I7): the shell takes at most credit + buffer_events_max unsettled events (`room`); what happens beyond
is its policy, for which `give_way` makes room.

A worked loss: events 7 to 9 are sent, ingest stores 7 and 8 and is killed before its Ack. The
stream ends UNAVAILABLE; after a jittered delay Hello{origin, next_origin_seq = 7} goes to another
ingest and 7 to 9 go again. The fold finds 7 and 8 in the origin's window and counts 9 only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from grandstand.client.attempts import OK, Again, Attempts, Over
from grandstand.client.backoff import Backoff
from grandstand.client.buffer import Buffer, Priority, WaitingEvent
from grandstand.client.outbox import Outbox
from grandstand.client.stream_state import GREETING_MAX_S, Due, StreamState
from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Ack, Hello, PublishResponse, Reject, Welcome

T = TypeVar("T")

# Until the first Welcome says more: what any origin may have unacked.
CREDIT_AT_FIRST = 64
BATCH_EVENTS_AT_FIRST = 1_000
MESSAGE_BYTES_AT_FIRST = 256 * 1024
# Room in a message for its envelope and the trace context, and for each event's tag and length.
ENVELOPE_BYTES = 1_024
EVENT_OVERHEAD_BYTES = 16
# A burst beyond an actor's rate is refused event by event, each told when the next one fits, not when all of
# them do: this many, with a jitter that doubles up to two seconds, spread some hundreds of them.
RETRIES_MAX = 10

_INVALID_ARGUMENT = 3
_ABORTED = 10


@dataclass(frozen=True, slots=True)
class Send(Generic[T]):
    """Send these numbers as one batch; None for one that goes without its event (see `outbox`)."""

    batch: list[tuple[int, T | None]]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until_s` (infinity: ever), unless something happens."""

    until_s: float


@dataclass(frozen=True, slots=True)
class WasStored(Generic[T]):
    """These events, with their numbers, are stored, at positions that are among these."""

    events: list[tuple[int, T]]
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class WasShed(Generic[T]):
    event: T
    maybe_stored: bool


@dataclass(frozen=True, slots=True)
class WasRefused(Generic[T]):
    """`code`: a google.rpc.Code."""

    event: T
    code: int
    message: str
    maybe_stored: bool


class PublishSession(Generic[T]):
    """`T`: an event as the shell knows it. `draw` gives uniform numbers from 0 to 1."""

    def __init__(
        self,
        *,
        buffer_events_max: int,
        backoff: Backoff,
        draw: Callable[[], float],
        greeting_max_s: float = GREETING_MAX_S,
    ) -> None:
        if buffer_events_max < 0:
            raise ValueError(f"buffer_events_max is {buffer_events_max}; 0 or more is needed")
        self.origin_id = ""
        self.resumed = 0
        """How often a stream stood again after another."""
        self.replaced = 0
        """How often the server gave the session another origin."""
        self.retried = 0
        """How often an event went out again because its refusal said so."""
        self.closing = False
        """Set: the stream is finished once everything is settled, and no other follows."""
        self.attempts = Attempts(backoff, draw)
        self.buffer: Buffer[T] = Buffer()
        self._backoff = backoff
        self._draw = draw
        self._greeting_max_s = greeting_max_s
        self._buffer_events_max = buffer_events_max
        self._outbox: Outbox[WaitingEvent[T]] = Outbox(CREDIT_AT_FIRST)
        self._batch_events_max = BATCH_EVENTS_AT_FIRST
        self._batch_bytes_max = MESSAGE_BYTES_AT_FIRST - ENVELOPE_BYTES
        self._stream: StreamState | None = None
        self._settled_any = False

    # What there is to send.

    def __len__(self) -> int:
        """How many events are unsettled, in whatever stage."""
        return len(self._outbox) + len(self.buffer)

    @property
    def events_max(self) -> int:
        """How many may be unsettled now."""
        return self._outbox.credit + self._buffer_events_max

    @property
    def room(self) -> int:
        """How many more events are to be taken now; less than 0 once the credit has shrunk."""
        return self.events_max - len(self)

    @property
    def credit(self) -> int:
        """How many numbers may be unacked, as the server said last."""
        return self._outbox.credit

    @property
    def reason(self) -> str:
        """Why the credit is what it is, in the server's words; "" if it did not say."""
        return self._stream.reason if self._stream is not None else ""

    @property
    def stands(self) -> bool:
        """Whether a stream is up and welcomed."""
        return self._stream is not None and self._stream.welcomed_at_s is not None

    def submit(self, event: T, bytes_count: int, rank: Priority = Priority.KEEPS) -> None:
        """Takes an event in, whether or not there is room: the shell has looked, or has promised it.

        Raises ValueError for one that fits no message.
        """
        self.check_size(bytes_count)
        self.buffer.put(WaitingEvent(event, bytes_count, rank))

    def check_size(self, bytes_count: int) -> None:
        """Raises ValueError if no message can hold an event of this many bytes."""
        if bytes_count > self._batch_bytes_max:
            raise ValueError(_too_large(bytes_count, self._batch_bytes_max))

    def give_way(self) -> T | None:
        """Drops the oldest buffered event that may give way, and returns it; None if there is none."""
        return self.buffer.give_way()

    def abandon(self) -> Iterator[T]:
        """Empties the session; yields each event that is unsettled."""
        for waiting, _ in self._outbox.abandon():
            yield waiting.event
        yield from self.buffer.empty()

    # The life of its streams.

    def opened(self, now_s: float) -> Hello:
        """A stream is opened; what its Hello says of the origin."""
        self._stream = StreamState(now_s, self._greeting_max_s)
        self._settled_any = False
        return Hello(origin_id=self.origin_id, next_origin_seq=self._outbox.resume())

    @property
    def gone_at_s(self) -> float:
        """When the stream's server counts as gone, unless it is heard before."""
        return self._talk.gone_at_s

    def silence(self, now_s: float) -> str:
        """Why the stream is given up then, for a person."""
        return self._talk.silence(now_s)

    def receive(
        self, response: PublishResponse, now_s: float
    ) -> list[WasStored[T] | WasShed[T] | WasRefused[T]]:
        """Takes a response. Raises ValueError where the server breaks the protocol."""
        kind = self._talk.receive(response, now_s)
        if kind == "ack":
            return self._acked(response.ack)
        if kind == "reject":
            return [*self._rejected(response.reject, now_s)]
        if kind == "welcome":
            return [*self._welcomed(response.welcome)]
        if kind == "credit":
            self._outbox.credit = self._talk.credit
        return []

    def next(self, now_s: float) -> Send[T] | Due | Wait:
        """What to do now on the stream. A Send counts as sent, a heartbeat and a half-close as done."""
        talk = self._talk
        self.buffer.bring_back(now_s)
        if talk.may_send:
            batch = self._take()
            if batch:
                talk.spoke(now_s)
                return Send(batch)
            if self.closing and not len(self):
                talk.finish()
        due = talk.due(now_s)
        if due is None:
            later_at_s = self.buffer.later_at_s
            return Wait(min(talk.due_at_s, math.inf if later_at_s is None else later_at_s))
        if due is Due.HALF_CLOSE:
            talk.half_closed(now_s)
        elif due is Due.HEARTBEAT:
            talk.spoke(now_s)
        return due

    def renewed(self) -> None:
        """A fresh token is there: the stream is finished, and the next one shows it."""
        self._talk.renewed()

    def renew_later(self, now_s: float) -> None:
        """The provider gives the same token still."""
        self._talk.renew_later(now_s)

    def ended(self, code: int, message: str, now_s: float) -> Again | Over | None:
        """The stream has ended with this google.rpc.Code, or never began; None: the session is closed."""
        talk, self._stream = self._stream, None
        if self.closing and not len(self):
            return None
        useful, after_s = self._settled_any, None
        if talk is not None:
            useful = useful or talk.stood_well(now_s)
            after_s = talk.reconnect_after_s
        if code == OK and after_s is None:
            message = message or "the server ended the stream before it was asked to"
        return self.attempts.ended(code, message, useful=useful, finished_after_s=after_s)

    @property
    def _talk(self) -> StreamState:
        assert self._stream is not None, "no stream is open"
        return self._stream

    def _take(self) -> list[tuple[int, T | None]]:
        outbox, buffer = self._outbox, self.buffer
        while buffer.ready and outbox.room and outbox.unsent < self._batch_events_max:
            waiting = buffer.take()
            outbox.append(waiting, waiting.bytes_count)
        taken = outbox.take(self._batch_events_max, self._batch_bytes_max)
        return [(number, waiting.event if waiting is not None else None) for number, waiting in taken]

    def _welcomed(self, welcome: Welcome) -> Iterator[WasRefused[T]]:
        lost: list[WaitingEvent[T]] = []
        if welcome.replaced and self.origin_id:
            lost = self._outbox.replace()
            self.replaced += 1
        elif self.origin_id and welcome.origin_id != self.origin_id:
            raise ValueError(f"it welcomes origin {welcome.origin_id!r}, but {self.origin_id} was named")
        if welcome.next_origin_seq != self._outbox.frontier:
            raise ValueError(
                f"it expects origin_seq {welcome.next_origin_seq} next, "
                f"but {self._outbox.frontier} was announced"
            )
        self.resumed += bool(self.origin_id)
        self.origin_id = welcome.origin_id
        self.attempts.welcomed()
        self._outbox.credit = welcome.credit
        self._batch_events_max = welcome.batch_events_max or BATCH_EVENTS_AT_FIRST
        self._batch_bytes_max = (welcome.message_bytes_max or MESSAGE_BYTES_AT_FIRST) - ENVELOPE_BYTES
        for waiting in lost:
            message = f"it was sent under an origin that is replaced, and not acked: {welcome.replaced}"
            yield WasRefused(waiting.event, _ABORTED, message, maybe_stored=True)
        # Of what was taken before the bound was known.
        for waiting in self.buffer.take_larger(self._batch_bytes_max):
            message = _too_large(waiting.bytes_count, self._batch_bytes_max)
            yield WasRefused(waiting.event, _INVALID_ARGUMENT, message, maybe_stored=False)

    def _acked(self, ack: Ack) -> list[WasStored[T] | WasShed[T] | WasRefused[T]]:
        settled = self._outbox.ack(ack.origin_seq)
        self._settled_any = self._settled_any or bool(settled)
        shed = frozenset(ack.shed_origin_seqs)
        stored = [(number, waiting.event) for number, waiting, _ in settled if number not in shed]
        outcomes: list[WasStored[T] | WasShed[T] | WasRefused[T]] = [
            WasShed(waiting.event, again) for number, waiting, again in settled if number in shed
        ]
        if stored:
            outcomes.append(WasStored(stored, tuple(ack.positions)))
        return outcomes

    def _rejected(self, reject: Reject, now_s: float) -> Iterator[WasRefused[T]]:
        found = self._outbox.refuse(reject.origin_seq)
        if found is None:
            return
        waiting, again = found
        maybe_stored = again or reject.maybe_stored
        if reject.retryable and not maybe_stored and waiting.refusals < RETRIES_MAX:
            # And a little more: those who were refused together must not come back together.
            jitter_s = self._backoff.ceiling_s(waiting.refusals) * self._draw()
            after_s = reject.retry_after.ToNanoseconds() / 1e9
            self.buffer.put_later(waiting, now_s + after_s + jitter_s)
            waiting.refusals += 1
            self.retried += 1
            return
        times = f" (refused {waiting.refusals + 1} times)" if waiting.refusals else ""
        yield WasRefused(waiting.event, reject.code, reject.message + times, maybe_stored)


def _too_large(bytes_count: int, bytes_max: int) -> str:
    return f"the event has {bytes_count} bytes; at most {bytes_max} fit a message"
