import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
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

class TopicState(_message.Message):
    __slots__ = ("topic", "cursor", "stage", "tally", "board", "pulse")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    PULSE_FIELD_NUMBER: _ClassVar[int]
    topic: str
    cursor: _event_pb2.Cursor
    stage: _catalog_pb2.Stage
    tally: TallyResult
    board: BoardResult
    pulse: PulseResult
    def __init__(self, topic: _Optional[str] = ..., cursor: _Optional[_Union[_event_pb2.Cursor, _Mapping]] = ..., stage: _Optional[_Union[_catalog_pb2.Stage, str]] = ..., tally: _Optional[_Union[TallyResult, _Mapping]] = ..., board: _Optional[_Union[BoardResult, _Mapping]] = ..., pulse: _Optional[_Union[PulseResult, _Mapping]] = ...) -> None: ...

class TallyResult(_message.Message):
    __slots__ = ("options", "voters")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    options: _containers.RepeatedCompositeFieldContainer[OptionCount]
    voters: int
    def __init__(self, options: _Optional[_Iterable[_Union[OptionCount, _Mapping]]] = ..., voters: _Optional[int] = ...) -> None: ...

class OptionCount(_message.Message):
    __slots__ = ("option_id", "votes")
    OPTION_ID_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    option_id: str
    votes: int
    def __init__(self, option_id: _Optional[str] = ..., votes: _Optional[int] = ...) -> None: ...

class BoardResult(_message.Message):
    __slots__ = ("entries", "actors")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[BoardEntry]
    actors: int
    def __init__(self, entries: _Optional[_Iterable[_Union[BoardEntry, _Mapping]]] = ..., actors: _Optional[int] = ...) -> None: ...

class BoardEntry(_message.Message):
    __slots__ = ("rank", "actor_id", "points")
    RANK_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    rank: int
    actor_id: str
    points: int
    def __init__(self, rank: _Optional[int] = ..., actor_id: _Optional[str] = ..., points: _Optional[int] = ...) -> None: ...

class PulseResult(_message.Message):
    __slots__ = ("kinds",)
    KINDS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedCompositeFieldContainer[KindRate]
    def __init__(self, kinds: _Optional[_Iterable[_Union[KindRate, _Mapping]]] = ...) -> None: ...

class KindRate(_message.Message):
    __slots__ = ("kind", "rate_per_s", "total")
    KIND_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    kind: str
    rate_per_s: float
    total: int
    def __init__(self, kind: _Optional[str] = ..., rate_per_s: _Optional[float] = ..., total: _Optional[int] = ...) -> None: ...
