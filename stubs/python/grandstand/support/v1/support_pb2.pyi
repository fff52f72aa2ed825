import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRequest(_message.Message):
    __slots__ = ("game_id", "actor_id", "topic", "origin_id", "origin_seq")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    actor_id: str
    topic: str
    origin_id: str
    origin_seq: int
    def __init__(self, game_id: _Optional[str] = ..., actor_id: _Optional[str] = ..., topic: _Optional[str] = ..., origin_id: _Optional[str] = ..., origin_seq: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("summary", "steps")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    summary: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, summary: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("kind", "at", "text", "topic", "origin_id", "origin_seq", "position", "ingest")
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    INGEST_FIELD_NUMBER: _ClassVar[int]
    kind: str
    at: _timestamp_pb2.Timestamp
    text: str
    topic: str
    origin_id: str
    origin_seq: int
    position: _event_pb2.Position
    ingest: str
    def __init__(self, kind: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., text: _Optional[str] = ..., topic: _Optional[str] = ..., origin_id: _Optional[str] = ..., origin_seq: _Optional[int] = ..., position: _Optional[_Union[_event_pb2.Position, _Mapping]] = ..., ingest: _Optional[str] = ...) -> None: ...
