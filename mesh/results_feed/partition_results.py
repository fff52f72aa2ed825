"""What a process hears of one partition, and how far it knows each game that it watches there. Pure.

The partition's owner says with each flush what it changed (PartitionResults): absolute partials, and between
which two sequences of the event stream. While these messages follow each other without a gap, a game that was
loaded from the store once is known up to the last of them, whether it changed or not.

    heard                               what it means
    the next message                    every game is known up to its `after`
    one that begins beyond the last     some were lost, or the state was rebuilt: its partials are taken, and
                                        each game is loaded again. Until a game was, it is known up to where
                                        the gap begins
    one of another event stream         as a gap, but its partials are not taken before the game was loaded
    one that ends before the last       repeated or late: its partials are taken where they are newer

So nothing depends on who owns the partition: a state is a pure function of the stream (I4). What is known
never goes back (I5), as a merge keeps the newest partial of each partition.

Bounds: the games that the process watches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from grandstand.internal.v1.internal_pb2 import PartitionResults
from mesh.redis.share import Share


class Progress:
    """How far the messages of a partition are known without a gap."""

    __slots__ = ("_before", "_parts", "after", "stream")

    def __init__(self) -> None:
        self.stream = ""
        """The identity of the event stream; "" before anything was heard."""
        self.after = 0
        self._before = -1
        self._parts = 0
        """How many parts came of the flush that starts at `_before`."""

    def gap(self, message: PartitionResults) -> int | None:
        """None if the message follows. Otherwise messages are missing, and what was loaded at the returned
        sequence or later is complete again with this one."""
        before, after = message.before, message.after
        if message.stream != self.stream and self.stream:
            return after
        is_whole = not message.part or (self._before, self._parts) == (before, message.part)
        if before > self.after or not self.stream:
            return before if is_whole else after
        return None if is_whole or after <= self.after else after

    def move(self, message: PartitionResults) -> None:
        before, part = message.before, message.part
        if message.stream != self.stream:
            self.stream, self.after = message.stream, message.after
        self.after = max(self.after, message.after)
        if not part:
            self._before, self._parts = before, 1
        elif (self._before, self._parts) == (before, part):
            self._parts += 1

    def reached(self, stream: str, sequence: int) -> None:
        """Every game is known up to there, by the store."""
        if stream != self.stream:
            self.stream, self.after = stream, sequence
        self.after = max(self.after, sequence)


class View(Protocol):
    """Of one game (mesh.results_feed.view)."""

    def follow(self, partition: int, progress: Progress) -> None: ...
    def settle(self, partition: int, floor: int) -> None: ...
    def hear(self, partials: Iterable[bytes], stream: str) -> list[str]: ...
    def take(self, share: Share) -> list[str]: ...
    def applied(self, partition: int) -> int | None: ...
    def stream(self, partition: int) -> str: ...
    def lacks(self, partition: int) -> bool: ...


class ResultsChange(NamedTuple):
    """What a message changed."""

    topics: dict[str, list[str]]
    """By game."""
    forgotten: list[str]
    """Games that are gone."""


class WatchedPartition:
    """The games that are watched in one partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.progress = Progress()
        self.lacking: set[str] = set()
        """Games that are to be loaded."""
        self._views: dict[str, View] = {}

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, game_id: str) -> bool:
        return game_id in self._views

    def watch(self, game_id: str, view: View) -> None:
        """The game is to be loaded: what was heard before is not in its view."""
        self._views[game_id] = view
        view.follow(self.partition, self.progress)
        self.lacking.add(game_id)

    def unwatch(self, game_id: str) -> None:
        self._views.pop(game_id, None)
        self.lacking.discard(game_id)

    def hear(self, message: PartitionResults) -> ResultsChange:
        """Takes a message. Raises DecodeError."""
        views, stream = self._views, message.stream
        floor = self.progress.gap(message)
        if floor is not None:
            for view in views.values():
                view.settle(self.partition, floor)
        self.progress.move(message)
        if floor is not None:
            self.lacking.update(game_id for game_id, view in views.items() if view.lacks(self.partition))
        heard = ResultsChange({}, [])
        for game in message.games:
            game_id = game.game_id
            known = views.get(game_id)
            if known is None:
                continue
            if game.forgotten:
                heard.forgotten.append(game_id)
                self.unwatch(game_id)  # what comes next may be of another game of this id
                continue
            changed = known.hear(game.partials, stream)
            if changed:
                heard.topics[game_id] = changed
        return heard

    def load(self, game_id: str, share: Share) -> list[str]:
        """Takes what the store holds of a game; the topics that it changed."""
        view = self._views.get(game_id)
        if view is None:
            return []
        changed = view.take(share)
        if view.lacks(self.partition):
            self.lacking.add(game_id)
        else:
            self.lacking.discard(game_id)
        return changed

    def look(self, stream: str, sequence: int) -> None:
        """The store held this state some time ago: games that are known less far lack something by now."""
        progress = self.progress
        if stream == progress.stream and sequence <= progress.after:
            return
        partition, behind = self.partition, False
        for game_id, view in self._views.items():
            if view.stream(partition) != stream or (view.applied(partition) or 0) < sequence:
                self.lacking.add(game_id)
                behind = True
        if not behind:
            progress.reached(stream, sequence)
