"""The calls of one connection: which streams are open, how one opens, and what a closed one is. Pure.

In `open` is what is open or half-closed (remote); we never stay half-closed (local), as trailers are
followed by RST_STREAM. An id above `last_id` is idle, any other closed (RFC 9113, 5.1). On closed streams
WINDOW_UPDATE and RST_STREAM are ignored; so is everything on one that we reset lately; DATA on others is
answered STREAM_CLOSED, and HEADERS end the connection. Streams above the last that our GOAWAY named are left
unanswered.

A call that was accepted counts against bounds of its service, whether its request has come or not. So one
whose request has neither ended nor been answered within REQUEST_PATIENCE_S ends DEADLINE_EXCEEDED. That is
counted in looks at a connection that is read, so that no call ends for a request which this process was too
slow to take.

Bounds: how many there may be is the server's to say (REFUSED_STREAM); RESETS_PER_S of streams that were
reset while young, or that we reset for what the client did. A client ends each stream once, with trailers,
RST_STREAM or both, so of these not more are ignored than twice the streams it opened, and LATE_FRAMES_SPARE.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from grandstand.wire.errors import GrandstandError, shown
from mesh.http2 import bounds, frames, headers
from mesh.http2.budget import Budget
from mesh.http2.call import Methods, Page, Pages
from mesh.http2.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    UNIMPLEMENTED,
    CallFailed,
    Cause,
    ConnectionBroken,
    StreamBroken,
)
from mesh.http2.header_blocks import Block
from mesh.http2.resets import Resets
from mesh.http2.stream import Stream
from mesh.http2.stream_host import Timer
from mesh.http2.termination_counts import TerminationCounts
from mesh.http2.write_buffer import WriteBuffer

log = logging.getLogger(__name__)

_REQUEST_LOOKS = math.ceil(bounds.REQUEST_PATIENCE_S / bounds.LOOK_S)
_NOT_GRPC = b'{"error": "only gRPC is spoken here"}\n'
_PAGE_FAILED = b'{"error": "its log says why"}\n'
assert max(len(_NOT_GRPC), len(_PAGE_FAILED)) <= bounds.REPLY_WAITING_BYTES_MAX


class ServerHooks(Protocol):
    """What calls need of their server: the limit on calls of all connections, and timers."""

    def may_open(self) -> bool:
        """Whether the server's `streams_max` allows one more call."""

    def opened(self) -> None: ...
    def called(self, stream: Stream) -> None:
        """The stream is a call of a method that is served."""

    def closed(self, stream: Stream) -> None: ...
    def soon(self, callback: Callable[[], None]) -> None: ...
    def later(self, delay_s: float, callback: Callable[[], None]) -> Timer: ...


class Calls:
    """Implements mesh.http2.stream_host.StreamHost."""

    def __init__(
        self,
        methods: Methods,
        server: ServerHooks,
        write_buffer: WriteBuffer,
        message_bytes_max: int,
        on_empty: Callable[[], None],
        peer: str,
        terminations: TerminationCounts,
        pages: Pages,
    ) -> None:
        """`on_empty` is called whenever the last call has closed."""
        self.open: dict[int, Stream] = {}
        self.last_id = 0
        self.goaway_id: int | None = None
        """What our last GOAWAY named."""
        self.initial_window = frames.WINDOW_DEFAULT
        """Of what we send, as the peer's SETTINGS say."""
        self.write_buffer = write_buffer
        self.message_bytes_max = message_bytes_max
        self.peer = peer
        """The address at the other end; "" on a Unix socket."""
        self.terminations = terminations
        self.messages_received = 0
        self.buffered_bytes = 0
        """Received and not taken by handlers."""
        self.soon = server.soon
        self.later = server.later
        self._methods = methods
        self._pages = pages
        self._server = server
        self._on_empty = on_empty
        self._acked_at_id: int | None = None
        self._awaiting: dict[int, Stream] = {}
        """Calls whose request did not end with its headers, the oldest first, until they are judged."""
        self._last_ids = deque([0] * (_REQUEST_LOOKS + 1), _REQUEST_LOOKS + 1)
        """What `last_id` was at the last looks."""
        self._resets = Resets()
        self._opened = 0
        self._late_frames = 0
        self._reset_budget = Budget(bounds.RESETS_PER_S, bounds.RESETS_BURST)

    def find(self, number: int, kind: str) -> Stream | None:
        """None for a closed one. Raises ConnectionBroken for one that was never opened."""
        stream = self.open.get(number)
        if stream is None and (number > self.last_id or number & 1 == 0):
            raise ConnectionBroken(frames.PROTOCOL_ERROR, f"{kind} on stream {number}, which is not open")
        return stream

    @property
    def goaway_bound(self) -> int:
        """What another GOAWAY may name: never more than the last one did (RFC 9113, 6.8)."""
        return self.last_id if self.goaway_id is None else self.goaway_id

    def ignores(self, number: int) -> bool:
        """Of a closed stream: whether what comes on it was rightly sent, or is nobody's."""
        return number in self._resets or (self.goaway_id is not None and number > self.goaway_id)

    def take_block(self, block: Block, now: float) -> None:
        """A request, or the trailers of one. Raises ConnectionBroken and StreamBroken."""
        number, is_last, fields = block
        stream = self.open.get(number)
        if stream is not None:
            if stream.receive_half.remote_closed:
                raise StreamBroken(frames.STREAM_CLOSED, "HEADERS after END_STREAM")
            if not is_last:
                raise StreamBroken(frames.PROTOCOL_ERROR, "trailers end a stream")
            fields.check_trailers()
            stream.half_close()
        elif number > self.last_id:
            self.last_id = number
            if self.ignores(number):
                self._ignore()
            else:
                self._opened += 1
                self._open(number, fields, is_last, now)
        elif self.ignores(number):
            self._ignore()
        else:
            raise ConnectionBroken(
                frames.PROTOCOL_ERROR,
                f"HEADERS on stream {number}, which is closed; a new stream is above {self.last_id}",
                Cause.CLOSED,
            )

    def _ignore(self) -> None:
        """Of a HEADERS or RST_STREAM frame that came late."""
        self._late_frames += 1
        if self._late_frames > 2 * self._opened + bounds.LATE_FRAMES_SPARE:
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM,
                f"{self._late_frames} HEADERS and RST_STREAM frames on closed streams; a client sends at "
                "most two for each stream that it opened",
                Cause.LATE_FLOOD,
            )

    def _open(self, number: int, fields: headers.Fields, is_last: bool, now: float) -> None:
        if not self._server.may_open():
            raise StreamBroken(frames.REFUSED_STREAM, "no room for another call", Cause.NO_ROOM)
        request = fields.request()
        if is_last and request.content_bytes:
            raise StreamBroken(frames.PROTOCOL_ERROR, "content-length is not what came")
        stream = Stream(number, self, self.initial_window, now, remote_closed=is_last)
        stream.receive_half.expect(request.encoding, request.content_bytes)
        self.open[number] = stream
        self._server.opened()
        if request.refusal is not None:
            self._refuse(stream, request, request.refusal)
            return
        if request.method != b"POST":
            self._answer_page(stream, request)
            return
        accept = self._methods.get(request.path)
        if accept is None:
            self.terminations.call(UNIMPLEMENTED, Cause.METHOD)
            stream.refuse(UNIMPLEMENTED, f"{shown(request.path)} is no method of this service")
            return
        stream.requested(request)
        self._server.called(stream)
        try:
            handler = accept(stream)
        except GrandstandError as error:
            self.terminations.call(error.code, Cause.SERVICE)
            stream.refuse(error.code, error.message, b"", error.retry_after_s)
        except Exception as error:
            stream.failed(error)
        else:
            if not is_last:
                self._awaiting[number] = stream
            stream.accepted(handler, request.timeout_s)

    def _answer_page(self, stream: Stream, request: headers.Request) -> None:
        find = self._pages.get(request.path.partition("?")[0])
        if find is None:
            self._refuse(stream, request, CallFailed(INTERNAL, "", Cause.NOT_GRPC, 405))
            return

        def make() -> Page:
            try:
                return find()
            except Exception:
                log.exception("the page %s failed", request.path)
                return Page(500, _PAGE_FAILED)

        stream.answer(make, with_content=request.method == b"GET")

    def _refuse(self, stream: Stream, request: headers.Request, error: CallFailed) -> None:
        self.terminations.call(error.code, error.cause)
        if error.http_status != 200:
            page = Page(error.http_status, _NOT_GRPC)
            stream.answer(lambda: page, with_content=request.method != b"HEAD")
        else:
            beside = headers.accept_encoding() if error.code == UNIMPLEMENTED else b""
            stream.refuse(error.code, str(error), beside)

    def forget(self, stream_id: int, *, was_reset: bool) -> None:
        stream = self.open.pop(stream_id, None)
        if stream is None:
            return
        self._awaiting.pop(stream_id, None)
        if was_reset:
            self._resets.add(stream_id)
        self._server.closed(stream)
        if not self.open:
            self._on_empty()

    def reset(self, number: int, error: StreamBroken, now: float) -> None:
        """RST_STREAM for what the peer did. Raises ConnectionBroken when it does so too often."""
        if not self._reset_budget.spend(1.0, now):
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM,
                f"too many streams went wrong, the last: {error}",
                Cause.RAPID_RESET,
            )
        self.terminations.stream(error.code, error.cause)
        self.write_buffer.put(frames.rst_stream(number, error.code))
        self._resets.add(number)
        stream = self.open.get(number)
        if stream is not None:
            stream.lost()

    def reset_by_peer(self, number: int, now: float) -> None:
        """Raises ConnectionBroken for what was never opened, and when streams come and go too often."""
        stream = self.find(number, "RST_STREAM")
        if stream is None:
            self._ignore()
            return
        is_young = now - stream.opened_at < bounds.YOUNG_STREAM_S
        stream.lost()
        if is_young and not self._reset_budget.spend(1.0, now):
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM,
                "too many streams were opened and reset at once",
                Cause.RAPID_RESET,
            )

    # Windows.

    def acked(self) -> None:
        """The peer knows our SETTINGS."""
        if self._acked_at_id is None:
            self._acked_at_id = self.last_id

    def window_limit(self, stream_id: int) -> int:
        """The default until the peer has acknowledged our SETTINGS."""
        acked_at_id = self._acked_at_id
        if acked_at_id is None or stream_id <= acked_at_id:
            return frames.WINDOW_DEFAULT
        return bounds.STREAM_WINDOW_BYTES

    def change_initial_window(self, initial_window: int) -> None:
        """The peer's new INITIAL_WINDOW_SIZE moves every window. Raises ConnectionBroken."""
        by = initial_window - self.initial_window
        self.initial_window = initial_window
        if by:
            try:
                for stream in list(self.open.values()):
                    stream.adjust_window(by)
            except StreamBroken as error:
                raise ConnectionBroken(error.code, str(error)) from None

    # Ends.

    def look(self) -> None:
        """Called every LOOK_S while the connection is read: ends calls whose request does not come."""
        self._last_ids.append(self.last_id)
        late_id = self._last_ids[0]
        # All at once: each look for the first of a dict passes all that were taken from its front.
        for number in list(itertools.takewhile(lambda number: number <= late_id, self._awaiting)):
            stream = self._awaiting.pop(number, None)
            if stream is not None and not stream.has_begun:
                stream.fail(
                    DEADLINE_EXCEEDED,
                    f"no whole request came within {bounds.REQUEST_PATIENCE_S:g} s of the call's headers; "
                    "send it at once, and end it unless the call streams",
                    Cause.REQUEST,
                )

    def fail(self, code: int, message: str) -> None:
        """All of them, with a status."""
        for stream in list(self.open.values()):
            stream.fail(code, message, Cause.LEAVING)

    def lost(self) -> None:
        """All of them, without a word."""
        for stream in list(self.open.values()):
            stream.lost()
