"""The fold of a poll: one vote an actor, final or changeable.

A vote of a final poll counts if it is its actor's first. In a changeable poll a later vote
replaces the earlier one: later in the stream, save that votes of one origin go by their
numbers, because a resend may be stored after what followed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from grandstand.catalog.v1.catalog_pb2 import Poll
from grandstand.internal.v1.internal_pb2 import TallyPartial


class Cast(NamedTuple):
    """An actor's vote that counts."""

    option: int
    origin_id: str
    origin_seq: int


class Tally:
    """State: a count for each option and, for each actor, the vote that counts."""

    def __init__(self, poll: Poll, cast: Iterable[tuple[str, Cast]] = ()) -> None:
        self.option_ids = [option.option_id for option in poll.options]
        self._index = {option_id: at for at, option_id in enumerate(self.option_ids)}
        self._changeable = poll.changeable
        self._cast: dict[str, Cast] = dict(cast)
        self.votes = [0] * len(self.option_ids)
        for vote in self._cast.values():
            self.votes[vote.option] += 1

    def vote(self, actor_id: str, option_id: str, origin_id: str, origin_seq: int) -> Cast | None:
        """Counts a vote; returns what is now the actor's, or None if nothing changed."""
        option = self._index.get(option_id)
        if option is None:
            return None
        before = self._cast.get(actor_id)
        if before is not None:
            if not self._changeable:
                return None
            if before.origin_id == origin_id and before.origin_seq > origin_seq:
                return None
            self.votes[before.option] -= 1
        cast = self._cast[actor_id] = Cast(option, origin_id, origin_seq)
        self.votes[option] += 1
        return cast

    def partial(self) -> TallyPartial:
        return TallyPartial(option_ids=self.option_ids, votes=self.votes, voters=len(self._cast))
