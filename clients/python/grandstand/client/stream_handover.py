"""The streams of one viewer, one after the other, and two at once while one takes over. Pure.

    a stream is opened              it is shown, unless another one is
    Drain comes on it               its successor is opened when the time that was given has passed
    TokenExpiring comes on it       another token is asked for, again and again until there is one: then its
                                    successor is opened
    the successor's Snapshot comes  it is shown, and the old one is ended: make before break
    the shown one ends              its successor is shown; without one the next is opened: when the Drain
                                    said, or after a backoff, or when a RetryInfo said
    the successor ends              the next is opened after a backoff; the old one is shown meanwhile. If
                                    its token was refused, another one is asked for first

So a gateway that goes away in good order costs its viewers nothing: while it still speaks, the next one
does already. What the two say is put in order by the cursors (see `state_cache`).

An announcement has no cursor: one that both streams brought is told once, by its bytes.

Streams are numbered in the order of their opening. `now_s`: seconds of a clock that never goes back.

Bounds: two streams; ANNOUNCEMENTS_MAX announcements are remembered, the oldest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from grandstand.client.attempts import OK, UNAUTHENTICATED, Again, Attempts, Over
from grandstand.client.backoff import Backoff
from grandstand.client.retry import with_jitter_s
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse

ANNOUNCEMENTS_MAX = 64
# A Drain that asks for a later time than this is followed at this one.
RECONNECT_AFTER_MAX_S = 600.0
# A provider that still gives the token which expires is asked again after RENEW_AGAIN_S, then after twice as
# long each time, up to RENEW_AGAIN_MAX_S.
RENEW_AGAIN_S = 1.0
RENEW_AGAIN_MAX_S = 30.0

INTERNAL = 13


@dataclass(frozen=True, slots=True)
class MessageEffect:
    """What to do with a message."""

    shows: bool
    """It is for the state cache, and for whoever watches."""
    takes_over: bool = False
    """It is the first of its stream that is shown: the state cache begins again with it."""
    ends: int | None = None
    """This stream is to be ended now: its successor stands."""


class StreamHandover:
    """`draw` gives uniform numbers from 0 to 1."""

    def __init__(self, backoff: Backoff, draw: Callable[[], float]) -> None:
        self.drained = 0
        """Drains heard on a stream that was shown."""
        self._attempts = Attempts(backoff, draw)
        self._draw = draw
        self._count = 0
        self._shown: int | None = None
        self._successor: int | None = None
        self._open_at_s: float | None = float("-inf")
        # When to ask for another token; None: not as things stand.
        self._renew_at_s: float | None = None
        self._renew_again_s = RENEW_AGAIN_S
        # Of the one or two streams there are, those that brought something.
        self._useful: set[int] = set()
        # The stream that the state cache began again with.
        self._begun: int | None = None
        self._announced: OrderedDict[bytes, int] = OrderedDict()

    def open_in_s(self, now_s: float) -> float | None:
        """After how many seconds the next stream is to be opened; None: not as things stand."""
        return None if self._open_at_s is None else max(0.0, self._open_at_s - now_s)

    def renew_in_s(self, now_s: float) -> float | None:
        """After how many seconds to ask for another token, and then to call `renewed` or `renew_later`; None:
        not as things stand."""
        return None if self._renew_at_s is None else max(0.0, self._renew_at_s - now_s)

    def renewed(self, now_s: float) -> None:
        """There is another token: the next stream shows it."""
        self._renew_at_s = None
        if self._successor is None and self._open_at_s is None:
            self._open_at_s = now_s

    def renew_later(self, now_s: float) -> None:
        """There is none yet."""
        self._renew_at_s = now_s + self._renew_again_s
        self._renew_again_s = min(2 * self._renew_again_s, RENEW_AGAIN_MAX_S)

    def opened(self) -> int:
        """The next stream is opened; its number."""
        self._open_at_s = None
        self._count += 1
        if self._shown is None:
            self._shown = self._count
        else:
            self._successor = self._count
        return self._count

    def heard(self, stream: int, message: SubscribeResponse, now_s: float) -> MessageEffect:
        """A message came on a stream that has not ended."""
        kind = message.WhichOneof("message")
        if stream not in self._useful:
            self._useful.add(stream)
            self._attempts.welcomed()
        ends = None
        if stream == self._successor and kind != "game_ended":
            if kind != "snapshot":
                return MessageEffect(shows=False)  # Nothing can be shown without it.
            ends, self._shown, self._successor = self._shown, stream, None
            self._useful = {stream}
            self._renew_at_s = None  # It has a token of its own, and says when that expires.
        if kind == "drain":
            self.drained += 1
            if self._successor is None and self._open_at_s is None:
                delay = message.drain.reconnect_after
                after_s = min(max(0.0, delay.seconds + delay.nanos / 1e9), RECONNECT_AFTER_MAX_S)
                self._open_at_s = now_s + after_s
        elif kind == "token_expiring" and self._successor is None and self._renew_at_s is None:
            self._renew_at_s, self._renew_again_s = now_s, RENEW_AGAIN_S
        shows = kind != "announcement" or self._is_news(stream, message.announcement.SerializeToString())
        takes_over, self._begun = stream != self._begun, stream
        return MessageEffect(shows=shows, takes_over=takes_over, ends=ends)

    def ended(
        self, stream: int, code: int, message: str, now_s: float, *, retry_after_s: float | None = None
    ) -> Over | None:
        """A stream has ended with a google.rpc.Code, and not because it was to. `retry_after_s`: the least
        wait that its status asks for. Over: no other stream can help."""
        useful = stream in self._useful
        self._useful.discard(stream)
        if stream == self._successor:
            self._successor = None
            if code == UNAUTHENTICATED:
                self.renew_later(now_s)
                return None
        else:
            self._shown, self._successor = self._successor, None
            self._renew_at_s = None
            if self._shown is not None:
                return None  # Its successor is there already.
            if self._open_at_s is not None:
                # It said that it would.
                self._attempts.ended(OK, message, useful=useful, finished_after_s=0.0)
                return None
        then = self._attempts.ended(code, message, useful=useful)
        if isinstance(then, Over):
            return then
        self._open_at_s = now_s + self._delay_s(then, retry_after_s)
        return None

    def mismatched(self, stream: int, why: str, now_s: float) -> Over | None:
        """A delta did not fit: the stream is given up."""
        self._useful.discard(stream)
        return self.ended(stream, INTERNAL, why, now_s)

    def _delay_s(self, then: Again, retry_after_s: float | None) -> float:
        if retry_after_s is None:
            return then.delay_s
        return max(then.delay_s, with_jitter_s(retry_after_s, self._draw()))

    def _is_news(self, stream: int, announcement: bytes) -> bool:
        """Whether no other stream has brought it."""
        told_by = self._announced.setdefault(announcement, stream)
        if len(self._announced) > ANNOUNCEMENTS_MAX:
            self._announced.popitem(last=False)
        return told_by == stream
