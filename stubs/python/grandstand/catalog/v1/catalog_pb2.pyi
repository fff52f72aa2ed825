import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grandstand.event.v1 import event_pb2 as _event_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_OPEN: _ClassVar[Stage]
    STAGE_CLOSED: _ClassVar[Stage]
    STAGE_SEALED: _ClassVar[Stage]

class Writers(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRITERS_UNSPECIFIED: _ClassVar[Writers]
    WRITERS_PRODUCERS: _ClassVar[Writers]
    WRITERS_ACTORS: _ClassVar[Writers]

class PollVoters(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLL_VOTERS_UNSPECIFIED: _ClassVar[PollVoters]
    POLL_VOTERS_PLATFORM: _ClassVar[PollVoters]

class BoardMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOARD_MODE_UNSPECIFIED: _ClassVar[BoardMode]
    BOARD_MODE_BEST: _ClassVar[BoardMode]
    BOARD_MODE_LAST: _ClassVar[BoardMode]
    BOARD_MODE_SUM: _ClassVar[BoardMode]
    BOARD_MODE_LOWEST: _ClassVar[BoardMode]
STAGE_UNSPECIFIED: Stage
STAGE_OPEN: Stage
STAGE_CLOSED: Stage
STAGE_SEALED: Stage
WRITERS_UNSPECIFIED: Writers
WRITERS_PRODUCERS: Writers
WRITERS_ACTORS: Writers
POLL_VOTERS_UNSPECIFIED: PollVoters
POLL_VOTERS_PLATFORM: PollVoters
BOARD_MODE_UNSPECIFIED: BoardMode
BOARD_MODE_BEST: BoardMode
BOARD_MODE_LAST: BoardMode
BOARD_MODE_SUM: BoardMode
BOARD_MODE_LOWEST: BoardMode

class Game(_message.Message):
    __slots__ = ("game_id", "title", "spread", "pulses", "metrics", "audience", "customs", "retain_for", "idle_for", "rules", "stage", "generation", "ended_at", "pending")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    PULSES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    CUSTOMS_FIELD_NUMBER: _ClassVar[int]
    RETAIN_FOR_FIELD_NUMBER: _ClassVar[int]
    IDLE_FOR_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    title: str
    spread: int
    pulses: _containers.RepeatedCompositeFieldContainer[Pulse]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    audience: bool
    customs: _containers.RepeatedCompositeFieldContainer[CustomTopic]
    retain_for: _duration_pb2.Duration
    idle_for: _duration_pb2.Duration
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    stage: Stage
    generation: int
    ended_at: _timestamp_pb2.Timestamp
    pending: Game
    def __init__(self, game_id: _Optional[str] = ..., title: _Optional[str] = ..., spread: _Optional[int] = ..., pulses: _Optional[_Iterable[_Union[Pulse, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., audience: _Optional[bool] = ..., customs: _Optional[_Iterable[_Union[CustomTopic, _Mapping]]] = ..., retain_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., stage: _Optional[_Union[Stage, str]] = ..., generation: _Optional[int] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pending: _Optional[_Union[Game, _Mapping]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("metric_id", "unit", "writers")
    METRIC_ID_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    WRITERS_FIELD_NUMBER: _ClassVar[int]
    metric_id: str
    unit: str
    writers: Writers
    def __init__(self, metric_id: _Optional[str] = ..., unit: _Optional[str] = ..., writers: _Optional[_Union[Writers, str]] = ...) -> None: ...

class CustomTopic(_message.Message):
    __slots__ = ("custom_id", "fold", "config", "writers")
    CUSTOM_ID_FIELD_NUMBER: _ClassVar[int]
    FOLD_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    WRITERS_FIELD_NUMBER: _ClassVar[int]
    custom_id: str
    fold: str
    config: bytes
    writers: Writers
    def __init__(self, custom_id: _Optional[str] = ..., fold: _Optional[str] = ..., config: _Optional[bytes] = ..., writers: _Optional[_Union[Writers, str]] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("rule_id", "topic", "threshold", "lead_changed", "rank_taken", "opened", "closing_in", "sealed", "season_closed", "game_ended", "rate_spike", "audience_peak", "notice", "at_most_every", "paused", "since")
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    LEAD_CHANGED_FIELD_NUMBER: _ClassVar[int]
    RANK_TAKEN_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    CLOSING_IN_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    SEASON_CLOSED_FIELD_NUMBER: _ClassVar[int]
    GAME_ENDED_FIELD_NUMBER: _ClassVar[int]
    RATE_SPIKE_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_PEAK_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_EVERY_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    topic: str
    threshold: Threshold
    lead_changed: LeadChange
    rank_taken: RankTaken
    opened: bool
    closing_in: _duration_pb2.Duration
    sealed: bool
    season_closed: bool
    game_ended: bool
    rate_spike: RateSpike
    audience_peak: bool
    notice: RuleNotice
    at_most_every: _duration_pb2.Duration
    paused: bool
    since: _timestamp_pb2.Timestamp
    def __init__(self, rule_id: _Optional[str] = ..., topic: _Optional[str] = ..., threshold: _Optional[_Union[Threshold, _Mapping]] = ..., lead_changed: _Optional[_Union[LeadChange, _Mapping]] = ..., rank_taken: _Optional[_Union[RankTaken, _Mapping]] = ..., opened: _Optional[bool] = ..., closing_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sealed: _Optional[bool] = ..., season_closed: _Optional[bool] = ..., game_ended: _Optional[bool] = ..., rate_spike: _Optional[_Union[RateSpike, _Mapping]] = ..., audience_peak: _Optional[bool] = ..., notice: _Optional[_Union[RuleNotice, _Mapping]] = ..., at_most_every: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., paused: _Optional[bool] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Threshold(_message.Message):
    __slots__ = ("at", "each")
    AT_FIELD_NUMBER: _ClassVar[int]
    EACH_FIELD_NUMBER: _ClassVar[int]
    at: int
    each: bool
    def __init__(self, at: _Optional[int] = ..., each: _Optional[bool] = ...) -> None: ...

class LeadChange(_message.Message):
    __slots__ = ("hold",)
    HOLD_FIELD_NUMBER: _ClassVar[int]
    hold: _duration_pb2.Duration
    def __init__(self, hold: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RankTaken(_message.Message):
    __slots__ = ("first",)
    FIRST_FIELD_NUMBER: _ClassVar[int]
    first: int
    def __init__(self, first: _Optional[int] = ...) -> None: ...

class RateSpike(_message.Message):
    __slots__ = ("times", "at_least")
    TIMES_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    times: int
    at_least: int
    def __init__(self, times: _Optional[int] = ..., at_least: _Optional[int] = ...) -> None: ...

class RuleNotice(_message.Message):
    __slots__ = ("code", "title", "text", "urgent", "expires_after", "collapse")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    URGENT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    COLLAPSE_FIELD_NUMBER: _ClassVar[int]
    code: str
    title: str
    text: str
    urgent: bool
    expires_after: _duration_pb2.Duration
    collapse: bool
    def __init__(self, code: _Optional[str] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., urgent: _Optional[bool] = ..., expires_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., collapse: _Optional[bool] = ...) -> None: ...

class Pulse(_message.Message):
    __slots__ = ("pulse_id", "kinds")
    PULSE_ID_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    pulse_id: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pulse_id: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ...) -> None: ...

class Poll(_message.Message):
    __slots__ = ("game_id", "poll_id", "question", "options", "changeable", "open_for", "choices_max", "weight_max", "voters", "stage", "opened_at", "closes_at", "spread", "voids", "generation")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    POLL_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CHANGEABLE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FOR_FIELD_NUMBER: _ClassVar[int]
    CHOICES_MAX_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_MAX_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    CLOSES_AT_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    VOIDS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    poll_id: str
    question: str
    options: _containers.RepeatedCompositeFieldContainer[PollOption]
    changeable: bool
    open_for: _duration_pb2.Duration
    choices_max: int
    weight_max: int
    voters: PollVoters
    stage: Stage
    opened_at: _timestamp_pb2.Timestamp
    closes_at: _timestamp_pb2.Timestamp
    spread: int
    voids: int
    generation: int
    def __init__(self, game_id: _Optional[str] = ..., poll_id: _Optional[str] = ..., question: _Optional[str] = ..., options: _Optional[_Iterable[_Union[PollOption, _Mapping]]] = ..., changeable: _Optional[bool] = ..., open_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., choices_max: _Optional[int] = ..., weight_max: _Optional[int] = ..., voters: _Optional[_Union[PollVoters, str]] = ..., stage: _Optional[_Union[Stage, str]] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., closes_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spread: _Optional[int] = ..., voids: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class PollOption(_message.Message):
    __slots__ = ("option_id", "label")
    OPTION_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    option_id: str
    label: str
    def __init__(self, option_id: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class Board(_message.Message):
    __slots__ = ("game_id", "board_id", "title", "mode", "top", "open_for", "season", "writers", "points_min", "points_max", "stage", "opened_at", "closes_at", "spread", "generation")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    BOARD_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    OPEN_FOR_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    WRITERS_FIELD_NUMBER: _ClassVar[int]
    POINTS_MIN_FIELD_NUMBER: _ClassVar[int]
    POINTS_MAX_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    CLOSES_AT_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    board_id: str
    title: str
    mode: BoardMode
    top: int
    open_for: _duration_pb2.Duration
    season: Season
    writers: Writers
    points_min: int
    points_max: int
    stage: Stage
    opened_at: _timestamp_pb2.Timestamp
    closes_at: _timestamp_pb2.Timestamp
    spread: int
    generation: int
    def __init__(self, game_id: _Optional[str] = ..., board_id: _Optional[str] = ..., title: _Optional[str] = ..., mode: _Optional[_Union[BoardMode, str]] = ..., top: _Optional[int] = ..., open_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., season: _Optional[_Union[Season, _Mapping]] = ..., writers: _Optional[_Union[Writers, str]] = ..., points_min: _Optional[int] = ..., points_max: _Optional[int] = ..., stage: _Optional[_Union[Stage, str]] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., closes_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spread: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class Season(_message.Message):
    __slots__ = ("every", "starts_at")
    EVERY_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_FIELD_NUMBER: _ClassVar[int]
    every: _duration_pb2.Duration
    starts_at: _timestamp_pb2.Timestamp
    def __init__(self, every: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., starts_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DefineGameRequest(_message.Message):
    __slots__ = ("game",)
    GAME_FIELD_NUMBER: _ClassVar[int]
    game: Game
    def __init__(self, game: _Optional[_Union[Game, _Mapping]] = ...) -> None: ...

class DefineGameResponse(_message.Message):
    __slots__ = ("game", "applied_at")
    GAME_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    game: Game
    applied_at: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    def __init__(self, game: _Optional[_Union[Game, _Mapping]] = ..., applied_at: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ...) -> None: ...

class GetGameRequest(_message.Message):
    __slots__ = ("game_id",)
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    def __init__(self, game_id: _Optional[str] = ...) -> None: ...

class GetGameResponse(_message.Message):
    __slots__ = ("game", "polls", "boards", "more")
    GAME_FIELD_NUMBER: _ClassVar[int]
    POLLS_FIELD_NUMBER: _ClassVar[int]
    BOARDS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    game: Game
    polls: _containers.RepeatedCompositeFieldContainer[Poll]
    boards: _containers.RepeatedCompositeFieldContainer[Board]
    more: bool
    def __init__(self, game: _Optional[_Union[Game, _Mapping]] = ..., polls: _Optional[_Iterable[_Union[Poll, _Mapping]]] = ..., boards: _Optional[_Iterable[_Union[Board, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class OpenPollRequest(_message.Message):
    __slots__ = ("poll",)
    POLL_FIELD_NUMBER: _ClassVar[int]
    poll: Poll
    def __init__(self, poll: _Optional[_Union[Poll, _Mapping]] = ...) -> None: ...

class OpenPollResponse(_message.Message):
    __slots__ = ("poll", "applied_at")
    POLL_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    poll: Poll
    applied_at: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    def __init__(self, poll: _Optional[_Union[Poll, _Mapping]] = ..., applied_at: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ...) -> None: ...

class ClosePollRequest(_message.Message):
    __slots__ = ("game_id", "poll_id")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    POLL_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    poll_id: str
    def __init__(self, game_id: _Optional[str] = ..., poll_id: _Optional[str] = ...) -> None: ...

class ClosePollResponse(_message.Message):
    __slots__ = ("poll",)
    POLL_FIELD_NUMBER: _ClassVar[int]
    poll: Poll
    def __init__(self, poll: _Optional[_Union[Poll, _Mapping]] = ...) -> None: ...

class OpenBoardRequest(_message.Message):
    __slots__ = ("board",)
    BOARD_FIELD_NUMBER: _ClassVar[int]
    board: Board
    def __init__(self, board: _Optional[_Union[Board, _Mapping]] = ...) -> None: ...

class OpenBoardResponse(_message.Message):
    __slots__ = ("board", "applied_at")
    BOARD_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    board: Board
    applied_at: _containers.RepeatedCompositeFieldContainer[_event_pb2.Position]
    def __init__(self, board: _Optional[_Union[Board, _Mapping]] = ..., applied_at: _Optional[_Iterable[_Union[_event_pb2.Position, _Mapping]]] = ...) -> None: ...

class CloseBoardRequest(_message.Message):
    __slots__ = ("game_id", "board_id")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    BOARD_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    board_id: str
    def __init__(self, game_id: _Optional[str] = ..., board_id: _Optional[str] = ...) -> None: ...

class CloseBoardResponse(_message.Message):
    __slots__ = ("board",)
    BOARD_FIELD_NUMBER: _ClassVar[int]
    board: Board
    def __init__(self, board: _Optional[_Union[Board, _Mapping]] = ...) -> None: ...

class VoidVotesRequest(_message.Message):
    __slots__ = ("game_id", "poll_id", "actor_id")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    POLL_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    poll_id: str
    actor_id: str
    def __init__(self, game_id: _Optional[str] = ..., poll_id: _Optional[str] = ..., actor_id: _Optional[str] = ...) -> None: ...

class VoidVotesResponse(_message.Message):
    __slots__ = ("poll", "applied_at")
    POLL_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    poll: Poll
    applied_at: _event_pb2.Position
    def __init__(self, poll: _Optional[_Union[Poll, _Mapping]] = ..., applied_at: _Optional[_Union[_event_pb2.Position, _Mapping]] = ...) -> None: ...

class RemoveScoreRequest(_message.Message):
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

class RemoveScoreResponse(_message.Message):
    __slots__ = ("board", "applied_at", "season")
    BOARD_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    SEASON_FIELD_NUMBER: _ClassVar[int]
    board: Board
    applied_at: _event_pb2.Position
    season: int
    def __init__(self, board: _Optional[_Union[Board, _Mapping]] = ..., applied_at: _Optional[_Union[_event_pb2.Position, _Mapping]] = ..., season: _Optional[int] = ...) -> None: ...

class EndGameRequest(_message.Message):
    __slots__ = ("game_id",)
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    def __init__(self, game_id: _Optional[str] = ...) -> None: ...

class EndGameResponse(_message.Message):
    __slots__ = ("game",)
    GAME_FIELD_NUMBER: _ClassVar[int]
    game: Game
    def __init__(self, game: _Optional[_Union[Game, _Mapping]] = ...) -> None: ...

class DeleteGameRequest(_message.Message):
    __slots__ = ("game_id",)
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    def __init__(self, game_id: _Optional[str] = ...) -> None: ...

class DeleteGameResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListGamesRequest(_message.Message):
    __slots__ = ("stage", "page_size", "page_token", "hidden")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    stage: Stage
    page_size: int
    page_token: str
    hidden: bool
    def __init__(self, stage: _Optional[_Union[Stage, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., hidden: _Optional[bool] = ...) -> None: ...

class ListGamesResponse(_message.Message):
    __slots__ = ("games", "next_page_token")
    GAMES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    games: _containers.RepeatedCompositeFieldContainer[Game]
    next_page_token: str
    def __init__(self, games: _Optional[_Iterable[_Union[Game, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListPollsRequest(_message.Message):
    __slots__ = ("game_id", "stage", "page_size", "page_token")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    stage: Stage
    page_size: int
    page_token: str
    def __init__(self, game_id: _Optional[str] = ..., stage: _Optional[_Union[Stage, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPollsResponse(_message.Message):
    __slots__ = ("polls", "next_page_token")
    POLLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    polls: _containers.RepeatedCompositeFieldContainer[Poll]
    next_page_token: str
    def __init__(self, polls: _Optional[_Iterable[_Union[Poll, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListBoardsRequest(_message.Message):
    __slots__ = ("game_id", "stage", "page_size", "page_token")
    GAME_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    game_id: str
    stage: Stage
    page_size: int
    page_token: str
    def __init__(self, game_id: _Optional[str] = ..., stage: _Optional[_Union[Stage, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBoardsResponse(_message.Message):
    __slots__ = ("boards", "next_page_token")
    BOARDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    boards: _containers.RepeatedCompositeFieldContainer[Board]
    next_page_token: str
    def __init__(self, boards: _Optional[_Iterable[_Union[Board, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
