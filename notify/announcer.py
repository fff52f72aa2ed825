"""Which announcement a change of the catalog is worth. Pure: what was known comes in.

Only a change that was seen to happen is announced: what the watch loads at start or finds
again after a reconnect is no news.
"""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, Board, Game, Poll, Stage
from grandstand.notify.v1.notify_pb2 import Announcement


class Announcer:
    """Remembers the stage of each poll and board; bounded by the catalog."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}

    def learn(self, key: str, definition: Game | Poll | Board) -> None:
        """Takes a definition as known."""
        if not isinstance(definition, Game):
            self._stages[key] = definition.stage

    def changed(self, key: str, definition: Game | Poll | Board | None, now_ns: int) -> Announcement | None:
        """The announcement for a change to `definition`, or None. Of None, it is deleted and forgotten."""
        if definition is None:
            self._stages.pop(key, None)
        if not isinstance(definition, Poll | Board):
            return None
        before = self._stages.get(key, 0)
        self._stages[key] = definition.stage
        if definition.stage <= before:
            return None
        announcement = Announcement(game_id=definition.game_id)
        announcement.announced_at.FromNanoseconds(now_ns)
        match definition.stage, definition:
            case (stage, Poll()) if stage == STAGE_OPEN:
                announcement.poll_opened.CopyFrom(definition)
            case (stage, Poll()) if stage == STAGE_CLOSED:
                announcement.poll_closed.CopyFrom(definition)
            case (stage, Board()) if stage == STAGE_OPEN:
                announcement.board_opened.CopyFrom(definition)
            case (stage, Board()) if stage == STAGE_CLOSED:
                announcement.board_closed.CopyFrom(definition)
            case _:
                return None
        return announcement
