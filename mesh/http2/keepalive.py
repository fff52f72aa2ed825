"""Whether the peer is still there, and how a connection is left in peace. Pure.

A connection that said nothing for KEEPALIVE_S is pinged, and over when nothing came for
KEEPALIVE_PATIENCE_S after that; one that had no call for IDLE_CONNECTION_S is asked to go. Leaving: a first
GOAWAY names no stream, so that calls on their way are still taken; once a PING came back, or
GOAWAY_PATIENCE_S passed, the second names the last stream there was.

Rejected: one GOAWAY. What crosses it on the wire would fail, and not every client tries again.
"""

from __future__ import annotations

from enum import Enum, auto

from mesh.http2 import bounds, frames

_KEEPALIVE = b"are you?"
_DRAIN = b"draining"


class Todo(Enum):
    NOTHING = auto()
    PING = auto()
    GIVE_UP = auto()
    """Nobody is there."""
    LEAVE = auto()
    """It is of no use: `leave`."""
    CLOSE_DOOR = auto()
    """Send the second GOAWAY."""


class Vigil:
    __slots__ = (
        "_heard_at",
        "_is_leaving",
        "_leaving_since",
        "_must_close_door",
        "_opened_at",
        "_pinged_at",
        "_used_at",
        "is_settled",
    )

    def __init__(self, now: float) -> None:
        self.is_settled = False
        """The client's preface and SETTINGS came."""
        self._opened_at = self._heard_at = self._used_at = now
        self._pinged_at: float | None = None
        self._is_leaving = self._must_close_door = False
        self._leaving_since: float | None = None

    def heard(self, now: float) -> None:
        self._heard_at = now
        self._pinged_at = None

    def used(self, now: float) -> None:
        """There is a call, or was one since the last look."""
        self._used_at = now

    def look(self, now: float) -> Todo:
        """Every LOOK_S."""
        if not self.is_settled:
            return Todo.GIVE_UP if now - self._opened_at > bounds.PREFACE_PATIENCE_S else Todo.NOTHING
        if self._pinged_at is not None and now - self._pinged_at >= bounds.KEEPALIVE_PATIENCE_S:
            return Todo.GIVE_UP
        if self._must_close_door:
            if self._leaving_since is None:
                self._leaving_since = now
            elif now - self._leaving_since >= bounds.GOAWAY_PATIENCE_S:
                return Todo.CLOSE_DOOR
        elif not self._is_leaving and now - self._used_at >= bounds.IDLE_CONNECTION_S:
            return Todo.LEAVE
        if self._pinged_at is None and now - self._heard_at >= bounds.KEEPALIVE_S:
            self._pinged_at = now
            return Todo.PING
        return Todo.NOTHING

    def leave(self) -> bytes:
        """The first GOAWAY, once."""
        if self._is_leaving:
            return b""
        self._is_leaving = self._must_close_door = True
        return goodbye(bounds.LAST_STREAM_ID) + frames.frame(frames.PING, 0, 0, _DRAIN)

    def is_answered(self, ping: bytes) -> bool:
        """Whether the PING that came back is the one of `leave`."""
        return self._must_close_door and ping == _DRAIN

    def close_door(self, last_id: int) -> bytes:
        """The second GOAWAY."""
        self._must_close_door = False
        return goodbye(last_id)


def goodbye(last_id: int) -> bytes:
    return frames.goaway(last_id, frames.NO_ERROR, "this server is going away")


def keepalive() -> bytes:
    return frames.frame(frames.PING, 0, 0, _KEEPALIVE)
