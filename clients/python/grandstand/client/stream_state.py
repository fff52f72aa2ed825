"""The client's side of one Publish stream: what may be sent, what is due, and when the server is gone. Pure.

    phase      meaning                               leaves it by
    GREETING   Hello is on its way                   Welcome
    OPEN       events and heartbeats go out          finish: Drain, a fresh token, or the client closes
    FINISHING  no more events; half-close is due     half_closed
    CLOSED     the last Ack is waited for            the end of the stream

Sides: the reader hands every response to `receive`, the writer asks `due` what to do besides sending events.
All times are `now_s` of one clock, in seconds. Nothing here knows which events are under way: that is
`session`'s (one origin) and the gateway's relay's (many), which both stand on this.

Bounds: a server is taken for gone GREETING_MAX_S after the stream was opened if it did not welcome,
SILENT_INTERVALS heartbeat intervals after it was last heard, and CLOSING_MAX_S after the half-close if it
named no interval.

Rejected: a timer that is set again with every message. `gone_at_s` moves instead, and the shell's one timer
looks at it when it fires.
"""

from __future__ import annotations

import math
from enum import Enum, auto

from grandstand.ingest.v1.ingest_pb2 import PublishResponse, Welcome

# Ingest welcomes at once; a key set or a catalog that it fetches first may take a few seconds.
GREETING_MAX_S = 10.0
SILENT_INTERVALS = 3
CLOSING_MAX_S = 15.0
# Of the interval after which something must be said: a timer may fire late.
HEARTBEAT_SHARE = 0.8
# A stream that stood for so long was a good one, also if it settled nothing.
GOOD_AFTER_S = 5.0
# A provider that still gives the token which expires is asked again after RENEW_AGAIN_S, then after twice as
# long each time, up to RENEW_AGAIN_MAX_S.
RENEW_AGAIN_S = 1.0
RENEW_AGAIN_MAX_S = 30.0


class Phase(Enum):
    GREETING = auto()
    OPEN = auto()
    FINISHING = auto()
    CLOSED = auto()


class Due(Enum):
    """What the writer does next, besides sending events."""

    HEARTBEAT = auto()
    RENEW = auto()
    """Ask for a fresh token: then `renewed`, or `renew_later` if it is the same."""
    HALF_CLOSE = auto()


class StreamState:
    """One stream, opened at `now_s` with a Hello that counts as said."""

    __slots__ = (
        "_closed_at_s",
        "_opened_at_s",
        "_renew_again_s",
        "_renew_at_s",
        "credit",
        "greeting_max_s",
        "heard_at_s",
        "interval_s",
        "phase",
        "reason",
        "reconnect_after_s",
        "spoke_at_s",
        "welcomed_at_s",
    )

    def __init__(self, now_s: float, greeting_max_s: float = GREETING_MAX_S) -> None:
        self.phase = Phase.GREETING
        self.credit = 0
        self.reason = ""
        """Why the credit is what it is; "" while the server did not say."""
        self.interval_s = 0.0
        """0: the server named none, so it owes no heartbeats and gets none."""
        self.greeting_max_s = greeting_max_s
        self.heard_at_s = now_s
        self.spoke_at_s = now_s
        self.welcomed_at_s: float | None = None
        self.reconnect_after_s: float | None = None
        """How long to wait before the next stream, once this one was finished in good order."""
        self._opened_at_s = now_s
        self._closed_at_s = math.inf
        self._renew_at_s = math.inf
        self._renew_again_s = RENEW_AGAIN_S

    @property
    def may_send(self) -> bool:
        """Whether events may be sent, as far as the credit reaches."""
        return self.phase is Phase.OPEN

    @property
    def gone_at_s(self) -> float:
        """When the server counts as gone, unless it is heard before."""
        if self.phase is Phase.GREETING:
            return self._opened_at_s + self.greeting_max_s
        if self.interval_s:
            return self.heard_at_s + SILENT_INTERVALS * self.interval_s
        return self._closed_at_s + CLOSING_MAX_S

    def stood_well(self, now_s: float) -> bool:
        """Whether it was welcomed and lasted: what ended it was not the opening."""
        return self.welcomed_at_s is not None and now_s - self.welcomed_at_s >= GOOD_AFTER_S

    def silence(self, now_s: float) -> str:
        """Why the stream is given up, for a person."""
        if self.phase is Phase.GREETING:
            return f"no Welcome within {now_s - self._opened_at_s:.1f} s"
        return (
            f"nothing was heard for {now_s - self.heard_at_s:.1f} s; "
            f"a server says something every {self.interval_s:g} s"
        )

    def receive(self, response: PublishResponse, now_s: float) -> str | None:
        """Takes any response; returns its kind, so that the caller does its part.

        Raises ValueError for what the protocol does not allow.
        """
        self.heard_at_s = now_s
        kind: str | None = response.WhichOneof("message")
        if self.phase is Phase.GREETING:
            if kind != "welcome":
                raise ValueError(f"welcome expected first, got {kind}")
            self._welcome(response.welcome, now_s)
        elif kind == "welcome":
            raise ValueError("a second welcome")
        elif kind == "credit":
            self.credit = response.credit.credit
            self.reason = response.credit.reason
        elif kind == "drain":
            self.finish(response.drain.reconnect_after.ToNanoseconds() / 1e9)
        elif kind == "token_expiring" and self.phase is Phase.OPEN:
            self._renew_at_s = min(self._renew_at_s, now_s)
        return kind

    def finish(self, reconnect_after_s: float = 0.0) -> None:
        """No more events on this stream; the first wish for the next one's delay stands."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.FINISHING
            self.reconnect_after_s = reconnect_after_s
            self._renew_at_s = math.inf

    def renewed(self) -> None:
        """A fresh token is there: the next stream shows it, at once."""
        self.finish()

    def renew_later(self, now_s: float) -> None:
        """The provider still gives the same token, or none."""
        if self.phase is Phase.OPEN:
            self._renew_at_s = now_s + self._renew_again_s
            self._renew_again_s = min(2 * self._renew_again_s, RENEW_AGAIN_MAX_S)

    def spoke(self, now_s: float) -> None:
        """Something was sent."""
        self.spoke_at_s = now_s

    def half_closed(self, now_s: float) -> None:
        self.phase = Phase.CLOSED
        self._closed_at_s = now_s

    def due(self, now_s: float) -> Due | None:
        """What to do now; None: nothing before `due_at_s`. Does not change anything."""
        if self.phase is Phase.FINISHING:
            return Due.HALF_CLOSE
        if self.phase is not Phase.OPEN:
            return None
        if now_s >= self._renew_at_s:
            return Due.RENEW
        if now_s >= self._heartbeat_at_s:
            return Due.HEARTBEAT
        return None

    @property
    def due_at_s(self) -> float:
        """When to ask `due` again at the latest; infinity while only the server can change anything."""
        if self.phase is not Phase.OPEN:
            return math.inf
        return min(self._renew_at_s, self._heartbeat_at_s)

    @property
    def _heartbeat_at_s(self) -> float:
        return self.spoke_at_s + HEARTBEAT_SHARE * self.interval_s if self.interval_s else math.inf

    def _welcome(self, welcome: Welcome, now_s: float) -> None:
        self.phase = Phase.OPEN
        self.welcomed_at_s = now_s
        self.credit = welcome.credit
        self.interval_s = max(0.0, welcome.heartbeat_interval.ToNanoseconds() / 1e9)
