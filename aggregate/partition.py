"""One partition's state, a pure function of its stream (I4), and what a flush must write.

`fold` takes blocks in stream order and reads no clock: time is the block's stamp. It notes
what changed; `take_flush` turns the notes into writes and partials. A worker folds any
number of blocks between two flushes.

State by topic: the definition (from control blocks) and its fold. State by origin: an
anti-replay window (I2), dropped when the stream's own time says that the origin is long dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aggregate.board import Leaderboard, Standing
from aggregate.pulse import Pulse
from aggregate.tally import Cast, Tally
from aggregate.window import ReplayWindow
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, STAGE_UNSPECIFIED, Stage
from grandstand.internal.v1.internal_pb2 import Block, Control, Events, Partial, Section
from grandstand.internal.v1.internal_pb2 import ReplayWindow as StoredWindow
from mesh import ids, limits, store
from mesh.store import Write

Fold = Tally | Leaderboard | Pulse
TopicKey = tuple[str, str]
"""(game_id, topic)"""


class BadBlock(Exception):
    """The block contradicts itself; nothing of it was folded."""


@dataclass
class TopicState:
    """A topic's definition with its fold, and which actors' rows changed since the last flush."""

    fold: Fold
    control: Control | None = None
    stage: Stage = STAGE_UNSPECIFIED
    casts: dict[str, Cast] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)


@dataclass(frozen=True)
class Flush:
    """What one atomic step writes, and the partials to publish once it is done."""

    before: int
    after: int
    writes: list[Write]
    partials: list[Partial]


@dataclass(frozen=True)
class Loaded:
    """The stored state of a partition, decoded."""

    applied: int
    topics: Mapping[TopicKey, TopicState]
    origins: Mapping[str, ReplayWindow]


class Partition:
    def __init__(self, index: int, loaded: Loaded) -> None:
        self.index = index
        self.folded = loaded.applied
        self._flushed = loaded.applied
        self._topics: dict[TopicKey, TopicState] = dict(loaded.topics)
        self._origins: dict[str, ReplayWindow] = dict(loaded.origins)
        self._changed: dict[TopicKey, TopicState] = {}
        self._defined: set[TopicKey] = set()
        self._origins_changed: set[str] = set()
        self._origins_dead: set[str] = set()
        self._minute = 0
        self.uncounted = 0

    def fold(self, sequence: int, block: Block) -> None:
        """Folds one block. Raises BadBlock; a sequence that was folded before changes nothing."""
        if sequence <= self.folded:
            return
        match block.WhichOneof("content"):
            case "events":
                _check_columns(block.events)
                self._fold_events(block.events, block.stamped_at.ToMicroseconds())
            case "control":
                self._fold_control(block.control)
            case _:
                raise BadBlock("a block without content")
        self.folded = sequence
        self._forget_dead_origins(block.stamped_at.seconds)

    def skip(self, sequence: int) -> None:
        """Steps over a block that cannot be folded."""
        self.folded = max(self.folded, sequence)

    def _fold_control(self, control: Control) -> None:
        kind = control.WhichOneof("definition")
        if kind is None:
            raise BadBlock("a control without a definition")
        definition = control.poll if kind == "poll" else control.board
        key = (
            definition.game_id,
            f"{kind}/{control.poll.poll_id if kind == 'poll' else control.board.board_id}",
        )
        topic = self._topics.get(key)
        if topic is None:
            fold: Fold = Tally(control.poll) if kind == "poll" else Leaderboard(control.board)
            topic = self._topics[key] = TopicState(fold)
        if definition.stage <= topic.stage:  # said before, or overtaken
            return
        topic.control = Control()
        topic.control.CopyFrom(control)
        topic.stage = definition.stage
        self._changed[key] = topic
        self._defined.add(key)

    def _fold_events(self, events: Events, stamped_at_us: int) -> None:
        windows = [self._window(origin_id) for origin_id in events.origins]
        for section in events.sections:
            self._fold_section(section, events, windows, stamped_at_us)

    def _fold_section(
        self, section: Section, events: Events, windows: list[ReplayWindow], stamped_at_us: int
    ) -> None:
        key = (section.game_id, section.topic)
        topic = self._topics.get(key)
        if topic is None and section.topic.startswith("pulse/"):
            topic = self._topics[key] = TopicState(Pulse())
            self._defined.add(key)
        counts = topic is not None and topic.stage != STAGE_SEALED
        changed = False
        for row, (origin, origin_seq) in enumerate(zip(section.origin, section.origin_seq, strict=True)):
            if not windows[origin].admit(origin_seq):
                continue
            origin_id = events.origins[origin]
            self._origins_changed.add(origin_id)
            if topic is None or not counts:
                self.uncounted += 1
                continue
            actor_id = events.actors[section.actor[row]]
            fold = topic.fold
            if isinstance(fold, Tally):
                cast = fold.vote(actor_id, section.labels[section.label[row]], origin_id, origin_seq)
                if cast is not None:
                    topic.casts[actor_id] = cast
                    changed = True
            elif isinstance(fold, Leaderboard):
                standing = fold.score(actor_id, section.amount[row], stamped_at_us, origin_id, origin_seq)
                if standing is not None:
                    topic.standings[actor_id] = standing
                    changed = True
            else:
                fold.react(
                    section.labels[section.label[row]], section.amount[row], stamped_at_us // 1_000_000
                )
                changed = True
        if changed and topic is not None:
            self._changed[key] = topic

    def _window(self, origin_id: str) -> ReplayWindow:
        window = self._origins.get(origin_id)
        if window is None:
            window = self._origins[origin_id] = ReplayWindow(ids.origin_window(origin_id))
        return window

    def _forget_dead_origins(self, stamped_at_s: int) -> None:
        """Once a minute of the stream's time, so that it is a function of the stream."""
        minute = stamped_at_s // 60
        if minute <= self._minute:
            return
        self._minute = minute
        dead_before_s = stamped_at_s - limits.ORIGIN_WINDOW_LIFE_S
        for origin_id in [o for o in self._origins if ids.origin_issued_at_s(o) < dead_before_s]:
            del self._origins[origin_id]
            self._origins_changed.discard(origin_id)
            self._origins_dead.add(origin_id)

    def take_flush(self) -> Flush | None:
        """Everything since the last flush, or None. What is taken counts as flushed."""
        if self.folded == self._flushed:
            return None
        partials = [self._partial(key, topic) for key, topic in self._changed.items()]
        flush = Flush(self._flushed, self.folded, list(self._writes(partials)), partials)
        self._flushed = self.folded
        for topic in self._changed.values():
            topic.casts = {}
            topic.standings = {}
        self._changed = {}
        self._defined = set()
        self._origins_changed = set()
        self._origins_dead = set()
        return flush

    def _partial(self, key: TopicKey, topic: TopicState) -> Partial:
        partial = Partial(
            game_id=key[0], topic=key[1], partition=self.index, sequence=self.folded, stage=topic.stage
        )
        if isinstance(topic.fold, Tally):
            partial.tally.CopyFrom(topic.fold.partial())
        elif isinstance(topic.fold, Leaderboard):
            partial.board.CopyFrom(topic.fold.partial())
        else:
            partial.pulse.CopyFrom(topic.fold.partial())
        return partial

    def _writes(self, partials: Iterable[Partial]) -> Iterable[Write]:
        p = self.index
        for game_id, topic_id in self._defined:
            control = self._topics[game_id, topic_id].control or Control()  # a pulse has none
            yield Write("HSET", store.topics_key(p), (f"{game_id}/{topic_id}", control.SerializeToString()))
        for (game_id, topic_id), topic in self._changed.items():
            yield from _chunked("HSET", store.votes_key(p, game_id, topic_id), _vote_fields(topic))
            yield from _chunked("ZADD", store.scores_key(p, game_id, topic_id), _score_members(topic))
            yield from _chunked("HSET", store.reached_key(p, game_id, topic_id), _reached_fields(topic))
        for partial in partials:
            yield Write(
                "HSET", store.results_key(p, partial.game_id), (partial.topic, partial.SerializeToString())
            )
        windows = [v for o in self._origins_changed for v in (o, _stored(self._origins[o]))]
        yield from _chunked("HSET", store.origins_key(p), windows)
        yield from _chunked("HDEL", store.origins_key(p), list(self._origins_dead))


def _check_columns(events: Events) -> None:
    """Raises BadBlock unless columns are of equal length and indexes within their dictionaries."""
    for section in events.sections:
        count = len(section.origin)
        kind = section.topic.partition("/")[0]
        labels = 0 if kind == "board" else count
        amounts = 0 if kind == "poll" else count
        lengths = (len(section.origin_seq), len(section.actor), len(section.label), len(section.amount))
        if kind not in ("poll", "board", "pulse") or lengths != (count, count, labels, amounts):
            raise BadBlock(f"section {section.topic[:80]!r} has columns of {count}, {lengths}")
        if count and (
            max(section.origin) >= len(events.origins)
            or max(section.actor) >= len(events.actors)
            or (labels and max(section.label) >= len(section.labels))
        ):
            raise BadBlock(f"section {section.topic[:80]!r} points outside its dictionaries")


def _vote_fields(topic: TopicState) -> list[str | bytes]:
    fields: list[str | bytes] = []
    for actor_id, cast in topic.casts.items():
        fields += (actor_id, f"{cast.option}:{cast.origin_id}:{cast.origin_seq}")
    return fields


def _score_members(topic: TopicState) -> list[str | bytes]:
    members: list[str | bytes] = []
    for actor_id, standing in topic.standings.items():
        members += (str(standing.points), actor_id)
    return members


def _reached_fields(topic: TopicState) -> list[str | bytes]:
    fields: list[str | bytes] = []
    for actor_id, standing in topic.standings.items():
        fields += (actor_id, f"{standing.reached_at_us}:{standing.origin_id}:{standing.origin_seq}")
    return fields


def _stored(window: ReplayWindow) -> bytes:
    seen = window.seen.to_bytes((window.seen.bit_length() + 7) // 8, "little")
    return StoredWindow(highest=window.highest, seen=seen).SerializeToString()


def _chunked(command: str, key: str, arguments: list[str | bytes]) -> Iterable[Write]:
    """One write for every FLUSH_ARGUMENTS_MAX arguments: Lua cannot unpack more."""
    for at in range(0, len(arguments), limits.FLUSH_ARGUMENTS_MAX):
        yield Write(command, key, arguments[at : at + limits.FLUSH_ARGUMENTS_MAX])
