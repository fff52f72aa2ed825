"""A TopicDelta: what becomes of one topic's state (protos/grandstand/gateway/v1/delta.proto). Pure.

    apply(before, diff(before, after)) == after        byte for byte, for any two states of a topic

Every number in a delta is a value, none is an increment, so rounding and order have no say. What a delta
cannot say exactly, or not shorter, `diff` answers with None: then the whole state is sent. One file here
for each kind of value that has a delta of its own; audiences, metrics and custom values are short and come
whole.

`diff` is on the gateway's hot path (each changed topic, each tick). It therefore compares messages, which
protobuf does in C, and looks into them only where they differ.

Exact means: for states without fields that this schema does not know.

Rejected: a generic patch of the encoded bytes (shorter by little, opaque to whoever debugs it, and every
client language would have to encode exactly as this one does); increments (one lost message is wrong for
ever).
"""

from __future__ import annotations

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.gateway.v1.delta_pb2 import TopicDelta
from grandstand.wire.delta import board, cursor, pulse, tally
from grandstand.wire.delta.mismatch import DeltaMismatch

_PERSONAL = ("standing", "inbox")


def diff(before: TopicState, after: TopicState) -> TopicDelta | None:
    """What makes `after` of `before`; None: send the whole state.

    None for another topic or kind of value, for a personal topic, for what no delta can say (see the files
    of the kinds and of the cursor), and for a delta that would not be shorter than `after`.
    """
    kind = after.WhichOneof("value")
    if before.topic != after.topic or before.WhichOneof("value") != kind or kind in _PERSONAL:
        return None
    delta = TopicDelta(topic=after.topic, stage=after.stage)
    if not cursor.diff(before, after, delta.cursor):
        return None
    match kind:
        case "tally":
            said = tally.diff(before.tally, after.tally, delta)
        case "board":
            said = board.diff(before.board, after.board, delta)
        case "pulse":
            said = pulse.diff(before.pulse, after.pulse, delta)
        case None:
            said = True
        case _:
            said = True
            value = getattr(after, kind)
            # Their bytes are compared: a zero has two signs, which are equal and not the same.
            if getattr(before, kind).SerializeToString() != value.SerializeToString():
                getattr(delta, kind).CopyFrom(value)
    return delta if said and delta.ByteSize() < after.ByteSize() else None


def apply(before: TopicState, delta: TopicDelta) -> TopicState:
    """The state after it; `before` is left as it is.

    Raises DeltaMismatch for a delta that is not one of `before`: of another topic or kind, naming places that
    it does not have, or making a board longer than DELTA_ENTRIES_MAX.
    """
    if delta.topic != before.topic:
        raise DeltaMismatch(f"a delta of {delta.topic!r} for {before.topic!r}; subscribe again")
    kind = delta.WhichOneof("value")
    if kind is not None and kind != before.WhichOneof("value"):
        shown = before.WhichOneof("value") or "topic without a value"
        raise DeltaMismatch(f"{before.topic}: a delta of a {kind} for a {shown}; subscribe again")
    after = TopicState()
    after.CopyFrom(before)
    after.stage = delta.stage
    cursor.apply(after, delta.cursor)
    match kind:
        case "tally":
            tally.apply(after.tally, delta.tally)
        case "board":
            board.apply(after.board, delta.board)
        case "pulse":
            pulse.apply(after.pulse, delta.pulse)
        case "audience" | "metric" | "custom":
            getattr(after, kind).CopyFrom(getattr(delta, kind))
    return after
