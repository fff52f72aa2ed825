"""Many Publish streams over a few connections, driven by one loop: what a crowd behind Envoy is to ingest.

Every stream keeps to its credit, as a client does. All of them together keep to `in_flight` events that are
sent and not settled, so that whatever is measured is measured at the same depth. Streams have their turns one
message at a time, which is the hardest order for the service: no stream's messages come in a row.

    press    sends as much as credit and depth allow, for some seconds
    settle   waits until all that was sent is settled
    idle     says only that the streams live

What is paced is in `bench._pace`.

Rejected: the reference client on grpc.aio. It costs more for an event than the service does, so on a small
machine the figures would be the client's.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Sequence

from bench._h2 import H2Error, RawConnection
from bench._messages import HEARTBEAT, Messages, actor_of, hello
from grandstand.ingest.v1.ingest_pb2 import PublishResponse
from grandstand.wire import bounds as wire_bounds
from toolbox.local.errors import MeshError

PATH = "/grandstand.ingest.v1.IngestService/Publish"
# As an Envoy with two workers has.
CONNECTIONS = 2
# gRPC refuses calls at random when more than a thousand wait to be taken.
_OPENED_AT_ONCE = 250
_PATIENCE_S = 20.0
# Between turns: what is sent or taken together is cheap for the generator, and depth makes up for it.
_PAUSE_S = 0.002
# Each stream is looked at so often: what was silent since the last look is made to say that it lives.
_LOOK_S = wire_bounds.PUBLISH_HEARTBEAT_S / 2

Shown = Callable[[int], Sequence[tuple[str, str]]]
"""The metadata of the stream with this number."""


class DrivenStream:
    """One Publish stream as its client sees it."""

    __slots__ = (
        "acked",
        "connection",
        "credit",
        "heard_of",
        "is_waiting",
        "number",
        "origin_id",
        "place",
        "sent",
    )

    def __init__(self, number: int, connection: RawConnection, place: int) -> None:
        self.number = number
        self.connection = connection
        self.place = place
        self.origin_id = ""
        self.credit = 0
        self.sent = 0
        """The last number sent."""
        self.acked = 0
        self.heard_of = -1
        """The last number sent when it was last looked at."""
        self.is_waiting = False
        """For credit or a window; it has no turns then."""


class Drive:
    """Opens its streams, which takes a while; `close` ends them. Its calls raise H2Error and MeshError."""

    def __init__(
        self,
        port: int,
        messages: Messages,
        streams: int,
        in_flight: int,
        shown: Shown,
        count: Callable[[], int] | None = None,
    ) -> None:
        """`count` tells how many messages were read, by a service that answers nothing; it is not sent a
        Hello either. Raises OSError as well."""
        self.streams: list[DrivenStream] = []
        self.sent = 0
        self.settled = 0
        """Events that an ack covers: stored, shed or refused."""
        self.acks = 0
        self.shed = 0
        self.refused: dict[str, int] = {}
        """By what was said of them."""
        self.on_ack: Callable[[DrivenStream, int], None] | None = None
        """Called with a stream before its `acked` becomes that number."""
        self._messages = messages
        self._in_flight = in_flight
        self._count = count
        self._turns: deque[DrivenStream] = deque()
        self._welcomed = 0
        self._looked_s = time.monotonic()
        self._look_at = 0
        self._poll = select.epoll()
        self._connections: dict[int, tuple[RawConnection, list[DrivenStream]]] = {}
        for _ in range(min(CONNECTIONS, streams)):
            connection = RawConnection("127.0.0.1", port, PATH)
            self._connections[connection.socket.fileno()] = connection, []
            self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        self._open(streams, shown)

    def _open(self, count: int, shown: Shown) -> None:
        connections = list(self._connections.values())
        for number in range(count):
            connection, streams = connections[number % len(connections)]
            stream = DrivenStream(number, connection, connection.open(shown(number)))
            streams.append(stream)
            self.streams.append(stream)
            if self._count is None:
                producer = self._messages.producer
                opening = hello("" if producer else actor_of(number), producer=producer)
                connection.send(stream.place, opening)
            else:
                stream.credit = 1 << 62
            if len(self.streams) % _OPENED_AT_ONCE == 0 or len(self.streams) == count:
                self._until(self._all_are_open, "a Welcome on every stream")
        self._turns.extend(self.streams)

    def _all_are_open(self) -> bool:
        if self._count is None:
            return self._welcomed == len(self.streams)
        # Nothing says so; the answer to a question that comes after them does as well.
        self.turn(0.0)
        return self._count() == 0

    @property
    def lost(self) -> int:
        """Settled, but not stored."""
        return self.shed + sum(self.refused.values())

    def press(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._fill()
            self.turn(0.0)
            time.sleep(_PAUSE_S)

    def settle(self) -> None:
        self._until(lambda: self._look() == self.sent, "the last acks")

    def idle(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self.turn(min(left_s, _LOOK_S / 100))

    def send(self, stream: DrivenStream) -> bool:
        """The stream's next message; False when its credit or a window has no room for it."""
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

    def turn(self, wait_s: float) -> None:
        """Sends what waits to be sent and takes what comes, waiting for it at most so long."""
        self._keep_alive()
        self._flush()
        for number, events in self._poll.poll(wait_s):
            connection, streams = self._connections[number]
            if not events & ~select.EPOLLOUT:
                continue
            for place, data in connection.receive():
                self._take(streams[place], data)
            for place in connection.widened:
                self._wake(streams[place])
            connection.widened.clear()
            if connection.ended:
                place, why = next(iter(connection.ended.items()))
                actor_id = actor_of(streams[place].number)
                raise H2Error(f"{len(connection.ended)} streams were ended; that of {actor_id}: {why}")
        self._flush()

    def close(self) -> None:
        for connection, _ in self._connections.values():
            connection.close()
        self._poll.close()

    def _fill(self) -> None:
        """Turn after turn until nobody may send more."""
        events = self._messages.events
        room = (self._look() + self._in_flight - self.sent) // events
        turns = self._turns
        congested = 0
        while room > 0 and congested < len(turns):
            stream = turns.popleft()
            if stream.connection.is_congested:
                congested += 1
                turns.append(stream)
            elif self.send(stream):
                congested = 0
                room -= 1
                turns.append(stream)
            else:
                stream.is_waiting = True

    def _look(self) -> int:
        """How many events are settled by now."""
        if self._count is not None:
            self.settled = self._count() * self._messages.events
        return self.settled

    def _flush(self) -> None:
        for number, (connection, _) in self._connections.items():
            if connection.has_unsent:
                is_done = connection.flush()
                self._poll.modify(number, select.EPOLLIN if is_done else select.EPOLLIN | select.EPOLLOUT)

    def _take(self, stream: DrivenStream, data: bytes) -> None:
        response = PublishResponse.FromString(data)
        kind = response.WhichOneof("message")
        if kind == "ack":
            ack = response.ack
            self.acks += 1
            self.shed += len(ack.shed_origin_seqs)
            seq = ack.origin_seq
            if seq > stream.acked:
                if self.on_ack is not None:
                    self.on_ack(stream, seq)
                self.settled += seq - stream.acked
                stream.acked = seq
                self._wake(stream)
        elif kind == "credit":
            stream.credit = response.credit.credit
            self._wake(stream)
        elif kind == "welcome":
            stream.credit = response.welcome.credit
            stream.origin_id = response.welcome.origin_id
            self._welcomed += 1
        elif kind == "reject":
            why = response.reject.message
            self.refused[why] = self.refused.get(why, 0) + 1

    def _wake(self, stream: DrivenStream) -> None:
        if stream.is_waiting:
            stream.is_waiting = False
            self._turns.append(stream)

    def _keep_alive(self) -> None:
        """Looks at some of the streams, all of them in _LOOK_S."""
        if self._count is not None or not self.streams:
            return
        now_s = time.monotonic()
        due = int((now_s - self._looked_s) / _LOOK_S * len(self.streams))
        if due == 0:
            return
        self._looked_s = now_s
        for _ in range(min(due, len(self.streams))):
            stream = self.streams[self._look_at]
            self._look_at = (self._look_at + 1) % len(self.streams)
            if stream.heard_of == stream.sent and stream.connection.room(stream.place) >= len(HEARTBEAT):
                stream.connection.send(stream.place, HEARTBEAT)
            stream.heard_of = stream.sent

    def _until(self, done: Callable[[], bool], what: str) -> None:
        """Raises MeshError when nothing was settled for too long."""
        settled, give_up_s = -1, 0.0
        while not done():
            now_s = time.monotonic()
            if self.settled != settled:
                settled, give_up_s = self.settled, now_s + _PATIENCE_S
            if now_s > give_up_s:
                raise MeshError(
                    f"{what} did not come within {_PATIENCE_S:g} s; "
                    f"{self.settled} of {self.sent} events are settled"
                )
            self.turn(0.0)
            time.sleep(_PAUSE_S)
