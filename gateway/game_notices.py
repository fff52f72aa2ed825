"""A notice to a game's viewers, as all of them are told of it: also those who have no inbox. Pure.

It is told once, when it comes, and at most once: inboxes hold it. Under the same notification_id, so that a
viewer who has an inbox shows it once.

Bound: the last ANNOUNCED_REMEMBERED_MAX notices are known to be told; one pushed again beyond that is told
again, and known to the viewer by its id.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway import bounds
from grandstand.internal.v1.internal_pb2 import CrowdNotice
from grandstand.notify.v1.notify_pb2 import Announcement
from mesh.notices import crowds
from mesh.notices.inbox import entry_of


class GameNotices:
    def __init__(self) -> None:
        self._told: OrderedDict[int, None] = OrderedDict()

    def announcement(
        self, crowd: str, pushed: CrowdNotice, now_s: float, generation: int = 0
    ) -> Announcement | None:
        """What is told to the game's viewers, if anything is. `now_s`: Unix seconds. `generation`: the
        game's, 0 if it is not known."""
        game_id = pushed.stored.notice.game_id
        if not crowds.is_of(pushed.stored, generation):
            return None
        if pushed.stored.cancelled or crowd != crowds.game(game_id) or pushed.sequence in self._told:
            return None
        entry = entry_of(pushed.sequence, pushed.stored)
        if entry.expires_s <= now_s or entry.due_s + bounds.ANNOUNCED_WITHIN_S < now_s:
            return None
        self._told[pushed.sequence] = None
        if len(self._told) > bounds.ANNOUNCED_REMEMBERED_MAX:
            self._told.popitem(last=False)
        announcement = Announcement(game_id=game_id, notice=entry.notification)
        announcement.announced_at.CopyFrom(pushed.stored.due_at)
        return announcement
