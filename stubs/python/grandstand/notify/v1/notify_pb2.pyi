import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
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
