"""The naive count of one partition's stream: event by event, in plain dictionaries.

It is told what the blocks were made of, so it also proves that encoding and decoding keep it.
An identity is counted when it comes for the first time and is within its origin's window: that
is what I2 promises, and RFC 6479 describes. Time is the partition's watermark, which the blocks alone
move; a control that comes before its time changes nothing. A game's id may return: what is said of an earlier
generation changes nothing. `at` answers the figures of a topic after any block.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from aggregate import bounds as aggregate_bounds
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
from grandstand.internal.v1.internal_pb2 import Block, Control
from grandstand.wire import ids
from mesh import limits
from tests.simulation.blocks import Row
from tests.simulation.naive import (
    At,
    Audience,
    Figures,
    Heard,
    Measures,
    Naive,
    Reactions,
    Standings,
    Votes,
)
from tests.simulation.stream import Stored

TopicKey = tuple[str, str]
Identity = tuple[str, int]

_BOUND_US = int(aggregate_bounds.CLOCK_BOUND_S * 1e6)
_DEADLINE_US = int(limits.PUBLISH_DEADLINE_S * 1e6)
_GRACE_US = int(limits.SEAL_GRACE_S * 1e6)


@dataclass
class NaiveGame:
    generation: int
    stage: Stage = STAGE_UNSPECIFIED
    closed_at_us: int = 0
    own: set[TopicKey] = field(default_factory=set)
    """The topics that its definition makes."""


class NaiveTopic:
    def __init__(self, naive: Naive, before: NaiveTopic | None = None) -> None:
        """`before`: the one of the same name in an earlier game."""
        self.stage: Stage = STAGE_UNSPECIFIED
        self.naive = naive
        self.closed_at_us = 0
        self.last_us = math.inf
        """Its time passes no further."""
        self._sequences: list[int] = before._sequences if before else []
        self._history: list[Figures] = before._history if before else []

    def note(self, sequence: int) -> None:
        self._sequences.append(sequence)
        self._history.append((self.stage, self.naive.figures()))

    def gone(self, sequence: int) -> None:
        self._sequences.append(sequence)
        self._history.append(None)

    @property
    def is_gone(self) -> bool:
        return self._history[-1] is None

    def at(self, sequence: int) -> Figures:
        """After the block of this sequence."""
        found = bisect_right(self._sequences, sequence)
        return self._history[found - 1] if found else None

    def pass_time(self, now_us: int) -> None:
        if isinstance(self.naive, Standings):
            self.naive.pass_time(min(now_us, self.last_us))


class NaivePartition:
    def __init__(self) -> None:
        self.counted: dict[Identity, int] = {}
        """Every identity that was counted, and the sequence of its block."""
        self.uncounted: set[Identity] = set()
        """New ones of a topic that was sealed."""
        self.stored: set[Identity] = set()
        """Every identity that is in the stream, counted or not."""
        self.topics: dict[TopicKey, NaiveTopic] = {}
        """Those of games that are forgotten as well."""
        self.games: dict[str, NaiveGame] = {}
        self.forgotten: set[str] = set()
        self.corrected: set[int] = set()
        """The sequences of voids and removals that came before the seal."""
        self.early = 0
        """Controls that came before their time."""
        self.watermark_us = 0
        self._newest_us = 0
        self._seen: dict[str, set[int]] = defaultdict(set)

    def apply(self, message: Stored) -> None:
        if message.is_foreign:
            return
        block = Block.FromString(message.data)
        stamp_us = block.stamped_at.ToMicroseconds()
        self._newest_us = max(self._newest_us, stamp_us)
        now_us = min(message.stored_at_us, self._newest_us + _BOUND_US)
        self.watermark_us = max(self.watermark_us, now_us)
        if message.rows:
            self._apply_rows(message, stamp_us)
        else:
            self._apply_control(message.sequence, block.control)

    def _apply_control(self, sequence: int, control: Control) -> None:
        match control.WhichOneof("definition"):
            case "game":
                self._apply_game(sequence, control.game)
            case "forget_game":
                forget = control.forget_game
                known = self.games.get(forget.game_id)
                if known is not None and known.generation <= forget.generation:
                    self._forget(sequence, forget.game_id)
            case "poll":
                key = (control.poll.game_id, f"poll/{control.poll.poll_id}")
                self._apply_stage(sequence, key, control.poll)
            case "board":
                key = (control.board.game_id, f"board/{control.board.board_id}")
                self._apply_stage(sequence, key, control.board)
            case "void_votes":
                void = control.void_votes
                self._correct_gone(sequence, void.game_id)
                topic = self._unsealed((void.game_id, f"poll/{void.poll_id}"))
                if topic is not None and isinstance(topic.naive, Votes):
                    topic.naive.void(void.actor_id)
                    self.corrected.add(sequence)
                    topic.note(sequence)
            case "remove_score":
                remove = control.remove_score
                self._correct_gone(sequence, remove.game_id)
                topic = self._unsealed((remove.game_id, f"board/{remove.board_id}"))
                if topic is not None and isinstance(topic.naive, Standings):
                    topic.pass_time(self.watermark_us)
                    if topic.naive.remove(remove.actor_id, remove.season):
                        self.corrected.add(sequence)
                    topic.note(sequence)

    def _correct_gone(self, sequence: int, game_id: str) -> None:
        """What was said in a game that is forgotten is taken back by that. (A writer that was stopped until
        the id was defined again takes the next game's topic for the one that it has corrected.)"""
        if game_id in self.forgotten and game_id not in self.games:
            self.corrected.add(sequence)

    def _enter(self, sequence: int, game_id: str, generation: int) -> NaiveGame | None:
        """The game that a definition is of; None if there is a later one."""
        known = self.games.get(game_id)
        if known is not None and generation < known.generation:
            return None
        if known is not None and generation > known.generation:
            self._forget(sequence, game_id)
        return self.games.setdefault(game_id, NaiveGame(generation))

    def _forget(self, sequence: int, game_id: str) -> None:
        self.forgotten.add(game_id)
        del self.games[game_id]
        for (of_game, _), topic in self.topics.items():
            if of_game == game_id and not topic.is_gone:
                topic.gone(sequence)

    def _apply_game(self, sequence: int, definition: Game) -> None:
        game = self._enter(sequence, definition.game_id, definition.generation)
        if game is None or game.stage == STAGE_SEALED:
            return
        for key, naive in _made_by(definition):
            topic = self._living(key)
            if topic is None:
                topic = self.topics[key] = NaiveTopic(naive, self.topics.get(key))
                game.own.add(key)
                topic.stage = game.stage
            topic.note(sequence)
        stage = self._due(game, definition.stage, definition.ended_at.ToMicroseconds())
        self.early += stage < definition.stage
        if stage in (STAGE_CLOSED, STAGE_SEALED) and stage > game.stage:
            game.stage = stage
            if stage == STAGE_CLOSED:
                game.closed_at_us = max(self.watermark_us, definition.ended_at.ToMicroseconds())
            for key in game.own:
                self.topics[key].stage = stage
                self.topics[key].note(sequence)

    def _living(self, key: TopicKey) -> NaiveTopic | None:
        topic = self.topics.get(key)
        return None if topic is None or topic.is_gone else topic

    def _unsealed(self, key: TopicKey) -> NaiveTopic | None:
        topic = self._living(key)
        return None if topic is None or topic.stage == STAGE_SEALED else topic

    def _apply_stage(self, sequence: int, key: TopicKey, definition: Poll | Board) -> None:
        if self._enter(sequence, key[0], definition.generation) is None:
            return
        topic = self._living(key)
        if topic is None:
            naive = Votes(definition) if isinstance(definition, Poll) else Standings(definition)
            topic = self.topics[key] = NaiveTopic(naive, self.topics.get(key))
        elif topic.stage == STAGE_SEALED:
            return
        closes_us = definition.closes_at.ToMicroseconds()
        stage = self._due(topic, definition.stage, closes_us)
        self.early += stage < definition.stage
        if stage > topic.stage and closes_us and isinstance(topic.naive, Standings):
            topic.last_us = topic.naive.last_us(closes_us)
        topic.pass_time(self.watermark_us)
        if stage > topic.stage:
            topic.stage = stage
            if stage == STAGE_CLOSED:
                topic.closed_at_us = max(self.watermark_us, closes_us)
        topic.note(sequence)

    def _due(self, topic: NaiveTopic | NaiveGame, stage: Stage, closes_us: int) -> Stage:
        """What the control means now."""
        if stage in (STAGE_CLOSED, STAGE_SEALED) and self.watermark_us < closes_us - _BOUND_US:
            return STAGE_OPEN
        if stage == STAGE_SEALED:
            is_closed = topic.stage == STAGE_CLOSED
            if not is_closed or self.watermark_us < topic.closed_at_us + _GRACE_US:
                return STAGE_CLOSED
        return stage

    def _apply_rows(self, message: Stored, stamp_us: int) -> None:
        event_us = min(max(stamp_us, self.watermark_us - _DEADLINE_US), self.watermark_us)
        places: Counter[TopicKey] = Counter()
        changed = set()
        for row in message.rows:
            key = (row.game_id, row.topic)
            identity = (row.origin_id, row.origin_seq)
            place = places[key]
            places[key] += 1
            self.stored.add(identity)
            game, topic = self.games.get(row.game_id), self._living(key)
            is_past = game is not None and row.generation < game.generation
            if is_past:
                if self._is_new(row):
                    self.uncounted.add(identity)
                continue
            if game is None and row.game_id in self.forgotten:
                continue  # set aside
            assert topic is not None, f"{key} is not defined before its events"
            if not self._is_new(row):
                continue
            if topic.stage == STAGE_SEALED:
                self.uncounted.add(identity)
                continue
            assert identity not in self.counted, f"{identity} twice"
            self.counted[identity] = message.sequence
            changed.add(key)
            topic.pass_time(self.watermark_us)
            at_us = int(min(event_us, topic.last_us))
            topic.naive.take(row, At(stamp_us, at_us, self.watermark_us, place))
        for key in changed:
            self.topics[key].note(message.sequence)

    def _is_new(self, row: Row) -> bool:
        seen = self._seen[row.origin_id]
        if row.origin_seq in seen or row.origin_seq <= max(seen, default=0) - ids.origin_window(
            row.origin_id
        ):
            return False
        seen.add(row.origin_seq)
        return True


def _made_by(game: Game) -> list[tuple[TopicKey, Naive]]:
    """The topics that a game's definition makes."""
    topics: list[tuple[str, Naive]] = [(f"pulse/{pulse.pulse_id}", Reactions()) for pulse in game.pulses]
    topics += [(f"metric/{each.metric_id}", Measures()) for each in game.metrics]
    topics += [(f"custom/{each.custom_id}", Heard(each.config)) for each in game.customs]
    if game.audience:
        topics.append(("audience", Audience()))
    return [((game.game_id, topic), naive) for topic, naive in topics]
