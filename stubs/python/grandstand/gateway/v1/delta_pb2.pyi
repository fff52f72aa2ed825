from grandstand.aggregate.v1 import aggregate_pb2 as _aggregate_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TopicDelta(_message.Message):
    __slots__ = ("topic", "cursor", "stage", "tally", "board", "pulse", "audience", "metric", "custom")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    PULSE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    topic: str
    cursor: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    stage: _catalog_pb2.Stage
    tally: TallyDelta
    board: BoardDelta
    pulse: PulseDelta
    audience: _aggregate_pb2.AudienceResult
    metric: _aggregate_pb2.MetricResult
    custom: _aggregate_pb2.CustomResult
    def __init__(self, topic: _Optional[str] = ..., cursor: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ..., stage: _Optional[_Union[_catalog_pb2.Stage, str]] = ..., tally: _Optional[_Union[TallyDelta, _Mapping]] = ..., board: _Optional[_Union[BoardDelta, _Mapping]] = ..., pulse: _Optional[_Union[PulseDelta, _Mapping]] = ..., audience: _Optional[_Union[_aggregate_pb2.AudienceResult, _Mapping]] = ..., metric: _Optional[_Union[_aggregate_pb2.MetricResult, _Mapping]] = ..., custom: _Optional[_Union[_aggregate_pb2.CustomResult, _Mapping]] = ...) -> None: ...

class TallyDelta(_message.Message):
    __slots__ = ("options", "voters", "guest_voters", "voided")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    GUEST_VOTERS_FIELD_NUMBER: _ClassVar[int]
    VOIDED_FIELD_NUMBER: _ClassVar[int]
    options: _containers.RepeatedCompositeFieldContainer[OptionDelta]
    voters: int
    guest_voters: int
    voided: int
    def __init__(self, options: _Optional[_Iterable[_Union[OptionDelta, _Mapping]]] = ..., voters: _Optional[int] = ..., guest_voters: _Optional[int] = ..., voided: _Optional[int] = ...) -> None: ...

class OptionDelta(_message.Message):
    __slots__ = ("place", "votes", "weight", "guest_votes")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    GUEST_VOTES_FIELD_NUMBER: _ClassVar[int]
    place: int
    votes: int
    weight: int
    guest_votes: int
    def __init__(self, place: _Optional[int] = ..., votes: _Optional[int] = ..., weight: _Optional[int] = ..., guest_votes: _Optional[int] = ...) -> None: ...

class BoardDelta(_message.Message):
    __slots__ = ("entries", "actors")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[EntryRun]
    actors: int
    def __init__(self, entries: _Optional[_Iterable[_Union[EntryRun, _Mapping]]] = ..., actors: _Optional[int] = ...) -> None: ...

class EntryRun(_message.Message):
    __slots__ = ("first", "count", "put")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    first: int
    count: int
    put: _containers.RepeatedCompositeFieldContainer[_aggregate_pb2.BoardEntry]
    def __init__(self, first: _Optional[int] = ..., count: _Optional[int] = ..., put: _Optional[_Iterable[_Union[_aggregate_pb2.BoardEntry, _Mapping]]] = ...) -> None: ...

class PulseDelta(_message.Message):
    __slots__ = ("kinds", "late", "panes")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    PANES_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedCompositeFieldContainer[KindDelta]
    late: int
    panes: _containers.RepeatedCompositeFieldContainer[_aggregate_pb2.PulsePane]
    def __init__(self, kinds: _Optional[_Iterable[_Union[KindDelta, _Mapping]]] = ..., late: _Optional[int] = ..., panes: _Optional[_Iterable[_Union[_aggregate_pb2.PulsePane, _Mapping]]] = ...) -> None: ...

class KindDelta(_message.Message):
    __slots__ = ("place", "rate_per_s", "total")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    place: int
    rate_per_s: float
    total: int
    def __init__(self, place: _Optional[int] = ..., rate_per_s: _Optional[float] = ..., total: _Optional[int] = ...) -> None: ...
