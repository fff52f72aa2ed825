"""Whom the standing event of a row replaced, so that a late one of theirs does not come back.

A row (an actor's vote in a changeable poll, its score on a board of mode LAST) is set by one event
at a time. Between origins the later in the stream replaces the earlier; events of one origin go by
their numbers, because a resend may be stored after what followed it. So a row has to know, of each
origin whose event it replaced, the highest number that ever set it:

    device 1 sends 5 (a), 6 (c); device 2 sends 1 (b); stored: 6, 1, 5
    row: (device 1, 6) ─▶ (device 2, 1), past: device 1 up to 6 ─▶ 5 is older than 6: b stands

The origin that stands now is not among them: the row itself says it. Bound: SUPERSEDED_ORIGINS_MAX,
those that were replaced last. Once more were forgotten a mark says so, and then an event of an
origin that the row does not know changes nothing if it arrives behind a later number of its own
origin (in the partition's windows, or in its own block): it may be the one that was forgotten.

Packed, 16 bytes for each origin, `<QQ` tag and number, the oldest first; the mark is an entry of tag
0. An origin whose tag is 0 is forgotten at once. A row that only ever had one origin has b"".

Rejected: the highest number of every origin that ever set the row (without bound, for who
reloads a page all day), and stamps instead of numbers (clocks decide, and a block has one).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from struct import Struct

import numpy as np

from aggregate.keyindex import I64
from aggregate.window import Mask
from mesh import limits

ENTRY = Struct("<QQ")
LOGGED = np.dtype([("row", "<u4"), ("tag", "<u8"), ("seq", "<u8")])
"""An entry as VoteRows.superseded has it."""
_FORGOTTEN = ENTRY.pack(0, 0)


def replaced(
    past: bytes, had: tuple[int, int], comes: tuple[int, int], is_behind: Callable[[], bool]
) -> bytes | None:
    """What a row remembers once an event of another origin has replaced its standing one; None if the
    event must not replace it.

    `past`: what it remembers; `had` and `comes`: (tag, number) of the standing event and the new one;
    `is_behind`: whether that came behind a later number of its own origin; asked if it matters.
    """
    tag, number = comes
    kept: list[tuple[int, int]] = []
    is_known = forgot = False
    for entry in ENTRY.iter_unpack(past):
        if entry[0] == 0:
            forgot = True
        elif entry[0] == tag:
            if entry[1] > number:
                return None
            is_known = True
        else:
            kept.append(entry)
    if forgot and not is_known and is_behind():
        return None
    if had[0]:
        kept.append(had)
    if not had[0] or len(kept) > limits.SUPERSEDED_ORIGINS_MAX:
        forgot = True
    newest = kept[-limits.SUPERSEDED_ORIGINS_MAX :]
    return (_FORGOTTEN if forgot else b"") + b"".join(ENTRY.pack(*entry) for entry in newest)


def encode(rows: I64, wanted: Collection[int], pasts: Mapping[int, bytes]) -> bytes:
    """VoteRows.superseded of rows that ascend: what those `wanted` remember, perhaps of others too."""
    sought = np.sort(np.fromiter(wanted, dtype=np.int64, count=len(wanted)))
    place = np.searchsorted(rows, sought)
    entries = [
        (at, *entry)
        for at, row in zip(place.tolist(), sought.tolist(), strict=True)
        if at < len(rows) and rows[at] == row
        for entry in ENTRY.iter_unpack(pasts[row])
    ]
    return np.array(entries, dtype=LOGGED).tobytes()


def decode(encoded: bytes, kept: Mask, row: I64) -> dict[int, bytes]:
    """The inverse: what each row remembers. `kept`: which of the encoded rows are here; `row`: those."""
    entries = np.frombuffer(encoded, dtype=LOGGED)
    entries = entries[kept[entries["row"]]]
    found: dict[int, bytes] = {}
    rows = row[(np.cumsum(kept) - 1)[entries["row"]]].tolist()
    for at, tag, seq in zip(rows, entries["tag"].tolist(), entries["seq"].tolist(), strict=True):
        found[at] = found.get(at, b"") + ENTRY.pack(tag, seq)
    return found
