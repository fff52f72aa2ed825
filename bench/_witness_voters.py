"""The voters of the abuse benchmark: half are browsers (`GatewayService.Send`), half native (`Publish`).

Each votes once a second for the next option, on a connection and with a token of its own. A vote that is not
acked within ANSWER_S, or refused, is an error. A stream that ends is an error, and opened again.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence

from bench import _frames
from bench._attack_talks import GATEWAY, PUBLISH
from bench._attack_target import OPTIONS
from bench._h2 import H2Error, RawConnection
from bench._wire import WireError, chunks, head
from grandstand.event.v1.event_pb2 import Event, Position, Vote
from grandstand.gateway.v1.gateway_pb2 import (
    IssueOriginRequest,
    IssueOriginResponse,
    SendRequest,
    SendResponse,
)
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse

ANSWER_S = 10.0
_READ_BYTES = 16 * 1024

Acked = Callable[[float, int], None]
"""When a vote was sent, and its sequence."""


class Voter:
    """What both kinds have. `errors` and `acked` are shared by all."""

    def __init__(self, place: int, game_id: str, poll_id: str, errors: Counter[str], acked: Acked) -> None:
        self._place = place
        self._game_id = game_id
        self._poll_id = poll_id
        self._errors = errors
        self._acked = acked

    def _event(self, seq: int) -> Event:
        option = OPTIONS[(self._place + seq) % len(OPTIONS)]
        vote = Vote(poll_id=self._poll_id, option_ids=[option])
        return Event(origin_seq=seq, game_id=self._game_id, vote=vote)

    def _count(self, sent_s: float, positions: Sequence[Position]) -> None:
        self._acked(sent_s, max(position.sequence for position in positions))


class WebVoter(Voter):
    """HTTP/1.1 and gRPC-Web: one call at a time."""

    def __init__(
        self, at: tuple[str, int], source: str, token: str, place: int, game_id: str, poll_id: str,
        errors: Counter[str], acked: Acked,
    ) -> None:  # fmt: skip
        super().__init__(place, game_id, poll_id, errors, acked)
        self._at = at
        self._source = source
        self._token = token
        self._origin_id = ""
        self._seq = 0
        self._sent_s = 0.0
        """When the call under way was sent; 0 while there is none."""
        self._buffer = b""
        self.plug = self._connect()

    def fileno(self) -> int:
        return self.plug.fileno()

    def vote(self, now_s: float) -> None:
        """The first call asks for an origin instead."""
        if self._sent_s:
            return  # the vote before is under way: it counts for as long as it takes
        if self._origin_id:
            self._seq += 1
            event = self._event(self._seq)
            event.origin_id = self._origin_id
            self._call("Send", SendRequest(event=event), now_s)
        else:
            self._call("IssueOrigin", IssueOriginRequest(), now_s)

    def look(self, now_s: float) -> bool:
        """Whether its connection is another one now."""
        if self._sent_s and now_s - self._sent_s > ANSWER_S:
            return self._fail(f"no answer within {ANSWER_S:g} s")
        return False

    def read(self) -> bool:
        """As `look`."""
        try:
            data = self.plug.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            return self._fail(error.strerror or "an error")
        if not data:
            return self._fail("the connection was closed")
        self._buffer += data
        top, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return False
        fields = top.lower()
        if not fields.startswith(b"http/1.1 200"):
            return self._fail(top.decode(errors="replace").partition("\r\n")[0])
        try:
            content, _, is_over = chunks(body)
        except WireError as error:
            return self._fail(str(error))
        if b"content-length: 0" in fields:
            content, is_over = b"", True
        if is_over:
            self._answered(fields, content)
        return False

    def close(self) -> None:
        self.plug.close()

    def _answered(self, fields: bytes, content: bytes) -> None:
        sent_s, self._sent_s, self._buffer = self._sent_s, 0.0, b""
        answer, trailers, at = b"", fields, 0
        while len(content) - at >= 5:
            end = at + 5 + int.from_bytes(content[at + 1 : at + 5], "big")
            if content[at] & 0x80:
                trailers += content[at + 5 : end].lower()
            else:
                answer = content[at + 5 : end]
            at = end
        said = trailers.partition(b"grpc-status:")[2].strip()
        if not said.startswith(b"0"):
            said += b" " + trailers.partition(b"grpc-message:")[2].strip()
            self._errors[f"a browser's call: {said.decode(errors='replace')[:120]!r}"] += 1
        elif not self._origin_id:
            self._origin_id = IssueOriginResponse.FromString(answer).origin_id
        else:
            self._count(sent_s, SendResponse.FromString(answer).positions)

    def _call(self, method: str, request: SendRequest | IssueOriginRequest, now_s: float) -> None:
        body = _frames.message(request.SerializeToString())
        line = f"POST {GATEWAY}/{method} HTTP/1.1"
        more = [
            ("content-type", "application/grpc-web+proto"),
            ("x-grpc-web", "1"),
            ("authorization", f"Bearer {self._token}"),
            ("content-length", str(len(body))),
        ]
        self._sent_s = now_s
        with contextlib.suppress(OSError):  # reading says it
            self.plug.sendall(head(line, self._at[1], more) + body)

    def _fail(self, why: str) -> bool:
        """Who has no call under way comes again without a word: the edge may close an idle connection."""
        if self._sent_s:
            self._errors[f"a browser's call: {why}"] += 1
        self.plug.close()
        self._sent_s, self._buffer = 0.0, b""
        self.plug = self._connect()
        return True

    def _connect(self) -> socket.socket:
        made = socket.create_connection(self._at, ANSWER_S, (self._source, 0))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        return made


class NativeVoter(Voter):
    """A Publish stream."""

    def __init__(
        self, at: tuple[str, int], source: str, token: str, place: int, game_id: str, poll_id: str,
        errors: Counter[str], acked: Acked,
    ) -> None:  # fmt: skip
        super().__init__(place, game_id, poll_id, errors, acked)
        self._at = at
        self._source = source
        self._metadata = [("authorization", f"Bearer {token}")]
        self._open()

    def fileno(self) -> int:
        return self._connection.socket.fileno()

    def vote(self, now_s: float) -> None:
        if not self._is_welcome:
            return
        self._seq += 1
        self._unacked[self._seq] = now_s
        self._say(PublishRequest(events=EventBatch(events=[self._event(self._seq)])))

    def look(self, now_s: float) -> bool:
        oldest_s = next(iter(self._unacked.values()), self._opened_s if not self._is_welcome else now_s)
        if now_s - oldest_s > ANSWER_S:
            return self._fail(f"no answer within {ANSWER_S:g} s")
        return False

    def read(self) -> bool:
        try:
            heard = self._connection.receive()
            self._connection.flush()
        except (H2Error, OSError) as error:
            return self._fail(str(error))
        for _, data in heard:
            self._hear(PublishResponse.FromString(data))
        if 0 in self._connection.ended:
            return self._fail(self._connection.ended[0])
        return False

    def close(self) -> None:
        self._connection.close()

    def _hear(self, response: PublishResponse) -> None:
        if response.HasField("welcome"):
            self._is_welcome = True
        elif response.HasField("ack"):
            for seq in [seq for seq in self._unacked if seq <= response.ack.origin_seq]:
                sent_s = self._unacked.pop(seq)
                if response.ack.positions:
                    self._count(sent_s, response.ack.positions)
        elif response.HasField("reject"):
            self._errors[f"a native vote: {response.reject.message[:120]!r}"] += 1
            self._unacked.pop(response.reject.origin_seq, None)

    def _say(self, request: PublishRequest) -> None:
        self._connection.send(0, _frames.message(request.SerializeToString()))
        with contextlib.suppress(OSError):  # reading says it
            self._connection.flush()

    def _fail(self, why: str) -> bool:
        self._errors[f"a native voter's stream: {why[:120]}"] += 1
        self._connection.close()
        self._open()
        return True

    def _open(self) -> None:
        self._connection = RawConnection(*self._at, PUBLISH, self._source)
        self._connection.open(self._metadata)
        self._seq = 0
        self._unacked: dict[int, float] = {}
        self._is_welcome = False
        self._opened_s = time.monotonic()
        self._say(PublishRequest(hello=Hello(client="witness")))
