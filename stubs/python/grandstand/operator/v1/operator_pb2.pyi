import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProcessState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROCESS_STATE_UNSPECIFIED: _ClassVar[ProcessState]
    PROCESS_STATE_WELL: _ClassVar[ProcessState]
    PROCESS_STATE_FAILING: _ClassVar[ProcessState]
    PROCESS_STATE_SILENT: _ClassVar[ProcessState]
PROCESS_STATE_UNSPECIFIED: ProcessState
PROCESS_STATE_WELL: ProcessState
PROCESS_STATE_FAILING: ProcessState
PROCESS_STATE_SILENT: ProcessState

class GetOverviewRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetOverviewResponse(_message.Message):
    __slots__ = ("overview",)
    OVERVIEW_FIELD_NUMBER: _ClassVar[int]
    overview: Overview
    def __init__(self, overview: _Optional[_Union[Overview, _Mapping]] = ...) -> None: ...

class ListPointsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPointsResponse(_message.Message):
    __slots__ = ("points",)
    POINTS_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[OverviewPoint]
    def __init__(self, points: _Optional[_Iterable[_Union[OverviewPoint, _Mapping]]] = ...) -> None: ...

class Overview(_message.Message):
    __slots__ = ("at", "processes", "processes_known", "rates", "lag_seconds", "lag_blocks", "viewers", "streams", "overload_level", "pressure_ratio", "freshness", "hottest", "promises")
    AT_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_KNOWN_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LAG_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    OVERLOAD_LEVEL_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_RATIO_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    HOTTEST_FIELD_NUMBER: _ClassVar[int]
    PROMISES_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    processes: _containers.RepeatedCompositeFieldContainer[ProcessOverview]
    processes_known: int
    rates: MeshRates
    lag_seconds: float
    lag_blocks: float
    viewers: float
    streams: float
    overload_level: float
    pressure_ratio: float
    freshness: VoteFreshness
    hottest: _containers.RepeatedCompositeFieldContainer[GameOverview]
    promises: _containers.RepeatedCompositeFieldContainer[PromiseOverview]
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., processes: _Optional[_Iterable[_Union[ProcessOverview, _Mapping]]] = ..., processes_known: _Optional[int] = ..., rates: _Optional[_Union[MeshRates, _Mapping]] = ..., lag_seconds: _Optional[float] = ..., lag_blocks: _Optional[float] = ..., viewers: _Optional[float] = ..., streams: _Optional[float] = ..., overload_level: _Optional[float] = ..., pressure_ratio: _Optional[float] = ..., freshness: _Optional[_Union[VoteFreshness, _Mapping]] = ..., hottest: _Optional[_Iterable[_Union[GameOverview, _Mapping]]] = ..., promises: _Optional[_Iterable[_Union[PromiseOverview, _Mapping]]] = ...) -> None: ...

class MeshRates(_message.Message):
    __slots__ = ("received", "stored", "refused", "shed", "folded", "frames", "conflated", "viewers_refused")
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    FOLDED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    CONFLATED_FIELD_NUMBER: _ClassVar[int]
    VIEWERS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    received: float
    stored: float
    refused: float
    shed: float
    folded: float
    frames: float
    conflated: float
    viewers_refused: float
    def __init__(self, received: _Optional[float] = ..., stored: _Optional[float] = ..., refused: _Optional[float] = ..., shed: _Optional[float] = ..., folded: _Optional[float] = ..., frames: _Optional[float] = ..., conflated: _Optional[float] = ..., viewers_refused: _Optional[float] = ...) -> None: ...

class VoteFreshness(_message.Message):
    __slots__ = ("p50_seconds", "p99_seconds", "seen", "unseen", "not_acked", "incident_open", "incidents")
    P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    P99_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_FIELD_NUMBER: _ClassVar[int]
    NOT_ACKED_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_OPEN_FIELD_NUMBER: _ClassVar[int]
    INCIDENTS_FIELD_NUMBER: _ClassVar[int]
    p50_seconds: float
    p99_seconds: float
    seen: float
    unseen: float
    not_acked: float
    incident_open: bool
    incidents: float
    def __init__(self, p50_seconds: _Optional[float] = ..., p99_seconds: _Optional[float] = ..., seen: _Optional[float] = ..., unseen: _Optional[float] = ..., not_acked: _Optional[float] = ..., incident_open: _Optional[bool] = ..., incidents: _Optional[float] = ...) -> None: ...

class ProcessOverview(_message.Message):
    __slots__ = ("service", "instance", "state", "reason", "cpu_ratio", "memory_bytes")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CPU_RATIO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance: str
    state: ProcessState
    reason: str
    cpu_ratio: float
    memory_bytes: float
    def __init__(self, service: _Optional[str] = ..., instance: _Optional[str] = ..., state: _Optional[_Union[ProcessState, str]] = ..., reason: _Optional[str] = ..., cpu_ratio: _Optional[float] = ..., memory_bytes: _Optional[float] = ...) -> None: ...

class GameOverview(_message.Message):
    __slots__ = ("game_id", "title", "events_per_second", "viewers")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    title: str
    events_per_second: float
    viewers: float
    def __init__(self, game_id: _Optional[str] = ..., title: _Optional[str] = ..., events_per_second: _Optional[float] = ..., viewers: _Optional[float] = ...) -> None: ...

class PromiseOverview(_message.Message):
    __slots__ = ("name", "ok", "reason", "since")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    ok: bool
    reason: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., ok: _Optional[bool] = ..., reason: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OverviewPoint(_message.Message):
    __slots__ = ("at", "rates", "viewers", "lag_seconds", "freshness_p50_seconds", "freshness_p99_seconds")
    AT_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_P50_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_P99_SECONDS_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    rates: MeshRates
    viewers: float
    lag_seconds: float
    freshness_p50_seconds: float
    freshness_p99_seconds: float
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rates: _Optional[_Union[MeshRates, _Mapping]] = ..., viewers: _Optional[float] = ..., lag_seconds: _Optional[float] = ..., freshness_p50_seconds: _Optional[float] = ..., freshness_p99_seconds: _Optional[float] = ...) -> None: ...
