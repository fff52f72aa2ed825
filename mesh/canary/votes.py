"""What became of each vote of the canary: acked, refused or unanswered; and seen, after how long. Pure.

A vote is seen in the first frame that includes its Position and shows an option that it, or one of the votes
after it, named. The Position alone would believe a frame that counts what it does not show; the option alone
would believe one that was shown before. A frame may come before the ack that says which Position it is.

Votes are numbered; number n names option n modulo the number of options. A stall is what the votes after the
newest success wait for: one that is lost among others that arrive misses an objective, and stalls nothing.

Bounds: UNSETTLED_MAX votes (their sender sends no more), FRAMES_KEPT frames, RECENT_S of freshness.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from mesh.canary.objectives import FRESH_S, SETTLED_S

UNSETTLED_MAX = 32
FRAMES_KEPT = 64
OPTIONS = 64
"""As many as a poll may have: a vote is not taken for the one this many before it."""
RECENT_S = 300.0
_RECENT_MAX = 1_024

Cursor = Mapping[int, int]
"""The newest sequence of each partition."""


class VoteOutcome(StrEnum):
    ACKED = "acked"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class JudgedVote:
    """`outcome` of a vote; or of an acked one, `seen_after_s`, with None if no frame showed it in time."""

    outcome: VoteOutcome | None
    seen_after_s: float | None = None


@dataclass(slots=True)
class _Vote:
    number: int
    sent_s: float
    at: Cursor | None = None
    """Where it is stored, once it is acked."""
    is_judged: bool = False
    """It was found unanswered; it may still be acked."""


@dataclass(frozen=True, slots=True)
class _Frame:
    at_s: float
    cursor: Cursor
    options: Set[int]


class VoteBook:
    """`options`: of the poll; 0: others vote as the same actor, and what a frame shows may be theirs.
    `now_s`: a clock that never jumps."""

    def __init__(self, options: int = OPTIONS) -> None:
        self._options = options
        self.last_ack_s = 0.0
        self.last_seen_s = 0.0
        self._votes: dict[int, _Vote] = {}
        """Those not yet acked, and those acked and not yet seen."""
        self._frames: deque[_Frame] = deque(maxlen=FRAMES_KEPT)
        self._newest = 0
        self._unacked_since_s: float | None = None
        self._unseen_since_s: float | None = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_MAX)

    @property
    def unacked_since_s(self) -> float | None:
        """When the first vote was sent that came after the newest acked one; None: all are acked."""
        return self._unacked_since_s

    @property
    def unseen_since_s(self) -> float | None:
        """The same for votes that were shown."""
        return self._unseen_since_s

    @property
    def waits(self) -> bool:
        """Whether anything is still to be judged."""
        return any(not vote.is_judged for vote in self._votes.values())

    def recent(self, now_s: float) -> list[float]:
        """Freshness of the votes seen in the last RECENT_S, ascending."""
        return sorted(seen_after_s for at_s, seen_after_s in self._recent if at_s > now_s - RECENT_S)

    def due(self, now_s: float) -> int:
        """The number of a vote that is sent now."""
        self._newest += 1
        self._votes[self._newest] = _Vote(self._newest, now_s)
        self._waits(now_s)
        return self._newest

    def skip(self, now_s: float) -> Iterator[JudgedVote]:
        """A vote was due, and could not even be handed in."""
        self._waits(now_s)
        yield JudgedVote(VoteOutcome.UNANSWERED)

    def _waits(self, now_s: float) -> None:
        self._unacked_since_s = now_s if self._unacked_since_s is None else self._unacked_since_s
        self._unseen_since_s = now_s if self._unseen_since_s is None else self._unseen_since_s

    def acked(self, number: int, at: Cursor, now_s: float) -> Iterator[JudgedVote]:
        vote = self._votes.get(number)
        if vote is None:
            return
        vote.at = at
        self.last_ack_s = now_s
        later = (each.sent_s for each in self._votes.values() if each.number > number and each.at is None)
        self._unacked_since_s = next(later, None)
        if not vote.is_judged:
            yield JudgedVote(VoteOutcome.ACKED)
        for frame in self._frames:
            if frame.at_s >= vote.sent_s and (judged := self._seen_in(frame, vote)):
                yield judged
                break

    def refused(self, number: int) -> Iterator[JudgedVote]:
        """It is not stored, or nobody will tell."""
        vote = self._votes.pop(number, None)
        if vote is not None and not vote.is_judged:
            yield JudgedVote(VoteOutcome.REFUSED)

    def shown(self, cursor: Cursor, options: Set[int], now_s: float) -> Iterator[JudgedVote]:
        """A frame came; `options`: those that have votes in it."""
        frame = _Frame(now_s, cursor, options)
        self._frames.append(frame)
        for vote in [vote for vote in self._votes.values() if vote.at is not None]:
            if judged := self._seen_in(frame, vote):
                yield judged

    def _seen_in(self, frame: _Frame, vote: _Vote) -> JudgedVote | None:
        if vote.at is None or not _includes(frame.cursor, vote.at.items()):
            return None
        named = (number % self._options for number in range(vote.number, self._newest + 1) if self._options)
        if self._options and not any(option in frame.options for option in named):
            return None
        del self._votes[vote.number]
        self.last_seen_s = max(self.last_seen_s, frame.at_s)
        later = (each.sent_s for each in self._votes.values() if each.number > vote.number)
        self._unseen_since_s = next(later, None)
        if vote.is_judged:
            return None
        self._recent.append((frame.at_s, frame.at_s - vote.sent_s))
        return JudgedVote(None, frame.at_s - vote.sent_s)

    def expire(self, now_s: float) -> Iterator[JudgedVote]:
        """What is unanswered or unseen for too long."""
        for vote in [vote for vote in self._votes.values() if vote.sent_s <= now_s - SETTLED_S]:
            if vote.at is not None:
                del self._votes[vote.number]
                if not vote.is_judged:
                    yield JudgedVote(None)
            elif not vote.is_judged:
                vote.is_judged = True
                yield JudgedVote(VoteOutcome.UNANSWERED)

    def forget(self) -> None:
        """Nothing that was sent until now is judged."""
        self._votes.clear()
        self._frames.clear()
        self._unacked_since_s = self._unseen_since_s = None


def is_fresh(judged: JudgedVote) -> bool:
    return judged.seen_after_s is not None and judged.seen_after_s <= FRESH_S


def _includes(cursor: Cursor, at: Iterable[tuple[int, int]]) -> bool:
    return all(cursor.get(partition, 0) >= sequence for partition, sequence in at)
