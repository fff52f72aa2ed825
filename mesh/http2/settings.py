"""What the two sides settle: our SETTINGS, and the peer's as they are read (RFC 9113, 6.5). Pure.

Of the peer's, only INITIAL_WINDOW_SIZE changes what we do: we send no pushes, no indexed header fields, and
no frame larger than the smallest MAX_FRAME_SIZE there may be; whatever HEADER_TABLE_SIZE is, ours is 0
(mesh.http2.write_buffer). What is unknown is ignored.
"""

from __future__ import annotations

from mesh.http2 import bounds, frames
from mesh.http2.errors import ConnectionBroken


def opening(streams_max: int) -> bytes:
    """The first bytes of a connection."""
    ours = {
        # See mesh.http2.field_blocks.
        frames.HEADER_TABLE_SIZE: 0,
        frames.MAX_CONCURRENT_STREAMS: streams_max,
        frames.INITIAL_WINDOW_SIZE: bounds.STREAM_WINDOW_BYTES,
        frames.MAX_HEADER_LIST_SIZE: bounds.HEADER_LIST_BYTES_MAX,
    }
    wider = bounds.CONNECTION_WINDOW_BYTES - frames.WINDOW_DEFAULT
    return frames.settings(ours) + frames.window_update(0, wider)


def initial_window(payload: bytes, window: int) -> int:
    """INITIAL_WINDOW_SIZE after a SETTINGS frame; `window`: before it. Raises ConnectionBroken."""
    if len(payload) % 6:
        raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "SETTINGS have 6 bytes each")
    for name, value in frames.read_settings(payload):
        if name == frames.INITIAL_WINDOW_SIZE:
            if value > frames.WINDOW_MAX:
                raise ConnectionBroken(frames.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31 - 1")
            window = value
        elif name == frames.ENABLE_PUSH and value > 1:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        elif name == frames.MAX_FRAME_SIZE and not bounds.FRAME_BYTES_MAX <= value < 2**24:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "MAX_FRAME_SIZE is from 2^14 to 2^24 - 1")
    return window
