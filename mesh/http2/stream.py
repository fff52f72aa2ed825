"""One HTTP/2 stream, which is one gRPC call: how it opens, what it sends, how it ends. Pure.

What it receives is the business of its ReceiveHalf.

Sending: a message leaves at once if it fits one frame, the stream's window and the connection's, and nothing
waits before it. Otherwise it waits in a SendBuffer and leaves in frames as the windows open. While the stream
is in a broadcast group and nothing waits, its window lies in the group's array (mesh.http2.broadcast_group)
and `_window` has no meaning.

Ending: `end` is called by the handler and takes effect after all that waits. `fail` is called by the server
and takes effect at once, with a status. `lost` sends nothing. After the last two the handler's `gone` is
called. A refused call is answered after its client's first DATA (`refuse`), and a request that is not gRPC
after its end (`answer`): until then a violation of RFC 9113 is a stream error, as on any stream.

Rejected: a task or a queue object for each call. An idle call is this object, its receiving half and its
handler. A sending half of its own: one more function call for each message sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from google.protobuf.message import Message

from mesh.http2 import bounds, frames, headers
from mesh.http2.call import Handler, Page, RequestMetadata
from mesh.http2.errors import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    RESOURCE_EXHAUSTED,
    CallFailed,
    Cause,
    StreamBroken,
)
from mesh.http2.members import Members
from mesh.http2.receive_half import ReceiveHalf
from mesh.http2.send_buffer import SendBuffer
from mesh.http2.shared_message import Shared
from mesh.http2.stream_host import StreamHost, Timer
from mesh.metrics.rpc_counts import MethodCalls

log = logging.getLogger(__name__)

_NO_METADATA = RequestMetadata()


class Stream:
    """Implements Call, members.Member and write_buffer.QueuedStream."""

    __slots__ = (
        "_handler",
        "_host",
        "_members",
        "_reply",
        "_sent_headers",
        "_timer",
        "_trailers",
        "_unsent",
        "_wants_writable",
        "_window",
        "counted",
        "id",
        "is_closed",
        "is_ended",
        "is_queued",
        "metadata",
        "opened_at",
        "path",
        "receive_half",
        "row",
        "status",
        "traceparent",
        "write_buffer",
    )

    def __init__(
        self, number: int, host: StreamHost, send_window: int, opened_at: float, *, remote_closed: bool
    ) -> None:
        """`opened_at`: monotonic seconds; `remote_closed`: its HEADERS had END_STREAM."""
        self.id = number
        self.path = ""
        self.metadata = _NO_METADATA
        self.opened_at = opened_at
        self.is_ended = False
        """The handler sends nothing more."""
        self.is_closed = False
        self.receive_half = ReceiveHalf(number, host, remote_closed)
        self.write_buffer = host.write_buffer
        self.is_queued = False
        self.row = 0
        self.status = CANCELLED
        """gRPC's, of the call once it has ended: of one that nobody answered, that it was cancelled."""
        self.counted: MethodCalls | None = None
        """Where its end is counted, once it is a call of a method that is served."""
        self.traceparent = ""
        """Of its caller, while traces are on."""
        self._host = host
        self._handler: Handler | None = None
        self._timer: Timer | None = None
        self._window = send_window
        self._members: Members | None = None
        self._unsent: SendBuffer | None = None
        self._trailers: bytes | None = None
        """To be sent after all that waits; b"" is END_STREAM alone."""
        self._reply: tuple[Callable[[], None], bool] | None = None
        """Answers a call that has no handler; whether at its first DATA, or else at its end."""
        self._wants_writable = False
        self._sent_headers = False

    @property
    def peer(self) -> str:
        return self._host.peer

    @property
    def has_begun(self) -> bool:
        """Its request has ended, or it was answered."""
        return self._sent_headers or self.receive_half.remote_closed

    def requested(self, request: headers.Request) -> None:
        self.path = request.path
        self.metadata = request.metadata

    def accepted(self, handler: Handler, timeout_s: float | None) -> None:
        self.metadata = _NO_METADATA
        if self.is_closed:
            return
        if timeout_s is not None:
            self._timer = self._host.later(timeout_s, lambda: self._deadline_passed(timeout_s))
        self._handler = handler
        if not self.is_ended:
            try:
                self.receive_half.start(handler)
            except StreamBroken:
                raise
            except Exception as error:
                self.failed(error)

    # Receiving.

    def receive(self, data: bytes, at: int, end: int, counted: int, last: bool) -> None:
        """See ReceiveHalf.receive. Raises StreamBroken."""
        try:
            self.receive_half.receive(data, at, end, counted, last)
        except StreamBroken:
            raise
        except Exception as error:
            self.failed(error)
        if self._reply is not None and (self._reply[1] or self.receive_half.remote_closed):
            self._reply_now()

    def half_close(self) -> None:
        """END_STREAM came with HEADERS. Raises StreamBroken."""
        self._guard(self.receive_half.half_close)
        self._reply_now()

    def _guard(self, step: Callable[[], None]) -> None:
        """Ends the call for what `step` raises, except for StreamBroken."""
        try:
            step()
        except StreamBroken:
            raise
        except Exception as error:
            self.failed(error)

    def pause(self) -> None:
        self.receive_half.pause()

    def resume(self) -> None:
        if not self.is_ended and self.receive_half.resume():
            self._host.soon(self._resumed)

    def _resumed(self) -> None:
        self._guard(self.receive_half.deliver_kept)

    # Sending.

    @property
    def is_writable(self) -> bool:
        return self._unsent is None or self._unsent.is_writable

    def send(self, message: bytes) -> None:
        if self.is_ended:
            return
        write_buffer = self.write_buffer
        length = len(message)
        size = length + frames.PREFIX_BYTES
        if not self._sent_headers:
            self._send_headers()
        members = self._members
        if members is not None:
            self._take_window(members)
        if (
            self._unsent is not None
            or size > self._window
            or size > write_buffer.available_bytes
            or size > bounds.FRAME_BYTES_MAX
        ):
            self._send_later(message)
            return
        self._window -= size
        write_buffer.available_bytes -= size
        write_buffer.parts.append(
            frames.HEAD_AND_PREFIX.pack(size >> 8, size & 0xFF, 0, 0, self.id, 0, length) + message
        )
        if not write_buffer.is_flush_scheduled:
            write_buffer.schedule_flush()
        if members is not None:
            self._lend_window(members)

    def try_send(self, message: bytes) -> bool:
        if self.is_ended:
            return True
        members = self._members
        window = self._window if members is None else int(members.windows[self.row])
        if self._unsent is not None or window <= 0:
            self._wants_writable = True
            return False
        needed = min(len(message) + frames.PREFIX_BYTES, window, bounds.FRAME_BYTES_MAX)
        if needed > self.write_buffer.available_bytes:
            self._wants_writable = True
            self.write_buffer.when_available(needed, self._tell_writable_soon)
            return False
        self.send(message)
        return True

    def _send_later(self, message: bytes) -> None:
        unsent = self._unsent
        if unsent is None:
            unsent = self._unsent = SendBuffer()
        unsent.append(message)
        if unsent.is_too_full:
            self.is_ended = True
            # Not from within `send`: the handler is in the middle of something.
            self._host.soon(self._overflowed)
        elif self._window > 0:
            self.write_buffer.enqueue(self)

    def _overflowed(self) -> None:
        self.fail(
            RESOURCE_EXHAUSTED,
            f"{bounds.SEND_WAITING_BYTES_MAX} bytes wait for this call's client, the most that may; "
            "read faster, or give a wider window",
            Cause.UNREAD,
        )

    def _send_headers(self) -> None:
        self._sent_headers = True
        self.write_buffer.put_headers(self.id, headers.RESPONSE_HEADERS, end_stream=False)

    def write_frame(self) -> bool:
        """Writes one frame of what waits, if the windows allow; whether it could write another."""
        unsent, write_buffer = self._unsent, self.write_buffer
        size_max = min(self._window, write_buffer.available_bytes, bounds.FRAME_BYTES_MAX)
        if unsent is None or size_max <= 0:
            return False
        was_writable = unsent.is_writable
        payload = unsent.take(size_max)
        write_buffer.parts.append(frames.frame(frames.DATA, 0, self.id, payload))
        self._window -= len(payload)
        write_buffer.available_bytes -= len(payload)
        if not unsent:
            self._unsent = None
            if self._trailers is not None:
                self._finish(self._trailers)
                return False
            if self._members is not None:
                self._lend_window(self._members)
                self._members.on_writable()
        if unsent.is_writable and not was_writable:
            # Not now: a handler that sends at once would be one deep recursion with the others that wait.
            self._host.soon(self._tell_writable)
        self._tell_writable_soon()
        return self._unsent is not None and self._window > 0

    def _tell_writable_soon(self) -> None:
        """If the handler wants to know. Not now, as the server may be in the middle of something."""
        if self._wants_writable and self._unsent is None:
            self._wants_writable = False
            self._host.soon(self._tell_writable)

    def _tell_writable(self) -> None:
        if not self.is_ended and self._handler is not None:
            self._guard(self._handler.writable)

    def adjust_window(self, by: int) -> None:
        """The peer's WINDOW_UPDATE, or its new INITIAL_WINDOW_SIZE (then `by` may be negative). Raises
        StreamBroken."""
        members = self._members if self._unsent is None else None
        window = by + (self._window if members is None else int(members.windows[self.row]))
        if window > frames.WINDOW_MAX:
            raise StreamBroken(frames.FLOW_CONTROL_ERROR, "the stream's window grew beyond 2^31 - 1")
        if members is None:
            self._window = window
        else:
            members.set_window(self.row, window)
        if window > 0:
            if self._unsent is not None:
                self.write_buffer.enqueue(self)
            else:
                self._tell_writable_soon()

    # The broadcast group.

    def join(self, members: Members, row: int) -> None:
        """Broadcast messages are sent through `members` from now on, which hold the window in `row`."""
        if not self._sent_headers:
            self._send_headers()
        self._members = members
        self.row = row
        if self._unsent is None:
            self._lend_window(members)

    def move(self, members: Members, row: int) -> None:
        self._members = members
        self.row = row

    def _leave_group(self) -> None:
        """Idempotent."""
        members = self._members
        if members is not None:
            self._take_window(members)
            self._members = None
            members.remove(self.row)

    def send_shared(self, message: Shared) -> None:
        members = self._members
        assert members is not None
        self._take_window(members)
        self._unsent = SendBuffer(message.framed)
        self.write_buffer.enqueue(self)

    def _take_window(self, members: Members) -> None:
        """From the group's array, unless it is here as something waits."""
        if self._unsent is None:
            self._window = int(members.windows[self.row])
            members.windows[self.row] = 0

    def _lend_window(self, members: Members) -> None:
        """To the group's array, as nothing waits."""
        members.windows[self.row] = self._window

    # Ends.

    def end(
        self,
        code: int = 0,
        message: str = "",
        retry_after_s: float | None = None,
        detail: Message | None = None,
    ) -> None:
        if self.is_ended:
            return
        self.is_ended = True
        self.status = code
        self._leave_group()
        self.receive_half.stop()
        block = headers.trailers(code, message, retry_after_s, detail)
        if self._unsent is None:
            self._finish(block)
        else:
            self._trailers = block

    def fail(self, code: int, message: str, cause: Cause) -> None:
        """Ends the call at once, with a status; `cause` is what it counts as."""
        if not self.is_closed:
            handler = self._handler
            self.status = code
            self._host.terminations.call(code, cause)
            self._finish(headers.trailers(code, message))
            _tell_gone(handler)

    def refuse(
        self, code: int, message: str, beside: bytes = b"", retry_after_s: float | None = None
    ) -> None:
        """Ends a call that has no handler: once the client's first DATA came, or REFUSAL_PATIENCE_S passed. A
        grpc.aio client whose first write fails, as the answer was there before it, reads INTERNAL instead."""
        if not self.is_ended:
            self.status = code
            block = headers.trailers(code, message, retry_after_s) + beside
            self._reply_later((lambda: self._finish(block), True), bounds.REFUSAL_PATIENCE_S)

    def answer(self, make: Callable[[], Page], *, with_content: bool) -> None:
        """Ends what is no gRPC call: with what `make` returns, once the request has ended or REPLY_DELAY_S
        passed. `with_content`: False for a HEAD. Content waits at most REPLY_PATIENCE_S for the windows."""
        self._reply_later((lambda: self._send_page(make(), with_content), False), bounds.REPLY_DELAY_S)

    def _reply_later(self, reply: tuple[Callable[[], None], bool], patience_s: float) -> None:
        self.is_ended = True
        self._reply = reply
        if self.receive_half.remote_closed:
            self._reply_now()
        else:
            self._timer = self._host.later(patience_s, self._reply_now)

    def _reply_now(self) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            self._stop_timer()
            reply[0]()

    def _send_page(self, page: Page, with_content: bool) -> None:
        write_buffer = self.write_buffer
        sendable_bytes = min(self._window, write_buffer.available_bytes)
        block, content = headers.reply(page, sendable_bytes, with_content=with_content)
        self._sent_headers = True
        if not content:
            self._finish(block)
            return
        write_buffer.put_headers(self.id, block, end_stream=False)
        self._trailers = b""
        self._unsent = SendBuffer(content)
        self._timer = self._host.later(bounds.REPLY_PATIENCE_S, self._reply_unread)
        if self._window > 0:
            write_buffer.enqueue(self)

    def _reply_unread(self) -> None:
        self._host.terminations.stream(frames.CANCEL, Cause.UNREAD)
        self.write_buffer.put(frames.rst_stream(self.id, frames.CANCEL))
        self._close(was_reset=True)

    def lost(self) -> None:
        """Reset by either side, or its connection is gone."""
        if not self.is_closed:
            handler = self._handler
            self._close(was_reset=False)
            _tell_gone(handler)

    def failed(self, error: Exception) -> None:
        """Ends the call for an exception, its handler's unless it is CallFailed."""
        if isinstance(error, CallFailed):
            self.fail(error.code, str(error), error.cause)
        else:
            log.error("a handler of %s failed", self.path, exc_info=error)
            self.fail(INTERNAL, "the service failed; its log says why", Cause.BROKE)

    def _deadline_passed(self, timeout_s: float) -> None:
        self._timer = None
        self.fail(DEADLINE_EXCEEDED, f"the call's deadline of {timeout_s:g} s has passed", Cause.DEADLINE)

    def _finish(self, block: bytes) -> None:
        """Sends the trailers, and closes the stream."""
        if not self._sent_headers:
            block = headers.RESPONSE_HEADERS + block
        if block:
            self.write_buffer.put_headers(self.id, block, end_stream=True)
        else:
            self.write_buffer.put(frames.frame(frames.DATA, frames.END_STREAM, self.id))
        remote_closed = self.receive_half.remote_closed
        if not remote_closed:
            self.write_buffer.put(frames.rst_stream(self.id, frames.NO_ERROR))
        self._close(was_reset=not remote_closed)

    def _close(self, *, was_reset: bool) -> None:
        self.is_closed = self.is_ended = True
        self._handler = None
        self._leave_group()
        self._unsent = None
        self._trailers = None
        self._reply = None
        self.receive_half.stop()
        if self._timer is not None:
            self._stop_timer()
        self._host.forget(self.id, was_reset=was_reset)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _tell_gone(handler: Handler | None) -> None:
    if handler is not None:
        try:
            handler.gone()
        except Exception:
            log.exception("a handler failed when its call had gone")
