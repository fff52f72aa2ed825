"""Viewers whose subscriptions are identical, and the frames they share.

A frame is encoded once for all viewers of the cohort that were last sent the same version:
in a calm hour that is everybody. A viewer that fell behind gets one frame with all that
changed since, never a queue (I8).

Bounds: the frames of the newest tick are kept, at most FRAMES_KEPT, and one snapshot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.view import GameView
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.gateway.v1.gateway_pb2 import Heartbeat, Snapshot, SubscribeResponse, Update
from mesh.topics import TopicPatterns

FRAMES_KEPT = 64


class CohortKey(NamedTuple):
    """What makes subscriptions identical."""

    game_id: str
    patterns: TopicPatterns
    updates_per_s: int


class Frame(NamedTuple):
    """Encoded bytes, and the view's version that a viewer has once it is sent them."""

    version: int
    encoded: bytes


class Cohort:
    """The pure core: when a tick is due, and what to send to a viewer at a version."""

    def __init__(self, key: CohortKey, view: GameView) -> None:
        self.key = key
        self._view = view
        self._interval_s = 1 / key.updates_per_s
        self._ticked_at_s = float("-inf")
        self._ticked_version = view.version
        self._frames: dict[int, Frame] = {}
        self._snapshot: Frame | None = None

    def due_at_s(self) -> float | None:
        """When the next tick is due (monotonic seconds, perhaps past); None while nothing changed."""
        if self._view.version == self._ticked_version or not self._view.changed(
            self.key.patterns, self._ticked_version
        ):
            return None
        return self._ticked_at_s + self._interval_s

    def tick(self, at_s: float) -> None:
        """What has changed until now is to be sent."""
        self._ticked_at_s = at_s
        self._ticked_version = self._view.version
        self._frames = {}

    def update(self, since: int, now_s: float) -> Frame | None:
        """The update for a viewer that has version `since`; None if this tick brought it nothing new.

        Encoded once a tick for all viewers of one version.
        """
        if since >= self._ticked_version:
            return None
        frame = self._frames.get(since)
        if frame is None:
            states = self._view.states(self.key.patterns, since, now_s)
            if not states:
                return None
            frame = Frame(self._view.version, encode(states, snapshot=False, now_s=now_s))
            if len(self._frames) < FRAMES_KEPT:
                self._frames[since] = frame
        return frame

    def snapshot(self, now_s: float) -> Frame:
        """All that the view has at this moment, barrier included; shared by those who join together."""
        if self._snapshot is None or self._snapshot.version != self._view.version:
            states = self._view.states(self.key.patterns, 0, now_s)
            self._snapshot = Frame(self._view.version, encode(states, snapshot=True, now_s=now_s))
        return self._snapshot


def encode(states: Sequence[TopicState], *, snapshot: bool, now_s: float) -> bytes:
    response = SubscribeResponse()
    response.as_of.FromNanoseconds(int(now_s * 1e9))
    if snapshot:
        response.snapshot.CopyFrom(Snapshot(topics=states))
    else:
        response.update.CopyFrom(Update(topics=states))
    return response.SerializeToString()


def heartbeat(now_s: float) -> bytes:
    response = SubscribeResponse(heartbeat=Heartbeat())
    response.as_of.FromNanoseconds(int(now_s * 1e9))
    return response.SerializeToString()
