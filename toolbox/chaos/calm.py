"""What a gray run is judged by: time in which nothing is wrong any more, and what health says. Pure.

`CalmClock` knows for how long no strike's cause has lasted: whatever should heal by itself is timed by
that, from the end of the last cause on, or from when it was owed. While strikes follow each other closely,
it says little; so a gray schedule has times of calm that are longer than what is allowed, and each run ends
with one.

`HealthJudge` finds health that said yes while sends failed: for `SAID_YES_S` in a row nothing was acked
although something was outstanding, and every answer of those seconds was yes. Whatever is wrong just then,
health must tell.

`now_s` is any monotonic clock.
"""

from __future__ import annotations

from collections import Counter, deque

from toolbox.chaos.entries import Entry, EventStatus

WRONG_AFTER_S = 15.0
"""After so much calm every result shows what was acked, and nothing is unanswered or stands still."""
SAID_YES_S = 10.0


class CalmClock:
    """`now_s`: when it was made."""

    def __init__(self, now_s: float) -> None:
        self._causes = 0
        self._since_s = now_s

    @property
    def is_calm(self) -> bool:
        return self._causes == 0

    def begin(self) -> None:
        """Something is wrong from now on."""
        self._causes += 1

    def end(self, now_s: float) -> None:
        """One of the causes has ended."""
        assert self._causes > 0, "none had begun"
        self._causes -= 1
        self._since_s = now_s

    def beyond_s(self, since_s: float, now_s: float) -> float:
        """How long it has been calm, of the time since `since_s`; 0 while it is not."""
        return max(0.0, now_s - max(since_s, self._since_s)) if self.is_calm else 0.0


class Unanswered:
    """How long events wait for their answer.

    Bound: an event is forgotten when it and all before it are answered; at most the run's entries.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Entry, float]] = deque()
        self._acked_s = 0.0

    def sent(self, entry: Entry, now_s: float) -> None:
        self._waiting.append((entry, now_s))

    def acked(self, now_s: float) -> None:
        """Any of them."""
        self._acked_s = now_s

    def failing_s(self, now_s: float) -> float:
        """For how long none was acked, while one was waiting all the time."""
        return now_s - max(self._acked_s, self.oldest_s(now_s))

    def oldest_s(self, now_s: float) -> float:
        """Since when the oldest has been waiting; `now_s` when none is."""
        while self._waiting and self._waiting[0][0].fate is not EventStatus.SENT:
            self._waiting.popleft()
        return self._waiting[0][1] if self._waiting else now_s


class HealthJudge:
    """Of one run."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        """`yes`, `no`, and `none`: no answer, or none that says either."""
        self.lies: list[str] = []
        """Once for each time that sends failed."""
        self.longest_no_s = 0.0
        """The longest that it said no beyond the end of a cause."""
        self._yes_since_s: float | None = None
        self._no_since_s: float | None = None
        self._told = False

    def heard(self, now_s: float, clock: CalmClock, ok: bool | None, failing_s: float) -> None:
        """An answer. `failing_s`: for how long nothing has been acked although something is outstanding."""
        self.answers["none" if ok is None else "yes" if ok else "no"] += 1
        if not ok:
            self._yes_since_s = None
        elif self._yes_since_s is None:
            self._yes_since_s = now_s
        if ok is not False:
            self._no_since_s = None
        elif self._no_since_s is None:
            self._no_since_s = now_s
        if self._no_since_s is not None:
            self.longest_no_s = max(self.longest_no_s, clock.beyond_s(self._no_since_s, now_s))
        said_yes_s = now_s - self._yes_since_s if self._yes_since_s is not None else 0.0
        if min(said_yes_s, failing_s) <= SAID_YES_S:
            self._told = self._told and failing_s > 0
        elif not self._told:
            self._told = True
            self.lies.append(
                f"health said yes for {said_yes_s:.0f} s while sends failed for {failing_s:.0f} s"
            )
