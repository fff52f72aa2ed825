"""Attacks that converse: guests who come and vote, streams that send events, strangers at the stores."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from bench import _frames
from bench._attack_kinds import Lines
from bench._attack_line import Address, AttackLine
from bench._h2 import H2Error, RawConnection
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE, Event, Presence, Vote
from grandstand.gateway.v1.gateway_pb2 import (
    IssueGuestRequest,
    IssueGuestResponse,
    IssueOriginRequest,
    IssueOriginResponse,
    SendRequest,
)
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse

GATEWAY = "/grandstand.gateway.v1.GatewayService"
PUBLISH = "/grandstand.ingest.v1.IngestService/Publish"
CALLS_PER_LINE = 100
_STORE_PATIENCE_S = 0.5


def headers(path: str, *more: tuple[str, str], method: str = "POST") -> bytes:
    """The header block of a gRPC call, or of a GET of the page."""
    fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "grandstand"),
        *((("te", "trailers"), ("content-type", "application/grpc")) if method == "POST" else ()),
        *more,
    ]
    return _frames.header_block(fields)


class _Call(NamedTuple):
    path: str
    message: bytes
    token: str
    then: Callable[[bytes], None] | None = None
    """Given the answer."""
    is_forbidden: bool = False
    """It lands if it is answered well."""


class GuestAttack:
    """Guest after guest: a token, an origin, a vote, and a presence of nobody who watches."""

    def __init__(self, at: Address, source: str, game_id: str, poll_id: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.landed = 0
        self._at = at
        self._source = source
        self._game_id = game_id
        self._poll_id = poll_id
        self._lines = Lines()
        self._line: AttackLine | None = None
        self._calls: dict[int, _Call] = {}
        self._answers: dict[int, bytes] = {}
        self._next: deque[_Call] = deque()

    @property
    def held(self) -> int:
        return len(self._calls)

    def start(self, due: int) -> int:
        started = 0
        while started < due and len(self._next) < CALLS_PER_LINE:
            self._next.append(
                _Call(f"{GATEWAY}/IssueGuest", IssueGuestRequest().SerializeToString(), "", self._issued)
            )
            started += 1
        return started

    def turn(self, wait_s: float) -> None:
        line = self._line
        if line is None or line.over:
            self._calls.clear()
            self._answers.clear()
            with contextlib.suppress(OSError):
                line = self._line = AttackLine(self._at, self._source, self._ended, self._heard)
                self._lines.add(line)
        while line is not None and self._next and len(line.open) < CALLS_PER_LINE:
            call = self._next.popleft()
            shown = (("authorization", f"Bearer {call.token}"),) if call.token else ()
            block = headers(call.path, *shown)
            self._calls[line.start(block, _frames.message(call.message), is_last=True)] = call
        self._lines.turn(wait_s)

    def _heard(self, line: AttackLine, stream: int, data: bytes) -> None:
        self._answers[stream] = self._answers.get(stream, b"") + data

    def _ended(self, line: AttackLine, stream: int, status: str) -> None:
        call = self._calls.pop(stream, None)
        answer = self._answers.pop(stream, b"")[5:]
        if call is None:
            return
        what = call.path.rpartition("/")[2] + (" of a presence" if call.is_forbidden else "")
        self.outcomes[f"{what}: {status}"] += 1
        if status == "0":
            self.landed += call.is_forbidden
            if call.then is not None:
                call.then(answer)

    def _issued(self, answer: bytes) -> None:
        token = IssueGuestResponse.FromString(answer).token

        def send(origin: bytes) -> None:
            origin_id = IssueOriginResponse.FromString(origin).origin_id
            vote = Event(origin_id=origin_id, origin_seq=1, game_id=self._game_id)
            vote.vote.CopyFrom(Vote(poll_id=self._poll_id, option_ids=["option-0"]))
            here = Event(origin_id=origin_id, origin_seq=2, game_id=self._game_id)
            here.presence.CopyFrom(Presence(state=PRESENCE_STATE_HERE))
            for event in (vote, here):
                request = SendRequest(event=event).SerializeToString()
                self._next.append(_Call(f"{GATEWAY}/Send", request, token, None, event is here))

        self._next.append(
            _Call(f"{GATEWAY}/IssueOrigin", IssueOriginRequest().SerializeToString(), token, send)
        )


class TalkAttack:
    """Events on one Publish stream, `batch` in a message, as fast as its credit and windows let it; a new
    stream when it is ended."""

    def __init__(
        self,
        at: Address,
        source: str,
        token: str,
        event: Callable[[int], Event],
        *,
        batch: int,
        producer: bool,
        is_forbidden: bool = False,
    ) -> None:
        """`is_forbidden`: an event that is stored lands."""
        self.outcomes: Counter[str] = Counter()
        self.landed = 0
        self._at = at
        self._source = source
        self._metadata = [("authorization", f"Bearer {token}")]
        self._event = event
        self._batch = batch
        self._is_forbidden = is_forbidden
        hello = PublishRequest(hello=Hello(client="attack", producer=producer))
        self._hello = _frames.message(hello.SerializeToString())
        self._connection: RawConnection | None = None
        self._sent = self._acked = self._credit = 0

    @property
    def held(self) -> int:
        return int(self._connection is not None)

    def start(self, due: int) -> int:
        started = 0
        while (connection := self._open()) is not None and due - started >= self._batch:
            if self._sent + self._batch - self._acked > self._credit or connection.is_congested:
                break
            numbers = range(self._sent + 1, self._sent + self._batch + 1)
            events = [self._event(n) for n in numbers]
            for number, event in zip(numbers, events, strict=True):
                event.origin_seq = number
            message = _frames.message(PublishRequest(events=EventBatch(events=events)).SerializeToString())
            if connection.room(0) < len(message):
                break
            connection.send(0, message)
            self._sent += self._batch
            started += self._batch
        return started

    def turn(self, wait_s: float) -> None:
        connection = self._connection
        if connection is None:
            time.sleep(wait_s)
            return
        try:
            select.select([connection.socket], [], [], wait_s)
            connection.flush()
            for _, data in connection.receive():
                self._hear(PublishResponse.FromString(data))
        except (H2Error, OSError) as error:
            self.outcomes[f"connection: {error}"[:80]] += 1
            self._close()
            return
        if 0 in connection.ended:
            self.outcomes[f"stream: {connection.ended[0]}"[:120]] += 1
            self._close()

    def _hear(self, response: PublishResponse) -> None:
        if response.HasField("welcome"):
            self._credit = response.welcome.credit
        elif response.HasField("credit"):
            self._credit = response.credit.credit
        elif response.HasField("ack"):
            self._acked = max(self._acked, response.ack.origin_seq)
            self.outcomes["stored"] += len(response.ack.positions)
            self.landed += self._is_forbidden * len(response.ack.positions)
        elif response.HasField("reject"):
            self.outcomes[f"refused {response.reject.code}"] += 1

    def _open(self) -> RawConnection | None:
        if self._connection is None:
            try:
                made = RawConnection(*self._at, PUBLISH, self._source)
            except OSError as error:
                self.outcomes[f"connect: {error.strerror}"] += 1
                return None
            made.open(self._metadata)
            made.send(0, self._hello)
            self._connection = made
            self._sent = self._acked = self._credit = 0
        return self._connection

    def _close(self) -> None:
        assert self._connection is not None
        self._connection.close()
        self._connection = None


class StoreAttack:
    """A stranger of this machine at NATS and Valkey, in turns: purges the events, empties the store."""

    def __init__(self, nats: Address, redis: Address, source: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.landed = 0
        self._source = source
        purge = b'CONNECT {"verbose":false}\r\nPUB $JS.API.STREAM.PURGE.EVENTS 0\r\n\r\nPING\r\n'
        self._turns = deque([("NATS", nats, purge, b"PONG"), ("Valkey", redis, b"FLUSHALL\r\n", b"+OK")])

    @property
    def held(self) -> int:
        return 0

    def start(self, due: int) -> int:
        for _ in range(min(due, 10)):
            self._try()
        return min(due, 10)

    def turn(self, wait_s: float) -> None:
        time.sleep(wait_s)

    def _try(self) -> None:
        name, at, said, landed = self._turns[0]
        self._turns.rotate()
        answer = b""
        try:
            with socket.create_connection(at, _STORE_PATIENCE_S, (self._source, 0)) as plug:
                plug.sendall(said)
                while landed not in answer and b"-ERR" not in answer and b"-NOAUTH" not in answer:
                    if not (some := plug.recv(4_096)):
                        break
                    answer += some
        except OSError as error:
            self.outcomes[f"{name}: {type(error).__name__}"] += 1
            return
        is_in = landed in answer
        self.landed += is_in
        self.outcomes[f"{name}: {'obeys' if is_in else 'refuses'}"] += 1
