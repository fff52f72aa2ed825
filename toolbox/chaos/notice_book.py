"""Which notices were due to whom, and which were seen. Pure.

A notice is known by its title, which is its own in the run. It is due in a place once its sender was told
that it is stored, and seen when it stands there: an actor's inbox, listed or shown in a stream, or what a
game's viewers were told. Under several ids it is doubled. One that was not answered may be seen once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from grandstand.notify.v1.notify_pb2 import Notification

NOTES_MAX = 20


class NoticeBook:
    """Of one run: bounded by what the run sends."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], str] = {}
        self._uncertain: set[str] = set()
        self._ids: dict[tuple[str, str], set[str]] = defaultdict(set)

    def sent(self, title: str) -> None:
        """Not answered yet."""
        self._uncertain.add(title)

    def due(self, title: str, actors: Iterable[str], what: str) -> None:
        """It is stored, or what it tells has happened; `what` is for a person."""
        self._uncertain.discard(title)
        for actor in actors:
            self._due[(actor, title)] = what

    def seen(self, actor: str, notifications: Iterable[Notification]) -> None:
        for each in notifications:
            self._ids[(actor, each.title)].add(each.notification_id)

    @property
    def due_count(self) -> int:
        """For each actor."""
        return len(self._due)

    @property
    def seen_count(self) -> int:
        """Of those that were due."""
        return sum(key in self._ids for key in self._due)

    @property
    def doubled_count(self) -> int:
        """Sightings beyond the first, of all that was seen."""
        return sum(len(ids) - 1 for ids in self._ids.values())

    @property
    def unanswered(self) -> int:
        return len(self._uncertain)

    def notes(self) -> list[str]:
        """What is wrong, for a person; at most NOTES_MAX."""
        unseen = [
            f"{actor} was not told {title!r} ({what})"
            for (actor, title), what in self._due.items()
            if (actor, title) not in self._ids
        ]
        doubled = [
            f"{actor} was told {title!r} {len(ids)} times: {', '.join(sorted(ids))}"
            for (actor, title), ids in self._ids.items()
            if len(ids) > 1
        ]
        return [*doubled, *unseen][:NOTES_MAX]
