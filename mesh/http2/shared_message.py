"""One gRPC message for many calls, encoded once. Pure."""

from __future__ import annotations

from struct import Struct

import numpy as np
from numpy.typing import NDArray

from mesh.http2 import bounds, frames

_head = Struct(">HBBB").pack
"""A frame's length, type and flags, which come before its stream's id."""
_prefix = frames.PREFIX.pack


class Shared:
    __slots__ = ("_frame", "fits_frame", "framed", "head", "size")

    def __init__(self, message: bytes) -> None:
        length = len(message)
        self.framed = _prefix(0, length) + message
        """With the prefix of gRPC."""
        self.size = size = length + frames.PREFIX_BYTES
        """Bytes of flow-control window that it needs."""
        self.fits_frame = size <= bounds.FRAME_BYTES_MAX
        self.head = _head(size >> 8 & 0xFFFF, size & 0xFF, frames.DATA, 0)
        """Of its DATA frame, up to the stream's id; of no meaning if it does not fit one."""
        self._frame: NDArray[np.uint8] | None = None

    @property
    def frame(self) -> NDArray[np.uint8]:
        """As a DATA frame of stream 0, which it must fit."""
        if self._frame is None:
            self._frame = np.frombuffer(frames.frame(frames.DATA, 0, 0, self.framed), np.uint8)
        return self._frame
