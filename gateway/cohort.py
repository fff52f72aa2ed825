"""Viewers whose subscriptions are identical: who of them is sent what. Pure.

Where a viewer stands is its position in the broadcast group. Tick number n puts those that it reaches at 2n.

    position        has been sent                   is sent next
    NEWCOMER        nothing                         the snapshot of the last tick, as soon as it can
    AHEAD           nothing, and must be shown      a snapshot of now, as soon as it can
                    more than the last tick has
    2n              all up to tick n                the update of tick n + 1
    2n + 1          a snapshot newer than tick n    the snapshot of tick n + 1
    less            what it had no room for since   the snapshot of the last tick, once it has room

So what a slow viewer misses is conflated into the newest state and costs the others nothing (I8), those who
join between two ticks share one snapshot, and nobody is sent anything older than before (I5).

Bounds: NOTES_KEPT announcements for those who have no room at the moment, the oldest forgotten first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gateway import bounds, frames
from gateway.frame_counts import FrameCounts
from gateway.frames import Frames
from gateway.overload import Tier
from grandstand.wire.topics import TopicPatterns
from mesh.http2.broadcast_group import BroadcastGroup
from mesh.http2.call import Call
from mesh.http2.members import Chosen
from mesh.http2.shared_message import Shared
from mesh.results_feed.view import GameView

AHEAD = -2
NEWCOMER = -1

NOTES_KEPT = bounds.ANNOUNCEMENTS_QUEUED_MAX


class CohortKey(NamedTuple):
    """What makes subscriptions identical."""

    game_id: str
    patterns: TopicPatterns
    updates_per_s: int
    tier: Tier
    deltas: bool


class Cohort:
    """`now_s` is Unix time, `at_s` monotonic; both in seconds."""

    def __init__(
        self,
        key: CohortKey,
        view: GameView,
        on_room: Callable[[], None],
        now_s: float,
        sealed_at_s: Callable[[str], float] = lambda _: 0.0,
        counts: FrameCounts | None = None,
    ) -> None:
        """`on_room`: call `flush` soon; called often. `sealed_at_s`: when a sealed topic was sealed, Unix
        seconds; 0: long ago."""
        self.key = key
        self.frames = Frames(
            *(view, key.patterns, key.updates_per_s),
            deltas=key.deltas,
            now_s=now_s,
            sealed_at_s=sealed_at_s,
        )
        self._group = BroadcastGroup(on_room)
        self._on_room = on_room
        self._counts = FrameCounts() if counts is None else counts
        self._viewers_most = 0
        """As many as there were when the last one joined: some may have left."""
        self._position = 0
        self._update: Shared | None = None
        self._notes: deque[Shared] = deque(maxlen=NOTES_KEPT)
        self._noted = 0
        self._oldest_sent_s = float("-inf")
        """Nobody was sent something last before that."""

    def __len__(self) -> int:
        return len(self._group)

    def join(self, call: Call, *, ahead: bool, at_s: float) -> None:
        """The viewer is sent a snapshot by the next `flush`; `ahead`: of what the view shows now."""
        ahead = ahead and self.frames.is_behind()
        self._group.add(call, AHEAD if ahead else NEWCOMER, self._noted, at_s)
        self._viewers_most = len(self._group)
        self._on_room()

    def has_begun(self, call: Call) -> bool:
        """Whether the viewer was sent its snapshot."""
        return self._group.position(call) >= 0

    def tick(self, at_s: float, now_s: float) -> None:
        """Sends what has changed until now."""
        self._update = Shared(self.frames.tick(at_s, now_s))
        group, here = self._group, self._position
        self._position = here = here + 2
        sent = group.advance(self._update, here - 2, here - 1, here, at_s)
        counts = self._counts
        counts.ticks += 1
        counts.updates += sent
        if sent == self._viewers_most or sent == len(group):
            self._oldest_sent_s = at_s
            return
        # What the tick shows includes what they were waiting for.
        group.move(AHEAD, NEWCOMER)
        sent += self.flush(at_s, now_s)
        counts.conflated += len(group) - sent

    def flush(self, at_s: float, now_s: float) -> int:
        """Sends what viewers are owed, as far as there is room; returns how many frames."""
        group, here, counts = self._group, self._position, self._counts
        updates = snapshots = 0
        if self._update is not None and group.has_ready(here - 2, here - 1):
            updates = group.advance(self._update, here - 2, here - 1, here, at_s)
        if group.has_ready(AHEAD, NEWCOMER):
            newest = Shared(self.frames.newest(now_s))
            snapshots = group.advance(newest, AHEAD, NEWCOMER, here + 1, at_s)
        if group.has_ready(NEWCOMER, here):
            snapshots += group.advance(Shared(self.frames.snapshot(now_s)), NEWCOMER, here, here, at_s)
        counts.updates += updates
        counts.snapshots += snapshots
        if self._notes and group.has_unannounced(self._noted):
            for number, note in enumerate(self._notes, self._noted - len(self._notes) + 1):
                group.announce(note, number, at_s)
        return updates + snapshots

    def stalled(self) -> int:
        """Viewers whose window was closed when something was due, and has not opened since."""
        return self._group.stalled()

    def send_newest(self, call: Call, now_s: float) -> None:
        """Sends what the viewer lacks of what the view shows now, behind all that waits for it: before its
        stream ends."""
        if self._group.position(call) < self._position or self.frames.is_behind():
            call.send(self.frames.newest(now_s))

    def note(self, message: bytes, at_s: float) -> None:
        """Sends a message that is not conflated; who has no room is sent the last NOTES_KEPT later."""
        self._notes.append(Shared(message))
        self._noted += 1
        self._group.drop_announcements(self._noted - len(self._notes) + 1)
        self._group.announce(self._notes[-1], self._noted, at_s)

    def render(self, updates_per_s: float, reason: str, at_s: float, now_s: float) -> bool:
        """Changes the rate, and says so; False if it is the same."""
        if updates_per_s == self.frames.updates_per_s:
            return False
        self.frames.renditioned(updates_per_s)
        self._counts.renditions += 1
        self.note(frames.rendition(updates_per_s, reason, now_s), at_s)
        return True

    def send_heartbeat(self, message: Shared, before_s: float, at_s: float) -> None:
        """Sends the heartbeat to those who were sent nothing since `before_s`."""
        if self._oldest_sent_s < before_s:
            self._group.heartbeat(message, before_s, at_s)
            self._oldest_sent_s = self._group.oldest_sent_at()

    def send(self, message: Shared, chosen: Chosen, at_s: float) -> None:
        """Once, to those whose stream ids are `chosen` and who have room."""
        self._group.send(message, chosen, at_s)

    def calls(self, chosen: Chosen) -> list[Call]:
        """Those whose stream ids are `chosen`."""
        return self._group.calls(chosen)
