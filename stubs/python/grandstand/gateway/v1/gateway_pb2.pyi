import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.aggregate.v1 import aggregate_pb2 as _aggregate_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
from grandstand.gateway.v1 import delta_pb2 as _delta_pb2
from grandstand.notify.v1 import notify_pb2 as _notify_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IssueGuestRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IssueGuestResponse(_message.Message):
    __slots__ = ("token", "actor_id", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: str
    actor_id: str
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, token: _Optional[str] = ..., actor_id: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class IssueOriginRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IssueOriginResponse(_message.Message):
    __slots__ = ("origin_id", "expires_at", "credit", "shown_as")
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    SHOWN_AS_FIELD_NUMBER: _ClassVar[int]
    origin_id: str
    expires_at: _timestamp_pb2.Timestamp
    credit: int
    shown_as: str
    def __init__(self, origin_id: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credit: _Optional[int] = ..., shown_as: _Optional[str] = ...) -> None: ...

class SendRequest(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _event_pb2.Event
    def __init__(self, event: _Optional[_Union[_event_pb2.Event, _Mapping]] = ...) -> None: ...

class SendResponse(_message.Message):
    __slots__ = ("positions",)
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    def __init__(self, positions: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("game_id", "topics", "cursors", "positions", "max_updates_per_s", "deltas", "applied")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    CURSORS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_UPDATES_PER_S_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    cursors: _containers.RepeatedCompositeFieldContainer[TopicCursor]
    positions: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    max_updates_per_s: int
    deltas: bool
    applied: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    def __init__(self, game_id: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., cursors: _Optional[_Iterable[_Union[TopicCursor, _Mapping]]] = ..., positions: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ..., max_updates_per_s: _Optional[int] = ..., deltas: _Optional[bool] = ..., applied: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ...) -> None: ...

class TopicCursor(_message.Message):
    __slots__ = ("topic", "cursor")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    topic: str
    cursor: _event_pb2.Cursor
    def __init__(self, topic: _Optional[str] = ..., cursor: _Optional[_Union[_event_pb2.Cursor, _Mapping]] = ...) -> None: ...

class SubscribeResponse(_message.Message):
    __slots__ = ("as_of", "applied", "snapshot", "update", "heartbeat", "announcement", "personal", "rendition", "drain", "token_expiring", "game_ended")
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCEMENT_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    RENDITION_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_EXPIRING_FIELD_NUMBER: _ClassVar[int]
    GAME_ENDED_FIELD_NUMBER: _ClassVar[int]
    as_of: _timestamp_pb2.Timestamp
    applied: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    snapshot: Snapshot
    update: Update
    heartbeat: Heartbeat
    announcement: _notify_pb2.Announcement
    personal: Personal
    rendition: Rendition
    drain: Drain
    token_expiring: TokenExpiring
    game_ended: GameEnded
    def __init__(self, as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., applied: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., announcement: _Optional[_Union[_notify_pb2.Announcement, _Mapping]] = ..., personal: _Optional[_Union[Personal, _Mapping]] = ..., rendition: _Optional[_Union[Rendition, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., token_expiring: _Optional[_Union[TokenExpiring, _Mapping]] = ..., game_ended: _Optional[_Union[GameEnded, _Mapping]] = ...) -> None: ...

class GameEnded(_message.Message):
    __slots__ = ("ended_at",)
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("topics", "updates_per_s", "more")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    UPDATES_PER_S_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[_aggregate_pb2.TopicState]
    updates_per_s: float
    more: bool
    def __init__(self, topics: _Optional[_Iterable[_Union[_aggregate_pb2.TopicState, _Mapping]]] = ..., updates_per_s: _Optional[float] = ..., more: _Optional[bool] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("topics", "deltas")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[_aggregate_pb2.TopicState]
    deltas: _containers.RepeatedCompositeFieldContainer[_delta_pb2.TopicDelta]
    def __init__(self, topics: _Optional[_Iterable[_Union[_aggregate_pb2.TopicState, _Mapping]]] = ..., deltas: _Optional[_Iterable[_Union[_delta_pb2.TopicDelta, _Mapping]]] = ...) -> None: ...

class Personal(_message.Message):
    __slots__ = ("topics",)
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[_aggregate_pb2.TopicState]
    def __init__(self, topics: _Optional[_Iterable[_Union[_aggregate_pb2.TopicState, _Mapping]]] = ...) -> None: ...

class Rendition(_message.Message):
    __slots__ = ("updates_per_s", "reason")
    UPDATES_PER_S_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    updates_per_s: float
    reason: str
    def __init__(self, updates_per_s: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reconnect_after",)
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    reconnect_after: _duration_pb2.Duration
    def __init__(self, reconnect_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TokenExpiring(_message.Message):
    __slots__ = ("expires_at",)
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
