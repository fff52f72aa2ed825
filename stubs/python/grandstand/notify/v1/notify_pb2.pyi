import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Announcement(_message.Message):
    __slots__ = ("game_id", "announced_at", "poll_opened", "poll_closed", "board_opened", "board_closed")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_AT_FIELD_NUMBER: _ClassVar[int]
    POLL_OPENED_FIELD_NUMBER: _ClassVar[int]
    POLL_CLOSED_FIELD_NUMBER: _ClassVar[int]
    BOARD_OPENED_FIELD_NUMBER: _ClassVar[int]
    BOARD_CLOSED_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    announced_at: _timestamp_pb2.Timestamp
    poll_opened: _catalog_pb2.Poll
    poll_closed: _catalog_pb2.Poll
    board_opened: _catalog_pb2.Board
    board_closed: _catalog_pb2.Board
    def __init__(self, game_id: _Optional[str] = ..., announced_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., poll_opened: _Optional[_Union[_catalog_pb2.Poll, _Mapping]] = ..., poll_closed: _Optional[_Union[_catalog_pb2.Poll, _Mapping]] = ..., board_opened: _Optional[_Union[_catalog_pb2.Board, _Mapping]] = ..., board_closed: _Optional[_Union[_catalog_pb2.Board, _Mapping]] = ...) -> None: ...

class InboxResult(_message.Message):
    __slots__ = ("newest", "unread")
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    newest: _containers.RepeatedCompositeFieldContainer[Notification]
    unread: int
    def __init__(self, newest: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., unread: _Optional[int] = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("notification_id", "sent_at", "game_id", "title", "text", "read")
    NOTIFICATION_ID_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    notification_id: str
    sent_at: _timestamp_pb2.Timestamp
    game_id: str
    title: str
    text: str
    read: bool
    def __init__(self, notification_id: _Optional[str] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., game_id: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., read: _Optional[bool] = ...) -> None: ...
