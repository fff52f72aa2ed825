"""The receiving half of a stream: its flow-control window, and messages reassembled from frames. Pure.

A DATA frame that holds exactly one message, be it the last or not, goes from the connection straight to the
handler (`is_plain`, see mesh.http2.connection); every other one comes through `receive`. Bytes that are not
yet a whole message, and bytes that arrive while the call is paused, are kept in `_partial`.

Flow control: `unacknowledged` counts the bytes received since the last WINDOW_UPDATE. A WINDOW_UPDATE is sent
once they are half the window, and none is sent while the call is paused.

Bound: STREAM_WINDOW_BYTES are kept for a paused call; an unpaused one keeps at most one incomplete message.

The half does not know its stream. What ends the call is raised, CallFailed or whatever the handler raised;
mesh.http2.stream catches it. So there is no reference from here to the stream.
"""

from __future__ import annotations

from mesh.http2 import bounds, frames
from mesh.http2.call import Handler
from mesh.http2.errors import INTERNAL, RESOURCE_EXHAUSTED, CallFailed, Cause, StreamBroken
from mesh.http2.messages import find_message, inflated
from mesh.http2.stream_host import StreamHost

_HALF_WINDOW = bounds.STREAM_WINDOW_BYTES // 2


class ReceiveHalf:
    """`receive`, `half_close` and `deliver_kept` call the handler. They raise StreamBroken for what breaks
    RFC 9113, CallFailed for what breaks gRPC or a bound, and what the handler raises."""

    __slots__ = (
        "_content_left",
        "_encoding",
        "_handler_knows_end",
        "_host",
        "_is_paused",
        "_partial",
        "_will_resume",
        "handler",
        "is_plain",
        "remote_closed",
        "stream_id",
        "unacknowledged",
    )

    def __init__(self, stream_id: int, host: StreamHost, remote_closed: bool) -> None:
        self.stream_id = stream_id
        self.handler: Handler | None = None
        """None before the call is accepted, and once its handler is to receive nothing more."""
        self.unacknowledged = 0
        self.is_plain = False
        """Whether a DATA frame with one whole message may go straight to the handler."""
        self.remote_closed = remote_closed
        """END_STREAM was received."""
        self._host = host
        self._partial: bytearray | None = None
        self._encoding = b"identity"
        self._content_left: int | None = None
        self._is_paused = False
        self._will_resume = False
        self._handler_knows_end = False

    def expect(self, encoding: bytes, content_bytes: int | None) -> None:
        """The request's grpc-encoding and content-length."""
        self._encoding = encoding
        self._content_left = content_bytes

    def start(self, handler: Handler) -> None:
        """Messages are delivered to `handler` from now on. Raises what it raises."""
        self.handler = handler
        self._update()

    def stop(self) -> None:
        """Nothing more is delivered; idempotent. The window is still returned to the peer."""
        self.handler = None
        self.is_plain = False
        if self._partial is not None:
            self._host.buffered_bytes -= len(self._partial)
            self._partial = None

    def receive(self, data: bytes, at: int, end: int, counted: int, last: bool) -> None:
        """The payload of a DATA frame, `data[at:end]`; `counted`: its size with padding, which is what flow
        control counts; `last`: with END_STREAM."""
        self.unacknowledged += counted
        # The first comparison is enough for all but the frames before the peer has read our SETTINGS.
        if self.unacknowledged > bounds.STREAM_WINDOW_BYTES and self.unacknowledged > self._host.window_limit(
            self.stream_id
        ):
            raise StreamBroken(frames.FLOW_CONTROL_ERROR, "more DATA than the stream's window allows")
        if self._content_left is not None:
            self._content_left -= end - at
            if self._content_left < 0:
                raise StreamBroken(frames.PROTOCOL_ERROR, "more DATA than content-length says")
        if last:
            self._close_remote()
        if self.handler is None:
            if self.unacknowledged >= _HALF_WINDOW:
                self.send_window_update()
            return
        if self._partial is None:
            if not self._is_paused:
                at = self._deliver(data, at, end)
            if at < end and self.handler is not None:
                self._partial = bytearray(data[at:end])
                self._host.buffered_bytes += end - at
        else:
            self._partial += data[at:end]
            self._host.buffered_bytes += end - at
            if not self._is_paused:
                self._deliver_partial()
        if self._host.buffered_bytes > bounds.BUFFERED_BYTES_MAX and self._partial is not None:
            raise CallFailed(
                RESOURCE_EXHAUSTED,
                f"calls of this connection have {bounds.BUFFERED_BYTES_MAX} bytes waiting here, the most it "
                "may; use another connection, or send when others are done",
                Cause.UNTAKEN,
            )
        self._update()

    def half_close(self) -> None:
        """END_STREAM came with HEADERS."""
        self._close_remote()
        self._update()

    def _close_remote(self) -> None:
        self.remote_closed = True
        self.is_plain = False
        if self._content_left:
            raise StreamBroken(frames.PROTOCOL_ERROR, "content-length is not what came")

    def _deliver_partial(self) -> None:
        partial = self._partial
        assert partial is not None
        at = self._deliver(partial, 0, len(partial))
        if self._partial is None:
            # The handler has ended the call.
            return
        self._host.buffered_bytes -= at
        if at == len(partial):
            self._partial = None
        else:
            del partial[:at]

    def _deliver(self, data: bytes | bytearray, at: int, end: int) -> int:
        """Delivers the whole messages in `data[at:end]` until the handler pauses or ends the call; returns
        where the rest begins."""
        host = self._host
        while not self._is_paused and self.handler is not None:
            found = find_message(data, at, end, host.message_bytes_max)
            if found is None:
                break
            after, is_compressed = found
            message = bytes(data[at + frames.PREFIX_BYTES : after])
            at = after
            if is_compressed:
                message = inflated(message, self._encoding, host.message_bytes_max)
            host.messages_received += 1
            self.handler.received(message)
        return at

    def _update(self) -> None:
        """After any change: returns the window, delivers the half-close, decides about the fast path."""
        self.is_plain = False
        if self._is_paused or self.handler is None:
            return
        if not self.remote_closed:
            if self.unacknowledged >= _HALF_WINDOW:
                self.send_window_update()
            self.is_plain = self._partial is None and self._content_left is None
        elif not self._handler_knows_end:
            if self._partial is not None:
                raise CallFailed(
                    INTERNAL,
                    f"the stream ended within a message, {len(self._partial)} bytes of it came",
                    Cause.MESSAGE,
                )
            self._handler_knows_end = True
            self.handler.half_closed()

    def tell_end(self) -> None:
        """END_STREAM came with the message that the handler was just given, and none waits."""
        if not self._is_paused and self.handler is not None:
            self._handler_knows_end = True
            self.handler.half_closed()

    def send_window_update(self) -> None:
        """The peer may send again as much as was received."""
        self._host.write_buffer.put(frames.window_update(self.stream_id, self.unacknowledged))
        self.unacknowledged = 0

    def pause(self) -> None:
        self._is_paused = True
        self.is_plain = False

    def resume(self) -> bool:
        """Whether `deliver_kept` must be called, from the loop."""
        if not self._is_paused:
            return False
        self._is_paused = False
        if self._partial is None and not self.remote_closed:
            self._update()
            return False
        if self._will_resume:
            return False
        self._will_resume = True
        return True

    def deliver_kept(self) -> None:
        """Delivers what arrived during a pause, unless the call is paused again."""
        self._will_resume = False
        if self._partial is not None:
            self._deliver_partial()
        self._update()
