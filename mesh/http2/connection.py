"""The server's side of one HTTP/2 connection: bytes in, calls and bytes out (RFC 9113). Pure.

`receive` walks once over what came. A DATA frame that is exactly one gRPC message of a call that reads,
which is nearly all of what comes, is one unpack, one dictionary look-up and the handler's call; every
other frame goes by its kind. It never raises: what a peer does wrong ends a call, a stream or the
connection with the code that RFC 9113 names, and what a handler raises ends its call.

Stream states: in `_streams` is what is open or half-closed (remote). We never stay half-closed (local), as
trailers are followed by RST_STREAM. An id above `_last_id` is idle, any other closed. On closed streams
WINDOW_UPDATE and RST_STREAM are ignored; so is everything on one that we reset lately; DATA on others is
answered STREAM_CLOSED, and HEADERS end the connection.

The stream's window is given back as its handler takes messages, the connection's on receipt: a call that
is paused holds up no other.

Bounds (mesh.http2.bounds): BUFFERED_BYTES_MAX over all calls; header blocks; the rate of frames that cost and
say nothing, and of streams reset. See mesh.http2.outbox for what is sent.

Rejected: the `h2` library, whose frame costs tens of microseconds. A priority tree (RFC 9113, 5.3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from mesh.errors import GrandstandError, shown
from mesh.http2 import bounds, frames, headers, settings, vigil
from mesh.http2.budget import Budget
from mesh.http2.call import Methods
from mesh.http2.errors import UNAVAILABLE, UNIMPLEMENTED, CallFailed, ConnectionBroken, StreamBroken
from mesh.http2.header_blocks import Block, HeaderBlocks
from mesh.http2.outbox import Outbox
from mesh.http2.resets import Resets
from mesh.http2.stream import Stream, Timer
from mesh.http2.vigil import Todo, Vigil

log = logging.getLogger(__name__)

_HALF_WINDOW = bounds.STREAM_WINDOW_BYTES // 2
_HALF_CONNECTION_WINDOW = bounds.CONNECTION_WINDOW_BYTES // 2


class Shell(Protocol):
    """Who does the input and output of a connection."""

    def output_waits(self) -> None:
        """`outbox.take` soon; called once for each time."""

    def hang_up(self) -> None:
        """Write what waits, then close."""

    def may_open(self) -> bool:
        """Whether there is room for one more call in this process."""

    def opened(self) -> None: ...
    def closed(self) -> None: ...
    def soon(self, callback: Callable[[], None]) -> None: ...
    def later(self, delay_s: float, callback: Callable[[], None]) -> Timer: ...


class Connection:
    def __init__(
        self, methods: Methods, shell: Shell, now: float, *, message_bytes_max: int, streams_max: int
    ) -> None:
        """Says its SETTINGS at once. `now`: monotonic seconds."""
        self.message_bytes_max = message_bytes_max
        self.messages_received = 0
        self.buffered_bytes = 0
        self.outbox = Outbox(shell.output_waits)
        self.is_over = False
        """Nothing is read or answered any more."""
        self.soon = shell.soon
        self.later = shell.later
        self._methods = methods
        self._shell = shell
        self._streams: dict[int, Stream] = {}
        self._plain_bytes_max = min(bounds.FRAME_BYTES_MAX, message_bytes_max + frames.PREFIX_BYTES)
        self._rest = b""
        self._owed = 0
        self._last_id = 0
        self._acked_at_id: int | None = None
        self._initial_window = frames.WINDOW_DEFAULT
        self._blocks = HeaderBlocks()
        self._resets = Resets()
        self._idle_budget = Budget(bounds.IDLE_FRAMES_PER_S, bounds.IDLE_FRAMES_BURST)
        self._reset_budget = Budget(bounds.RESETS_PER_S, bounds.RESETS_BURST)
        self._now = now
        self._vigil = Vigil(now)
        self._is_preface_read = False
        self._peer_leaves = False
        self.outbox.put(settings.opening(streams_max))

    @property
    def streams(self) -> int:
        """Open calls."""
        return len(self._streams)

    # Reading.

    def receive(self, data: bytes, now: float) -> None:
        """What the socket gave."""
        if self.is_over:
            return
        self._now = now
        self._vigil.heard(now)
        if self._rest:
            data = self._rest + data
        try:
            at = 0
            if not self._is_preface_read:
                at = self._read_preface(data)
            at = self._walk(data, at)
            self._rest = data[at:]
            if self._owed >= _HALF_CONNECTION_WINDOW:
                if self._owed > bounds.CONNECTION_WINDOW_BYTES:
                    raise ConnectionBroken(
                        frames.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows"
                    )
                self.outbox.put(frames.window_update(0, self._owed))
                self._owed = 0
        except ConnectionBroken as error:
            self._break(error.code, str(error))

    def _read_preface(self, data: bytes) -> int:
        preface = frames.PREFACE
        if data[: len(preface)] != preface[: len(data)]:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "HTTP/2 with prior knowledge is spoken here")
        if len(data) < len(preface):
            return 0
        self._is_preface_read = True
        return len(preface)

    def _walk(self, data: bytes, at: int) -> int:
        """The frames in `data` from `at`; where what is not yet a whole frame begins."""
        if not self._is_preface_read:
            return at
        unpack = frames.HEAD_AND_PREFIX.unpack_from
        blocks = self._blocks
        streams, plain_bytes_max = self._streams, self._plain_bytes_max
        size = len(data)
        # Behind this a head and a prefix do not fit.
        last = size - frames.HEAD_BYTES - frames.PREFIX_BYTES
        while not self.is_over:
            if at <= last and blocks.expects is None:
                high, low, kind, flags, number, compressed, length = unpack(data, at)
                if kind == 0 and flags == 0 and not compressed:
                    stream = streams.get(number)
                    counted = high << 8 | low
                    end = at + 9 + counted
                    if (
                        stream is not None
                        and stream.is_plain
                        and counted == length + 5
                        and counted <= plain_bytes_max
                        and end <= size
                    ):
                        self._owed += counted
                        owed = stream.owed = stream.owed + counted
                        if owed >= _HALF_WINDOW:
                            self._give_back(stream)
                            if stream.is_closed:
                                at = end
                                continue
                        self.messages_received += 1
                        try:
                            stream.handler.received(data[at + 14 : end])  # type: ignore[union-attr]
                        except Exception:
                            stream.broke()
                        at = end
                        continue
            if size - at < frames.HEAD_BYTES:
                break
            high, low, kind, flags, number = frames.HEAD.unpack_from(data, at)
            length = high << 8 | low
            if length > bounds.FRAME_BYTES_MAX:
                raise ConnectionBroken(
                    frames.FRAME_SIZE_ERROR,
                    f"a frame of {length} bytes; at most {bounds.FRAME_BYTES_MAX} are taken",
                )
            begin = at + frames.HEAD_BYTES
            if begin + length > size:
                break
            at = begin + length
            self._read_frame(kind, flags, number & frames.ID_MASK, data, begin, at)
        return at

    def _give_back(self, stream: Stream) -> None:
        if stream.owed > self.window_limit(stream.id):
            self._reset(
                stream.id,
                StreamBroken(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows"),
            )
            return
        self.outbox.put(frames.window_update(stream.id, stream.owed))
        stream.owed = 0

    def window_limit(self, stream: int) -> int:
        """What the peer may have sent and not got back: the default, until it knows our SETTINGS."""
        acked_at_id = self._acked_at_id
        if acked_at_id is None or stream <= acked_at_id:
            return frames.WINDOW_DEFAULT
        return bounds.STREAM_WINDOW_BYTES

    def _read_frame(self, kind: int, flags: int, number: int, data: bytes, begin: int, end: int) -> None:
        expects = self._blocks.expects
        if expects is not None and (kind != frames.CONTINUATION or number != expects):
            raise ConnectionBroken(
                frames.PROTOCOL_ERROR, "a header block is followed by its CONTINUATION alone"
            )
        if not self._vigil.is_settled and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "SETTINGS are the first frame of a connection")
        try:
            if kind == frames.DATA:
                self._read_data(flags, number, data, begin, end)
            elif kind == frames.WINDOW_UPDATE:
                self._read_window_update(number, data[begin:end])
            elif kind == frames.HEADERS:
                self._read_block(self._blocks.begin(flags, number, data[begin:end]))
            elif kind == frames.CONTINUATION:
                self._read_block(self._blocks.more(flags, data[begin:end]))
            elif kind == frames.RST_STREAM:
                self._read_rst_stream(number, end - begin)
            elif kind == frames.SETTINGS:
                self._read_settings(flags, number, data[begin:end])
            elif kind == frames.PING:
                self._read_ping(flags, number, data[begin:end])
            elif kind == frames.GOAWAY:
                self._read_goaway(number, end - begin)
            elif kind == frames.PRIORITY:
                self._read_priority(number, end - begin)
            elif kind == frames.PUSH_PROMISE:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "a client promises nothing")
            else:
                self._spend_idle(1.0)
        except StreamBroken as error:
            self._reset(number, error)

    def _open_stream(self, number: int, kind: str) -> Stream | None:
        """The stream if it is not closed. Raises ConnectionBroken for one that was never opened."""
        stream = self._streams.get(number)
        if stream is None and (number > self._last_id or number & 1 == 0):
            raise ConnectionBroken(frames.PROTOCOL_ERROR, f"{kind} on stream {number}, which is not open")
        return stream

    def _read_data(self, flags: int, number: int, data: bytes, begin: int, end: int) -> None:
        counted = end - begin
        self._owed += counted
        if flags & frames.PADDED:
            if begin == end or data[begin] >= counted:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "DATA with more padding than it is long")
            end -= data[begin]
            begin += 1
        is_last = bool(flags & frames.END_STREAM)
        if begin == end and not is_last:
            self._spend_idle(1.0)
        stream = self._open_stream(number, "DATA")
        if stream is None:
            if number not in self._resets and self._vigil.answers(number):
                raise StreamBroken(frames.STREAM_CLOSED, "DATA on a closed stream")
        elif stream.remote_closed:
            raise StreamBroken(frames.STREAM_CLOSED, "DATA after END_STREAM")
        else:
            stream.take(data, begin, end, counted, is_last)

    def _read_window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        by = int.from_bytes(payload, "big") & frames.WINDOW_MAX
        if number == 0:
            if by == 0:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self.outbox.widen(by)
            return
        stream = self._open_stream(number, "WINDOW_UPDATE")
        if stream is not None:
            if by == 0:
                raise StreamBroken(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            stream.widen(by)

    def _read_block(self, block: Block | None) -> None:
        if block is None:
            return
        number, is_last, fields = block
        stream = self._streams.get(number)
        if stream is not None:
            if stream.remote_closed:
                raise StreamBroken(frames.STREAM_CLOSED, "HEADERS after END_STREAM")
            if not is_last:
                raise StreamBroken(frames.PROTOCOL_ERROR, "trailers end a stream")
            headers.check_trailers(fields)
            stream.half_close()
        elif number > self._last_id:
            self._last_id = number
            if self._vigil.answers(number):
                self._open(number, fields, is_last)
        elif number not in self._resets and self._vigil.answers(number):
            raise ConnectionBroken(frames.STREAM_CLOSED, f"HEADERS on stream {number}, which is closed")

    def _open(self, number: int, fields: headers.Fields, is_last: bool) -> None:
        if not self._shell.may_open():
            raise StreamBroken(frames.REFUSED_STREAM, "no room for another call")
        if number >= bounds.STREAM_ID_DRAIN:
            self.drain()
        stream = Stream(number, "", self, self._initial_window, self._now)
        stream.remote_closed = is_last
        try:
            request = headers.read_request(fields)
        except CallFailed as error:
            self._enter(stream)
            if error.http_status != 200:
                stream.answer(headers.http_error(error.http_status))
            else:
                beside = headers.accept_encoding() if error.code == UNIMPLEMENTED else b""
                stream.refuse(error.code, str(error), beside)
            return
        if is_last and request.content_bytes:
            raise StreamBroken(frames.PROTOCOL_ERROR, "content-length is not what came")
        self._enter(stream)
        accept = self._methods.get(request.path)
        if accept is None:
            stream.refuse(UNIMPLEMENTED, f"{shown(request.path)} is no method of this service")
            return
        stream.path = request.path
        stream.requested(request)
        try:
            handler = accept(stream)
        except GrandstandError as error:
            stream.refuse(error.code, error.message)
        except Exception:
            stream.broke()
        else:
            stream.accepted(handler, request.timeout_s)

    def _enter(self, stream: Stream) -> None:
        self._streams[stream.id] = stream
        self._shell.opened()

    def forget(self, stream: Stream, *, was_reset: bool) -> None:
        """The stream is closed, by us with RST_STREAM if `was_reset`."""
        if self._streams.pop(stream.id, None) is None:
            return
        if was_reset:
            self._resets.add(stream.id)
        self._shell.closed()
        if not self._streams and self._is_leaving:
            self._leave()

    def _reset(self, number: int, error: StreamBroken) -> None:
        """RST_STREAM for what the peer did."""
        if not self._reset_budget.spend(1.0, self._now):
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM, f"too many streams went wrong, the last: {error}"
            )
        self.outbox.put(frames.rst_stream(number, error.code))
        self._resets.add(number)
        stream = self._streams.get(number)
        if stream is not None:
            stream.lost()

    def _read_rst_stream(self, number: int, length: int) -> None:
        if length != 4:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        stream = self._open_stream(number, "RST_STREAM")
        if stream is None:
            return
        is_young = self._now - stream.opened_at < bounds.YOUNG_STREAM_S
        stream.lost()
        if is_young and not self._reset_budget.spend(1.0, self._now):
            raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, "too many streams were opened and reset at once")

    def _read_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "SETTINGS are of no stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "an ACK of SETTINGS has no content")
            if self._acked_at_id is None:
                self._acked_at_id = self._last_id
            self._spend_idle(1.0)
            return
        self._spend_idle(bounds.SETTINGS_COST)
        window = settings.initial_window(payload, self._initial_window)
        self._vigil.is_settled = True
        self.outbox.put(frames.frame(frames.SETTINGS, frames.ACK, 0))
        by = window - self._initial_window
        self._initial_window = window
        if by:
            try:
                for stream in list(self._streams.values()):
                    stream.widen(by)
            except StreamBroken as error:
                raise ConnectionBroken(error.code, str(error)) from None

    def _read_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "PING is of no stream")
        if len(payload) != 8:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "PING has 8 bytes")
        self._spend_idle(1.0)
        if not flags & frames.ACK:
            self.outbox.put(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif self._vigil.is_answered(payload):
            self._close_door()

    def _read_goaway(self, number: int, length: int) -> None:
        if number:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "GOAWAY is of no stream")
        if length < 8:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes or more")
        self._spend_idle(1.0)
        self._peer_leaves = True
        if not self._streams:
            self._leave()

    def _read_priority(self, number: int, length: int) -> None:
        if number == 0:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "PRIORITY is of a stream")
        self._spend_idle(1.0)
        if length != 5:
            if number in self._streams:
                raise StreamBroken(frames.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")

    def _spend_idle(self, cost: float) -> None:
        if not self._idle_budget.spend(cost, self._now):
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM,
                f"frames that say nothing; at most {bounds.IDLE_FRAMES_PER_S:g} a second are taken",
            )

    # Time.

    def look(self, now: float) -> None:
        """Every LOOK_S: keepalive, and what takes too long."""
        if self.is_over:
            return
        self._now = now
        match self._vigil.look(now):
            case Todo.PING:
                self.outbox.put(vigil.keepalive())
            case Todo.CLOSE_DOOR:
                self._close_door()
            case Todo.GIVE_UP:
                self._break(frames.NO_ERROR, "nothing was heard, neither SETTINGS nor the answer to a PING")

    def took(self, now: float) -> None:
        """The peer takes what we write, though we do not read from it for now: it lives."""
        self._vigil.heard(now)

    # Ends.

    def drain(self) -> None:
        """Asks the client to open its next calls elsewhere; those on their way are still accepted."""
        if not self.is_over:
            goodbye = self._vigil.leave()
            if goodbye:
                self.outbox.put(goodbye)

    def _close_door(self) -> None:
        self.outbox.put(self._vigil.close_door(self._last_id))
        if not self._streams:
            self._leave()

    @property
    def _is_leaving(self) -> bool:
        return self._peer_leaves or self._vigil.last_id is not None

    def _leave(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._shell.hang_up()

    def cut(self) -> None:
        """Ends what is still open, and the connection."""
        for stream in list(self._streams.values()):
            stream.fail(UNAVAILABLE, "this server is going away; call again, elsewhere")
        self._break(frames.NO_ERROR, "this server is going away")

    def lost(self) -> None:
        """The transport is gone."""
        self.is_over = True
        self._rest = b""
        for stream in list(self._streams.values()):
            stream.lost()

    def _break(self, code: int, text: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        log.info("a connection ends with code %d: %s", code, text)
        self.outbox.put(frames.goaway(self._last_id, code, text))
        self.lost()
        self._shell.hang_up()
