import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_URGENT: _ClassVar[Priority]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_NORMAL: Priority
PRIORITY_URGENT: Priority

class Announcement(_message.Message):
    __slots__ = ("game_id", "announced_at", "poll_opened", "poll_closed", "board_opened", "board_closed", "notice")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_AT_FIELD_NUMBER: _ClassVar[int]
    POLL_OPENED_FIELD_NUMBER: _ClassVar[int]
    POLL_CLOSED_FIELD_NUMBER: _ClassVar[int]
    BOARD_OPENED_FIELD_NUMBER: _ClassVar[int]
    BOARD_CLOSED_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    announced_at: _timestamp_pb2.Timestamp
    poll_opened: _catalog_pb2.Poll
    poll_closed: _catalog_pb2.Poll
    board_opened: _catalog_pb2.Board
    board_closed: _catalog_pb2.Board
    notice: Notification
    def __init__(self, game_id: _Optional[str] = ..., announced_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., poll_opened: _Optional[_Union[_catalog_pb2.Poll, _Mapping]] = ..., poll_closed: _Optional[_Union[_catalog_pb2.Poll, _Mapping]] = ..., board_opened: _Optional[_Union[_catalog_pb2.Board, _Mapping]] = ..., board_closed: _Optional[_Union[_catalog_pb2.Board, _Mapping]] = ..., notice: _Optional[_Union[Notification, _Mapping]] = ...) -> None: ...

class InboxResult(_message.Message):
    __slots__ = ("newest", "unread")
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    newest: _containers.RepeatedCompositeFieldContainer[Notification]
    unread: int
    def __init__(self, newest: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., unread: _Optional[int] = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("notification_id", "sent_at", "game_id", "title", "text", "read", "code", "data", "priority", "expires_at")
    NOTIFICATION_ID_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    notification_id: str
    sent_at: _timestamp_pb2.Timestamp
    game_id: str
    title: str
    text: str
    read: bool
    code: str
    data: str
    priority: Priority
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, notification_id: _Optional[str] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., game_id: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., read: _Optional[bool] = ..., code: _Optional[str] = ..., data: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Notice(_message.Message):
    __slots__ = ("key", "game_id", "audience", "code", "title", "text", "data", "priority", "expires_after", "collapse_key", "schedule")
    KEY_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    COLLAPSE_KEY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    key: str
    game_id: str
    audience: Audience
    code: str
    title: str
    text: str
    data: str
    priority: Priority
    expires_after: _duration_pb2.Duration
    collapse_key: str
    schedule: Schedule
    def __init__(self, key: _Optional[str] = ..., game_id: _Optional[str] = ..., audience: _Optional[_Union[Audience, _Mapping]] = ..., code: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., data: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., collapse_key: _Optional[str] = ..., schedule: _Optional[_Union[Schedule, _Mapping]] = ...) -> None: ...

class Audience(_message.Message):
    __slots__ = ("actor_id", "segment", "viewers", "everyone")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    EVERYONE_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    segment: str
    viewers: bool
    everyone: bool
    def __init__(self, actor_id: _Optional[str] = ..., segment: _Optional[str] = ..., viewers: _Optional[bool] = ..., everyone: _Optional[bool] = ...) -> None: ...

class Schedule(_message.Message):
    __slots__ = ("at", "local_time", "time_zone", "repeat")
    AT_FIELD_NUMBER: _ClassVar[int]
    LOCAL_TIME_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    local_time: str
    time_zone: str
    repeat: Repeat
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., local_time: _Optional[str] = ..., time_zone: _Optional[str] = ..., repeat: _Optional[_Union[Repeat, _Mapping]] = ...) -> None: ...

class Repeat(_message.Message):
    __slots__ = ("days", "weeks", "months", "times")
    DAYS_FIELD_NUMBER: _ClassVar[int]
    WEEKS_FIELD_NUMBER: _ClassVar[int]
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    days: int
    weeks: int
    months: int
    times: int
    def __init__(self, days: _Optional[int] = ..., weeks: _Optional[int] = ..., months: _Optional[int] = ..., times: _Optional[int] = ...) -> None: ...

class SendNoticeRequest(_message.Message):
    __slots__ = ("notice",)
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    notice: Notice
    def __init__(self, notice: _Optional[_Union[Notice, _Mapping]] = ...) -> None: ...

class SendNoticeResponse(_message.Message):
    __slots__ = ("notification_id", "due_at", "repeated_call")
    NOTIFICATION_ID_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_CALL_FIELD_NUMBER: _ClassVar[int]
    notification_id: str
    due_at: _timestamp_pb2.Timestamp
    repeated_call: bool
    def __init__(self, notification_id: _Optional[str] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., repeated_call: _Optional[bool] = ...) -> None: ...

class SendNoticeToActorsRequest(_message.Message):
    __slots__ = ("notice", "actor_ids", "actors")
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    notice: Notice
    actor_ids: _containers.RepeatedScalarFieldContainer[str]
    actors: int
    def __init__(self, notice: _Optional[_Union[Notice, _Mapping]] = ..., actor_ids: _Optional[_Iterable[str]] = ..., actors: _Optional[int] = ...) -> None: ...

class SendNoticeToActorsResponse(_message.Message):
    __slots__ = ("actors", "due_at")
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    actors: int
    due_at: _timestamp_pb2.Timestamp
    def __init__(self, actors: _Optional[int] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CancelNoticeRequest(_message.Message):
    __slots__ = ("game_id", "key")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    key: str
    def __init__(self, game_id: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class CancelNoticeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TailNoticesRequest(_message.Message):
    __slots__ = ("game_id",)
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    def __init__(self, game_id: _Optional[str] = ...) -> None: ...

class TailNoticesResponse(_message.Message):
    __slots__ = ("notification", "audience", "actors", "firing")
    NOTIFICATION_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    FIRING_FIELD_NUMBER: _ClassVar[int]
    notification: Notification
    audience: Audience
    actors: int
    firing: Firing
    def __init__(self, notification: _Optional[_Union[Notification, _Mapping]] = ..., audience: _Optional[_Union[Audience, _Mapping]] = ..., actors: _Optional[int] = ..., firing: _Optional[_Union[Firing, _Mapping]] = ...) -> None: ...

class Firing(_message.Message):
    __slots__ = ("game_id", "rule_id", "topic", "ordinal")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    rule_id: str
    topic: str
    ordinal: int
    def __init__(self, game_id: _Optional[str] = ..., rule_id: _Optional[str] = ..., topic: _Optional[str] = ..., ordinal: _Optional[int] = ...) -> None: ...

class ListInboxRequest(_message.Message):
    __slots__ = ("game_id", "page_size", "page_token", "after", "watched_game_id")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    WATCHED_GAME_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    page_size: int
    page_token: str
    after: str
    watched_game_id: str
    def __init__(self, game_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., after: _Optional[str] = ..., watched_game_id: _Optional[str] = ...) -> None: ...

class ListInboxResponse(_message.Message):
    __slots__ = ("notifications", "unread", "next_page_token", "cursor")
    NOTIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    notifications: _containers.RepeatedCompositeFieldContainer[Notification]
    unread: int
    next_page_token: str
    cursor: str
    def __init__(self, notifications: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., unread: _Optional[int] = ..., next_page_token: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

class AcknowledgeNoticesRequest(_message.Message):
    __slots__ = ("notification_ids", "up_to")
    NOTIFICATION_IDS_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    notification_ids: _containers.RepeatedScalarFieldContainer[str]
    up_to: str
    def __init__(self, notification_ids: _Optional[_Iterable[str]] = ..., up_to: _Optional[str] = ...) -> None: ...

class AcknowledgeNoticesResponse(_message.Message):
    __slots__ = ("unread",)
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    unread: int
    def __init__(self, unread: _Optional[int] = ...) -> None: ...

class Preferences(_message.Message):
    __slots__ = ("mutes", "quiet_hours")
    MUTES_FIELD_NUMBER: _ClassVar[int]
    QUIET_HOURS_FIELD_NUMBER: _ClassVar[int]
    mutes: _containers.RepeatedCompositeFieldContainer[Mute]
    quiet_hours: QuietHours
    def __init__(self, mutes: _Optional[_Iterable[_Union[Mute, _Mapping]]] = ..., quiet_hours: _Optional[_Union[QuietHours, _Mapping]] = ...) -> None: ...

class Mute(_message.Message):
    __slots__ = ("game_id", "code")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    code: str
    def __init__(self, game_id: _Optional[str] = ..., code: _Optional[str] = ...) -> None: ...

class QuietHours(_message.Message):
    __slots__ = ("until", "time_zone")
    FROM_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    until: str
    time_zone: str
    def __init__(self, until: _Optional[str] = ..., time_zone: _Optional[str] = ..., **kwargs) -> None: ...

class GetPreferencesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPreferencesResponse(_message.Message):
    __slots__ = ("preferences",)
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    preferences: Preferences
    def __init__(self, preferences: _Optional[_Union[Preferences, _Mapping]] = ...) -> None: ...

class SetPreferencesRequest(_message.Message):
    __slots__ = ("preferences",)
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    preferences: Preferences
    def __init__(self, preferences: _Optional[_Union[Preferences, _Mapping]] = ...) -> None: ...

class SetPreferencesResponse(_message.Message):
    __slots__ = ("preferences",)
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    preferences: Preferences
    def __init__(self, preferences: _Optional[_Union[Preferences, _Mapping]] = ...) -> None: ...

class ChangeSegmentRequest(_message.Message):
    __slots__ = ("segment", "add", "remove")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    segment: str
    add: _containers.RepeatedScalarFieldContainer[str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, segment: _Optional[str] = ..., add: _Optional[_Iterable[str]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class ChangeSegmentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSegmentsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSegmentsResponse(_message.Message):
    __slots__ = ("segments", "next_page_token")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    next_page_token: str
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("segment", "actors")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    segment: str
    actors: int
    def __init__(self, segment: _Optional[str] = ..., actors: _Optional[int] = ...) -> None: ...

class ListSegmentActorsRequest(_message.Message):
    __slots__ = ("segment", "page_size", "page_token")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    segment: str
    page_size: int
    page_token: str
    def __init__(self, segment: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSegmentActorsResponse(_message.Message):
    __slots__ = ("actor_ids", "next_page_token")
    ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    actor_ids: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    def __init__(self, actor_ids: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteSegmentRequest(_message.Message):
    __slots__ = ("segment",)
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    segment: str
    def __init__(self, segment: _Optional[str] = ...) -> None: ...

class DeleteSegmentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
