"""What an actor has read: all up to a sequence, and some beyond it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from grandstand.internal.v1.internal_pb2 import Reader


def is_read(reader: Reader, sequence: int) -> bool:
    raise NotImplementedError


def acknowledged(reader: Reader, sequences: Iterable[int], up_to: int = 0) -> Reader | None:
    """The marks with these and all up to `up_to` read; None if they are already, so that nothing is written.

    Bound: READ_MARKS_MAX beyond `read_up_to`; past it the oldest gap is taken as read.
    """
    raise NotImplementedError
