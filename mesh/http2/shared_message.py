"""One gRPC message for many calls, encoded once. Pure."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mesh.http2 import bounds, frames

_BEFORE_ID = 5
"""Octets of a frame's header before the stream's id."""


class Shared:
    def __init__(self, message: bytes) -> None:
        self.framed = frames.PREFIX.pack(0, len(message)) + message
        """With the prefix of gRPC."""
        self.size = len(self.framed)
        """Bytes of flow-control window that it needs."""
        self.fits_frame = self.size <= bounds.FRAME_BYTES_MAX
        self.head = frames.HEAD.pack(self.size >> 8, self.size & 0xFF, frames.DATA, 0, 0)[:_BEFORE_ID]
        """Of its DATA frame, up to the stream's id; of no meaning if it does not fit one."""

    @cached_property
    def frame(self) -> NDArray[np.uint8]:
        """As a DATA frame of stream 0, which it must fit."""
        return np.frombuffer(frames.frame(frames.DATA, 0, 0, self.framed), np.uint8)
