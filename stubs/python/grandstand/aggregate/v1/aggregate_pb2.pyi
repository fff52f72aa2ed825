import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
from grandstand.notify.v1 import notify_pb2 as _notify_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadRequest(_message.Message):
    __slots__ = ("game_id", "topics", "positions")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    positions: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    def __init__(self, game_id: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., positions: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("topics", "as_of")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[TopicState]
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, topics: _Optional[_Iterable[_Union[TopicState, _Mapping]]] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReadStandingRequest(_message.Message):
    __slots__ = ("game_id", "board_id", "actor_id", "neighbours", "positions", "previous_season")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    BOARD_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SEASON_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    board_id: str
    actor_id: str
    neighbours: int
    positions: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    previous_season: bool
    def __init__(self, game_id: _Optional[str] = ..., board_id: _Optional[str] = ..., actor_id: _Optional[str] = ..., neighbours: _Optional[int] = ..., positions: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ..., previous_season: _Optional[bool] = ...) -> None: ...

class ReadStandingResponse(_message.Message):
    __slots__ = ("standing", "neighbours", "actors", "season")
    STANDING_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    standing: BoardEntry
    neighbours: _containers.RepeatedCompositeFieldContainer[BoardEntry]
    actors: int
    season: SeasonSpan
    def __init__(self, standing: _Optional[_Union[BoardEntry, _Mapping]] = ..., neighbours: _Optional[_Iterable[_Union[BoardEntry, _Mapping]]] = ..., actors: _Optional[int] = ..., season: _Optional[_Union[SeasonSpan, _Mapping]] = ...) -> None: ...

class ReadPartitionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadPartitionsResponse(_message.Message):
    __slots__ = ("partitions",)
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionStatus]
    def __init__(self, partitions: _Optional[_Iterable[_Union[PartitionStatus, _Mapping]]] = ...) -> None: ...

class PartitionStatus(_message.Message):
    __slots__ = ("partition", "owner", "applied", "lag_blocks", "lag_ms", "dead_letters", "uncounted", "as_of", "problem", "sweep_ms", "origins_from_s", "flush_ms")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    LAG_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    UNCOUNTED_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    SWEEP_MS_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FROM_S_FIELD_NUMBER: _ClassVar[int]
    FLUSH_MS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    owner: str
    applied: int
    lag_blocks: int
    lag_ms: int
    dead_letters: int
    uncounted: int
    as_of: _timestamp_pb2.Timestamp
    problem: str
    sweep_ms: int
    origins_from_s: int
    flush_ms: int
    def __init__(self, partition: _Optional[int] = ..., owner: _Optional[str] = ..., applied: _Optional[int] = ..., lag_blocks: _Optional[int] = ..., lag_ms: _Optional[int] = ..., dead_letters: _Optional[int] = ..., uncounted: _Optional[int] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., problem: _Optional[str] = ..., sweep_ms: _Optional[int] = ..., origins_from_s: _Optional[int] = ..., flush_ms: _Optional[int] = ...) -> None: ...

class TopicState(_message.Message):
    __slots__ = ("topic", "cursor", "stage", "tally", "board", "pulse", "audience", "metric", "custom", "standing", "inbox")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    PULSE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    INBOX_FIELD_NUMBER: _ClassVar[int]
    topic: str
    cursor: _event_pb2.Cursor
    stage: _catalog_pb2.Stage
    tally: TallyResult
    board: BoardResult
    pulse: PulseResult
    audience: AudienceResult
    metric: MetricResult
    custom: CustomResult
    standing: StandingResult
    inbox: _notify_pb2.InboxResult
    def __init__(self, topic: _Optional[str] = ..., cursor: _Optional[_Union[_event_pb2.Cursor, _Mapping]] = ..., stage: _Optional[_Union[_catalog_pb2.Stage, str]] = ..., tally: _Optional[_Union[TallyResult, _Mapping]] = ..., board: _Optional[_Union[BoardResult, _Mapping]] = ..., pulse: _Optional[_Union[PulseResult, _Mapping]] = ..., audience: _Optional[_Union[AudienceResult, _Mapping]] = ..., metric: _Optional[_Union[MetricResult, _Mapping]] = ..., custom: _Optional[_Union[CustomResult, _Mapping]] = ..., standing: _Optional[_Union[StandingResult, _Mapping]] = ..., inbox: _Optional[_Union[_notify_pb2.InboxResult, _Mapping]] = ...) -> None: ...

class StandingResult(_message.Message):
    __slots__ = ("standing", "actors", "season")
    STANDING_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    standing: BoardEntry
    actors: int
    season: SeasonSpan
    def __init__(self, standing: _Optional[_Union[BoardEntry, _Mapping]] = ..., actors: _Optional[int] = ..., season: _Optional[_Union[SeasonSpan, _Mapping]] = ...) -> None: ...

class TallyResult(_message.Message):
    __slots__ = ("options", "voters", "guest_voters", "voided")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    GUEST_VOTERS_FIELD_NUMBER: _ClassVar[int]
    VOIDED_FIELD_NUMBER: _ClassVar[int]
    options: _containers.RepeatedCompositeFieldContainer[OptionCount]
    voters: int
    guest_voters: int
    voided: int
    def __init__(self, options: _Optional[_Iterable[_Union[OptionCount, _Mapping]]] = ..., voters: _Optional[int] = ..., guest_voters: _Optional[int] = ..., voided: _Optional[int] = ...) -> None: ...

class OptionCount(_message.Message):
    __slots__ = ("option_id", "votes", "weight", "guest_votes")
    OPTION_ID_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    GUEST_VOTES_FIELD_NUMBER: _ClassVar[int]
    option_id: str
    votes: int
    weight: int
    guest_votes: int
    def __init__(self, option_id: _Optional[str] = ..., votes: _Optional[int] = ..., weight: _Optional[int] = ..., guest_votes: _Optional[int] = ...) -> None: ...

class BoardResult(_message.Message):
    __slots__ = ("entries", "actors", "season", "previous")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[BoardEntry]
    actors: int
    season: SeasonSpan
    previous: PastSeason
    def __init__(self, entries: _Optional[_Iterable[_Union[BoardEntry, _Mapping]]] = ..., actors: _Optional[int] = ..., season: _Optional[_Union[SeasonSpan, _Mapping]] = ..., previous: _Optional[_Union[PastSeason, _Mapping]] = ...) -> None: ...

class SeasonSpan(_message.Message):
    __slots__ = ("number", "starts_at", "ends_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_FIELD_NUMBER: _ClassVar[int]
    ENDS_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    starts_at: _timestamp_pb2.Timestamp
    ends_at: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., starts_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ends_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PastSeason(_message.Message):
    __slots__ = ("season", "entries", "actors", "sealed")
    SEASON_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    season: SeasonSpan
    entries: _containers.RepeatedCompositeFieldContainer[BoardEntry]
    actors: int
    sealed: bool
    def __init__(self, season: _Optional[_Union[SeasonSpan, _Mapping]] = ..., entries: _Optional[_Iterable[_Union[BoardEntry, _Mapping]]] = ..., actors: _Optional[int] = ..., sealed: _Optional[bool] = ...) -> None: ...

class BoardEntry(_message.Message):
    __slots__ = ("rank", "actor_id", "points", "name")
    RANK_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    rank: int
    actor_id: str
    points: int
    name: str
    def __init__(self, rank: _Optional[int] = ..., actor_id: _Optional[str] = ..., points: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class PulseResult(_message.Message):
    __slots__ = ("kinds", "late", "panes")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    PANES_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedCompositeFieldContainer[KindRate]
    late: int
    panes: _containers.RepeatedCompositeFieldContainer[PulsePane]
    def __init__(self, kinds: _Optional[_Iterable[_Union[KindRate, _Mapping]]] = ..., late: _Optional[int] = ..., panes: _Optional[_Iterable[_Union[PulsePane, _Mapping]]] = ...) -> None: ...

class PulsePane(_message.Message):
    __slots__ = ("width_s", "starts_at", "counts")
    WIDTH_S_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    width_s: int
    starts_at: _timestamp_pb2.Timestamp
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, width_s: _Optional[int] = ..., starts_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class KindRate(_message.Message):
    __slots__ = ("kind", "rate_per_s", "total")
    KIND_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    rate_per_s: float
    total: int
    def __init__(self, kind: _Optional[str] = ..., rate_per_s: _Optional[float] = ..., total: _Optional[int] = ...) -> None: ...

class AudienceResult(_message.Message):
    __slots__ = ("viewers", "uniques", "exact", "relative_error", "guest_viewers", "guest_uniques")
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    UNIQUES_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    GUEST_VIEWERS_FIELD_NUMBER: _ClassVar[int]
    GUEST_UNIQUES_FIELD_NUMBER: _ClassVar[int]
    viewers: int
    uniques: int
    exact: bool
    relative_error: float
    guest_viewers: int
    guest_uniques: int
    def __init__(self, viewers: _Optional[int] = ..., uniques: _Optional[int] = ..., exact: _Optional[bool] = ..., relative_error: _Optional[float] = ..., guest_viewers: _Optional[int] = ..., guest_uniques: _Optional[int] = ...) -> None: ...

class MetricResult(_message.Message):
    __slots__ = ("count", "min", "max", "mean", "quantiles", "relative_error")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    count: int
    min: float
    max: float
    mean: float
    quantiles: _containers.RepeatedCompositeFieldContainer[Quantile]
    relative_error: float
    def __init__(self, count: _Optional[int] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., mean: _Optional[float] = ..., quantiles: _Optional[_Iterable[_Union[Quantile, _Mapping]]] = ..., relative_error: _Optional[float] = ...) -> None: ...

class Quantile(_message.Message):
    __slots__ = ("quantile", "value")
    QUANTILE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    quantile: float
    value: float
    def __init__(self, quantile: _Optional[float] = ..., value: _Optional[float] = ...) -> None: ...

class CustomResult(_message.Message):
    __slots__ = ("fold", "value")
    FOLD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    fold: str
    value: bytes
    def __init__(self, fold: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
