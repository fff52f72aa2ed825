"""How long nothing moved although it should have. Pure; `now_s` is any monotonic clock."""

from __future__ import annotations


class Stalls:
    """The longest time for which something was owed and nothing came.

    For acks: owed while events are outstanding, paid by every ack. For screens: owed from the
    first ack since the last change on, paid by every change.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._since_s: float | None = None

    def owed(self, now_s: float) -> None:
        """Something is owed from now on, unless it was before."""
        if self._since_s is None:
            self._since_s = now_s

    def paid(self, now_s: float, still_owed: bool) -> None:
        """Something came; the waiting starts again if more is owed."""
        self.look(now_s)
        self._since_s = now_s if still_owed else None

    def owed_since_s(self, now_s: float) -> float:
        """`now_s` when nothing is owed."""
        return now_s if self._since_s is None else self._since_s

    def look(self, now_s: float) -> float:
        """How long it has been now; noted as the longest if it is."""
        waited_s = now_s - self._since_s if self._since_s is not None else 0.0
        self.longest_s = max(self.longest_s, waited_s)
        return waited_s
