"""What follows when a stream has ended: another one, after how long, or none ever. Pure.

Codes and what they mean are the protocol's (protos/grandstand/ingest/v1). A stream that was finished in
good order is followed after the delay that was asked for. UNAUTHENTICATED is tried once more, since the
next stream asks for a fresh token; a second one in a row is final. Everything else that is not FINAL_CODES
is retried for ever, with full jitter under a ceiling that doubles; it starts over once a stream was useful.

Rejected: giving up after this many attempts. A game outlives an outage; whoever will not wait can close.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from grandstand.client.backoff import Backoff

OK = 0
UNAUTHENTICATED = 16
# INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE,
# UNIMPLEMENTED, DATA_LOSS: the next stream would end so again.
FINAL_CODES = frozenset({3, 5, 6, 7, 9, 11, 12, 15})
DENIALS_MAX = 2


@dataclass(frozen=True, slots=True)
class Again:
    """Open the next stream after this many seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Over:
    """No stream can help any more. `code`: a google.rpc.Code."""

    code: int
    message: str


class Attempts:
    """The streams of one session, one after the other. `draw` gives uniform numbers from 0 to 1."""

    def __init__(self, backoff: Backoff, draw: Callable[[], float]) -> None:
        self.broke = ""
        """How the last stream ended, unless in good order."""
        self.broke_code = OK
        self._backoff = backoff
        self._draw = draw
        self._failures = 0
        self._denials = 0

    def welcomed(self) -> None:
        """A stream stands: its token was good."""
        self._denials = 0

    def ended(
        self, code: int, message: str, *, useful: bool, finished_after_s: float | None = None
    ) -> Again | Over:
        """`useful`: it settled something, or stood for a while. `finished_after_s`: the delay asked for by
        whoever finished the stream in good order; None: it broke."""
        if code == OK and finished_after_s is not None:
            self._failures = 0
            return Again(finished_after_s)
        self.broke = message or "the stream ended without a reason"
        self.broke_code = code
        if code in FINAL_CODES:
            return Over(code, self.broke)
        if code == UNAUTHENTICATED:
            self._denials += 1
            if self._denials >= DENIALS_MAX:
                return Over(code, f"{self.broke}; so again with a new token: give a token that is good")
        self._failures = 0 if useful else self._failures + 1
        return Again(self._backoff.ceiling_s(self._failures) * self._draw())
