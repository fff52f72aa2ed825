"""What of the streams has no use any more. Pure.

Of NOTICES what expired KEPT_AFTER_EXPIRY_S ago, so that keys are known for so long; but of a rule's firings
on a topic never the last while its game is kept, because it holds the rule's state. Of SEGMENTS that an actor
left one, SEGMENT_MARKER_S after. A purge names a subject and a sequence, so nothing newer goes along; older
firings of the same subject do.

Bound: FIRED_SEEN_MAX subjects of firings are remembered in a round; old firings of others wait for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from grandstand.internal.v1.internal_pb2 import StoredNotice
from mesh.notices import bounds
from notify.bounds import FIRED_SEEN_MAX, SEGMENT_MARKER_S
from notify.routing import expires_s, is_firing, name_of

Keeps = Callable[[str], bool]
"""Whether a game, by its id, is known still."""


class Purge(NamedTuple):
    subject: str
    below: int
    """The first sequence that stays."""


class NoticePurging:
    """Of one round through NOTICES."""

    def __init__(self, keeps: Keeps) -> None:
        self._keeps = keeps
        self._fired: set[str] = set()
        """Of which a firing that is over was seen."""

    def purges(self, messages: Iterable[tuple[int, str, StoredNotice]], now_s: float) -> Iterator[Purge]:
        """`messages`: sequence, subject and what is stored, in their order."""
        for sequence, subject, stored in messages:
            if now_s < expires_s(stored) + bounds.KEPT_AFTER_EXPIRY_S:
                continue
            if not is_firing(subject) or not self._keeps(name_of(subject)):
                yield Purge(subject, sequence + 1)
            elif subject in self._fired:
                yield Purge(subject, sequence)
            elif len(self._fired) < FIRED_SEEN_MAX:
                self._fired.add(subject)


def member_purges(messages: Iterable[tuple[int, str, bytes, float]], now_s: float) -> Iterator[Purge]:
    """`messages` of SEGMENTS: sequence, subject, content, and when it was stored."""
    for sequence, subject, content, stored_s in messages:
        if not content and now_s > stored_s + SEGMENT_MARKER_S:
            yield Purge(subject, sequence + 1)
