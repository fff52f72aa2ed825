"""One topic's partials: the newest share of each partition, and the value they merge into.

A partial is absolute and carries the sequence it is folded up to, so merging is associative,
commutative and idempotent: order, repetition and loss on the way cannot change the result,
only how soon it shows. The same merge serves a hot game's partitions, `Read` and gateways.

`TopicMerge` never goes back: of one partition it keeps the partial with the greatest
sequence (I5). It holds one partial for each of the game's partitions, no more.
"""

from __future__ import annotations

from collections.abc import Sequence

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, STAGE_UNSPECIFIED, Stage
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.internal.v1.internal_pb2 import Partial
from mesh.merge.audience import audience_moves_at_s, merge_audience
from mesh.merge.board import merge_board
from mesh.merge.custom import merge_custom
from mesh.merge.metric import merge_metric
from mesh.merge.pulse import merge_pulse, pulse_moves_at_s
from mesh.merge.tally import TallySum, merge_tally, tally_of
from mesh.pseudonyms import UNKEYED, PublicId


class TopicMerge:
    """One topic's partials, and their merged value."""

    __slots__ = ("_partials", "_public", "_superseded", "moves", "topic")

    def __init__(self, topic: str, public: PublicId = UNKEYED) -> None:
        """`public`: under which ids actors are shown."""
        self.topic = topic
        self._public = public
        self._partials: dict[int, Partial] = {}
        self._superseded: set[int] = set()
        """Partitions whose partial is of an event stream that there is no more."""
        self.moves = topic.partition("/")[0] in ("pulse", "audience")
        """Whether the value may change with time alone."""

    def offer(self, partial: Partial) -> bool:
        """Takes a partial unless a newer or the same one of its partition is known; True if taken."""
        partition, superseded = partial.partition, self._superseded
        known = self._partials.get(partition)
        if known is not None and known.sequence >= partial.sequence and partition not in superseded:
            return False
        superseded.discard(partition)
        self._partials[partition] = partial
        return True

    def begin_anew(self, partition: int) -> None:
        """The partition is folded from another event stream: whatever comes next of it is newer."""
        if partition in self._partials:
            self._superseded.add(partition)

    def partial(self, partition: int) -> Partial | None:
        return self._partials.get(partition)

    def sequence(self, partition: int) -> int:
        """How far the partition's share is folded; 0 before there is one."""
        known = self._partials.get(partition)
        return 0 if known is None else known.sequence

    def moves_at_s(self, now_s: float) -> float | None:
        """When the value changes next with time alone, as rates fall, panes pass, and viewers go unheard;
        None: it does not."""
        found = (
            pulse_moves_at_s(partial.pulse, now_s)
            if partial.HasField("pulse")
            else audience_moves_at_s(partial.audience, now_s)
            for partial in self._partials.values()
        )
        return min((at_s for at_s in found if at_s is not None), default=None)

    def partials(self) -> list[Partial]:
        """In the order of their partitions."""
        known = self._partials
        return list(known.values()) if len(known) == 1 else [known[p] for p in sorted(known)]

    def positions(self) -> list[tuple[int, int]]:
        """Partitions and sequences, in the order of the partitions."""
        return [(p.partition, p.sequence) for p in self.partials()]

    def stage(self, partitions: int) -> Stage:
        """A poll is closed when every partition knows, sealed likewise. `partitions`: see `state`."""
        known = self._partials
        if len(known) == partitions == 1:
            return next(iter(known.values())).stage
        found = min((p.stage for p in known.values()), default=STAGE_UNSPECIFIED)
        return STAGE_CLOSED if found == STAGE_SEALED and len(self._partials) < partitions else found

    @staticmethod
    def tally_state(
        topic: str, positions: Sequence[tuple[int, int]], stage: Stage, tally: TallySum
    ) -> TopicState:
        """What `state` says of these numbers."""
        state = _state(topic, positions, stage)
        state.tally.CopyFrom(tally_of(tally))
        return state

    def state(self, now_s: float, *, partitions: int = 1, full: bool = False) -> TopicState:
        """The merged value. `now_s` (Unix seconds) matters to pulses and audiences only; `full`
        gives all that is kept of a pulse's panes, where a subscription sees the newest two.

        `partitions`: how many the game has. While one of them has said nothing (Redis was emptied
        and is being folded again), more may come: nothing is called sealed (I9).
        """
        partials = self.partials()
        state = _state(self.topic, self.positions(), self.stage(partitions))
        match partials[0].WhichOneof("value") if partials else None:
            case "tally":
                state.tally.CopyFrom(merge_tally(p.tally for p in partials))
            case "board":
                state.board.CopyFrom(merge_board((p.board for p in partials), self._public))
            case "pulse":
                state.pulse.CopyFrom(merge_pulse([p.pulse for p in partials], now_s, full=full))
            case "audience":
                state.audience.CopyFrom(merge_audience((p.audience for p in partials), now_s))
            case "metric":
                state.metric.CopyFrom(merge_metric([p.metric for p in partials]))
            case "custom":
                merged = merge_custom([p.custom for p in partials])
                if merged is not None:
                    state.custom.CopyFrom(merged)
        return state


def _state(topic: str, positions: Sequence[tuple[int, int]], stage: Stage) -> TopicState:
    """Without a value."""
    cursor = Cursor(positions=[Position(partition=p, sequence=s) for p, s in positions])
    return TopicState(topic=topic, cursor=cursor, stage=stage)
