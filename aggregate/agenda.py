"""The steps that lie ahead of all polls and boards, the earliest first. Pure: times come in.

A heap of steps, at most one valid for each definition. A step is dropped when it comes up and
its definition has been replaced since. So a change of the catalog costs the logarithm of what
is open, not a look at everything that ever was: sealed polls stay in the catalog for good.

Bound: one step for each change heard of, until its time would have come.
"""

from __future__ import annotations

import heapq
import itertools

from aggregate.closing import Step, beat_of, key_of, step_of
from grandstand.catalog.v1.catalog_pb2 import Board, Poll


class Agenda:
    def __init__(self) -> None:
        self._newest: dict[str, Poll | Board] = {}
        """Those that have a step ahead of them."""
        self._heap: list[tuple[float, int, Step]] = []
        self._numbers = itertools.count()
        self._beats: dict[str, int] = {}
        """The last beat taken of each board with seasons; after a restart the newest is taken again."""

    def put(self, definition: Poll | Board, now_s: float) -> None:
        """A definition is new, or another than before."""
        key = key_of(definition)
        if self._newest.get(key) is definition:
            return
        step = self._step_of(definition, now_s)
        if step is None:
            self._newest.pop(key, None)
            self._beats.pop(key, None)
        else:
            self._newest[key] = definition
            self._push(step)

    def next_due_at_s(self) -> float | None:
        """When the earliest step is due; None without one."""
        while self._heap:
            step = self._heap[0][2]
            if self._newest.get(key_of(step.definition)) is step.definition:
                return step.due_at_s
            heapq.heappop(self._heap)
        return None

    def take(self) -> Step:
        """The earliest step, whenever it is due; say then what became of it: `done` or `failed`."""
        if self.next_due_at_s() is None:
            raise ValueError("there is no step")
        return heapq.heappop(self._heap)[2]

    def done(self, step: Step, now_s: float) -> None:
        """Of a beat the following one is ahead now; any other step is followed by the definition
        it has made, when that is put."""
        key = key_of(step.definition)
        if step.beat and self._newest.get(key) is step.definition:
            self._beats[key] = step.beat
            following = self._step_of(step.definition, now_s)
            if following is not None:
                self._push(following)

    def failed(self, step: Step) -> None:
        """It is still ahead."""
        self._push(step)

    def _push(self, step: Step) -> None:
        heapq.heappush(self._heap, (step.due_at_s, next(self._numbers), step))

    def _step_of(self, definition: Poll | Board, now_s: float) -> Step | None:
        step = step_of(definition)
        beat = None
        if isinstance(definition, Board):
            beat = beat_of(definition, now_s, self._beats.get(key_of(definition), 0))
        if step is None or (beat is not None and beat.due_at_s < step.due_at_s):
            return beat
        return step
