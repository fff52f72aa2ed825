"""When a poll or board takes its next step towards the seal (I9). Pure: times come in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED, Board, Poll, Stage
from mesh import limits


@dataclass(frozen=True)
class Step:
    """`definition` becomes `stage` at `due_at_s`, Unix seconds."""

    due_at_s: float
    stage: Stage
    definition: Poll | Board


def step_of(definition: Poll | Board) -> Step | None:
    """The definition's next step, or None while no close is set or when it is sealed."""
    if not definition.HasField("closes_at"):
        return None
    closes_at_s = definition.closes_at.ToNanoseconds() / 1e9
    if definition.stage == STAGE_OPEN:
        return Step(closes_at_s, STAGE_CLOSED, definition)
    if definition.stage == STAGE_CLOSED:
        return Step(closes_at_s + limits.SEAL_GRACE_S, STAGE_SEALED, definition)
    return None


def next_step(definitions: Iterable[Poll | Board]) -> Step | None:
    """The earliest step of all."""
    steps = [step for definition in definitions if (step := step_of(definition)) is not None]
    return min(steps, key=lambda step: step.due_at_s, default=None)
