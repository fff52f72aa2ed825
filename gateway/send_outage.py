"""Whether sends are refused at once, and why. Pure.

A short outage is waited out: a send is held until it is stored. Once nothing was taken for HELD_MAX_S, a
sender gets the reason at once and tries again itself. So does one within SILENT_S after an event that waited
its whole patience while nothing was answered: it is most likely Envoy, which repeats that call. A repeated
call that waits as long ends with Envoy's "upstream request timeout", which names no reason.
"""

from __future__ import annotations

HELD_MAX_S = 3.0
SILENT_S = 2.0


class SendOutage:
    """`now_s` is any clock in seconds, the same in all calls."""

    def __init__(self) -> None:
        self.reason = ""
        """Why nothing is sent; "" if it is."""
        self._held_at_s = 0.0
        self._answered_at_s = float("-inf")
        self._silent = ""
        self._silent_until_s = 0.0

    def held(self, reason: str, now_s: float) -> None:
        """Nothing may be sent now."""
        if not self.reason:
            self._held_at_s = now_s
        self.reason = reason

    def flows(self) -> None:
        self.reason = ""
        self._silent = ""

    def answered(self, now_s: float) -> None:
        self._answered_at_s = now_s
        self._silent = ""

    def expired(self, waited_s: float, now_s: float) -> None:
        """An event was not answered for as long, though nothing was held."""
        if not self.reason and self._answered_at_s < now_s - waited_s:
            self._silent = f"ingest has answered nothing for {waited_s:g} s"
            self._silent_until_s = now_s + SILENT_S

    def refusal(self, now_s: float) -> str:
        """Why a send is refused at once; "" if it is not."""
        if self.reason and now_s >= self._held_at_s + HELD_MAX_S:
            return self.reason
        return self._silent if now_s < self._silent_until_s else ""
