"""Header blocks that depend on nothing that was sent before them, decoded by memory. Pure.

Our SETTINGS leave peers no dynamic table (HEADER_TABLE_SIZE 0). Once a peer knows that, every field of a
block is written out, from the static table or as a literal, and the same bytes always say the same field, on
every connection. So a block is cut where its fields begin (RFC 7541, 6), which is cheap; what a field's bytes
say is asked of hpack once and remembered, and so is what whole blocks say, from the second time they come:
most viewers open one stream and send nothing. So a viewer who sends is a look-up, and of a new one only what
is its own (its token) is decoded.

While an Envoy in front traces, each request has a `traceparent` of its own, and no block comes twice. So that
field is cut out, and what stands before and behind it is remembered: whole fields by themselves, or else the
cut was no field's. Its value is kept as it came, and read by who needs it; of the calls that are not sampled
(the last digits say so) nobody does. So a value that no field may have is not noticed there.

Bounds: FIELDS_REMEMBERED of FIELD_BYTES_REMEMBERED, and BLOCKS_REMEMBERED of BLOCK_BYTES_REMEMBERED, for the
whole process, the least recently used forgotten first; what is longer is decoded each time. Errors are not
remembered. Of blocks that came once the hash is kept, BLOCKS_NOTICED of them.

Rejected: a peer's dynamic table. Behind an Envoy it is one for thousands of clients, each with its own
x-forwarded-for and token: it turns over all the time, and each block must be decoded in its turn. It saved
some hundred bytes a call on a link that is a loopback or a rack.
"""

from __future__ import annotations

from array import array
from functools import lru_cache

from hpack import Decoder, HPACKDecodingError, OversizedHeaderListError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from mesh.http2 import bounds
from mesh.http2.call import TRACEPARENT_BYTES
from mesh.http2.headers import Field, Fields, UnreadTrace

# Of a literal's first octet: with an index for its name, which is kept in the dynamic table (6.2.1) or not
# (6.2.2 and 6.2.3); of a string's first octet, and of integers.
_INCREMENTAL, _SIZE_UPDATE, _INDEXED = 0x40, 0x20, 0x80
_MORE = 0x80


def is_alone(block: bytes) -> bool:
    """Whether a block is for `decode`, if there is no dynamic table: not one that sets its size."""
    return not (block and _SIZE_UPDATE <= block[0] < _INCREMENTAL)


def decode(block: bytes) -> Fields:
    """The fields of a block for which `is_alone` holds. Raises HPACKDecodingError and its kin."""
    if len(block) > bounds.BLOCK_BYTES_REMEMBERED:
        return _decode(block)
    mark = hash(block)
    place = mark % bounds.BLOCKS_NOTICED
    if _noticed[place] == mark:
        return _remembered(block)
    traced = _decode_around_trace(block)
    if traced is not None:
        return traced
    _noticed[place] = mark
    return _decode(block)


def _decode_around_trace(block: bytes) -> Fields | None:
    """The fields of a block that came before with another `traceparent`; None if it did not."""
    for name in _TRACE_NAMES:
        at = block.find(name)
        if at > 0 and block[at - 1] in _LITERALS:
            begin = at + len(name)
            size = block[begin] if begin < len(block) else 0
            end = begin + 1 + (size & 0x7F)
            if size not in _TRACE_SIZES or end > len(block):
                return None
            before, behind = block[: at - 1], block[end:]
            mark = hash((before, behind))
            place = mark % bounds.BLOCKS_NOTICED
            if _noticed[place] != mark:
                _noticed[place] = mark
                return None
            fields = _remembered_around(before, behind)
            return None if fields is None else fields.traced(block[begin:end])
    return None


def _decode_around(before: bytes, behind: bytes) -> Fields | None:
    try:
        first, last = _decode(before), _decode(behind)
    except (HPACKDecodingError, OversizedHeaderListError):
        return None
    return Fields((*first.all, _UNREAD_TRACE, *last.all))


def _decode(block: bytes) -> Fields:
    fields = []
    size = at = 0
    end = len(block)
    try:
        while at < end:
            begin = at
            first = block[at]
            at += 1
            if first >= _INDEXED:
                if first == 0xFF:
                    at = _after_integer(block, at)
            else:
                if first >= _INCREMENTAL:
                    index, most = first & 0x3F, 0x3F
                elif first >= _SIZE_UPDATE:
                    raise HPACKDecodingError("a table's size is updated after a field")
                else:
                    index, most = first & 0x0F, 0x0F
                if index == 0:
                    at = _after_string(block, at)
                elif index == most:
                    at = _after_integer(block, at)
                at = _after_string(block, at)
            if at > end:
                raise HPACKDecodingError("a block ends within a field")
            field = _field(block[begin:at])
            size += field.size
            if size > bounds.HEADER_LIST_BYTES_HARD:
                raise OversizedHeaderListError(f"fields of more than {bounds.HEADER_LIST_BYTES_HARD} bytes")
            fields.append(field)
    except IndexError:
        raise HPACKDecodingError("a block ends within a field") from None
    return Fields(fields)


# Marks of blocks, each in a place of its own or another's: what is forgotten is decoded once more.
_noticed = array("q", bytes(8 * bounds.BLOCKS_NOTICED))
_remembered = lru_cache(maxsize=bounds.BLOCKS_REMEMBERED)(_decode)
_remembered_around = lru_cache(maxsize=bounds.BLOCKS_REMEMBERED)(_decode_around)

_LITERALS = frozenset((0x00, 0x10, _INCREMENTAL))
"""A literal's first octet, whose name follows."""
_NAME = b"traceparent"
_HUFFMAN_NAME = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(_NAME)
_TRACE_NAMES = (bytes((len(_NAME),)) + _NAME, bytes((0x80 | len(_HUFFMAN_NAME),)) + _HUFFMAN_NAME)
_TRACE_SIZES = frozenset((TRACEPARENT_BYTES, *(0x80 | size for size in range(35, 43))))
"""The first octet of its value: what 52 hexadecimal digits and three dashes take."""
_UNREAD_TRACE = UnreadTrace()


def _after_string(block: bytes, at: int) -> int:
    """RFC 7541, 5.2. Raises IndexError."""
    length = block[at] & 0x7F
    if length < 0x7F:
        return at + 1 + length
    at += 1
    shift = 0
    while True:
        octet = block[at]
        at += 1
        length += (octet & 0x7F) << shift
        if octet < _MORE:
            return at + length
        shift += 7
        if shift > 28:
            raise HPACKDecodingError("a string's length has too many octets")


def _after_integer(block: bytes, at: int) -> int:
    """Behind what follows a full prefix (RFC 7541, 5.1); what it says is hpack's to judge. IndexError."""
    while block[at] >= _MORE:
        at += 1
    return at + 1


def _field(representation: bytes) -> Field:
    if len(representation) <= bounds.FIELD_BYTES_REMEMBERED:
        return _remembered_field(representation)
    return _decode_field(representation)


def _decode_field(representation: bytes) -> Field:
    decoder = Decoder(max_header_list_size=bounds.HEADER_LIST_BYTES_HARD)
    decoder.header_table_size = 0
    ((name, value),) = decoder.decode(representation, raw=True)
    return Field(bytes(name), bytes(value))


_remembered_field = lru_cache(maxsize=bounds.FIELDS_REMEMBERED)(_decode_field)
