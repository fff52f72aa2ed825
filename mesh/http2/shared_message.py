"""One gRPC message for many calls, encoded once. Pure."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mesh.http2 import bounds, frames

_DATA = bytes((frames.DATA, 0))
"""Type and flags, between a frame's length and its stream's id."""


class Shared:
    def __init__(self, message: bytes) -> None:
        self.framed = b"\0" + len(message).to_bytes(4, "big") + message
        """With the prefix of gRPC."""
        self.size = len(self.framed)
        """Bytes of flow-control window that it needs."""
        self.fits_frame = self.size <= bounds.FRAME_BYTES_MAX
        self.head = (self.size & 0xFFFFFF).to_bytes(3, "big") + _DATA
        """Of its DATA frame, up to the stream's id; of no meaning if it does not fit one."""

    @cached_property
    def frame(self) -> NDArray[np.uint8]:
        """As a DATA frame of stream 0, which it must fit."""
        return np.frombuffer(frames.frame(frames.DATA, 0, 0, self.framed), np.uint8)
