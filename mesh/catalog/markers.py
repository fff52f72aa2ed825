"""What was deleted from the catalog's bucket: the markers that stand in its place until they are purged.
Pure.

A marker tells every watch that the entry is gone, and has the revision that a new entry of its key must
name. It may leave the stream once no watch needs it: each has come past it after MARKER_KEPT_S, or was
replaced by one that finds out what is gone (mesh.catalog.watch). Whoever deletes also purges. What stands for
twice as long is purged by any other process that may write: the one that deleted it has died.

Bound: MARKERS_MAX. On overflow the oldest is not remembered: it stays in the bucket until the next start of a
process that may write definitions.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh import limits

MARKERS_MAX = 65_536
MARKER_KEPT_S = 60.0

assert MARKER_KEPT_S > 10 * limits.VIEW_FRESH_S, "a watch that lives has come past it"


@dataclass(frozen=True, slots=True)
class Marker:
    revision: int
    due_s: float
    """When to purge it; Unix seconds of the bucket's server."""


class Markers:
    """By key, in the order in which they came."""

    def __init__(self) -> None:
        self._held: dict[str, Marker] = {}

    def put(self, key: str, revision: int, stored_s: float, *, is_own: bool) -> None:
        """`is_own`: this process has deleted it, and may have heard so by the watch before."""
        if self.revision(key) >= revision + is_own:
            return
        kept_s = MARKER_KEPT_S if is_own else 2 * MARKER_KEPT_S
        self._held.pop(key, None)
        self._held[key] = Marker(revision, stored_s + kept_s)
        if len(self._held) > MARKERS_MAX:
            del self._held[next(iter(self._held))]

    def revision(self, key: str) -> int:
        """0 where none is known."""
        held = self._held.get(key)
        return 0 if held is None else held.revision

    def drop(self, key: str, revision: int | None = None) -> None:
        """It is purged, or replaced by an entry. With `revision`: unless another stands there by now."""
        if revision is None or self.revision(key) == revision:
            self._held.pop(key, None)

    def clear(self) -> None:
        self._held.clear()

    def due(self, now_s: float, most: int) -> list[tuple[str, int]]:
        """Keys and revisions of what is to be purged, from the oldest on up to the first that is not due."""
        found: list[tuple[str, int]] = []
        for key, marker in self._held.items():
            if marker.due_s > now_s or len(found) == most:
                break
            found.append((key, marker.revision))
        return found

    def __len__(self) -> int:
        return len(self._held)
