import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Block(_message.Message):
    __slots__ = ("stamped_at", "events", "control")
    STAMPED_AT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    stamped_at: _timestamp_pb2.Timestamp
    events: Events
    control: Control
    def __init__(self, stamped_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., events: _Optional[_Union[Events, _Mapping]] = ..., control: _Optional[_Union[Control, _Mapping]] = ...) -> None: ...

class Events(_message.Message):
    __slots__ = ("origins", "actors", "sections")
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    origins: _containers.RepeatedScalarFieldContainer[str]
    actors: _containers.RepeatedScalarFieldContainer[str]
    sections: _containers.RepeatedCompositeFieldContainer[Section]
    def __init__(self, origins: _Optional[_Iterable[str]] = ..., actors: _Optional[_Iterable[str]] = ..., sections: _Optional[_Iterable[_Union[Section, _Mapping]]] = ...) -> None: ...

class Section(_message.Message):
    __slots__ = ("game_id", "topic", "origin", "origin_seq", "actor", "label", "amount", "labels")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    topic: str
    origin: _containers.RepeatedScalarFieldContainer[int]
    origin_seq: _containers.RepeatedScalarFieldContainer[int]
    actor: _containers.RepeatedScalarFieldContainer[int]
    label: _containers.RepeatedScalarFieldContainer[int]
    amount: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, game_id: _Optional[str] = ..., topic: _Optional[str] = ..., origin: _Optional[_Iterable[int]] = ..., origin_seq: _Optional[_Iterable[int]] = ..., actor: _Optional[_Iterable[int]] = ..., label: _Optional[_Iterable[int]] = ..., amount: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("poll", "board")
    POLL_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    poll: _catalog_pb2.Poll
    board: _catalog_pb2.Board
    def __init__(self, poll: _Optional[_Union[_catalog_pb2.Poll, _Mapping]] = ..., board: _Optional[_Union[_catalog_pb2.Board, _Mapping]] = ...) -> None: ...

class Partial(_message.Message):
    __slots__ = ("game_id", "topic", "partition", "sequence", "stage", "tally", "board", "pulse")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    PULSE_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    topic: str
    partition: int
    sequence: int
    stage: _catalog_pb2.Stage
    tally: TallyPartial
    board: BoardPartial
    pulse: PulsePartial
    def __init__(self, game_id: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., sequence: _Optional[int] = ..., stage: _Optional[_Union[_catalog_pb2.Stage, str]] = ..., tally: _Optional[_Union[TallyPartial, _Mapping]] = ..., board: _Optional[_Union[BoardPartial, _Mapping]] = ..., pulse: _Optional[_Union[PulsePartial, _Mapping]] = ...) -> None: ...

class TallyPartial(_message.Message):
    __slots__ = ("option_ids", "votes", "voters")
    OPTION_IDS_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    option_ids: _containers.RepeatedScalarFieldContainer[str]
    votes: _containers.RepeatedScalarFieldContainer[int]
    voters: int
    def __init__(self, option_ids: _Optional[_Iterable[str]] = ..., votes: _Optional[_Iterable[int]] = ..., voters: _Optional[int] = ...) -> None: ...

class BoardPartial(_message.Message):
    __slots__ = ("mode", "top", "actor_ids", "points", "reached_at_us", "actors")
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    REACHED_AT_US_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    mode: _catalog_pb2.BoardMode
    top: int
    actor_ids: _containers.RepeatedScalarFieldContainer[str]
    points: _containers.RepeatedScalarFieldContainer[int]
    reached_at_us: _containers.RepeatedScalarFieldContainer[int]
    actors: int
    def __init__(self, mode: _Optional[_Union[_catalog_pb2.BoardMode, str]] = ..., top: _Optional[int] = ..., actor_ids: _Optional[_Iterable[str]] = ..., points: _Optional[_Iterable[int]] = ..., reached_at_us: _Optional[_Iterable[int]] = ..., actors: _Optional[int] = ...) -> None: ...

class PulsePartial(_message.Message):
    __slots__ = ("kinds", "totals", "panes")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    PANES_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    totals: _containers.RepeatedScalarFieldContainer[int]
    panes: _containers.RepeatedCompositeFieldContainer[PulsePane]
    def __init__(self, kinds: _Optional[_Iterable[str]] = ..., totals: _Optional[_Iterable[int]] = ..., panes: _Optional[_Iterable[_Union[PulsePane, _Mapping]]] = ...) -> None: ...

class PulsePane(_message.Message):
    __slots__ = ("starts_at_s", "counts")
    STARTS_AT_S_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    starts_at_s: int
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, starts_at_s: _Optional[int] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class ReplayWindow(_message.Message):
    __slots__ = ("highest", "seen")
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    highest: int
    seen: bytes
    def __init__(self, highest: _Optional[int] = ..., seen: _Optional[bytes] = ...) -> None: ...
