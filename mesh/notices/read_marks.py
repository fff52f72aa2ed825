"""What an actor has read: all up to a sequence, and some beyond it. Pure.

Bound: `marks_max`, at most READ_MARKS_MAX, beyond `read_up_to`; past it the oldest gap is taken as read.
"""

from __future__ import annotations

from collections.abc import Iterable

from grandstand.internal.v1.internal_pb2 import Reader
from mesh.notices import bounds


def acknowledged(
    reader: Reader, sequences: Iterable[int], up_to: int = 0, marks_max: int = bounds.READ_MARKS_MAX
) -> Reader | None:
    """The reader with these and all up to `up_to` read; None if they are already, so that nothing is
    written. That they are notices there are, and not of the future, is the caller's to check."""
    read_up_to = max(reader.read_up_to, up_to)
    marks = sorted({each for each in (*reader.read, *sequences) if each > read_up_to})
    if len(marks) > marks_max:
        read_up_to = marks[-marks_max - 1]
        marks = marks[-marks_max:]
    if read_up_to == reader.read_up_to and marks == list(reader.read):
        return None
    changed = Reader(read_up_to=read_up_to, read=marks)
    changed.preferences.CopyFrom(reader.preferences)
    return changed
