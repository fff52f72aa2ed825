"""Many Publish streams over a few connections, driven by one loop: what a crowd is to ingest behind Envoy.

Every stream keeps to its credit, as a client does, and all of them together to `in_flight` events that
are sent and not acked, which is what makes a run's depth the same for whatever is measured. Acks are read as
they come: `settled` counts the events they cover, and a paced run takes the time of each from them.

    press   sends as much as that depth allows, for some seconds: what does an event cost?
    pace    sends at a rate, an event at a time, by a schedule that waits for nobody: how long does an ack take?
            The time counts from the scheduled moment, so that a service that stands still is seen to.
    settle  waits until all that was sent is acked
    idle    sends heartbeats only

Rejected: the reference client on grpc.aio. It costs several times what the service spends on an event, so on a
small machine the figures would be the client's.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from bench._h2 import Connection, H2Error
from bench._messages import HEARTBEAT, Messages, hello
from grandstand.ingest.v1.ingest_pb2 import PublishResponse
from mesh import limits

PATH = "/grandstand.ingest.v1.IngestService/Publish"
CONNECTIONS = 4
# grpc refuses calls at random when a thousand wait to be taken.
_OPENED_AT_ONCE = 250
_PATIENCE_S = 20.0
_PACE_S = 0.001


class Stalled(Exception):
    """Nothing came for too long; says what was waited for."""


class Stream:
    """One Publish stream as its client sees it."""

    __slots__ = ("acked", "connection", "credit", "is_waiting", "number", "place", "rejected", "sent", "shed")

    def __init__(self, number: int, connection: Connection, place: int) -> None:
        self.number = number
        self.connection = connection
        self.place = place
        self.credit = 0
        self.sent = 0
        """The last number sent."""
        self.acked = 0
        self.shed = 0
        self.rejected = 0
        self.is_waiting = False
        """For credit or a window: not in the ring."""


class Drive:
    """Opens the streams; call `close` at the end. Raises OSError, H2Error, Stalled."""

    def __init__(
        self,
        port: int,
        messages: Messages,
        streams: int,
        *,
        producer: bool,
        in_flight: int,
        metadata: Sequence[tuple[str, str]] = (),
        counted: Callable[[], int] | None = None,
    ) -> None:
        """`counted` tells how many events a service that sends no acks has read; it gets no Hello either."""
        self.sent = 0
        self.settled = 0
        self.acks = 0
        self.refusals: dict[str, int] = {}
        self._messages = messages
        self._in_flight = in_flight
        self._counted = counted
        self._producer = producer
        self._epoll = select.epoll()
        self._connections = [
            Connection("127.0.0.1", port, PATH, metadata) for _ in range(min(CONNECTIONS, streams))
        ]
        self._by_socket: dict[int, tuple[Connection, list[Stream]]] = {}
        for connection in self._connections:
            self._epoll.register(connection.socket.fileno(), select.EPOLLIN)
            self._by_socket[connection.socket.fileno()] = (connection, [])
        self.streams: list[Stream] = []
        self._ring: deque[Stream] = deque()
        self._schedule: tuple[float, float] | None = None
        self.latencies_s: list[float] = []
        self._welcomed = 0
        self._beat_s = time.monotonic()
        self._open(streams)

    # -- opening -------------------------------------------------------------

    def _open(self, count: int) -> None:
        for number in range(count):
            connection, streams = self._by_socket[
                self._connections[number % len(self._connections)].socket.fileno()
            ]
            stream = Stream(number, connection, connection.open())
            streams.append(stream)
            self.streams.append(stream)
            if self._counted is None:
                connection.send(
                    stream.place, hello("" if self._producer else f"viewer-{number}", producer=self._producer)
                )
            else:
                stream.credit = 1 << 62
            if (number + 1) % _OPENED_AT_ONCE == 0 or number + 1 == count:
                self._until(
                    lambda: self._welcomed == len(self.streams) or self._counted is not None, "a Welcome"
                )
                if self._counted is not None:
                    self._pump(0.05)
        self._ring.extend(self.streams)

    # -- driving -------------------------------------------------------------

    def press(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._fill()
            self._pump(0.005)

    def settle(self) -> None:
        self._until(lambda: self._seen() == self.sent, "the last acks")

    def pace(self, rate: float, seconds: float) -> None:
        """`rate` events a second over all streams in turn; latencies_s has one entry for each."""
        assert self._messages.events == 1
        assert self.sent == self.settled, "settle() first"
        self.latencies_s = []
        base = [stream.sent for stream in self.streams]
        count = len(self.streams)
        total = int(rate * seconds)
        start_s = time.monotonic() + 0.05
        self._paced = (start_s, rate, count, base)
        due = 0
        late: deque[Stream] = deque()
        while due < total:
            now_s = time.monotonic()
            upto = min(total, int((now_s - start_s) * rate) + 1)
            for at in range(due, max(due, upto)):
                late.append(self.streams[at % count])
            due = max(due, upto)
            for _ in range(len(late)):
                stream = late.popleft()
                if not self._send(stream):
                    late.append(stream)
            self._flush()
            self._pump(max(0.0, min(_PACE_S, start_s + due / rate - time.monotonic())))
        while late:
            for _ in range(len(late)):
                stream = late.popleft()
                if not self._send(stream):
                    late.append(stream)
            self._pump(0.005)
        self.settle()
        self._paced = None

    _paced: tuple[float, float, int, list[int]] | None = None

    def idle(self, seconds: float) -> None:
        self._until_s(time.monotonic() + seconds)

    def _until_s(self, until_s: float) -> None:
        while (left_s := until_s - time.monotonic()) > 0:
            self._pump(min(0.1, left_s))

    def heartbeat(self) -> None:
        for stream in self.streams:
            if stream.connection.room(stream.place) >= len(HEARTBEAT):
                stream.connection.send(stream.place, HEARTBEAT)
        self._flush()

    # -- one turn ------------------------------------------------------------

    def _seen(self) -> int:
        if self._counted is not None:
            self.settled = self._counted()
        return self.settled

    def _fill(self) -> None:
        """Sends to each stream in turn, one message at a time, until nobody may send more."""
        room = self._seen() + self._in_flight - self.sent
        ring = self._ring
        congested = 0
        while ring and room > 0 and congested < len(ring):
            stream = ring.popleft()
            if stream.connection.is_congested:
                ring.append(stream)
                congested += 1
            elif self._send(stream):
                congested = 0
                room -= self._messages.events
                ring.append(stream)
            else:
                stream.is_waiting = True
        self._flush()

    def _send(self, stream: Stream) -> bool:
        events = self._messages.events
        if stream.sent + events - stream.acked > stream.credit:
            return False
        data = self._messages.make(stream.number, stream.sent + 1)
        if stream.connection.room(stream.place) < len(data):
            return False
        stream.connection.send(stream.place, data)
        stream.sent += events
        self.sent += events
        return True

    def _flush(self) -> None:
        for connection in self._connections:
            if connection.has_unsent:
                self._epoll.modify(
                    connection.socket.fileno(),
                    select.EPOLLIN if connection.flush() else select.EPOLLIN | select.EPOLLOUT,
                )

    def _pump(self, wait_s: float) -> None:
        self._flush()
        for number, events in self._epoll.poll(wait_s):
            connection, streams = self._by_socket[number]
            if events & select.EPOLLIN:
                for place, payload in connection.receive():
                    self._take(streams[place], payload)
                if connection.widened:
                    for place in connection.widened:
                        self._wake(streams[place]) if place < len(streams) else None
                    connection.widened.clear()
                if connection.ended:
                    place, why = next(iter(connection.ended.items()))
                    raise H2Error(f"the service ended {len(connection.ended)} streams; stream {place}: {why}")
        self._flush()

    def _take(self, stream: Stream, payload: bytes) -> None:
        response = PublishResponse.FromString(payload)
        kind = response.WhichOneof("message")
        if kind == "ack":
            ack = response.ack
            seq = ack.origin_seq
            self.acks += 1
            if seq > stream.acked:
                if self._paced is not None:
                    self._time(stream, seq)
                self.settled += seq - stream.acked
                stream.acked = seq
                self._wake(stream)
        elif kind == "welcome":
            stream.credit = response.welcome.credit
            self._welcomed += 1
        elif kind == "credit":
            stream.credit = response.credit.credit
            self._wake(stream)
        elif kind == "reject":
            why = f"{response.reject.code}: {response.reject.message}"
            self.refusals[why] = self.refusals.get(why, 0) + 1

    def _time(self, stream: Stream, seq: int) -> None:
        assert self._paced is not None
        start_s, rate, count, base = self._paced
        now_s = time.monotonic()
        first = base[stream.number] + 1
        for n in range(max(stream.acked + 1, first), seq + 1):
            self.latencies_s.append(now_s - start_s - ((n - first) * count + stream.number) / rate)

    def _wake(self, stream: Stream) -> None:
        if stream.is_waiting:
            stream.is_waiting = False
            self._ring.append(stream)

    def _until(self, done: Callable[[], bool], what: str) -> None:
        give_up_s = time.monotonic() + _PATIENCE_S
        seen = -1
        while not done():
            if self.settled != seen:
                seen = self.settled
                give_up_s = time.monotonic() + _PATIENCE_S
            if time.monotonic() > give_up_s:
                raise Stalled(f"{what} did not come within {_PATIENCE_S:g} s: {self.settled} of {self.sent}")
            self._pump(0.01)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._epoll.close()
