"""When a connection is pinged, given up, or drained. Pure.

Liveness: a connection on which nothing was received for KEEPALIVE_S is pinged, and closed if nothing is
received for KEEPALIVE_PATIENCE_S after that. One without a call for IDLE_CONNECTION_S is drained.

Draining takes two GOAWAY frames (RFC 9113, 6.8). The first has the highest stream id there is, so calls that
are on their way are still accepted. The second names the last stream that was accepted. It is sent when the
client has answered a PING, or after GOAWAY_PATIENCE_S.

Rejected: a single GOAWAY. Calls that cross it would fail, and not every client retries them.
"""

from __future__ import annotations

from enum import Enum, auto

from mesh.http2 import bounds, frames

_KEEPALIVE = b"are you?"
_DRAIN = b"draining"


class KeepaliveAction(Enum):
    NONE = auto()
    PING = auto()
    CLOSE = auto()
    """The peer does not answer."""
    DRAIN = auto()
    """Idle for too long: call `start_drain`."""
    FINAL_GOAWAY = auto()
    """Call `final_goaway`."""


class Keepalive:
    """All times are monotonic seconds."""

    __slots__ = (
        "_awaits_final_goaway",
        "_drain_since",
        "_is_draining",
        "_opened_at",
        "_pinged_at",
        "_received_at",
        "_used_at",
        "has_settings",
    )

    def __init__(self, now: float) -> None:
        self.has_settings = False
        """The client's preface and SETTINGS were received."""
        self._opened_at = self._received_at = self._used_at = now
        self._pinged_at: float | None = None
        self._is_draining = self._awaits_final_goaway = False
        self._drain_since: float | None = None

    def received(self, now: float) -> None:
        """The peer has sent something, or taken what we sent."""
        self._received_at = now
        self._pinged_at = None

    def used(self, now: float) -> None:
        """There is a call, or was one since the last check."""
        self._used_at = now

    def check(self, now: float) -> KeepaliveAction:
        """Called every LOOK_S."""
        if not self.has_settings:
            is_late = now - self._opened_at > bounds.PREFACE_PATIENCE_S
            return KeepaliveAction.CLOSE if is_late else KeepaliveAction.NONE
        if self._pinged_at is not None and now - self._pinged_at >= bounds.KEEPALIVE_PATIENCE_S:
            return KeepaliveAction.CLOSE
        if self._awaits_final_goaway:
            if self._drain_since is None:
                self._drain_since = now
            elif now - self._drain_since >= bounds.GOAWAY_PATIENCE_S:
                return KeepaliveAction.FINAL_GOAWAY
        elif not self._is_draining and now - self._used_at >= bounds.IDLE_CONNECTION_S:
            return KeepaliveAction.DRAIN
        if self._pinged_at is None and now - self._received_at >= bounds.KEEPALIVE_S:
            self._pinged_at = now
            return KeepaliveAction.PING
        return KeepaliveAction.NONE

    def start_drain(self) -> bytes:
        """Returns the first GOAWAY and a PING; b"" if that was done before."""
        if self._is_draining:
            return b""
        self._is_draining = self._awaits_final_goaway = True
        return _goaway(bounds.LAST_STREAM_ID) + frames.frame(frames.PING, 0, 0, _DRAIN)

    def is_drain_ping(self, payload: bytes) -> bool:
        """Whether the PING that the peer has answered is the one of `start_drain`."""
        return self._awaits_final_goaway and payload == _DRAIN

    def final_goaway(self, last_id: int) -> bytes:
        self._awaits_final_goaway = False
        return _goaway(last_id)


def _goaway(last_id: int) -> bytes:
    return frames.goaway(last_id, frames.NO_ERROR, "this server is going away")


def keepalive_ping() -> bytes:
    return frames.frame(frames.PING, 0, 0, _KEEPALIVE)
