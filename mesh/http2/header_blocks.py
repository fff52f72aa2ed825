"""Header blocks from HEADERS and CONTINUATION frames, decoded (RFC 9113, 4.3 and 6.2; RFC 7541). Pure.

Every block is decoded, also of streams that nobody wants: while the peer has a dynamic table, the decoder's
follows all of them. It has one until it acknowledges our SETTINGS, which leave it none
(mesh.http2.field_blocks). From then on a block that refers to an entry, or sets a table size other than 0,
ends the connection with COMPRESSION_ERROR. RFC 9113, 4.3.1, requires that of any first block without the new
table size; this is relaxed, as there are encoders that never use a table and do not send its size, Dart's for
one. Their blocks mean the same with any table.

Bounds: HEADER_BLOCK_BYTES_HARD in CONTINUATIONS_MAX frames before decoding, HEADER_LIST_BYTES_HARD after it;
the decoder stops there, and the connection ends, as the table is of no more use.
"""

from __future__ import annotations

from hpack import Decoder, OversizedHeaderListError

from mesh.http2 import bounds, field_blocks, frames
from mesh.http2.errors import Cause, ConnectionBroken
from mesh.http2.headers import Field, Fields

Block = tuple[int, bool, Fields]
"""Of which stream, whether it ends there (END_STREAM), and what it says."""


class HeaderBlocks:
    """All methods raise ConnectionBroken."""

    def __init__(self) -> None:
        self.expects: int | None = None
        """The stream whose block is not complete: nothing but its CONTINUATION may follow."""
        self._decoder = Decoder(max_header_list_size=bounds.HEADER_LIST_BYTES_HARD)
        self._parts = bytearray()
        self._continuations = 0
        self._is_last = False

    def acked(self) -> None:
        """The peer has acknowledged our SETTINGS; idempotent."""
        self._decoder.header_table_size = self._decoder.max_allowed_table_size = 0

    def begin(self, flags: int, stream: int, payload: bytes) -> Block | None:
        """A HEADERS frame; None if its block goes on."""
        if stream & 1 == 0:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, f"a client's streams are odd, and {stream} is not")
        at, end = 0, len(payload)
        if flags & frames.PADDED:
            if not payload:
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "HEADERS without the padding's length")
            at, end = 1, end - payload[0]
        if flags & frames.WITH_PRIORITY:
            at += 5
            if at > len(payload):
                raise ConnectionBroken(frames.FRAME_SIZE_ERROR, "HEADERS too short for their priority")
        if at > end:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "HEADERS with more padding than they are long")
        self._is_last = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            return self._decoded(stream, payload[at:end])
        self.expects = stream
        self._parts = bytearray(payload[at:end])
        self._continuations = 0
        return None

    def more(self, flags: int, payload: bytes) -> Block | None:
        """A CONTINUATION frame of the stream that is expected."""
        stream = self.expects
        if stream is None:
            raise ConnectionBroken(frames.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._parts += payload
        self._continuations += 1
        size = len(self._parts)
        if size > bounds.HEADER_BLOCK_BYTES_HARD or self._continuations > bounds.CONTINUATIONS_MAX:
            raise ConnectionBroken(
                frames.ENHANCE_YOUR_CALM,
                f"a header block of {size} bytes in {self._continuations} CONTINUATION frames; at most "
                f"{bounds.HEADER_BLOCK_BYTES_HARD} bytes in {bounds.CONTINUATIONS_MAX}",
                Cause.CONTINUATION_FLOOD,
            )
        if not flags & frames.END_HEADERS:
            return None
        self.expects = None
        block, self._parts = bytes(self._parts), bytearray()
        return self._decoded(stream, block)

    def _decoded(self, stream: int, block: bytes) -> Block:
        decoder = self._decoder
        try:
            if decoder.header_table_size == 0 and field_blocks.is_alone(block):
                fields = field_blocks.decode(block)
            else:
                fields = Fields(Field(*each) for each in decoder.decode(block, raw=True))
        except OversizedHeaderListError as error:
            raise ConnectionBroken(frames.ENHANCE_YOUR_CALM, str(error), Cause.HEADER_SIZE) from None
        except Exception as error:
            # Whatever it raises for bytes that are no header block.
            raise ConnectionBroken(
                frames.COMPRESSION_ERROR, f"bytes that are no header block: {error}"
            ) from None
        return stream, self._is_last, fields
