"""Takes a step to every partition, until all of them show that they took it (see aggregate.closing).

Bound: one step for each definition in the catalog; another instance may have finished it.
"""

from __future__ import annotations

import logging

from aggregate.closing import Step, awaited, key_of, lacking, to_send
from aggregate.control_publisher import ControlPublisher
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Control
from grandstand.wire.errors import NotNow

log = logging.getLogger(__name__)


class StepSender:
    def __init__(self, controls: ControlPublisher) -> None:
        self._controls = controls
        self._sent: dict[str, tuple[str, dict[int, int]]] = {}
        """By the definition's key: the step's name, and by partition the sequence of what was sent last."""

    async def send(self, step: Step, control: Control, topic: str, spread: int) -> None:
        """Sends it to the partitions that have not taken it. `topic`: of a poll or a board, else empty.
        Raises NotNow (not all have taken it yet), Unavailable, Exhausted; is to be repeated then."""
        controls, game_id = self._controls, step.definition.game_id
        name, sent = self._sent.get(key_of(step.definition), ("", {}))
        if name != step.name:
            sent = {}
            self._sent[key_of(step.definition)] = step.name, sent
        folded = await controls.folded(game_id, spread, topic)
        if waits := awaited(step, folded, sent):
            newest = {at.partition: at.sequence for at in await controls.newest(game_id, spread)}
            for partition in waits:
                if newest.get(partition, 0) < sent[partition]:
                    del sent[partition]  # the stream has lost it: no fold will ever come to it
        if partitions := to_send(step, folded, sent):
            if again := sorted(sent.keys() & set(partitions)):
                log.warning("step %s is sent again: partitions %s did not take it", step.name, again)
            for at in await controls.publish(partitions, control, step.name, sent):
                sent[at.partition] = at.sequence
            positions = [Position(partition=p, sequence=sent[p]) for p in partitions]
            await controls.until_folded(positions)
            folded = await controls.folded(game_id, spread, topic)
        if lacks := lacking(step, folded):
            raise NotNow(f"partitions {lacks} have not taken it yet")
        self.drop(key_of(step.definition))

    def drop(self, key: str) -> None:
        """Nothing of the definition need be sent any more."""
        self._sent.pop(key, None)
