import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PublishRequest(_message.Message):
    __slots__ = ("hello", "events", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    events: EventBatch
    heartbeat: Heartbeat
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., events: _Optional[_Union[EventBatch, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("origin_id", "next_origin_seq", "actor_id", "client", "producer")
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    origin_id: str
    next_origin_seq: int
    actor_id: str
    client: str
    producer: bool
    def __init__(self, origin_id: _Optional[str] = ..., next_origin_seq: _Optional[int] = ..., actor_id: _Optional[str] = ..., client: _Optional[str] = ..., producer: _Optional[bool] = ...) -> None: ...

class EventBatch(_message.Message):
    __slots__ = ("events", "traceparent")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.Event]
    traceparent: str
    def __init__(self, events: _Optional[_Iterable[_Union[_event_pb2.Event, _Mapping]]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("welcome", "ack", "reject", "drain", "credit", "heartbeat", "token_expiring")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_EXPIRING_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    ack: Ack
    reject: Reject
    drain: Drain
    credit: Credit
    heartbeat: Heartbeat
    token_expiring: TokenExpiring
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., reject: _Optional[_Union[Reject, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., token_expiring: _Optional[_Union[TokenExpiring, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("origin_id", "next_origin_seq", "credit", "id_characters_max", "batch_events_max", "message_bytes_max", "credit_max", "heartbeat_interval", "replaced")
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ID_CHARACTERS_MAX_FIELD_NUMBER: _ClassVar[int]
    BATCH_EVENTS_MAX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    CREDIT_MAX_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    origin_id: str
    next_origin_seq: int
    credit: int
    id_characters_max: int
    batch_events_max: int
    message_bytes_max: int
    credit_max: int
    heartbeat_interval: _duration_pb2.Duration
    replaced: str
    def __init__(self, origin_id: _Optional[str] = ..., next_origin_seq: _Optional[int] = ..., credit: _Optional[int] = ..., id_characters_max: _Optional[int] = ..., batch_events_max: _Optional[int] = ..., message_bytes_max: _Optional[int] = ..., credit_max: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., replaced: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("origin_seq", "positions", "receipts", "shed_origin_seqs", "shed")
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    SHED_ORIGIN_SEQS_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    origin_seq: int
    positions: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    shed_origin_seqs: _containers.RepeatedScalarFieldContainer[int]
    shed: int
    def __init__(self, origin_seq: _Optional[int] = ..., positions: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ..., receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., shed_origin_seqs: _Optional[_Iterable[int]] = ..., shed: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("origin_id", "origin_seq", "position")
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    origin_id: str
    origin_seq: int
    position: _event_pb2.Position
    def __init__(self, origin_id: _Optional[str] = ..., origin_seq: _Optional[int] = ..., position: _Optional[_Union[_event_pb2.Position, _Mapping]] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("origin_id", "origin_seq", "code", "message", "retryable", "maybe_stored", "retry_after", "origin_refused")
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    MAYBE_STORED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_REFUSED_FIELD_NUMBER: _ClassVar[int]
    origin_id: str
    origin_seq: int
    code: int
    message: str
    retryable: bool
    maybe_stored: bool
    retry_after: _duration_pb2.Duration
    origin_refused: bool
    def __init__(self, origin_id: _Optional[str] = ..., origin_seq: _Optional[int] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ..., maybe_stored: _Optional[bool] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., origin_refused: _Optional[bool] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("credit", "reason")
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    credit: int
    reason: str
    def __init__(self, credit: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class TokenExpiring(_message.Message):
    __slots__ = ("expires_at",)
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("reconnect_after",)
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    reconnect_after: _duration_pb2.Duration
    def __init__(self, reconnect_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
