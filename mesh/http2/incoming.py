"""The receiving half of a stream: its window, whole messages out of frames, pause and resume. Pure.

A DATA frame that holds exactly one message goes straight to the handler (`is_plain`, see
mesh.http2.connection); everything else comes through `take`. What has no whole message yet, and what
comes while the call is paused, waits as raw bytes in `_partial`. `owed` is what the peer has sent and may
not send again yet: half a window is given back at a time, and nothing while the call is paused. So there
wait at most STREAM_WINDOW_BYTES of a paused call, and a message of the service's bound before that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mesh.http2 import bounds, frames
from mesh.http2.call import Handler
from mesh.http2.errors import INTERNAL, RESOURCE_EXHAUSTED, CallFailed, Cause, StreamBroken
from mesh.http2.messages import find_message, inflated
from mesh.http2.outbox import Outbox
from mesh.http2.termination_counts import Endings

if TYPE_CHECKING:
    from mesh.http2.stream import Stream

_HALF_WINDOW = bounds.STREAM_WINDOW_BYTES // 2


class Timer(Protocol):
    def cancel(self) -> None: ...


class Home(Protocol):
    """Whose streams they are, as they see it (mesh.http2.calls)."""

    outbox: Outbox
    peer: str
    endings: Endings
    message_bytes_max: int
    messages_received: int
    buffered_bytes: int

    def forget(self, stream: Stream, *, was_reset: bool) -> None: ...
    def soon(self, callback: Callable[[], None]) -> None: ...
    def later(self, delay_s: float, callback: Callable[[], None]) -> Timer: ...
    def window_limit(self, stream: int) -> int: ...


class Incoming(ABC):
    """What a stream is to who reads; the sending half and the ends are built upon it."""

    __slots__ = (
        "_content_left",
        "_encoding",
        "_heard_all",
        "_home",
        "_is_paused",
        "_partial",
        "_will_resume",
        "handler",
        "id",
        "is_closed",
        "is_ended",
        "is_plain",
        "outbox",
        "owed",
        "remote_closed",
    )

    def __init__(self, number: int, home: Home) -> None:
        self.id = number
        self.handler: Handler | None = None
        self.owed = 0
        self.is_plain = False
        """Whether a DATA frame with one whole message may go straight to the handler."""
        self.is_ended = False
        """The handler has nothing to say any more."""
        self.is_closed = False
        self.remote_closed = False
        self.outbox = home.outbox
        self._home = home
        self._partial: bytearray | None = None
        self._encoding = b"identity"
        self._content_left: int | None = None
        self._is_paused = False
        self._will_resume = False
        self._heard_all = False

    # How it ends: mesh.http2.stream.

    @abstractmethod
    def fail(self, code: int, message: str, cause: Cause) -> None:
        """Ends the call at once, with a status."""

    @abstractmethod
    def broke(self) -> None:
        """The handler raised; called within `except`."""

    @abstractmethod
    def refuse_now(self) -> None:
        """What came before the refusal of a call that has no handler; it may be said now."""

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
            self.refuse_now()
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
                Cause.UNTAKEN,
            )
        self.settle()

    def close_remote(self) -> None:
        """END_STREAM came. Raises StreamBroken."""
        self.remote_closed = True
        self.is_plain = False
        if self._content_left:
            raise StreamBroken(frames.PROTOCOL_ERROR, "content-length is not what came")

    def half_close(self) -> None:
        """END_STREAM came with headers. Raises StreamBroken."""
        self.close_remote()
        self.refuse_now()
        self.settle()

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
            self.fail(error.code, str(error), error.cause)
        except Exception:
            self.broke()
        return at

    def settle(self) -> None:
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
                    INTERNAL,
                    f"the stream ended within a message, {len(self._partial)} bytes of it came",
                    Cause.MESSAGE,
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
            self.settle()
        elif not self._will_resume:
            self._will_resume = True
            self._home.soon(self._resumed)

    def _resumed(self) -> None:
        self._will_resume = False
        if self._partial is not None:
            self._deliver_partial()
        self.settle()

    def drop_partial(self) -> None:
        if self._partial is not None:
            self._home.buffered_bytes -= len(self._partial)
            self._partial = None
