"""One HTTP/2 stream, which is one gRPC call: how it opens and how it ends. Pure.

`end`: by the handler, after all that waits. `fail`: by the server, at once, with a status. `lost`: without a
word. The handler hears `gone` of the last two. What comes in is mesh.http2.incoming's, what goes out
mesh.http2.outgoing's.

Rejected: a task or a queue object for each call. An idle call is this object and its handler. One object for
each half: 56 bytes and a pointer more for each of thousands.
"""

from __future__ import annotations

import logging
import sys

from mesh.http2 import bounds, frames, headers
from mesh.http2.call import Handler, Metadata
from mesh.http2.errors import DEADLINE_EXCEEDED, INTERNAL, Cause
from mesh.http2.incoming import Home, Timer
from mesh.http2.outgoing import Outgoing

log = logging.getLogger(__name__)


class Stream(Outgoing):
    """Implements Call."""

    __slots__ = ("_timer", "metadata", "opened_at", "path")

    def __init__(self, number: int, home: Home, send_window: int, opened_at: float) -> None:
        super().__init__(number, home, send_window)
        self.path = ""
        self.metadata: Metadata = ()
        self.opened_at = opened_at
        self._timer: Timer | None = None

    @property
    def peer(self) -> str:
        return self._home.peer

    def requested(self, request: headers.Request) -> None:
        # One string for all calls of a method.
        self.path = sys.intern(request.path)
        self.metadata = request.metadata
        self._encoding = request.encoding
        self._content_left = request.content_bytes

    def accepted(self, handler: Handler, timeout_s: float | None) -> None:
        self.metadata = ()
        if timeout_s is not None and not self.is_closed:
            self._timer = self._home.later(timeout_s, lambda: self._deadline_passed(timeout_s))
        if not self.is_closed:
            self.handler = handler
            self.settle()

    # Ends.

    def end(self, code: int = 0, message: str = "", retry_after_s: float | None = None) -> None:
        if self.is_ended:
            return
        self.is_ended = True
        self.is_plain = False
        self.leave_seat()
        self.drop_partial()
        block = headers.trailers(code, message, retry_after_s)
        if self._waiting is None and self._shared is None:
            self.finish(block)
        else:
            self._ending = block

    def fail(self, code: int, message: str, cause: Cause) -> None:
        """Ends the call at once, with a status; `cause` is what it counts as."""
        if not self.is_closed:
            handler = self.handler
            self._home.endings.call(code, cause)
            self.finish(headers.trailers(code, message))
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
            self.refuse_now()
        else:
            self._timer = self._home.later(bounds.REFUSAL_PATIENCE_S, self.refuse_now)

    def refuse_now(self) -> None:
        if self._ending is not None and self._waiting is None:
            self.finish(self._ending)

    def answer(self, block: bytes) -> None:
        """Ends what is no gRPC call with one block of headers."""
        self._has_said_headers = True
        self.finish(block)

    def lost(self) -> None:
        """Reset by either side, or its connection is gone."""
        if not self.is_closed:
            handler = self.handler
            self._close(was_reset=False)
            _tell_gone(handler)

    def broke(self) -> None:
        """The handler raised; called within `except`."""
        log.exception("a handler of %s failed", self.path)
        self.fail(INTERNAL, "the service failed; its log says why", Cause.BROKE)

    def _deadline_passed(self, timeout_s: float) -> None:
        self._timer = None
        self.fail(DEADLINE_EXCEEDED, f"the call's deadline of {timeout_s:g} s has passed", Cause.DEADLINE)

    def finish(self, block: bytes) -> None:
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
        self.drop_partial()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._home.forget(self, was_reset=was_reset)


def _tell_gone(handler: Handler | None) -> None:
    if handler is not None:
        try:
            handler.gone()
        except Exception:
            log.exception("a handler failed when its call had gone")
