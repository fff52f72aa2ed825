"""The server's side of one HTTP/2 connection: bytes in, calls and bytes out (RFC 9113). Pure.

`receive` walks once over what came. A DATA frame that is exactly one gRPC message of a call that reads,
the last one or not, which is nearly all of what comes, is one unpack, one dictionary look-up and the
handler's call; every other frame goes by its kind. It never raises: what a peer does wrong ends a call, a
stream or the connection with the code that RFC 9113 names, and what a handler raises ends its call.

WINDOW_UPDATE is sent for a stream as its handler takes messages, and for the connection on receipt: a call
that is paused does not hold up the others.

Bounds (mesh.http2.bounds): BUFFERED_BYTES_MAX over all calls, header blocks, the rate of WINDOW_UPDATE, and
that of frames that cost and say nothing. See mesh.http2.calls for streams, mesh.http2.write_buffer for what
is sent.

What RFC 9113 deprecates is not implemented: priorities (5.3) are parsed and ignored, also that of a stream
which depends on itself; the Upgrade of HTTP/1.1 to h2c (3.1) is an invalid preface. Of the other requirements
two are relaxed for existing clients: the table size in the first header block after the ACK of our SETTINGS
(mesh.http2.header_blocks), and blanks around a field's value (mesh.http2.headers).

Rejected: the `h2` library, whose frame costs tens of microseconds.
"""

from __future__ import annotations

import logging
from typing import Protocol

from mesh.http2 import bounds, frames, keepalive, settings
from mesh.http2.budget import Budget
from mesh.http2.call import Methods, Pages
from mesh.http2.calls import Calls, ServerHooks
from mesh.http2.errors import UNAVAILABLE, Cause, ConnectionBroken, StreamBroken
from mesh.http2.header_blocks import Block, HeaderBlocks
from mesh.http2.keepalive import Keepalive, KeepaliveAction
from mesh.http2.termination_counts import TerminationCounts
from mesh.http2.write_buffer import WriteBuffer

log = logging.getLogger(__name__)

_HALF_WINDOW = bounds.STREAM_WINDOW_BYTES // 2
_HALF_CONNECTION_WINDOW = bounds.CONNECTION_WINDOW_BYTES // 2


class Shell(ServerHooks, Protocol):
    """Does the input and output of a connection."""

    def output_ready(self) -> None:
        """Call `write_buffer.take` soon; once for each call of this."""

    def hang_up(self) -> None:
        """Write what waits, then close."""


class Connection:
    def __init__(
        self,
        methods: Methods,
        shell: Shell,
        now: float,
        *,
        message_bytes_max: int,
        streams_max: int,
        terminations: TerminationCounts,
        peer: str = "",
        pages: Pages | None = None,
    ) -> None:
        """Sends its SETTINGS at once. `now`: monotonic seconds; `peer`: the address at the other end;
        `terminations`: counts how this connection and its calls are ended."""
        self.write_buffer = WriteBuffer(shell.output_ready)
        self.calls = Calls(
            methods,
            shell,
            self.write_buffer,
            message_bytes_max,
            self._last_call_closed,
            peer,
            terminations,
            pages or {},
        )
        self.is_over = False
        """Nothing is read or answered any more."""
        self._shell = shell
        self._terminations = terminations
        self._plain_bytes_max = min(bounds.FRAME_BYTES_MAX, message_bytes_max + frames.PREFIX_BYTES)
        self._rest = b""
        self._unacknowledged = 0
        self._blocks = HeaderBlocks()
        self._window_updates_left = bounds.WINDOW_UPDATES_BURST
        self._window_updates_earned_at = now, 0
        """Until when, and for how many bytes of DATA, more of them were allowed."""
        self._idle_budget = Budget(bounds.IDLE_FRAMES_PER_S, bounds.IDLE_FRAMES_BURST)
        self._now = now
        self._keepalive = Keepalive(now)
        self._is_preface_read = False
        self._last_id_seen = 0
        self._peer_is_draining = False
        self.write_buffer.put(settings.opening(streams_max))

    # Reading.

    def receive(self, data: bytes, now: float) -> None:
        """What the socket gave."""
        if self.is_over:
            return
        self._now = now
        self._keepalive.received(now)
        if self._rest:
            data = self._rest + data
        try:
            at = 0
            if not self._is_preface_read:
                at = self._read_preface(data)
            at = self._walk(data, at)
            self._rest = data[at:]
            if self._unacknowledged >= _HALF_CONNECTION_WINDOW:
                if self._unacknowledged > bounds.CONNECTION_WINDOW_BYTES:
                    raise ConnectionBroken(
                        frames.FLOW_CONTROL_ERROR, "more DATA than the connection's window allows"
                    )
                self.write_buffer.put(frames.window_update(0, self._unacknowledged))
                self._unacknowledged = 0
        except ConnectionBroken as error:
            self._break(error.code, str(error), error.cause)

    def _read_preface(self, data: bytes) -> int:
        preface = frames.PREFACE
        if data[: len(preface)] != preface[: len(data)]:
            raise ConnectionBroken(
                frames.PROTOCOL_ERROR, "HTTP/2 with prior knowledge is spoken here", Cause.PREFACE
            )
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
        calls = self.calls
        streams, plain_bytes_max = calls.open, self._plain_bytes_max
        size = len(data)
        # Behind this a head and a prefix do not fit.
        last = size - frames.HEAD_BYTES - frames.PREFIX_BYTES
        while not self.is_over:
            if at <= last and blocks.expects is None:
                high, low, kind, flags, number, compressed, length = unpack(data, at)
                if kind == 0 and flags <= 1 and not compressed:
                    stream = streams.get(number)
                    counted = high << 8 | low
                    end = at + 9 + counted
                    if (
                        stream is not None
                        and (half := stream.receive_half).is_plain
                        and counted == length + 5
                        and counted <= plain_bytes_max
                        and end <= size
                    ):
                        self._unacknowledged += counted
                        half.unacknowledged += counted
                        if flags:
                            half.remote_closed, half.is_plain = True, False
                        elif half.unacknowledged >= _HALF_WINDOW:
                            # A frame is at most the other half: no window is exceeded here.
                            half.send_window_update()
                        calls.messages_received += 1
                        try:
                            half.handler.received(data[at + 14 : end])  # type: ignore[union-attr]
                            if flags:
                                half.tell_end()
                        except Exception as error:
                            stream.failed(error)
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

    def _read_frame(self, kind: int, flags: int, number: int, data: bytes, begin: int, end: int) -> None:
        expects = self._blocks.expects
        if expects is not None and (kind != frames.CONTINUATION or number != expects):
            raise ConnectionBroken(
                frames.PROTOCOL_ERROR, "a header block is followed by its CONTINUATION alone"
            )
        if not self._keepalive.has_settings and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionBroken(
                frames.PROTOCOL_ERROR, "SETTINGS are the first frame of a connection", Cause.PREFACE
            )
        try:
            if kind == frames.DATA:
                self._read_data(flags, number, data, begin, end)
            elif kind == frames.WINDOW_UPDATE:
                self._read_window_update(number, data[begin:end])
            elif kind == frames.HEADERS:
                self._take(self._blocks.begin(flags, number, data[begin:end]))
            elif kind == frames.CONTINUATION:
                self._take(self._blocks.more(flags, data[begin:end]))
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
                self._spend_idle(1.0, Cause.IDLE_FLOOD)
        except StreamBroken as error:
            self.calls.reset(number, error, self._now)

    def _read_data(self, flags: int, number: int, data: bytes, begin: int, end: int) -> None:
        counted = end - begin
        self._unacknowledged += counted
        if flags & frames.PADDED:
            if begin == end:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "DATA without the padding's length")
            if data[begin] >= counted:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "DATA with more padding than it is long")
            end -= data[begin]
            begin += 1
        is_last = bool(flags & frames.END_STREAM)
        if begin == end and not is_last:
            self._spend_idle(1.0, Cause.EMPTY_FLOOD)
        stream = self.calls.find(number, "DATA")
        if stream is None:
            if not self.calls.ignores(number):
                raise StreamBroken(frames.STREAM_CLOSED, "DATA on a closed stream")
        elif stream.receive_half.remote_closed:
            raise StreamBroken(frames.STREAM_CLOSED, "DATA after END_STREAM")
        else:
            stream.receive(data, begin, end, counted, is_last)

    def _read_window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        if self._window_updates_left < 1:
            self._earn_window_updates()
        self._window_updates_left -= 1
        by = int.from_bytes(payload, "big") & frames.WINDOW_MAX
        if number == 0:
            if by == 0:
                raise ConnectionBroken(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self.write_buffer.increase_window(by)
            return
        stream = self.calls.find(number, "WINDOW_UPDATE")
        if stream is not None:
            if by == 0:
                raise StreamBroken(frames.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            stream.adjust_window(by)

    def _earn_window_updates(self) -> None:
        """A token bucket that is looked at only when it is empty."""
        since, data_bytes = self._window_updates_earned_at
        self._window_updates_earned_at = self._now, self.write_buffer.data_bytes
        earned = (self._now - since) * bounds.WINDOW_UPDATES_PER_S
        earned += (self.write_buffer.data_bytes - data_bytes) / bounds.WINDOW_UPDATE_DATA_BYTES
        self._window_updates_left = min(bounds.WINDOW_UPDATES_BURST, int(earned))
        if self._window_updates_left < 1:
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM,
                f"more than {bounds.WINDOW_UPDATES_PER_S:g} WINDOW_UPDATE a second, and one for each "
                f"{bounds.WINDOW_UPDATE_DATA_BYTES} bytes of DATA",
                Cause.WINDOW_FLOOD,
            )

    def _take(self, block: Block | None) -> None:
        if block is not None:
            self.calls.take_block(block, self._now)
            if block[0] >= bounds.STREAM_ID_DRAIN:
                self.drain()

    def _read_rst_stream(self, number: int, length: int) -> None:
        if length != 4:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        self.calls.reset_by_peer(number, self._now)

    def _read_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "SETTINGS are of no stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "an ACK of SETTINGS has no content")
            self.calls.acked()
            self._blocks.acked()
            self._spend_idle(1.0, Cause.SETTINGS_FLOOD)
            return
        self._spend_idle(bounds.SETTINGS_COST, Cause.SETTINGS_FLOOD)
        window = settings.initial_window(payload, self.calls.initial_window)
        self._keepalive.has_settings = True
        self.write_buffer.put(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.calls.change_initial_window(window)

    def _read_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "PING is of no stream")
        if len(payload) != 8:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "PING has 8 bytes")
        self._spend_idle(1.0, Cause.PING_FLOOD)
        if not flags & frames.ACK:
            self.write_buffer.put(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif self._keepalive.is_drain_ping(payload):
            self._send_final_goaway()

    def _read_goaway(self, number: int, length: int) -> None:
        if number:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "GOAWAY is of no stream")
        if length < 8:
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes or more")
        self._spend_idle(1.0, Cause.IDLE_FLOOD)
        self._peer_is_draining = True
        self._close_if_idle()

    def _read_priority(self, number: int, length: int) -> None:
        if number == 0:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "PRIORITY is of a stream")
        self._spend_idle(1.0, Cause.IDLE_FLOOD)
        if length != 5:
            if number in self.calls.open:
                raise StreamBroken(frames.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
            raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")

    def _spend_idle(self, cost: float, cause: Cause) -> None:
        if not self._idle_budget.spend(cost, self._now):
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM,
                f"frames that say nothing; at most {bounds.IDLE_FRAMES_PER_S:g} a second are taken",
                cause,
            )

    # Time.

    def look(self, now: float, *, is_read: bool = True) -> None:
        """Called every LOOK_S: keepalive and timeouts. `is_read`: what the peer sends is taken."""
        if self.is_over:
            return
        self._now = now
        calls = self.calls
        if calls.open or calls.last_id != self._last_id_seen:
            self._last_id_seen = calls.last_id
            self._keepalive.used(now)
        if is_read:
            calls.look()
        match self._keepalive.check(now):
            case KeepaliveAction.PING:
                self.write_buffer.put(keepalive.keepalive_ping())
            case KeepaliveAction.FINAL_GOAWAY:
                self._send_final_goaway()
            case KeepaliveAction.CLOSE:
                text = "nothing was heard, neither SETTINGS nor the answer to a PING"
                self._break(frames.NO_ERROR, text, Cause.SILENCE)
            case KeepaliveAction.DRAIN:
                self._terminations.connection(frames.NO_ERROR, Cause.IDLE)
                self.drain()

    def peer_reads(self, now: float) -> None:
        """The peer takes what we write, so it is alive, although we do not read from it for now."""
        self._keepalive.received(now)

    # Ends.

    def drain(self) -> None:
        """Asks the client to open its next calls elsewhere; those on their way are still accepted."""
        if not self.is_over:
            goaway = self._keepalive.start_drain()
            if goaway:
                self.write_buffer.put(goaway)

    def _send_final_goaway(self) -> None:
        if self.calls.goaway_id is None:
            self.calls.goaway_id = self.calls.last_id
            self.write_buffer.put(self._keepalive.final_goaway(self.calls.last_id))
            self._close_if_idle()

    def _last_call_closed(self) -> None:
        if self._peer_is_draining or self.calls.goaway_id is not None:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        if not self.calls.open and not self.is_over:
            self.is_over = True
            self._shell.hang_up()

    def cut(self) -> None:
        """Ends what is still open, and the connection."""
        self.calls.fail(UNAVAILABLE, "this server is going away; call again, elsewhere")
        self._break(frames.NO_ERROR, "this server is going away", None)

    def lost(self) -> None:
        """The transport is gone."""
        self.is_over = True
        self._rest = b""
        self.calls.lost()

    def _break(self, code: int, text: str, cause: Cause | None) -> None:
        """None: not for what the peer did."""
        if self.is_over:
            return
        self.is_over = True
        if cause is not None:
            self._terminations.connection(code, cause)
        log.info("a connection ends with code %d: %s", code, text)
        self.write_buffer.put(frames.goaway(self.calls.goaway_bound, code, text))
        self.lost()
        self._shell.hang_up()
