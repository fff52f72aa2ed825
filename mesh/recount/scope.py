"""What of a partition a count looks at. Pure.

An audit follows one topic and all origins. An explanation follows one actor, and of origins only those that
the actor's events came under: so it can leave out most blocks by a search for a few bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mesh.recount.blocks import EventRow

TopicKey = tuple[str, str]
"""(game_id, topic)"""


def _all(row: EventRow) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class RecountScope:
    counts: Callable[[EventRow], bool]
    """Whether the event is counted here, and its fate told."""
    follows: Callable[[EventRow], bool] = _all
    """Whether its origin's window is kept. Must be so of what is counted."""
    keeps_fates: bool = True


def of_topic(key: TopicKey) -> RecountScope:
    """All that was ever counted in one topic."""
    return RecountScope(lambda row: (row.game_id, row.topic) == key, keeps_fates=False)
