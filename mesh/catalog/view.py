"""What is defined, as one process knows it: games, polls and boards by their keys in the catalog's bucket.

Plain data with look-ups; mesh.catalog.watch keeps it fresh. Bounds: one entry for each definition in the
bucket, and MARKERS_MAX of what was deleted (mesh.catalog.markers).
"""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.wire.errors import Unknown, shown
from mesh.catalog.markers import Markers
from mesh.jetstream import subjects

Definition = Game | Poll | Board
KINDS: dict[str, type[Definition]] = {"game": Game, "poll": Poll, "board": Board}


class CatalogView:
    """Games, polls and boards by their keys, each with the bucket's revision.

    A game's entry may hold a definition that somebody has claimed the game for and that does not hold
    yet (Game.pending): only `pending` tells it. A game that is nothing but claimed is unknown.
    """

    def __init__(self) -> None:
        self._found: dict[str, Definition] = {}
        self._revisions: dict[str, int] = {}
        self._pending: dict[str, Game] = {}
        self._topics: dict[str, dict[str, Poll | Board]] = {}
        """By game and key."""
        self._opened: dict[str, tuple[list[Poll], list[Board]]] = {}
        self.markers = Markers()
        """Only of a process that may write definitions."""
        self.pseudonym_key = b""
        """Of mesh.pseudonyms; b"" while it is not known."""
        self.changes = 0
        """Grows with each definition that comes, changes or goes."""

    def put(self, key: str, revision: int, value: bytes) -> Definition | None:
        """Takes an entry unless a newer one is known; returns what is new."""
        if self.revision(key) >= revision:
            return None
        if key == subjects.PSEUDONYM_KEY:
            self.pseudonym_key = value
            self._revisions[key] = revision
        kind = KINDS.get(key.partition(".")[0])
        if kind is None:
            return None
        definition = kind()
        definition.ParseFromString(value)
        self._revisions[key] = revision
        self.markers.drop(key)
        self._pending.pop(key, None)
        if isinstance(definition, Game) and definition.HasField("pending"):
            pending = Game()
            pending.CopyFrom(definition.pending)
            self._pending[key] = pending
            definition.ClearField("pending")
            if not definition.spread:
                return None
        if self._found.get(key) == definition:
            return None
        self._found[key] = definition
        if not isinstance(definition, Game):
            self._topics.setdefault(definition.game_id, {})[key] = definition
            self._opened.pop(definition.game_id, None)
        self.changes += 1
        return definition

    def forget(self, key: str, revision: int) -> bool:
        """The entry is gone since this revision, unless a newer one is known. Returns whether a definition
        went with it."""
        if self._revisions.get(key, 0) > revision:
            return False
        self._revisions.pop(key, None)
        self._pending.pop(key, None)
        definition = self._found.pop(key, None)
        if definition is None:
            return False
        self.changes += 1
        if not isinstance(definition, Game):
            topics = self._topics[definition.game_id]
            del topics[key]
            if not topics:
                del self._topics[definition.game_id]
            self._opened.pop(definition.game_id, None)
        return True

    def forget_revisions(self) -> None:
        """The bucket was made anew and counts from one: entries are kept until it brings others."""
        self._revisions.clear()
        self.markers.clear()

    def backed(self) -> set[str]:
        """Keys of the definitions and claims that an entry of the bucket stands behind."""
        return self._revisions.keys() - {subjects.PSEUDONYM_KEY}

    def unbacked(self) -> list[tuple[str, bytes]]:
        """Keys and values of what no entry of the bucket stands behind."""
        lost = [
            (key, found.SerializeToString())
            for key, found in self._found.items()
            if key not in self._revisions
        ]
        if self.pseudonym_key and subjects.PSEUDONYM_KEY not in self._revisions:
            lost.append((subjects.PSEUDONYM_KEY, self.pseudonym_key))
        return lost

    def revision(self, key: str) -> int:
        """Of the entry, or of the marker in place of one that was deleted; 0 for an unknown key."""
        return self._revisions.get(key) or self.markers.revision(key)

    def pending(self, key: str) -> Game | None:
        """The definition that the game is claimed for, until it holds."""
        return self._pending.get(key)

    def get(self, key: str) -> Definition | None:
        return self._found.get(key)

    def game(self, game_id: str) -> Game:
        """Raises Unknown."""
        found = self.get(subjects.game_key(game_id))
        if not isinstance(found, Game):
            raise Unknown(f"game {shown(game_id)} is not known; define it with CatalogService.DefineGame")
        return found

    def poll(self, game_id: str, poll_id: str) -> Poll:
        """Raises Unknown."""
        found = self.get(subjects.poll_key(game_id, poll_id))
        if not isinstance(found, Poll):
            raise Unknown(f"poll {shown(poll_id)} is not known in game {shown(game_id)}")
        return found

    def board(self, game_id: str, board_id: str) -> Board:
        """Raises Unknown."""
        found = self.get(subjects.board_key(game_id, board_id))
        if not isinstance(found, Board):
            raise Unknown(f"board {shown(board_id)} is not known in game {shown(game_id)}")
        return found

    def opened(self, game_id: str) -> tuple[list[Poll], list[Board]]:
        """The game's polls and boards that were ever opened, newest first; sorted once for each change of
        them. The lists are the view's own."""
        found = self._opened.get(game_id)
        if found is None:
            topics = [topic for topic in self._topics.get(game_id, {}).values() if topic.stage]
            topics.sort(key=lambda topic: topic.opened_at.ToNanoseconds(), reverse=True)
            found = (
                [topic for topic in topics if isinstance(topic, Poll)],
                [topic for topic in topics if isinstance(topic, Board)],
            )
            if game_id in self._topics:
                self._opened[game_id] = found
        return found

    def games(self) -> list[Game]:
        return [d for d in self._found.values() if isinstance(d, Game)]

    def polls(self) -> list[Poll]:
        return [d for d in self._found.values() if isinstance(d, Poll)]

    def boards(self) -> list[Board]:
        return [d for d in self._found.values() if isinstance(d, Board)]

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __len__(self) -> int:
        return len(self._found)
