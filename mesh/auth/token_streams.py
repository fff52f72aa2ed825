"""The open streams of one service that were opened with a token: what is due on each. Pure.

The end of a token ends what it opened, and so does its revocation. Before its end the client is warned, so
that it has its next stream, with another token, before this one ends. When is drawn for each stream: in the
last tenth of the token's life, or for a short one in its last 10 s, so that a crowd whose tokens were issued
at one moment does not come back at one moment. Many that are ended at once all the same are told to come back
one after the other (RetryInfo).

Costs: nothing for a message. A heap says what is due next; a look that finds nothing compares two numbers.
Revocations that came since the last look are compared with all streams in one scan, however many they are:
3 ms of 15,000 streams. So there is no index by actor, which would cost every stream memory.

Bound: the streams that the service admits, some 300 B each; the heap holds at most twice as many entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from grandstand.wire.errors import GrandstandError, Unauthenticated
from mesh import limits
from mesh.auth.identity import Identity
from mesh.auth.revocations import Revocation, Revocations

WARNED_LEAST_S = 5.0
"""Before the end, of a token that lives long enough."""
WARN_AGAIN_S = 1.0
"""A client that had no room for its warning is warned again after so long."""
RETRIES_PER_S = 500.0
"""How fast those come back that were ended in one look."""
_SPREAD_MIN_S = 0.1
_HEAP_MIN = 64


class TokenStream(Protocol):
    def warn_of_expiry(self, expires_at_s: float) -> bool:
        """Says TokenExpiring; False if that cannot be sent now. `expires_at_s`: Unix seconds."""
        ...

    def end(self, error: GrandstandError) -> None:
        """Idempotent."""
        ...


Stream = TypeVar("Stream", bound=TokenStream)


class _Held(Generic[Stream]):
    __slots__ = ("due_s", "identity", "stream")

    def __init__(self, stream: Stream, identity: Identity) -> None:
        self.stream = stream
        self.identity = identity
        self.due_s = 0.0
        """When there is something to do next, Unix seconds; NaN once it has left or was told to end."""


class TokenStreams(Generic[Stream]):
    """`draw` gives uniform numbers from 0 to 1. Times in Unix seconds."""

    def __init__(self, revocations: Revocations, draw: Callable[[], float]) -> None:
        self._revocations = revocations
        self._changes = revocations.changes
        self._draw = draw
        self._held: dict[Stream, _Held[Stream]] = {}
        self._heap: list[tuple[float, int, _Held[Stream]]] = []
        """By when they are due; an entry whose time is not its stream's any more means nothing."""
        self._number = 0

    def __len__(self) -> int:
        return len(self._held)

    def enter(self, stream: Stream, identity: Identity, now_s: float) -> None:
        """A stream was opened with a token that is good now."""
        life_s = identity.expires_at_s - (identity.issued_at_s or now_s)
        held = self._held[stream] = _Held(stream, identity)
        self._due(held, identity.expires_at_s - _warned_before_s(life_s, self._draw()))
        if len(self._heap) > 2 * len(self._held) + _HEAP_MIN:
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].due_s]
            heapify(self._heap)

    def leave(self, stream: Stream) -> None:
        """Idempotent; also for one that never entered."""
        held = self._held.pop(stream, None)
        if held is not None:
            held.due_s = math.nan

    def look(self, now_s: float) -> list[tuple[Stream, GrandstandError]]:
        """Warns whom it is time to warn; returns those to end now, and with what."""
        ending: list[tuple[Stream, GrandstandError]] = []
        if self._changes != self._revocations.changes:
            self._changes = self._revocations.changes
            for held in self._held.values():
                revocation = self._revocations.covering(held.identity, now_s)
                if revocation is not None and not math.isnan(held.due_s):
                    held.due_s = math.nan
                    ending.append((held.stream, revoked(revocation)))
        while self._heap and self._heap[0][0] <= now_s:
            due_s, _, held = heappop(self._heap)
            if due_s != held.due_s:
                continue
            expires_at_s = held.identity.expires_at_s
            if now_s >= expires_at_s:
                held.due_s = math.nan
                ending.append((held.stream, expired()))
            elif held.stream.warn_of_expiry(expires_at_s):
                self._due(held, expires_at_s)
            else:
                self._due(held, min(now_s + WARN_AGAIN_S, expires_at_s))
        over_s = len(ending) / RETRIES_PER_S
        if over_s > _SPREAD_MIN_S:
            for _, error in ending:
                error.retry_after_s = over_s * self._draw()
        return ending

    def _due(self, held: _Held[Stream], due_s: float) -> None:
        held.due_s = due_s
        self._number += 1
        heappush(self._heap, (due_s, self._number, held))


def expired() -> Unauthenticated:
    """Why a stream ends at the end of its token."""
    return Unauthenticated("the token has expired; resume on a new stream with a new one")


def revoked(revocation: Revocation) -> Unauthenticated:
    """Why a token is not taken any more."""
    return Unauthenticated(f"token: was revoked ({revocation.said()}); get a new one")


def _warned_before_s(life_s: float, draw: float) -> float:
    """How long before its end a stream is warned, of a token that lives so long."""
    least_s = min(WARNED_LEAST_S, life_s / 4)
    return least_s + draw * (max(life_s / 10, 2 * least_s) - least_s)


assert WARN_AGAIN_S < WARNED_LEAST_S
assert 2 * WARNED_LEAST_S < limits.MESH_TOKEN_RENEW_S, "a stream that is resumed for its token gets a new one"
assert limits.MESH_TOKEN_LIFE_S / 10 < limits.MESH_TOKEN_RENEW_S
assert limits.PRODUCER_TOKEN_LIFE_S / 10 < limits.PRODUCER_TOKEN_RENEW_S
