"""A queue of the next step of each game, poll and board, ordered by when it is due. Pure: times come in.

A step is due by the mesh's clock, so every instance takes it at the moment that the catalog names. A seal
must also wait until SEAL_GRACE_S have passed on this machine's own clock since the entry CLOSED was first
seen here (I9): whatever a wall clock says, what an ingest acked in time is stored by then (see
mesh.catalog.freshness). A step that failed is retried after a pause that doubles each time.

There are two heaps: steps that are not due yet, and due steps that have to wait. Each definition has at most
one valid step. A step whose definition was replaced is dropped when it reaches the top of its heap. So a
change of the catalog costs the logarithm of the number of open topics and no scan of all definitions, which
include every sealed poll for good.

Bound: one entry for each change of the catalog, until its step would have been due.
"""

from __future__ import annotations

import heapq
import itertools
import math

from aggregate.closing import Step, beat_of, game_step_of, key_of, step_of
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Game, Poll
from mesh import limits
from mesh.catalog.mesh_clock import Moment

AGAIN_S = 1.0
AGAIN_MAX_S = 8.0

_Heap = list[tuple[float, int, Step]]


class Deadlines:
    def __init__(self, forget_after_s: float | None = None) -> None:
        """`forget_after_s`: see aggregate.closing.game_step_of."""
        self._forget_after_s = forget_after_s
        self._newest: dict[str, Game | Poll | Board] = {}
        """By key; the definitions that have a step to come."""
        self._not_due: _Heap = []
        """By the moment they are due, of the mesh's clock."""
        self._waiting: _Heap = []
        """Due, by the moment until which they have to wait, of boot_s."""
        self._numbers = itertools.count()
        self._beats: dict[str, int] = {}
        """The last beat taken of each board with seasons; after a restart the newest is taken again."""
        self._closed_at: dict[str, float] = {}
        """When the entry CLOSED was first seen; boot_s."""
        self._failures: dict[str, tuple[str, int]] = {}
        """By key: the name of the step that failed last, and how often in a row."""

    def put(self, definition: Game | Poll | Board, now: Moment) -> None:
        """Takes a definition that is new or has changed."""
        key = key_of(definition)
        if self._newest.get(key) is definition:
            return
        if definition.stage == STAGE_CLOSED:
            self._closed_at.setdefault(key, now.boot_s)
        else:
            self._closed_at.pop(key, None)
        step = self._step_of(definition, now)
        if step is None:
            self._newest.pop(key, None)
            self._beats.pop(key, None)
        else:
            self._newest[key] = definition
            self._push(self._not_due, step.due_at_s, step)

    def drop(self, key: str) -> None:
        """The definition is gone from the catalog."""
        self._closed_at.pop(key, None)
        self._beats.pop(key, None)
        self._newest.pop(key, None)
        self._failures.pop(key, None)

    def take(self, now: Moment) -> Step | None:
        """A step that may be taken now, or None. The caller reports its outcome by `done` or `failed`."""
        while self._not_due and self._not_due[0][0] <= now.mesh_s:
            step = heapq.heappop(self._not_due)[2]
            if self._is_valid(step):
                self._push(self._waiting, self._waits_until_s(step), step)
        while self._waiting and self._waiting[0][0] <= now.boot_s:
            step = heapq.heappop(self._waiting)[2]
            if self._is_valid(step):
                return step
        return None

    def wait_s(self, now: Moment) -> float:
        """Seconds until `take` may return a step, unless a definition changes; inf if there is none."""
        return min(self._first(self._not_due) - now.mesh_s, self._first(self._waiting) - now.boot_s)

    def done(self, step: Step, now: Moment) -> None:
        """The step was taken. After a beat, the next beat is queued. Any other step changes the definition,
        and the next step is queued when that is `put`. If it did not change it, because another instance
        wrote the same entry meanwhile, the step is retried."""
        if not step.beat and self._is_valid(step):
            self.failed(step, now)
            return
        key = key_of(step.definition)
        self._failures.pop(key, None)
        if step.beat and self._newest.get(key) is step.definition:
            self._beats[key] = step.beat
            following = self._step_of(step.definition, now)
            if following is not None:
                self._push(self._not_due, following.due_at_s, following)

    def failed(self, step: Step, now: Moment) -> None:
        """The step has to be retried after a pause. A beat that is no longer the newest is replaced by the
        newest."""
        if not self._is_valid(step):
            return
        key = key_of(step.definition)
        name, failures = self._failures.get(key, ("", 0))
        failures = failures + 1 if name == step.name else 1
        self._failures[key] = step.name, failures
        newest = self._step_of(step.definition, now)
        if newest is not None and newest.due_at_s <= now.mesh_s and newest.name != step.name:
            step = newest
        pause_s = min(AGAIN_MAX_S, AGAIN_S * 2 ** (failures - 1))
        self._push(self._waiting, now.boot_s + pause_s, step)

    def _waits_until_s(self, step: Step) -> float:
        if step.stage != STAGE_SEALED or step.forgets:
            return -math.inf
        return self._closed_at[key_of(step.definition)] + limits.SEAL_GRACE_S

    def _is_valid(self, step: Step) -> bool:
        return self._newest.get(key_of(step.definition)) is step.definition

    def _first(self, heap: _Heap) -> float:
        while heap and not self._is_valid(heap[0][2]):
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def _push(self, heap: _Heap, at_s: float, step: Step) -> None:
        heapq.heappush(heap, (at_s, next(self._numbers), step))

    def _step_of(self, definition: Game | Poll | Board, now: Moment) -> Step | None:
        if isinstance(definition, Game):
            return game_step_of(definition, self._forget_after_s)
        step = step_of(definition)
        beat = None
        if isinstance(definition, Board):
            beat = beat_of(definition, now.mesh_s, self._beats.get(key_of(definition), 0))
        if step is None or (beat is not None and beat.due_at_s < step.due_at_s):
            return beat
        return step
