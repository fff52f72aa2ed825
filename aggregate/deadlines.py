"""The steps that lie ahead of all polls and boards, the earliest first. Pure: times come in.

A step is due by the mesh's clock, so that every instance takes it at the moment the catalog says. A seal
rests besides until SEAL_GRACE_S of this machine's own clock have passed since the entry CLOSED was first seen
here (I9): whatever any wall clock says, what an ingest acked in time is stored by then (see
mesh.catalog.freshness). A step that failed rests before it is tried again, each time twice as long.

Two heaps, of steps that are not due and of steps that rest, with at most one valid step for each definition.
A step is dropped when it comes up and its definition has been replaced since. So a change of the catalog
costs the logarithm of what is open, not a look at everything that ever was: sealed polls stay in the catalog
for good.

Bound: one step for each change heard of, until its time would have come.
"""

from __future__ import annotations

import heapq
import itertools
import math

from aggregate.closing import Step, beat_of, key_of, step_of
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Poll
from mesh import limits
from mesh.catalog.mesh_clock import Moment

AGAIN_S = 1.0
AGAIN_MAX_S = 8.0

_Heap = list[tuple[float, int, Step]]


class Agenda:
    def __init__(self) -> None:
        self._newest: dict[str, Poll | Board] = {}
        """Those that have a step ahead of them."""
        self._ahead: _Heap = []
        """By the mesh's clock."""
        self._resting: _Heap = []
        """Due, and to be left alone until this moment of boot_s."""
        self._numbers = itertools.count()
        self._beats: dict[str, int] = {}
        """The last beat taken of each board with seasons; after a restart the newest is looked at again."""
        self._closed_at: dict[str, float] = {}
        """When the entry CLOSED was first seen; boot_s."""
        self._failures: dict[str, int] = {}
        """In a row, by the step's name."""

    def put(self, definition: Poll | Board, now: Moment) -> None:
        """A definition is new, or another than before."""
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
            self._push(self._ahead, step.due_at_s, step)

    def take(self, now: Moment) -> Step | None:
        """A step that may be taken now; say then what became of it: `done` or `failed`."""
        while self._ahead and self._ahead[0][0] <= now.mesh_s:
            step = heapq.heappop(self._ahead)[2]
            if self._is_valid(step):
                self._push(self._resting, self._rests_until_s(step), step)
        while self._resting and self._resting[0][0] <= now.boot_s:
            step = heapq.heappop(self._resting)[2]
            if self._is_valid(step):
                return step
        return None

    def wait_s(self, now: Moment) -> float:
        """After how long `take` may have something, as things are; inf without any step."""
        return min(self._first(self._ahead) - now.mesh_s, self._first(self._resting) - now.boot_s)

    def done(self, step: Step, now: Moment) -> None:
        """Of a beat the following one is ahead now; any other step is followed by the definition
        it has made, when that is put."""
        self._failures.pop(step.name, None)
        key = key_of(step.definition)
        if step.beat and self._newest.get(key) is step.definition:
            self._beats[key] = step.beat
            following = self._step_of(step.definition, now)
            if following is not None:
                self._push(self._ahead, following.due_at_s, following)

    def failed(self, step: Step, now: Moment) -> None:
        """It is still ahead, after a while. Of a beat that is not the newest any more, the newest is."""
        if not self._is_valid(step):
            self._failures.pop(step.name, None)
            return
        failures = self._failures[step.name] = self._failures.get(step.name, 0) + 1
        newest = self._step_of(step.definition, now)
        if newest is not None and newest.due_at_s <= now.mesh_s and newest.name != step.name:
            self._failures.pop(step.name)
            step = newest
        pause_s = min(AGAIN_MAX_S, AGAIN_S * 2 ** (failures - 1))
        self._push(self._resting, now.boot_s + pause_s, step)

    def _rests_until_s(self, step: Step) -> float:
        if step.stage != STAGE_SEALED:
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

    def _step_of(self, definition: Poll | Board, now: Moment) -> Step | None:
        step = step_of(definition)
        beat = None
        if isinstance(definition, Board):
            beat = beat_of(definition, now.mesh_s, self._beats.get(key_of(definition), 0))
        if step is None or (beat is not None and beat.due_at_s < step.due_at_s):
            return beat
        return step
