"""How far an inbox was listed: what ListInbox gives, and takes again as `after` and `up_to`. Pure.

    <sequence>[.<more>]...    all notices up to the sequence of NOTICES, in 16 hex digits; and those so far
                              beyond it, in hex

A notice may become visible after a later one: it fell into quiet hours, or two are stored at once. So what
lies beyond the last sequence of which this is out of the question is named one by one, BEYOND_MAX at most;
of more than that the newest are, and the others may be listed twice. A notification_id is a cursor, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from grandstand.wire.errors import Invalid, shown
from mesh.notices.inbox import notification_id

BEYOND_MAX = 64
_CURSOR = re.compile(rf"[0-9a-f]{{16}}(?:\.[0-9a-f]{{1,16}}){{0,{BEYOND_MAX}}}\Z")


class Cursor(NamedTuple):
    up_to: int
    beyond: frozenset[int] = frozenset()

    def __contains__(self, sequence: object) -> bool:
        """Whether it was listed."""
        return isinstance(sequence, int) and (sequence <= self.up_to or sequence in self.beyond)

    @property
    def newest(self) -> int:
        return max(self.up_to, *self.beyond) if self.beyond else self.up_to

    def encoded(self) -> str:
        return ".".join(
            [notification_id(self.up_to), *(f"{each - self.up_to:x}" for each in sorted(self.beyond))]
        )


def cursor_of(up_to: int, listed: Iterable[int]) -> Cursor:
    """All up to `up_to` were listed, and these."""
    beyond = sorted(each for each in listed if each > up_to)
    return Cursor(up_to, frozenset(beyond[-BEYOND_MAX:]))


def parsed(field: str, text: str) -> Cursor:
    """Raises Invalid."""
    if not _CURSOR.match(text):
        raise Invalid(f"{field}: {shown(text)} is no cursor; give one of ListInbox, or a notification_id")
    first, *more = (int(part, 16) for part in text.split("."))
    return Cursor(first, frozenset(first + each for each in more))
