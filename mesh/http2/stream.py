"""One HTTP/2 stream, which is one gRPC call: both its windows, what waits on either side, how it ends. Pure.

Receiving. A DATA frame that holds exactly one message goes straight to the handler (`is_plain`, see
mesh.http2.connection); everything else comes through `take`. What has no whole message yet, and what
comes while the call is paused, waits as raw bytes in `_partial`. `owed` is what the peer has sent and may
not send again yet: half a window is given back at a time, and nothing while the call is paused. So there
wait at most STREAM_WINDOW_BYTES of a paused call, and a message of the service's bound before that.

Sending. A message leaves at once if it fits one frame and both windows and nothing is before it;
otherwise it waits in `_waiting`, and leaves in frames as the windows open. Policy: `is_writable` tells the
handler from SEND_BUFFER_BYTES_MAX on, and SEND_WAITING_BYTES_MAX ends the call. What is left of a message
that many calls are sent (mesh.http2.roster) is `_shared`, and goes before that. While a call has a seat there
and nothing waits, its window lies in the roster's array, and `send_window` means nothing.

Ends. `end`: by the handler, after all that waits. `fail`: by the server, at once, with a status. `lost`:
without a word. The handler hears `gone` of the last two.

Rejected: a task or a queue object for each call. An idle call is this object and its handler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from mesh.http2 import bounds, frames, headers
from mesh.http2.call import Handler, Metadata
from mesh.http2.errors import DEADLINE_EXCEEDED, INTERNAL, RESOURCE_EXHAUSTED, CallFailed, StreamBroken
from mesh.http2.messages import find_message, inflated
from mesh.http2.outbox import Outbox
from mesh.http2.roster import Rows, Shared

log = logging.getLogger(__name__)

_HALF_WINDOW = bounds.STREAM_WINDOW_BYTES // 2


class Timer(Protocol):
    def cancel(self) -> None: ...


class Home(Protocol):
    """Whose streams they are, as they see it (mesh.http2.calls)."""

    outbox: Outbox
    peer: str
    message_bytes_max: int
    messages_received: int
    buffered_bytes: int

    def forget(self, stream: Stream, *, was_reset: bool) -> None: ...
    def soon(self, callback: Callable[[], None]) -> None: ...
    def later(self, delay_s: float, callback: Callable[[], None]) -> Timer: ...
    def window_limit(self, stream: int) -> int: ...


class Stream:
    """Implements Call."""

    __slots__ = (
        "_content_left",
        "_encoding",
        "_ending",
        "_has_said_headers",
        "_heard_all",
        "_home",
        "_is_paused",
        "_partial",
        "_rows",
        "_shared",
        "_timer",
        "_waiting",
        "_wants_room",
        "_was_full",
        "_will_resume",
        "handler",
        "id",
        "is_closed",
        "is_ended",
        "is_plain",
        "is_queued",
        "metadata",
        "opened_at",
        "outbox",
        "owed",
        "path",
        "remote_closed",
        "row",
        "send_window",
    )

    def __init__(self, number: int, home: Home, send_window: int, opened_at: float) -> None:
        self.id = number
        self.path = ""
        self.metadata: Metadata = ()
        self.handler: Handler | None = None
        self.opened_at = opened_at
        self.owed = 0
        self.send_window = send_window
        self.is_plain = False
        """Whether a DATA frame with one whole message may go straight to the handler."""
        self.is_queued = False
        self.is_ended = False
        """The handler has nothing to say any more."""
        self.is_closed = False
        self.remote_closed = False
        self._home = home
        self.outbox = home.outbox
        self.row = 0
        self._rows: Rows | None = None
        self._shared: memoryview | None = None
        self._wants_room = False
        self._partial: bytearray | None = None
        self._encoding = b"identity"
        self._content_left: int | None = None
        self._is_paused = False
        self._will_resume = False
        self._heard_all = False
        self._waiting: bytearray | None = None
        self._was_full = False
        self._has_said_headers = False
        self._ending: bytes | None = None
        self._timer: Timer | None = None

    @property
    def peer(self) -> str:
        return self._home.peer

    # Opening.

    def requested(self, request: headers.Request) -> None:
        self.path = request.path
        self.metadata = request.metadata
        self._encoding = request.encoding
        self._content_left = request.content_bytes

    def accepted(self, handler: Handler, timeout_s: float | None) -> None:
        self.metadata = ()
        if timeout_s is not None and not self.is_closed:
            self._timer = self._home.later(timeout_s, lambda: self._deadline_passed(timeout_s))
        if not self.is_closed:
            self.handler = handler
            self._settle()

    # What the peer sends.

    def take(self, data: bytes, at: int, end: int, counted: int, last: bool) -> None:
        """The payload of a DATA frame, `data[at:end]`; `counted`: with its padding. Raises StreamBroken."""
        self.owed += counted
        if self.owed > bounds.STREAM_WINDOW_BYTES and self.owed > self._home.window_limit(self.id):
            raise StreamBroken(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        if self._content_left is not None:
            self._content_left -= end - at
        if last:
            self.close_remote()
        if self.is_ended:
            if self.owed >= _HALF_WINDOW:
                self.give_back()
            self._refuse_now()
            return
        partial = self._partial
        if partial is None:
            if self._is_paused:
                self._keep(data[at:end])
            else:
                at = self._deliver(data, at, end)
                if at < end and not self.is_ended:
                    self._keep(data[at:end])
        else:
            partial += data[at:end]
            self._home.buffered_bytes += end - at
            if not self._is_paused:
                self._deliver_partial()
        if self._home.buffered_bytes > bounds.BUFFERED_BYTES_MAX and self._partial is not None:
            self.fail(
                RESOURCE_EXHAUSTED,
                f"calls of this connection have {bounds.BUFFERED_BYTES_MAX} bytes waiting here, the most it "
                "may; use another connection, or send when others are done",
            )
        self._settle()

    def close_remote(self) -> None:
        """END_STREAM came. Raises StreamBroken."""
        self.remote_closed = True
        self.is_plain = False
        if self._content_left:
            raise StreamBroken(frames.PROTOCOL_ERROR, "content-length is not what came")

    def half_close(self) -> None:
        """END_STREAM came with headers. Raises StreamBroken."""
        self.close_remote()
        self._refuse_now()
        self._settle()

    def _keep(self, data: bytes) -> None:
        self._partial = bytearray(data)
        self._home.buffered_bytes += len(data)

    def _deliver_partial(self) -> None:
        partial = self._partial
        assert partial is not None
        at = self._deliver(partial, 0, len(partial))
        if self._partial is None:
            return
        self._home.buffered_bytes -= at
        if at == len(partial):
            self._partial = None
        else:
            del partial[:at]

    def _deliver(self, data: bytes | bytearray, at: int, end: int) -> int:
        """Hands over the whole messages in `data[at:end]`, until paused or ended; where the rest begins."""
        home, handler = self._home, self.handler
        assert handler is not None
        try:
            while not (self._is_paused or self.is_ended):
                found = find_message(data, at, end, home.message_bytes_max)
                if found is None:
                    break
                after, is_compressed = found
                message = bytes(data[at + frames.PREFIX_BYTES : after])
                at = after
                if is_compressed:
                    message = inflated(message, self._encoding, home.message_bytes_max)
                home.messages_received += 1
                handler.received(message)
        except CallFailed as error:
            self.fail(error.code, str(error))
        except Exception:
            self.broke()
        return at

    def _settle(self) -> None:
        """After something changed on the receiving side: the window, the half-close, the fast path."""
        self.is_plain = False
        if self._is_paused or self.is_ended or self.handler is None:
            return
        if not self.remote_closed:
            if self.owed >= _HALF_WINDOW:
                self.give_back()
            self.is_plain = self._partial is None and self._content_left is None
        elif not self._heard_all:
            if self._partial is not None:
                self.fail(
                    INTERNAL, f"the stream ended within a message, {len(self._partial)} bytes of it came"
                )
                return
            self._heard_all = True
            try:
                self.handler.half_closed()
            except Exception:
                self.broke()

    def give_back(self) -> None:
        """The window, as far as it was used."""
        self.outbox.put(frames.window_update(self.id, self.owed))
        self.owed = 0

    def pause(self) -> None:
        self._is_paused = True
        self.is_plain = False

    def resume(self) -> None:
        if not self._is_paused or self.is_ended:
            return
        self._is_paused = False
        if self._partial is None and not self.remote_closed:
            self._settle()
        elif not self._will_resume:
            self._will_resume = True
            self._home.soon(self._resumed)

    def _resumed(self) -> None:
        self._will_resume = False
        if self._partial is not None:
            self._deliver_partial()
        self._settle()

    # What the handler sends.

    @property
    def is_writable(self) -> bool:
        return self._waiting is None or len(self._waiting) <= bounds.SEND_BUFFER_BYTES_MAX

    def send(self, message: bytes) -> None:
        if self.is_ended:
            return
        outbox = self.outbox
        length = len(message)
        size = length + frames.PREFIX_BYTES
        if not self._has_said_headers:
            self._say_headers()
        rows = self._rows
        if rows is not None:
            self._take_window(rows)
        if (
            self._waiting is not None
            or self._shared is not None
            or size > self.send_window
            or size > outbox.room
            or size > bounds.FRAME_BYTES_MAX
        ):
            self._send_later(message)
            return
        self.send_window -= size
        outbox.room -= size
        outbox.parts.append(
            frames.HEAD_AND_PREFIX.pack(size >> 8, size & 0xFF, 0, 0, self.id, 0, length) + message
        )
        if not outbox.is_awake:
            outbox.wake()
        if rows is not None:
            self._give_window(rows)

    def try_send(self, message: bytes) -> bool:
        if self.is_ended:
            return True
        rows = self._rows
        idle = self._waiting is None and self._shared is None
        window = self.send_window if rows is None else int(rows.windows[self.row])
        if not idle or window <= 0:
            self._wants_room = True
            return False
        needed = min(len(message) + frames.PREFIX_BYTES, window, bounds.FRAME_BYTES_MAX)
        if needed > self.outbox.room:
            self.outbox.when_room(needed, self._there_is_room)
            return False
        self.send(message)
        return True

    def send_shared(self, message: Shared) -> None:
        """In pieces, to a call with a seat for which nothing waits."""
        rows = self._rows
        assert rows is not None
        self._take_window(rows)
        self._shared = memoryview(message.framed)
        self.outbox.line_up(self)

    def take_seat(self, rows: Rows, row: int) -> None:
        """What is the same for many is sent from there."""
        if not self._has_said_headers:
            self._say_headers()
        self._rows = rows
        self.row = row
        if self._waiting is None:
            self._give_window(rows)

    def leave_seat(self) -> None:
        """Nothing is sent from there any more; idempotent."""
        rows = self._rows
        if rows is not None:
            self._take_window(rows)
            self._rows = None
            rows.remove(self.row)

    def _take_window(self, rows: Rows) -> None:
        """From the array, unless it is here."""
        if self._waiting is None and self._shared is None:
            self.send_window = int(rows.windows[self.row])
            rows.windows[self.row] = 0

    def _give_window(self, rows: Rows) -> None:
        """To the array: nothing waits."""
        rows.windows[self.row] = self.send_window

    def _send_later(self, message: bytes) -> None:
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = bytearray()
        waiting += frames.PREFIX.pack(0, len(message))
        waiting += message
        if len(waiting) > bounds.SEND_WAITING_BYTES_MAX:
            self.is_ended = True
            # Not from within `send`: the handler is in the middle of something.
            self._home.soon(self._overflowed)
            return
        if self.send_window > 0:
            self.outbox.line_up(self)
        self._was_full = not self.is_writable

    def _overflowed(self) -> None:
        self.fail(
            RESOURCE_EXHAUSTED,
            f"{bounds.SEND_WAITING_BYTES_MAX} bytes wait for this call's client, the most that may; "
            "read faster, or give a wider window",
        )

    def _say_headers(self) -> None:
        self._has_said_headers = True
        block = headers.RESPONSE_HEADERS
        self.outbox.put(frames.header_block(self.id, block, False, bounds.FRAME_BYTES_MAX))

    def write_waiting(self) -> bool:
        waits = self._shared if self._shared is not None else self._waiting
        outbox = self.outbox
        if waits is None:
            return False
        size = min(len(waits), self.send_window, outbox.room, bounds.FRAME_BYTES_MAX)
        if size <= 0:
            return False
        outbox.parts.append(frames.frame(frames.DATA, 0, self.id, bytes(waits[:size])))
        self.send_window -= size
        outbox.room -= size
        if self._shared is not None:
            self._shared = self._shared[size:] if size < len(waits) else None
        else:
            assert self._waiting is not None
            del self._waiting[:size]
            if not self._waiting:
                self._waiting = None
        if self._waiting is None and self._shared is None:
            if self._ending is not None:
                self._finish(self._ending)
                return False
            if self._rows is not None:
                self._give_window(self._rows)
                self._rows.on_room()
        if self._was_full and self.is_writable:
            self._was_full = False
            self._tell_writable()
        self._there_is_room()
        return (self._waiting is not None or self._shared is not None) and self.send_window > 0

    def _there_is_room(self) -> None:
        """Tells the handler if it wants to know; not now, as the server may be in the middle of something."""
        if self._wants_room and self._waiting is None and self._shared is None:
            self._wants_room = False
            self._home.soon(self._tell_writable)

    def _tell_writable(self) -> None:
        if not self.is_ended and self.handler is not None:
            try:
                self.handler.writable()
            except Exception:
                self.broke()

    def widen(self, by: int) -> None:
        """The peer's WINDOW_UPDATE, or its new INITIAL_WINDOW_SIZE (then `by` may be negative). Raises
        StreamBroken."""
        rows = self._rows
        waits = self._waiting is not None or self._shared is not None
        in_rows = rows is not None and not waits
        window = by + (int(rows.windows[self.row]) if rows is not None and in_rows else self.send_window)
        if window > frames.WINDOW_MAX:
            raise StreamBroken(frames.FLOW_CONTROL_ERROR, "the stream's window grew beyond 2^31 - 1")
        if rows is not None and in_rows:
            rows.windows[self.row] = window
            if window > 0:
                if rows.left_out[self.row]:
                    rows.left_out[self.row] = False
                    rows.on_room()
                self._there_is_room()
            return
        self.send_window = window
        if window > 0 and waits:
            self.outbox.line_up(self)

    # Ends.

    def end(self, code: int = 0, message: str = "", retry_after_s: float | None = None) -> None:
        if self.is_ended:
            return
        self.is_ended = True
        self.is_plain = False
        self.leave_seat()
        self._drop_partial()
        block = headers.trailers(code, message, retry_after_s)
        if self._waiting is None and self._shared is None:
            self._finish(block)
        else:
            self._ending = block

    def fail(self, code: int, message: str, beside: bytes = b"") -> None:
        """Ends the call at once, with a status and the fields `beside` it."""
        if not self.is_closed:
            handler = self.handler
            self._finish(headers.trailers(code, message) + beside)
            _tell_gone(handler)

    def refuse(
        self, code: int, message: str, beside: bytes = b"", retry_after_s: float | None = None
    ) -> None:
        """Ends a call that has no handler: once the client's first DATA came, or REFUSAL_PATIENCE_S passed. A
        grpc.aio client whose first write fails, as the answer was there before it, reads INTERNAL instead."""
        if self.is_ended:
            return
        self.is_ended = True
        self._ending = headers.trailers(code, message, retry_after_s) + beside
        if self.remote_closed:
            self._refuse_now()
        else:
            self._timer = self._home.later(bounds.REFUSAL_PATIENCE_S, self._refuse_now)

    def _refuse_now(self) -> None:
        if self._ending is not None and self._waiting is None:
            self._finish(self._ending)

    def answer(self, block: bytes) -> None:
        """Ends what is no gRPC call with one block of headers."""
        self._has_said_headers = True
        self._finish(block)

    def lost(self) -> None:
        """Reset by either side, or its connection is gone."""
        if not self.is_closed:
            handler = self.handler
            self._close(was_reset=False)
            _tell_gone(handler)

    def broke(self) -> None:
        """The handler raised; called within `except`."""
        log.exception("a handler of %s failed", self.path)
        self.fail(INTERNAL, "the service failed; its log says why")

    def _deadline_passed(self, timeout_s: float) -> None:
        self._timer = None
        self.fail(DEADLINE_EXCEEDED, f"the call's deadline of {timeout_s:g} s has passed")

    def _finish(self, block: bytes) -> None:
        if not self._has_said_headers:
            block = headers.RESPONSE_HEADERS + block
        data = frames.header_block(self.id, block, True, bounds.FRAME_BYTES_MAX)
        if not self.remote_closed:
            data += frames.rst_stream(self.id, frames.NO_ERROR)
        self.outbox.put(data)
        self._close(was_reset=not self.remote_closed)

    def _close(self, *, was_reset: bool) -> None:
        self.is_closed = self.is_ended = True
        self.is_plain = False
        self.handler = None
        self.leave_seat()
        self._waiting = None
        self._shared = None
        self._ending = None
        self._drop_partial()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._home.forget(self, was_reset=was_reset)

    def _drop_partial(self) -> None:
        if self._partial is not None:
            self._home.buffered_bytes -= len(self._partial)
            self._partial = None


def _tell_gone(handler: Handler | None) -> None:
    if handler is not None:
        try:
            handler.gone()
        except Exception:
            log.exception("a handler failed when its call had gone")
