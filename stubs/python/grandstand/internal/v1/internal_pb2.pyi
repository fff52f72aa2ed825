import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.catalog.v1 import catalog_pb2 as _catalog_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
from grandstand.notify.v1 import notify_pb2 as _notify_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Incoming(_message.Message):
    __slots__ = ("hello", "events", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: bytes
    events: IncomingBatch
    heartbeat: bytes
    def __init__(self, hello: _Optional[bytes] = ..., events: _Optional[_Union[IncomingBatch, _Mapping]] = ..., heartbeat: _Optional[bytes] = ...) -> None: ...

class IncomingBatch(_message.Message):
    __slots__ = ("events", "traceparent")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[IncomingEvent]
    traceparent: str
    def __init__(self, events: _Optional[_Iterable[_Union[IncomingEvent, _Mapping]]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class IncomingEvent(_message.Message):
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
    vote: bytes
    score: bytes
    reaction: bytes
    presence: bytes
    measure: bytes
    custom: bytes
    def __init__(self, origin_seq: _Optional[int] = ..., origin_id: _Optional[str] = ..., game_id: _Optional[str] = ..., actor_id: _Optional[str] = ..., guest: _Optional[bool] = ..., vote: _Optional[bytes] = ..., score: _Optional[bytes] = ..., reaction: _Optional[bytes] = ..., presence: _Optional[bytes] = ..., measure: _Optional[bytes] = ..., custom: _Optional[bytes] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("stamped_at", "control", "events")
    STAMPED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    stamped_at: _timestamp_pb2.Timestamp
    control: Control
    events: Events
    def __init__(self, stamped_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., control: _Optional[_Union[Control, _Mapping]] = ..., events: _Optional[_Union[Events, _Mapping]] = ...) -> None: ...

class Events(_message.Message):
    __slots__ = ("viewers", "producers", "actor_keys", "actors", "origin", "origin_seq", "actor", "value", "sections")
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_KEYS_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SECTIONS_FIELD_NUMBER: _ClassVar[int]
    viewers: bytes
    producers: bytes
    actor_keys: bytes
    actors: str
    origin: bytes
    origin_seq: bytes
    actor: bytes
    value: bytes
    sections: _containers.RepeatedCompositeFieldContainer[Section]
    def __init__(self, viewers: _Optional[bytes] = ..., producers: _Optional[bytes] = ..., actor_keys: _Optional[bytes] = ..., actors: _Optional[str] = ..., origin: _Optional[bytes] = ..., origin_seq: _Optional[bytes] = ..., actor: _Optional[bytes] = ..., value: _Optional[bytes] = ..., sections: _Optional[_Iterable[_Union[Section, _Mapping]]] = ...) -> None: ...

class Section(_message.Message):
    __slots__ = ("game_id", "topic", "rows", "label", "labels", "weight", "payloads", "guests", "names", "generation")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    GUESTS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    topic: str
    rows: int
    label: bytes
    labels: str
    weight: bytes
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    guests: bool
    names: str
    generation: int
    def __init__(self, game_id: _Optional[str] = ..., topic: _Optional[str] = ..., rows: _Optional[int] = ..., label: _Optional[bytes] = ..., labels: _Optional[str] = ..., weight: _Optional[bytes] = ..., payloads: _Optional[_Iterable[bytes]] = ..., guests: _Optional[bool] = ..., names: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("poll", "board", "game", "void_votes", "remove_score", "forget_game")
    POLL_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    GAME_FIELD_NUMBER: _ClassVar[int]
    VOID_VOTES_FIELD_NUMBER: _ClassVar[int]
    REMOVE_SCORE_FIELD_NUMBER: _ClassVar[int]
    FORGET_GAME_FIELD_NUMBER: _ClassVar[int]
    poll: _catalog_pb2.Poll
    board: _catalog_pb2.Board
    game: _catalog_pb2.Game
    void_votes: VoidVotes
    remove_score: RemoveScore
    forget_game: ForgetGame
    def __init__(self, poll: _Optional[_Union[_catalog_pb2.Poll, _Mapping]] = ..., board: _Optional[_Union[_catalog_pb2.Board, _Mapping]] = ..., game: _Optional[_Union[_catalog_pb2.Game, _Mapping]] = ..., void_votes: _Optional[_Union[VoidVotes, _Mapping]] = ..., remove_score: _Optional[_Union[RemoveScore, _Mapping]] = ..., forget_game: _Optional[_Union[ForgetGame, _Mapping]] = ...) -> None: ...

class ForgetGame(_message.Message):
    __slots__ = ("game_id", "generation")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    generation: int
    def __init__(self, game_id: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class VoidVotes(_message.Message):
    __slots__ = ("game_id", "poll_id", "actor_id")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    POLL_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    poll_id: str
    actor_id: str
    def __init__(self, game_id: _Optional[str] = ..., poll_id: _Optional[str] = ..., actor_id: _Optional[str] = ...) -> None: ...

class RemoveScore(_message.Message):
    __slots__ = ("game_id", "board_id", "actor_id", "season")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    BOARD_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    board_id: str
    actor_id: str
    season: int
    def __init__(self, game_id: _Optional[str] = ..., board_id: _Optional[str] = ..., actor_id: _Optional[str] = ..., season: _Optional[int] = ...) -> None: ...

class StoredNotice(_message.Message):
    __slots__ = ("notice", "actor_ids", "sent_at", "due_at", "expires_at", "occurrence", "digest", "cancelled", "firing", "rule_state", "generation")
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    OCCURRENCE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    FIRING_FIELD_NUMBER: _ClassVar[int]
    RULE_STATE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    notice: _notify_pb2.Notice
    actor_ids: _containers.RepeatedScalarFieldContainer[str]
    sent_at: _timestamp_pb2.Timestamp
    due_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    occurrence: int
    digest: bytes
    cancelled: bool
    firing: _notify_pb2.Firing
    rule_state: bytes
    generation: int
    def __init__(self, notice: _Optional[_Union[_notify_pb2.Notice, _Mapping]] = ..., actor_ids: _Optional[_Iterable[str]] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., occurrence: _Optional[int] = ..., digest: _Optional[bytes] = ..., cancelled: _Optional[bool] = ..., firing: _Optional[_Union[_notify_pb2.Firing, _Mapping]] = ..., rule_state: _Optional[bytes] = ..., generation: _Optional[int] = ...) -> None: ...

class RuleState(_message.Message):
    __slots__ = ("seen", "season", "reached", "reached_before", "leader", "candidate", "candidate_since_us", "first", "told", "told_at_s")
    SEEN_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    REACHED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_SINCE_US_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    TOLD_AT_S_FIELD_NUMBER: _ClassVar[int]
    seen: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    season: int
    reached: int
    reached_before: int
    leader: str
    candidate: str
    candidate_since_us: int
    first: _containers.RepeatedScalarFieldContainer[str]
    told: _containers.RepeatedScalarFieldContainer[int]
    told_at_s: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, seen: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ..., season: _Optional[int] = ..., reached: _Optional[int] = ..., reached_before: _Optional[int] = ..., leader: _Optional[str] = ..., candidate: _Optional[str] = ..., candidate_since_us: _Optional[int] = ..., first: _Optional[_Iterable[str]] = ..., told: _Optional[_Iterable[int]] = ..., told_at_s: _Optional[_Iterable[int]] = ...) -> None: ...

class Reader(_message.Message):
    __slots__ = ("read_up_to", "read", "preferences")
    READ_UP_TO_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    read_up_to: int
    read: _containers.RepeatedScalarFieldContainer[int]
    preferences: _notify_pb2.Preferences
    def __init__(self, read_up_to: _Optional[int] = ..., read: _Optional[_Iterable[int]] = ..., preferences: _Optional[_Union[_notify_pb2.Preferences, _Mapping]] = ...) -> None: ...

class CrowdNotice(_message.Message):
    __slots__ = ("sequence", "stored")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    stored: StoredNotice
    def __init__(self, sequence: _Optional[int] = ..., stored: _Optional[_Union[StoredNotice, _Mapping]] = ...) -> None: ...

class InboxChange(_message.Message):
    __slots__ = ("sequences", "notices", "reader", "reader_sequence", "segments")
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    READER_FIELD_NUMBER: _ClassVar[int]
    READER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    sequences: _containers.RepeatedScalarFieldContainer[int]
    notices: _containers.RepeatedCompositeFieldContainer[StoredNotice]
    reader: Reader
    reader_sequence: int
    segments: bool
    def __init__(self, sequences: _Optional[_Iterable[int]] = ..., notices: _Optional[_Iterable[_Union[StoredNotice, _Mapping]]] = ..., reader: _Optional[_Union[Reader, _Mapping]] = ..., reader_sequence: _Optional[int] = ..., segments: _Optional[bool] = ...) -> None: ...

class PartitionResults(_message.Message):
    __slots__ = ("partition", "before", "after", "stream", "games", "part")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    GAMES_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    partition: int
    before: int
    after: int
    stream: str
    games: _containers.RepeatedCompositeFieldContainer[GameResults]
    part: int
    def __init__(self, partition: _Optional[int] = ..., before: _Optional[int] = ..., after: _Optional[int] = ..., stream: _Optional[str] = ..., games: _Optional[_Iterable[_Union[GameResults, _Mapping]]] = ..., part: _Optional[int] = ...) -> None: ...

class GameResults(_message.Message):
    __slots__ = ("game_id", "partials", "forgotten")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    PARTIALS_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    partials: _containers.RepeatedScalarFieldContainer[bytes]
    forgotten: bool
    def __init__(self, game_id: _Optional[str] = ..., partials: _Optional[_Iterable[bytes]] = ..., forgotten: _Optional[bool] = ...) -> None: ...

class Partial(_message.Message):
    __slots__ = ("game_id", "topic", "partition", "sequence", "stage", "changed_at_s", "tally", "board", "pulse", "audience", "metric", "custom")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_S_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    PULSE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    topic: str
    partition: int
    sequence: int
    stage: _catalog_pb2.Stage
    changed_at_s: int
    tally: TallyPartial
    board: BoardPartial
    pulse: PulsePartial
    audience: AudiencePartial
    metric: MetricPartial
    custom: CustomPartial
    def __init__(self, game_id: _Optional[str] = ..., topic: _Optional[str] = ..., partition: _Optional[int] = ..., sequence: _Optional[int] = ..., stage: _Optional[_Union[_catalog_pb2.Stage, str]] = ..., changed_at_s: _Optional[int] = ..., tally: _Optional[_Union[TallyPartial, _Mapping]] = ..., board: _Optional[_Union[BoardPartial, _Mapping]] = ..., pulse: _Optional[_Union[PulsePartial, _Mapping]] = ..., audience: _Optional[_Union[AudiencePartial, _Mapping]] = ..., metric: _Optional[_Union[MetricPartial, _Mapping]] = ..., custom: _Optional[_Union[CustomPartial, _Mapping]] = ...) -> None: ...

class TallyPartial(_message.Message):
    __slots__ = ("option_ids", "votes", "voters", "weights", "guest_votes", "guest_voters", "voided")
    OPTION_IDS_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    GUEST_VOTES_FIELD_NUMBER: _ClassVar[int]
    GUEST_VOTERS_FIELD_NUMBER: _ClassVar[int]
    VOIDED_FIELD_NUMBER: _ClassVar[int]
    option_ids: _containers.RepeatedScalarFieldContainer[str]
    votes: _containers.RepeatedScalarFieldContainer[int]
    voters: int
    weights: _containers.RepeatedScalarFieldContainer[int]
    guest_votes: _containers.RepeatedScalarFieldContainer[int]
    guest_voters: int
    voided: int
    def __init__(self, option_ids: _Optional[_Iterable[str]] = ..., votes: _Optional[_Iterable[int]] = ..., voters: _Optional[int] = ..., weights: _Optional[_Iterable[int]] = ..., guest_votes: _Optional[_Iterable[int]] = ..., guest_voters: _Optional[int] = ..., voided: _Optional[int] = ...) -> None: ...

class BoardPartial(_message.Message):
    __slots__ = ("mode", "top", "current", "previous", "season")
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    mode: _catalog_pb2.BoardMode
    top: int
    current: SeasonShare
    previous: SeasonShare
    season: _catalog_pb2.Season
    def __init__(self, mode: _Optional[_Union[_catalog_pb2.BoardMode, str]] = ..., top: _Optional[int] = ..., current: _Optional[_Union[SeasonShare, _Mapping]] = ..., previous: _Optional[_Union[SeasonShare, _Mapping]] = ..., season: _Optional[_Union[_catalog_pb2.Season, _Mapping]] = ...) -> None: ...

class SeasonShare(_message.Message):
    __slots__ = ("number", "actor_ids", "points", "reached", "actors", "sealed", "names")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ACTOR_IDS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    number: int
    actor_ids: _containers.RepeatedScalarFieldContainer[str]
    points: _containers.RepeatedScalarFieldContainer[int]
    reached: _containers.RepeatedScalarFieldContainer[int]
    actors: int
    sealed: bool
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., actor_ids: _Optional[_Iterable[str]] = ..., points: _Optional[_Iterable[int]] = ..., reached: _Optional[_Iterable[int]] = ..., actors: _Optional[int] = ..., sealed: _Optional[bool] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class PulsePartial(_message.Message):
    __slots__ = ("kinds", "totals", "panes", "late")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    PANES_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    totals: _containers.RepeatedScalarFieldContainer[int]
    panes: _containers.RepeatedCompositeFieldContainer[PanePartial]
    late: int
    def __init__(self, kinds: _Optional[_Iterable[str]] = ..., totals: _Optional[_Iterable[int]] = ..., panes: _Optional[_Iterable[_Union[PanePartial, _Mapping]]] = ..., late: _Optional[int] = ...) -> None: ...

class PanePartial(_message.Message):
    __slots__ = ("width_s", "starts_at_s", "counts")
    WIDTH_S_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_S_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    width_s: int
    starts_at_s: int
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, width_s: _Optional[int] = ..., starts_at_s: _Optional[int] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class AudiencePartial(_message.Message):
    __slots__ = ("pane_starts_at_s", "last_seen", "uniques", "exact", "guests")
    PANE_STARTS_AT_S_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    UNIQUES_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    GUESTS_FIELD_NUMBER: _ClassVar[int]
    pane_starts_at_s: _containers.RepeatedScalarFieldContainer[int]
    last_seen: _containers.RepeatedScalarFieldContainer[int]
    uniques: int
    exact: bool
    guests: AudiencePartial
    def __init__(self, pane_starts_at_s: _Optional[_Iterable[int]] = ..., last_seen: _Optional[_Iterable[int]] = ..., uniques: _Optional[int] = ..., exact: _Optional[bool] = ..., guests: _Optional[_Union[AudiencePartial, _Mapping]] = ...) -> None: ...

class MetricPartial(_message.Message):
    __slots__ = ("count", "sum", "min", "max", "zeros", "positive_keys", "positive_counts", "negative_keys", "negative_counts")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    ZEROS_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_KEYS_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_COUNTS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_KEYS_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_COUNTS_FIELD_NUMBER: _ClassVar[int]
    count: int
    sum: float
    min: float
    max: float
    zeros: int
    positive_keys: _containers.RepeatedScalarFieldContainer[int]
    positive_counts: _containers.RepeatedScalarFieldContainer[int]
    negative_keys: _containers.RepeatedScalarFieldContainer[int]
    negative_counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, count: _Optional[int] = ..., sum: _Optional[float] = ..., min: _Optional[float] = ..., max: _Optional[float] = ..., zeros: _Optional[int] = ..., positive_keys: _Optional[_Iterable[int]] = ..., positive_counts: _Optional[_Iterable[int]] = ..., negative_keys: _Optional[_Iterable[int]] = ..., negative_counts: _Optional[_Iterable[int]] = ...) -> None: ...

class CustomPartial(_message.Message):
    __slots__ = ("fold", "value")
    FOLD_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    fold: str
    value: bytes
    def __init__(self, fold: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class StoredTopic(_message.Message):
    __slots__ = ("control", "parts", "closed_at_us")
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_US_FIELD_NUMBER: _ClassVar[int]
    control: Control
    parts: _containers.RepeatedScalarFieldContainer[str]
    closed_at_us: int
    def __init__(self, control: _Optional[_Union[Control, _Mapping]] = ..., parts: _Optional[_Iterable[str]] = ..., closed_at_us: _Optional[int] = ...) -> None: ...

class PartitionState(_message.Message):
    __slots__ = ("applied", "bound", "watermark_us", "newest_stamp_us", "origins_from_s", "origins_from_next_s", "origins_from_next_at_s")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    BOUND_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_US_FIELD_NUMBER: _ClassVar[int]
    NEWEST_STAMP_US_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FROM_S_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FROM_NEXT_S_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FROM_NEXT_AT_S_FIELD_NUMBER: _ClassVar[int]
    applied: int
    bound: BlockIdentity
    watermark_us: int
    newest_stamp_us: int
    origins_from_s: int
    origins_from_next_s: int
    origins_from_next_at_s: int
    def __init__(self, applied: _Optional[int] = ..., bound: _Optional[_Union[BlockIdentity, _Mapping]] = ..., watermark_us: _Optional[int] = ..., newest_stamp_us: _Optional[int] = ..., origins_from_s: _Optional[int] = ..., origins_from_next_s: _Optional[int] = ..., origins_from_next_at_s: _Optional[int] = ...) -> None: ...

class BlockIdentity(_message.Message):
    __slots__ = ("sequence", "stored_at_us", "digest")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STORED_AT_US_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    stored_at_us: int
    digest: bytes
    def __init__(self, sequence: _Optional[int] = ..., stored_at_us: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class PurgeMarker(_message.Message):
    __slots__ = ("partition", "up_to", "stream", "before")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    up_to: int
    stream: str
    before: int
    def __init__(self, partition: _Optional[int] = ..., up_to: _Optional[int] = ..., stream: _Optional[str] = ..., before: _Optional[int] = ...) -> None: ...

class OriginLog(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[OriginRows]
    def __init__(self, rows: _Optional[_Iterable[_Union[OriginRows, _Mapping]]] = ...) -> None: ...

class OriginRows(_message.Message):
    __slots__ = ("viewers", "highest", "seen", "producers")
    VIEWERS_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    viewers: bytes
    highest: bytes
    seen: bytes
    producers: _containers.RepeatedCompositeFieldContainer[ProducerWindow]
    def __init__(self, viewers: _Optional[bytes] = ..., highest: _Optional[bytes] = ..., seen: _Optional[bytes] = ..., producers: _Optional[_Iterable[_Union[ProducerWindow, _Mapping]]] = ...) -> None: ...

class ProducerWindow(_message.Message):
    __slots__ = ("origin", "highest", "seen")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    HIGHEST_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    origin: bytes
    highest: int
    seen: bytes
    def __init__(self, origin: _Optional[bytes] = ..., highest: _Optional[int] = ..., seen: _Optional[bytes] = ...) -> None: ...

class VoteLog(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[VoteRows]
    def __init__(self, rows: _Optional[_Iterable[_Union[VoteRows, _Mapping]]] = ...) -> None: ...

class VoteRows(_message.Message):
    __slots__ = ("topics", "topic", "actor", "options", "weight", "origin_tag", "origin_seq", "superseded")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_TAG_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    topics: str
    topic: bytes
    actor: bytes
    options: bytes
    weight: bytes
    origin_tag: bytes
    origin_seq: bytes
    superseded: bytes
    def __init__(self, topics: _Optional[str] = ..., topic: _Optional[bytes] = ..., actor: _Optional[bytes] = ..., options: _Optional[bytes] = ..., weight: _Optional[bytes] = ..., origin_tag: _Optional[bytes] = ..., origin_seq: _Optional[bytes] = ..., superseded: _Optional[bytes] = ...) -> None: ...

class PulseLog(_message.Message):
    __slots__ = ("partial", "watermark_us")
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_US_FIELD_NUMBER: _ClassVar[int]
    partial: PulsePartial
    watermark_us: int
    def __init__(self, partial: _Optional[_Union[PulsePartial, _Mapping]] = ..., watermark_us: _Optional[int] = ...) -> None: ...

class AudienceLog(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[AudienceRows]
    def __init__(self, rows: _Optional[_Iterable[_Union[AudienceRows, _Mapping]]] = ...) -> None: ...

class AudienceRows(_message.Message):
    __slots__ = ("actors", "heard", "pane_starts_at_s", "registers", "ranks", "sources", "guests")
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    PANE_STARTS_AT_S_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    GUESTS_FIELD_NUMBER: _ClassVar[int]
    actors: bytes
    heard: bytes
    pane_starts_at_s: int
    registers: bytes
    ranks: bytes
    sources: bytes
    guests: bool
    def __init__(self, actors: _Optional[bytes] = ..., heard: _Optional[bytes] = ..., pane_starts_at_s: _Optional[int] = ..., registers: _Optional[bytes] = ..., ranks: _Optional[bytes] = ..., sources: _Optional[bytes] = ..., guests: _Optional[bool] = ...) -> None: ...

class CustomLog(_message.Message):
    __slots__ = ("state", "value")
    STATE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    state: bytes
    value: bytes
    def __init__(self, state: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class VotedRequest(_message.Message):
    __slots__ = ("questions",)
    QUESTIONS_FIELD_NUMBER: _ClassVar[int]
    questions: _containers.RepeatedCompositeFieldContainer[VotedQuestion]
    def __init__(self, questions: _Optional[_Iterable[_Union[VotedQuestion, _Mapping]]] = ...) -> None: ...

class VotedQuestion(_message.Message):
    __slots__ = ("game_id", "topic", "actors", "producer", "origins", "origin_seqs")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ACTORS_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    ORIGINS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQS_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    topic: str
    actors: bytes
    producer: bytes
    origins: bytes
    origin_seqs: bytes
    def __init__(self, game_id: _Optional[str] = ..., topic: _Optional[str] = ..., actors: _Optional[bytes] = ..., producer: _Optional[bytes] = ..., origins: _Optional[bytes] = ..., origin_seqs: _Optional[bytes] = ...) -> None: ...

class VotedResponse(_message.Message):
    __slots__ = ("second",)
    SECOND_FIELD_NUMBER: _ClassVar[int]
    second: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, second: _Optional[_Iterable[bytes]] = ...) -> None: ...

class RefusalsRequest(_message.Message):
    __slots__ = ("actor_id",)
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    def __init__(self, actor_id: _Optional[str] = ...) -> None: ...

class RefusalsResponse(_message.Message):
    __slots__ = ("instance", "since_us", "refusals", "refused", "sheds")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SINCE_US_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    SHEDS_FIELD_NUMBER: _ClassVar[int]
    instance: str
    since_us: int
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    refused: int
    sheds: _containers.RepeatedCompositeFieldContainer[Shed]
    def __init__(self, instance: _Optional[str] = ..., since_us: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., refused: _Optional[int] = ..., sheds: _Optional[_Iterable[_Union[Shed, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("at_us", "game_id", "topic", "origin_id", "origin_seq", "code", "message", "maybe_stored")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MAYBE_STORED_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    game_id: str
    topic: str
    origin_id: str
    origin_seq: int
    code: int
    message: str
    maybe_stored: bool
    def __init__(self, at_us: _Optional[int] = ..., game_id: _Optional[str] = ..., topic: _Optional[str] = ..., origin_id: _Optional[str] = ..., origin_seq: _Optional[int] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., maybe_stored: _Optional[bool] = ...) -> None: ...

class Shed(_message.Message):
    __slots__ = ("game_id", "kind", "count", "first_us", "last_us")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_US_FIELD_NUMBER: _ClassVar[int]
    LAST_US_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    kind: str
    count: int
    first_us: int
    last_us: int
    def __init__(self, game_id: _Optional[str] = ..., kind: _Optional[str] = ..., count: _Optional[int] = ..., first_us: _Optional[int] = ..., last_us: _Optional[int] = ...) -> None: ...

class WorkerBeat(_message.Message):
    __slots__ = ("instance", "life", "leaving", "released", "asks")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    LIFE_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    instance: str
    life: str
    leaving: bool
    released: _containers.RepeatedScalarFieldContainer[int]
    asks: bool
    def __init__(self, instance: _Optional[str] = ..., life: _Optional[str] = ..., leaving: _Optional[bool] = ..., released: _Optional[_Iterable[int]] = ..., asks: _Optional[bool] = ...) -> None: ...

class HealthReport(_message.Message):
    __slots__ = ("service", "instance", "checks", "clock_offset_ms", "out_of_service")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance: str
    checks: _containers.RepeatedCompositeFieldContainer[HealthCheck]
    clock_offset_ms: int
    out_of_service: bool
    def __init__(self, service: _Optional[str] = ..., instance: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[HealthCheck, _Mapping]]] = ..., clock_offset_ms: _Optional[int] = ..., out_of_service: _Optional[bool] = ...) -> None: ...

class HealthCheck(_message.Message):
    __slots__ = ("name", "ok", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    ok: bool
    reason: str
    def __init__(self, name: _Optional[str] = ..., ok: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("partition", "sequence", "reason", "block")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    partition: int
    sequence: int
    reason: str
    block: bytes
    def __init__(self, partition: _Optional[int] = ..., sequence: _Optional[int] = ..., reason: _Optional[str] = ..., block: _Optional[bytes] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("partition", "applied", "stream", "keys", "state")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    partition: int
    applied: int
    stream: str
    keys: _containers.RepeatedCompositeFieldContainer[CheckpointKey]
    state: PartitionState
    def __init__(self, partition: _Optional[int] = ..., applied: _Optional[int] = ..., stream: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[CheckpointKey, _Mapping]]] = ..., state: _Optional[_Union[PartitionState, _Mapping]] = ...) -> None: ...

class CheckpointKey(_message.Message):
    __slots__ = ("name", "log", "fields", "members", "scores")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    name: str
    log: bytes
    fields: _containers.RepeatedScalarFieldContainer[bytes]
    members: _containers.RepeatedScalarFieldContainer[bytes]
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., log: _Optional[bytes] = ..., fields: _Optional[_Iterable[bytes]] = ..., members: _Optional[_Iterable[bytes]] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...
