from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("origin_seq", "origin_id", "game_id", "actor_id", "vote", "score", "reaction")
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    VOTE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REACTION_FIELD_NUMBER: _ClassVar[int]
    origin_seq: int
    origin_id: str
    game_id: str
    actor_id: str
    vote: Vote
    score: Score
    reaction: Reaction
    def __init__(self, origin_seq: _Optional[int] = ..., origin_id: _Optional[str] = ..., game_id: _Optional[str] = ..., actor_id: _Optional[str] = ..., vote: _Optional[_Union[Vote, _Mapping]] = ..., score: _Optional[_Union[Score, _Mapping]] = ..., reaction: _Optional[_Union[Reaction, _Mapping]] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("poll_id", "option_ids")
    POLL_ID_FIELD_NUMBER: _ClassVar[int]
    OPTION_IDS_FIELD_NUMBER: _ClassVar[int]
    poll_id: str
    option_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, poll_id: _Optional[str] = ..., option_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("board_id", "points")
    BOARD_ID_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    board_id: str
    points: int
    def __init__(self, board_id: _Optional[str] = ..., points: _Optional[int] = ...) -> None: ...

class Reaction(_message.Message):
    __slots__ = ("pulse_id", "kind", "count")
    PULSE_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    pulse_id: str
    kind: str
    count: int
    def __init__(self, pulse_id: _Optional[str] = ..., kind: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

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
