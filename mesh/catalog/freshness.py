"""How old a process's view of the catalog may be at most: its own probes through the bucket tell. Pure.

A probe is an entry that the process puts into the bucket and waits for in its own watch. The watch delivers
the bucket's entries in the stream's order with none left out, so a probe that comes back brings everything
stored before it. What counts is when it was **sent**: a process that was stopped finds old messages in its
socket, and their receipt says nothing of their age.

One hole is left: the bucket keeps one entry a key. One that was replaced before the watch came to it is
not delivered at its place but later, with its replacement, which may come after the probe. The next probe
closes it: when that is here, so is the replacement, unless that, too, was replaced meanwhile; and a topic's
entry that says CLOSED is replaced once, by SEALED. So the **anchor**, up to which the view is whole, is when
the last probe but one was sent:

    anchor <= any moment at which something was stored that the view does not show

A topic that is OPEN in the view was therefore not CLOSED in the bucket at the anchor, and whoever seals it
waits for SEAL_GRACE_S of its own clock after it was: what is stored before anchor + SEAL_GRACE_S is stored
before the seal (I9), whatever any wall clock says.

All times are `mesh_clock.boot_s` of this process.
"""

from __future__ import annotations

import math

from mesh import limits

SILENCE_S = 3 * limits.VIEW_PROBE_S
"""A watch that did not bring a probe for so long is dead."""

assert 2 * limits.VIEW_PROBE_S < limits.VIEW_FRESH_S, "a view is fresh with its probes a whole turn late"


class Freshness:
    """Of one view, over all its watches."""

    __slots__ = ("_brought_s", "_last", "_number", "_unanswered", "anchor_s", "fresh_until_s")

    def __init__(self) -> None:
        self.anchor_s = -math.inf
        """What was stored before this is in the view."""
        self.fresh_until_s = -math.inf
        """Until then the view may judge what comes."""
        self._number = 0
        self._unanswered: dict[int, float] = {}
        self._last = -math.inf
        self._brought_s = -math.inf

    def watch_began(self) -> None:
        """Another watch: only what is sent from now on tells anything of it."""
        self._unanswered.clear()
        self._last = self._brought_s = -math.inf

    def brought(self, now_s: float) -> None:
        """The watch brought an entry. At first it brings all that there are, before the first probe, and that
        may take longer than SILENCE_S."""
        if not self.has_answer:
            self._brought_s = now_s

    def sent(self, now_s: float) -> int:
        """The number of the probe that is sent now."""
        self._number += 1
        self._unanswered[self._number] = now_s
        return self._number

    def heard(self, number: int, *, is_whole: bool = True) -> float | None:
        """A probe came back by the watch: when it was sent; None for one that tells nothing.

        `is_whole`: the view holds nothing that was deleted before this watch began."""
        sent_s = self._unanswered.pop(number, None)
        if sent_s is None:
            return None
        # Those before it were replaced in the bucket before the watch came to them.
        self._unanswered = {n: at_s for n, at_s in self._unanswered.items() if n > number}
        if is_whole:
            self.anchor_s = max(self.anchor_s, self._last)
            self.fresh_until_s = self.anchor_s + limits.VIEW_FRESH_S
        self._last = sent_s
        self._brought_s = -math.inf
        return sent_s

    @property
    def has_answer(self) -> bool:
        """This watch has brought everything that was there when it began."""
        return self._last > -math.inf

    @property
    def is_anchored(self) -> bool:
        """The view is whole up to a moment since this process began."""
        return self.anchor_s > -math.inf

    def is_fresh(self, now_s: float) -> bool:
        """Whether the view may judge what comes now."""
        return now_s <= self.fresh_until_s

    def is_silent(self, now_s: float) -> bool:
        """Whether the watch is dead: it left a probe unanswered for SILENCE_S."""
        oldest_s = next(iter(self._unanswered.values()), math.inf)
        return now_s - max(oldest_s, self._brought_s) >= SILENCE_S
