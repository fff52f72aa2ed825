from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PresenceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRESENCE_STATE_UNSPECIFIED: _ClassVar[PresenceState]
    PRESENCE_STATE_HERE: _ClassVar[PresenceState]
    PRESENCE_STATE_GONE: _ClassVar[PresenceState]
PRESENCE_STATE_UNSPECIFIED: PresenceState
PRESENCE_STATE_HERE: PresenceState
PRESENCE_STATE_GONE: PresenceState

class Event(_message.Message):
    __slots__ = ("origin_seq", "origin_id", "game_id", "actor_id", "guest", "vote", "score", "reaction", "presence", "measure", "custom")
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    GUEST_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REACTION_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    origin_seq: int
    origin_id: str
    game_id: str
    actor_id: str
    guest: bool
    vote: Vote
    score: Score
    reaction: Reaction
    presence: Presence
    measure: Measure
    custom: Custom
    def __init__(self, origin_seq: _Optional[int] = ..., origin_id: _Optional[str] = ..., game_id: _Optional[str] = ..., actor_id: _Optional[str] = ..., guest: _Optional[bool] = ..., vote: _Optional[_Union[Vote, _Mapping]] = ..., score: _Optional[_Union[Score, _Mapping]] = ..., reaction: _Optional[_Union[Reaction, _Mapping]] = ..., presence: _Optional[_Union[Presence, _Mapping]] = ..., measure: _Optional[_Union[Measure, _Mapping]] = ..., custom: _Optional[_Union[Custom, _Mapping]] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("poll_id", "option_ids", "weight")
    POLL_ID_FIELD_NUMBER: _ClassVar[int]
    OPTION_IDS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    poll_id: str
    option_ids: _containers.RepeatedScalarFieldContainer[str]
    weight: int
    def __init__(self, poll_id: _Optional[str] = ..., option_ids: _Optional[_Iterable[str]] = ..., weight: _Optional[int] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("board_id", "points", "name")
    BOARD_ID_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    board_id: str
    points: int
    name: str
    def __init__(self, board_id: _Optional[str] = ..., points: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Reaction(_message.Message):
    __slots__ = ("pulse_id", "kind", "count")
    PULSE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    pulse_id: str
    kind: str
    count: int
    def __init__(self, pulse_id: _Optional[str] = ..., kind: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Presence(_message.Message):
    __slots__ = ("state", "source")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    state: PresenceState
    source: int
    def __init__(self, state: _Optional[_Union[PresenceState, str]] = ..., source: _Optional[int] = ...) -> None: ...

class Measure(_message.Message):
    __slots__ = ("metric_id", "value")
    METRIC_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    metric_id: str
    value: float
    def __init__(self, metric_id: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Custom(_message.Message):
    __slots__ = ("custom_id", "payload")
    CUSTOM_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    custom_id: str
    payload: bytes
    def __init__(self, custom_id: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("partition", "sequence")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    sequence: int
    def __init__(self, partition: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class Cursor(_message.Message):
    __slots__ = ("positions",)
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[Position]
    def __init__(self, positions: _Optional[_Iterable[_Union[Position, _Mapping]]] = ...) -> None: ...
