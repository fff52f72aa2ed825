"""Which actors' places on boards are to be read next. Pure: `now_s`, monotonic seconds, comes in.

A place is read when somebody begins to watch it, again when its board changed since, but not within
STANDING_S, and again STANDING_S after a reading that was of no use. However many actors watch one board and
however often it changes, a change costs one step here.

Fairness: boards with something due take turns, one actor each; on a board, first those who wait for their
first place, in the order they came, then who was read the longest ago. So a crowd on one board makes its own
places older and nobody else's.

Bounds: a batch looks up at most `batch_lookups` places (an actor's costs as many as its game has partitions),
batches begin at least `batch_s` apart, and nothing is queued twice: an actor of a board is one entry,
whatever befalls it.

Rejected: one queue of all that is due (a change would cost a step for each actor of its board), and the
oldest first over all boards (a crowd would be served before everybody who came after it).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from gateway import bounds


class StandingKey(NamedTuple):
    """One actor's place on one board."""

    game_id: str
    board_id: str
    actor_id: str


class _Turn(Enum):
    NONE = auto()
    READY = auto()
    TIMED = auto()


@dataclass(slots=True)
class _Entry:
    watches: int = 0
    read_at_s: float = float("-inf")
    change: int = -1
    """The change of the board that it was last read after."""
    again_at_s: float | None = None


class _Board:
    """`waiting` want a first reading, or one again; `read` are in the order they were read."""

    __slots__ = ("change", "lookups", "read", "turn", "turn_at_s", "waiting")

    def __init__(self, lookups: int) -> None:
        self.lookups = lookups
        self.change = 0
        self.waiting: OrderedDict[str, _Entry] = OrderedDict()
        self.read: OrderedDict[str, _Entry] = OrderedDict()
        self.turn = _Turn.NONE
        self.turn_at_s = 0.0

    def due_at_s(self) -> float | None:
        if self.waiting:
            return float("-inf")
        for entry in self.read.values():  # the one read longest ago
            return entry.read_at_s + bounds.STANDING_S if entry.change < self.change else None
        return None

    def take(self, now_s: float) -> str:
        """The actor that is due first."""
        actor_id, entry = (self.waiting or self.read).popitem(last=False)
        entry.read_at_s = now_s
        entry.change = self.change
        entry.again_at_s = None
        self.read[actor_id] = entry
        return actor_id

    def entry(self, actor_id: str) -> _Entry | None:
        return self.waiting.get(actor_id) or self.read.get(actor_id)


class StandingPlan:
    def __init__(
        self,
        batch_s: float = bounds.STANDING_BATCH_S,
        batch_lookups: int = int(bounds.STANDING_LOOKUPS_PER_S * bounds.STANDING_BATCH_S),
    ) -> None:
        self._batch_s = batch_s
        self._batch_lookups = batch_lookups
        self._boards: dict[tuple[str, str], _Board] = {}
        self._ready: deque[tuple[tuple[str, str], _Board]] = deque()
        self._timed: list[tuple[float, int, tuple[str, str], _Board]] = []
        self._retries: deque[tuple[float, StandingKey, _Entry]] = deque()
        self._count = 0
        self._batch_at_s = float("-inf")

    def watch(self, place: StandingKey, lookups: int) -> None:
        """Once more; `unwatch` as often. `lookups`: what reading it costs, 1 or more."""
        key = place[:2]
        board = self._boards.get(key)
        if board is None:
            board = self._boards[key] = _Board(lookups)
        board.lookups = lookups
        entry = board.entry(place.actor_id)
        if entry is None:
            entry = board.waiting[place.actor_id] = _Entry()
            self._schedule(key, board)
        entry.watches += 1

    def unwatch(self, place: StandingKey) -> None:
        key = place[:2]
        board = self._boards[key]
        entry = board.entry(place.actor_id)
        assert entry is not None
        entry.watches -= 1
        if entry.watches == 0:
            entry.again_at_s = None
            board.waiting.pop(place.actor_id, None)
            board.read.pop(place.actor_id, None)
            if not board.waiting and not board.read:
                del self._boards[key]

    def want(self, place: StandingKey) -> None:
        """The next reading shall be soon, however new the last one is."""
        key = place[:2]
        board = self._boards[key]
        entry = board.read.pop(place.actor_id, None)
        if entry is not None:
            board.waiting[place.actor_id] = entry
            self._schedule(key, board)

    def board_changed(self, game_id: str, board_id: str) -> None:
        key = (game_id, board_id)
        board = self._boards.get(key)
        if board is not None:
            board.change += 1
            if board.turn is _Turn.NONE:
                self._schedule(key, board)

    def again(self, place: StandingKey, now_s: float) -> None:
        """A reading was of no use: there is to be another in STANDING_S."""
        board = self._boards.get(place[:2])
        entry = board.entry(place.actor_id) if board is not None else None
        if entry is not None and entry.again_at_s is None:
            entry.again_at_s = now_s + bounds.STANDING_S
            self._retries.append((entry.again_at_s, place, entry))

    def take(self, now_s: float) -> list[StandingKey]:
        """What is to be read now. Nothing before `next_at_s`."""
        if now_s < self._batch_at_s + self._batch_s:
            return []
        while self._retries and self._retries[0][0] <= now_s:
            at_s, place, entry = self._retries.popleft()
            if entry.again_at_s == at_s:
                entry.again_at_s = None
                self.want(place)
        while self._timed and self._timed[0][0] <= now_s:
            at_s, _, key, board = heapq.heappop(self._timed)
            if board.turn is _Turn.TIMED and board.turn_at_s == at_s:
                board.turn = _Turn.READY
                self._ready.append((key, board))
        batch: list[StandingKey] = []
        left = self._batch_lookups
        while self._ready and (not batch or self._ready[0][1].lookups <= left):
            key, board = self._ready.popleft()
            board.turn = _Turn.NONE
            due_at_s = board.due_at_s()
            if due_at_s is None:
                continue
            if due_at_s <= now_s:
                batch.append(StandingKey(*key, board.take(now_s)))
                left -= board.lookups
            self._schedule(key, board, now_s)
        if batch:
            self._batch_at_s = now_s
        return batch

    def next_at_s(self) -> float | None:
        """When `take` may have something, perhaps past; None: when something happens before."""
        at_s = float("inf")
        if self._ready:
            at_s = float("-inf")
        if self._timed:
            at_s = min(at_s, self._timed[0][0])
        if self._retries:
            at_s = min(at_s, self._retries[0][0])
        return None if at_s == float("inf") else max(at_s, self._batch_at_s + self._batch_s)

    def _schedule(self, key: tuple[str, str], board: _Board, now_s: float = float("-inf")) -> None:
        """Gives the board its turn: now if something is due, or when it will be."""
        due_at_s = board.due_at_s()
        if board.turn is _Turn.READY or due_at_s is None:
            return
        if due_at_s <= now_s:
            board.turn = _Turn.READY
            self._ready.append((key, board))
        elif board.turn is _Turn.NONE or due_at_s < board.turn_at_s:
            self._count += 1
            board.turn = _Turn.TIMED
            board.turn_at_s = due_at_s
            heapq.heappush(self._timed, (due_at_s, self._count, key, board))
