"""What is defined, as one process knows it: games, polls and boards by their keys in the catalog's bucket.

Plain data with look-ups; mesh.catalog.watch keeps it fresh. There may be tens of thousands of games, of which
a process looks at few: so entries are kept as they are stored, with the numbers by which they are ordered,
and decoded when they are asked for. A definition that is asked for again soon is the same object.

Bounds: one entry for each definition in the bucket, MARKERS_MAX of what was deleted (mesh.catalog.markers),
_DECODED_MAX definitions that are decoded, _LISTED_MAX games whose topics are sorted, and the _CHANGED_MAX
last changes; overflow drops the oldest, which are recreated when they are asked for.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from itertools import islice

from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Game, Poll, Stage
from grandstand.wire.errors import Unknown, shown
from mesh.catalog.markers import Markers
from mesh.jetstream import subjects
from mesh.recently_used import RecentlyUsed

Definition = Game | Poll | Board
KINDS: dict[str, type[Definition]] = {"game": Game, "poll": Poll, "board": Board}
_DECODED_MAX = 4_096
_LISTED_MAX = 1_024
_CHANGED_MAX = 1_024


class _Entry:
    """`value`: the encoded definition, b"" of a game that is only claimed. `order`: of a topic, Unix
    nanoseconds at which it was opened."""

    __slots__ = ("order", "revision", "spread", "stage", "value")

    def __init__(self, revision: int, value: bytes, stage: Stage, spread: int, order: int) -> None:
        self.revision = revision
        self.value = value
        self.stage = stage
        self.spread = spread
        self.order = order


class CatalogView:
    """Games, polls and boards by their keys, each with the bucket's revision.

    A game's entry may hold a definition that somebody has claimed the game for and that does not hold
    yet (Game.pending): only `pending` tells it. A game that is nothing but claimed is unknown.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._pending: dict[str, Game] = {}
        self._topics: dict[str, dict[str, _Entry]] = {}
        """By game and key."""
        self._decoded: RecentlyUsed[str, Definition] = RecentlyUsed(_DECODED_MAX)
        self._listed: RecentlyUsed[str, tuple[list[str], list[str]]] = RecentlyUsed(_LISTED_MAX)
        self._changed: deque[str] = deque(maxlen=_CHANGED_MAX)
        """The games of the last changes."""
        self._games: set[str] = set()
        self._sorted: list[str] | None = None
        """The games' ids, once somebody has asked for them."""
        self._size = 0
        self.games_live = 0
        """How many games have not ended."""
        self.markers = Markers()
        """Only of a process that may write definitions."""
        self.pseudonym_key = b""
        """Of mesh.pseudonyms; b"" while it is not known."""
        self._pseudonym_revision = 0
        self.changes = 0
        """Grows with each definition that comes, changes or goes."""

    def put(self, key: str, revision: int, value: bytes) -> Definition | None:
        """Takes an entry unless a newer one is known; returns what is new."""
        if self.revision(key) >= revision:
            return None
        if key == subjects.PSEUDONYM_KEY:
            self.pseudonym_key, self._pseudonym_revision = value, revision
        kind, _, name = key.partition(".")
        if kind not in KINDS:
            return None
        definition = KINDS[kind]()
        definition.ParseFromString(value)
        self.markers.drop(key)
        self._pending.pop(key, None)
        if isinstance(definition, Game) and definition.HasField("pending"):
            pending = Game()
            pending.CopyFrom(definition.pending)
            definition.ClearField("pending")
            value = definition.SerializeToString() if definition.spread else b""
            if not value:
                # An earlier game was deleted, and its marker was replaced before the watch came to it.
                self.forget(key, revision)
            self._pending[key] = pending
        known = self._entries.get(key)
        if known is not None and known.value == value:
            known.revision = revision
            return None
        order = 0 if isinstance(definition, Game) else definition.opened_at.ToNanoseconds()
        entry = _Entry(revision, value, definition.stage, definition.spread, order)
        self._entries[key] = entry
        if not value:
            return None
        game_id = name.partition(".")[0]
        self._size += known is None or not known.value
        if isinstance(definition, Game):
            self._count_game(game_id, entry, known)
        else:
            self._topics.setdefault(game_id, {})[key] = entry
        self._change(key, game_id)
        return self._decoded.put(key, definition)

    def forget(self, key: str, revision: int) -> bool:
        """The entry is gone since this revision, unless a newer one is known. Returns whether a definition
        went with it."""
        entry = self._entries.get(key)
        if entry is None or entry.revision > revision:
            return False
        kind, _, name = key.partition(".")
        game_id = name.partition(".")[0]
        del self._entries[key]
        self._pending.pop(key, None)
        if not entry.value:
            return False
        self._size -= 1
        if kind == "game":
            self._count_game(game_id, None, entry)
        else:
            topics = self._topics[game_id]
            del topics[key]
            if not topics:
                del self._topics[game_id]
        self._change(key, game_id)
        return True

    def _count_game(self, game_id: str, entry: _Entry | None, known: _Entry | None) -> None:
        """`entry` takes the place of `known`."""
        self.games_live += _lives(entry) - _lives(known)
        was_there = game_id in self._games
        if entry is not None and not was_there:
            self._games.add(game_id)
            if self._sorted is not None:
                insort(self._sorted, game_id)
        elif entry is None and was_there:
            self._games.discard(game_id)
            if self._sorted is not None:
                del self._sorted[bisect_left(self._sorted, game_id)]

    def _change(self, key: str, game_id: str) -> None:
        self._decoded.drop(key)
        self._listed.drop(game_id)
        self._changed.append(game_id)
        self.changes += 1

    def changed_since(self, changes: int) -> set[str] | None:
        """The games in which something came, changed or went since `changes`; None: too many."""
        since = self.changes - changes
        if since > len(self._changed):
            return None
        return set(islice(reversed(self._changed), since))

    def forget_revisions(self) -> None:
        """The bucket was recreated and counts from one: entries are kept until it brings others."""
        for key, entry in list(self._entries.items()):
            entry.revision = 0
            if not entry.value:
                del self._entries[key]
        self._pending.clear()
        self._pseudonym_revision = 0
        self.markers.clear()

    def backed(self) -> set[str]:
        """Keys of the definitions and claims that an entry of the bucket stands behind."""
        return {key for key, entry in self._entries.items() if entry.revision}

    def unbacked(self) -> list[tuple[str, bytes]]:
        """Keys and values of what no entry of the bucket stands behind."""
        lost = [(key, entry.value) for key, entry in self._entries.items() if not entry.revision]
        if self.pseudonym_key and not self._pseudonym_revision:
            lost.append((subjects.PSEUDONYM_KEY, self.pseudonym_key))
        return lost

    def revision(self, key: str) -> int:
        """Of the entry, or of the marker in place of one that was deleted; 0 for an unknown key."""
        entry = self._entries.get(key)
        if entry is not None and entry.revision:
            return entry.revision
        return self._pseudonym_revision if key == subjects.PSEUDONYM_KEY else self.markers.revision(key)

    def pending(self, key: str) -> Game | None:
        """The definition that the game is claimed for, until it holds."""
        return self._pending.get(key)

    def get(self, key: str) -> Definition | None:
        found = self._decoded.get(key)
        if found is None:
            entry = self._entries.get(key)
            if entry is None or not entry.value:
                return None
            found = self._decoded.put(key, _decoded(key, entry))
        return found

    def game(self, game_id: str) -> Game:
        """Raises Unknown."""
        found = self.get(subjects.game_key(game_id))
        if not isinstance(found, Game):
            raise Unknown(f"game {shown(game_id)} is not known; define it with CatalogService.DefineGame")
        return found

    def generation(self, game_id: str) -> int:
        """0: the game is not known."""
        game = self.get(subjects.game_key(game_id))
        return game.generation if isinstance(game, Game) else 0

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

    def is_any_opened(self, game_id: str) -> bool:
        """Whether a poll or board of the game was ever opened."""
        return any(entry.stage for entry in self._topics.get(game_id, {}).values())

    def opened(self, game_id: str) -> tuple[list[str], list[str]]:
        """Keys of the game's polls and boards that were ever opened, newest first; sorted once for each
        change of them. The lists are the view's own."""
        found = self._listed.get(game_id)
        if found is None:
            topics = self._topics.get(game_id, {})
            keys = sorted((k for k in topics if topics[k].stage), key=lambda k: (-topics[k].order, k))
            found = (
                [key for key in keys if key.startswith("poll.")],
                [key for key in keys if key.startswith("board.")],
            )
            if topics:
                self._listed.put(game_id, found)
        return found

    def stage(self, key: str) -> Stage:
        """Of a known key."""
        return self._entries[key].stage

    def topics(self, game_id: str) -> list[Poll | Board]:
        """The game's polls and boards, claims too."""
        found = (self.get(key) for key in self._topics.get(game_id, {}))
        return [each for each in found if isinstance(each, Poll | Board)]

    def opened_at_ns(self, key: str) -> int:
        """Of a known poll or board; Unix nanoseconds."""
        return self._entries[key].order

    def widest(self, game_id: str) -> int:
        """The greatest spread of the game's topics; 0 if it has none that says one."""
        return max((entry.spread for entry in self._topics.get(game_id, {}).values()), default=0)

    @property
    def games_known(self) -> int:
        """How many games there are, also those that have ended."""
        return len(self._games)

    def game_ids(self) -> list[str]:
        """Sorted. The list is the view's own."""
        if self._sorted is None:
            self._sorted = sorted(self._games)
        return self._sorted

    def games(self) -> Iterator[Game]:
        """Decoded one by one; the catalog may change meanwhile."""
        for definition in self._each("game."):
            assert isinstance(definition, Game)
            yield definition

    def polls(self) -> Iterator[Poll]:
        """As `games`."""
        for definition in self._each("poll."):
            assert isinstance(definition, Poll)
            yield definition

    def boards(self) -> Iterator[Board]:
        """As `games`."""
        for definition in self._each("board."):
            assert isinstance(definition, Board)
            yield definition

    def _each(self, start: str) -> Iterator[Definition]:
        for key in [key for key in self._entries if key.startswith(start)]:
            entry = self._entries.get(key)
            if entry is not None and entry.value:
                yield _decoded(key, entry)

    def __contains__(self, key: str) -> bool:
        entry = self._entries.get(key)
        return entry is not None and bool(entry.value)

    def __len__(self) -> int:
        return self._size


def _lives(entry: _Entry | None) -> bool:
    return entry is not None and bool(entry.value) and entry.stage < STAGE_CLOSED


def _decoded(key: str, entry: _Entry) -> Definition:
    definition = KINDS[key.partition(".")[0]]()
    definition.ParseFromString(entry.value)
    return definition


assert STAGE_CLOSED < STAGE_SEALED, "a game of a lesser stage lives"
