"""The naive count of one partition: its blocks in the stream's order, and what became of each event. Pure.

`apply` takes a block and the reasons of its dead letters, which tell what only the fold knows: that a custom
fold failed, that an origin's window had left, that a block made no sense. All else is found here again: the
partition's time, stages and seals, generations of games, anti-replay windows, votes and scores that replace
each other, corrections.

Memory: with a scope of all origins a window for each (some 250 bytes), until an hour of the partition's time
after its life has passed; a row for each actor of what is counted.

Rejected: the fold itself, driven by a second reader. It would repeat its own faults, and does not say why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Board,
    Game,
    Poll,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Control
from grandstand.wire import ids
from mesh import limits
from mesh.recount.blocks import EventRow, Undecodable, decode
from mesh.recount.scope import RecountScope, TopicKey
from mesh.recount.scores import BoardCount
from mesh.recount.verdict import EventOutcome, EventVerdict, Undone
from mesh.recount.votes import PollCount
from mesh.recount.windows import SeenBefore, Window, window_of

CLOCK_BOUND_S = 1.0
ORIGIN_WINDOW_LIFE_S = 25 * 3600
LATENESS_S = 10
"""These three as aggregate.bounds has them; a test holds them equal."""

_BOUND_US = int(CLOCK_BOUND_S * 1e6)
_DEADLINE_US = int(limits.PUBLISH_DEADLINE_S * 1e6)
_GRACE_US = int(limits.SEAL_GRACE_S * 1e6)
_HOUR_US = 3_600_000_000
_LATENESS_US = LATENESS_S * 1_000_000
_LEFT = re.compile(r"\d+ events of origins issued before (\d+), whose windows have left")
_OF_SECTION = ("topic ", "game ")


@dataclass(slots=True)
class GameState:
    generation: int
    stage: Stage = STAGE_UNSPECIFIED
    closed_at_us: int = 0
    own: set[str] = field(default_factory=set)
    """The topics that its definition makes."""


@dataclass(slots=True)
class TopicState:
    generation: int
    stage: Stage = STAGE_UNSPECIFIED
    closed_at_us: int = 0
    count: PollCount | BoardCount | None = None
    newest_us: int = 0
    """Of a pulse: the newest of its reactions."""
    sequence: int = 0
    """The block that changed it last, as far as this count sees."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Something of the topics that was said in the stream."""

    what: str
    """opened, closed, sealed, ended, forgotten, too early"""
    game_id: str
    topic: str
    """"" for the game."""
    sequence: int
    stored_at_us: int


class PartitionRecount:
    def __init__(self, scope: RecountScope) -> None:
        self.scope = scope
        self.folded = 0
        self.watermark_us = 0
        self.newest_stamp_us = 0
        self.games: dict[str, GameState] = {}
        self.topics: dict[TopicKey, TopicState] = {}
        self.windows: dict[bytes, Window] = {}
        self.fates: list[EventOutcome] = []
        self.turns: list[Turn] = []
        self.begins_late = False
        """It begins after the first block, and what is not counted here may have been defined before."""
        self.lacks_definitions = False
        """So may what is counted."""
        self._forgot_hour = 0

    def apply(self, sequence: int, data: bytes, stored_at_us: int, letters: Sequence[str] = ()) -> None:
        """The next block, and what the dead letters of its sequence say."""
        self.folded = sequence
        whole = [each for each in letters if not each.startswith(_OF_SECTION) and not _LEFT.match(each)]
        try:
            block = decode(data)
        except Undecodable:
            return
        if whole and block.control is None:
            self._set_aside(block.stamp_us, block.sections, sequence, stored_at_us)
            return
        self.newest_stamp_us = max(self.newest_stamp_us, block.stamp_us)
        self.watermark_us = max(self.watermark_us, min(stored_at_us, self.newest_stamp_us + _BOUND_US))
        if block.control is not None:
            if not whole:
                self._control(block.control, sequence, stored_at_us)
        else:
            self._events(block.sections, block.stamp_us, sequence, stored_at_us, letters)
        self._forget_origins()

    def _set_aside(
        self, stamp_us: int, sections: Sequence[Sequence[EventRow]], sequence: int, stored_at_us: int
    ) -> None:
        for section in sections:
            for row in section:
                if self.scope.counts(row):
                    self._fate(row, sequence, stamp_us, stored_at_us, EventVerdict.UNDECODABLE)

    def _fate(
        self, row: EventRow, sequence: int, stamp_us: int, stored_at_us: int, verdict: EventVerdict
    ) -> EventOutcome:
        fate = EventOutcome(row, sequence, stamp_us, stored_at_us, self.watermark_us, verdict)
        if self.scope.keeps_fates:
            self.fates.append(fate)
        return fate

    def begin_at(self, watermark_us: int, newest_stamp_us: int) -> None:
        """The partition's time, as a checkpoint has it."""
        self.watermark_us, self.newest_stamp_us = watermark_us, newest_stamp_us
        self._forgot_hour = watermark_us // _HOUR_US

    def _forget_origins(self) -> None:
        hour = self.watermark_us // _HOUR_US
        if hour > self._forgot_hour:
            self._forgot_hour = hour
            from_s = hour * 3600 - ORIGIN_WINDOW_LIFE_S
            self.windows = {
                key: window
                for key, window in self.windows.items()
                if int.from_bytes(key[:4], "big") >= from_s
            }

    # Events.

    def _events(
        self,
        sections: Sequence[Sequence[EventRow]],
        stamp_us: int,
        sequence: int,
        stored_at_us: int,
        letters: Sequence[str],
    ) -> None:
        left_before_s = max((int(found[1]) for each in letters if (found := _LEFT.match(each))), default=0)
        highest = self._highest(sections)
        given_back: list[EventRow] = []
        earlier: dict[tuple[TopicKey, str, bytes], int] = {}
        """The greatest number of an actor's valid events of one origin in this block."""
        for section in sections:
            if not section:
                continue
            key = section[0].game_id, section[0].topic
            topic, aside = self._place_of(section[0])
            failed = any(each.startswith(f"topic {key[1]!r} of game {key[0]!r}: ") for each in letters)
            is_new = False
            for row in section:
                follows = self.scope.follows(row)
                counts = self.scope.counts(row)
                if not follows and not counts:
                    continue
                seen, first = SeenBefore.NEW, 0
                if aside is not EventVerdict.UNDEFINED and row.issued_at_s >= left_before_s:
                    seen, first = self._see(row, sequence)
                if failed and seen is SeenBefore.NEW:
                    given_back.append(row)
                if not counts:
                    continue
                verdict = _verdict_of(seen, row.issued_at_s < left_before_s, aside, failed=failed)
                fate = self._fate(row, sequence, stamp_us, stored_at_us, verdict)
                fate.other = first
                if verdict is EventVerdict.COUNTED and topic is not None:
                    is_new = True
                    of_actor = key, row.actor_id, row.origin[8:]
                    newest = earlier.get(of_actor, 0)
                    self._count(topic, fate, behind=row.seq < max(highest[row.origin], newest))
                    if fate.verdict is not EventVerdict.BAD_CHOICE:
                        earlier[of_actor] = max(newest, row.seq)
            if is_new and topic is not None:
                topic.sequence = sequence
        for row in given_back:
            self.windows[row.origin].give_back(row.seq)

    def _highest(self, sections: Sequence[Sequence[EventRow]]) -> dict[bytes, int]:
        """The highest number of each origin before this block."""
        found: dict[bytes, int] = {}
        for section in sections:
            for row in section:
                if row.origin not in found:
                    window = self.windows.get(row.origin)
                    found[row.origin] = 0 if window is None else window.highest
        return found

    def _place_of(self, row: EventRow) -> tuple[TopicState | None, EventVerdict | None]:
        """The topic of a section, and why nothing counts in it; None if something may."""
        game, topic = self.games.get(row.game_id), self.topics.get((row.game_id, row.topic))
        if row.generation and game is not None and row.generation < game.generation:
            return topic, EventVerdict.OLD_GENERATION
        if topic is None or row.generation > topic.generation:
            is_sure = not (self.lacks_definitions or (self.begins_late and not self.scope.counts(row)))
            return (topic, EventVerdict.UNDEFINED) if is_sure else (None, None)
        return topic, EventVerdict.SEALED if topic.stage == STAGE_SEALED else None

    def _see(self, row: EventRow, sequence: int) -> tuple[SeenBefore, int]:
        """Whether it is new; else also the block in which it was seen, 0 if that is not known."""
        window = self.windows.get(row.origin)
        if window is None:
            window = self.windows[row.origin] = window_of(producer=row.producer)
        seen = window.take(row.seq)
        if self.scope.keeps_fates and seen is SeenBefore.NEW:
            window.where[row.seq] = sequence
        return seen, 0 if seen is SeenBefore.NEW else window.where.get(row.seq, 0)

    def _count(self, topic: TopicState, fate: EventOutcome, *, behind: bool) -> None:
        count = topic.count
        if isinstance(count, PollCount):
            count.take(fate, behind=behind)
            if not self.scope.keeps_fates and fate.row.actor_key in count.rows:
                count.rows[fate.row.actor_key].fate = None
        elif isinstance(count, BoardCount):
            count.pass_time(self.watermark_us)
            event_us = min(max(fate.stamp_us, self.watermark_us - _DEADLINE_US), self.watermark_us)
            count.take(fate, event_us, behind=behind)
            if not self.scope.keeps_fates:
                count.seasons[fate.season].rows[fate.row.actor_id].fates.clear()
        elif fate.row.topic.startswith("pulse/"):
            at_us = min(fate.stamp_us, self.watermark_us)
            fate.late = at_us < topic.newest_us - _LATENESS_US
            topic.newest_us = max(topic.newest_us, at_us)

    # Controls.

    def _control(self, control: Control, sequence: int, stored_at_us: int) -> None:
        match control.WhichOneof("definition"):
            case "game":
                self._define(control.game, sequence, stored_at_us)
            case "poll":
                self._set_stage(control.poll, f"poll/{control.poll.poll_id}", sequence, stored_at_us)
            case "board":
                self._set_stage(control.board, f"board/{control.board.board_id}", sequence, stored_at_us)
            case "forget_game":
                forget = control.forget_game
                known = self.games.get(forget.game_id)
                if known is not None and known.generation <= forget.generation:
                    self._forget(forget.game_id, sequence, stored_at_us)
            case "void_votes":
                void = control.void_votes
                poll = self._unsealed(void.game_id, f"poll/{void.poll_id}")
                if poll is not None and isinstance(poll.count, PollCount):
                    voided = poll.count.void(ids.actor_key(void.actor_id))
                    self._undo([voided] if voided else [], "voided", sequence, stored_at_us)
                    poll.sequence = sequence
            case "remove_score":
                remove = control.remove_score
                board = self._unsealed(remove.game_id, f"board/{remove.board_id}")
                if board is not None and isinstance(board.count, BoardCount):
                    board.count.pass_time(self.watermark_us)
                    removed = board.count.remove(remove.actor_id, remove.season)
                    self._undo(removed, "removed", sequence, stored_at_us)
                    board.sequence = sequence

    def _unsealed(self, game_id: str, topic: str) -> TopicState | None:
        found = self.topics.get((game_id, topic))
        return None if found is None or found.stage == STAGE_SEALED else found

    @staticmethod
    def _undo(fates: Sequence[EventOutcome], how: str, sequence: int, stored_at_us: int) -> None:
        for fate in fates:
            fate.undone.append(Undone(how, sequence, stored_at_us))

    def _turn(self, what: str, game_id: str, topic: str, sequence: int, stored_at_us: int) -> None:
        self.turns.append(Turn(what, game_id, topic, sequence, stored_at_us))

    def _enter(self, game_id: str, generation: int, sequence: int, stored_at_us: int) -> GameState | None:
        """The game of that generation, for something that is defined in it; None if there is a later one."""
        known = self.games.get(game_id)
        if known is not None and generation and generation < known.generation:
            return None
        if known is not None and generation > known.generation:
            self._forget(game_id, sequence, stored_at_us)
        return self.games.setdefault(game_id, GameState(generation))

    def _forget(self, game_id: str, sequence: int, stored_at_us: int) -> None:
        del self.games[game_id]
        self.topics = {key: topic for key, topic in self.topics.items() if key[0] != game_id}
        counted = [fate for fate in self.fates if fate.row.game_id == game_id and fate.counts]
        self._undo(counted, "forgotten", sequence, stored_at_us)
        self._turn("forgotten", game_id, "", sequence, stored_at_us)

    def _define(self, definition: Game, sequence: int, stored_at_us: int) -> None:
        game_id = definition.game_id
        game = self._enter(game_id, definition.generation, sequence, stored_at_us)
        if game is None or game.stage == STAGE_SEALED:
            return
        for topic in own_topics(definition):
            if (game_id, topic) not in self.topics:
                self.topics[game_id, topic] = TopicState(game.generation, game.stage)
                game.own.add(topic)
        stage = self._due(game, definition.stage, definition.ended_at.ToMicroseconds())
        if stage in (STAGE_CLOSED, STAGE_SEALED) and stage > game.stage:
            game.stage = stage
            if stage == STAGE_CLOSED:
                game.closed_at_us = max(self.watermark_us, definition.ended_at.ToMicroseconds())
            for topic in game.own:
                self.topics[game_id, topic].stage = stage
            self._turn(_TURNS[stage], game_id, "", sequence, stored_at_us)

    def _set_stage(self, definition: Poll | Board, topic: str, sequence: int, stored_at_us: int) -> None:
        game_id = definition.game_id
        game = self._enter(game_id, definition.generation, sequence, stored_at_us)
        if game is None:
            return
        known = self.topics.get((game_id, topic))
        if known is None:
            count = PollCount(definition) if isinstance(definition, Poll) else BoardCount(definition)
            known = self.topics[game_id, topic] = TopicState(game.generation, count=count)
        elif known.stage == STAGE_SEALED:
            return
        closes_us = definition.closes_at.ToMicroseconds()
        stage = self._due(known, definition.stage, closes_us)
        if isinstance(known.count, BoardCount):
            if stage > known.stage and closes_us:
                known.count.close_at(closes_us)
            known.count.pass_time(self.watermark_us)
        if stage > known.stage:
            known.stage = stage
            if stage == STAGE_CLOSED:
                known.closed_at_us = max(self.watermark_us, closes_us)
            self._turn(_TURNS[stage], game_id, topic, sequence, stored_at_us)
        known.sequence = sequence

    def _due(self, known: TopicState | GameState, stage: Stage, closes_us: int) -> Stage:
        """What a control means now (I9)."""
        if stage < STAGE_CLOSED:
            return stage
        if self.watermark_us < closes_us - _BOUND_US:
            return STAGE_OPEN
        if stage == STAGE_SEALED and (
            known.stage != STAGE_CLOSED or self.watermark_us < known.closed_at_us + _GRACE_US
        ):
            return STAGE_CLOSED
        return stage


_TURNS = {STAGE_OPEN: "opened", STAGE_CLOSED: "closed", STAGE_SEALED: "sealed"}


def own_topics(game: Game) -> list[str]:
    """The topics that a game's definition makes."""
    topics = [f"pulse/{pulse.pulse_id}" for pulse in game.pulses]
    topics += [f"metric/{metric.metric_id}" for metric in game.metrics]
    topics += [f"custom/{custom.custom_id}" for custom in game.customs]
    return [*topics, "audience"] if game.audience else topics


def _verdict_of(seen: SeenBefore, left: bool, aside: EventVerdict | None, *, failed: bool) -> EventVerdict:
    if aside is EventVerdict.UNDEFINED:
        return aside
    if left:
        return EventVerdict.ORIGIN_LEFT
    if seen is not SeenBefore.NEW:
        return EventVerdict.RESENT if seen is SeenBefore.AGAIN else EventVerdict.BEHIND_WINDOW
    if aside is not None:
        return aside
    return EventVerdict.FOLD_FAILED if failed else EventVerdict.COUNTED
