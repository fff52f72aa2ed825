"""What a control block does to the topics of a partition: define, open, close, seal, take back. Pure.

Whatever changes the meaning of later events travels in the stream between them (I4). Such a block holds one
definition, of a game, a poll or a board, or one correction; aggregate.control_publisher puts it there.

    Game          ──▶ its pulses, metrics, audience and custom topics exist
                      ──▶ CLOSED ──▶ SEALED: they stop with the game, as polls and boards do by their own
    Poll, Board   ──▶ OPEN ──▶ CLOSED (late events still count) ──▶ SEALED (nothing counts any more, I9)
    VoidVotes, RemoveScore: of one actor, what it did here before this block counts no more (until the seal)
    ForgetGame    ──▶ nothing is left of the game

Controls are idempotent and may come repeatedly, in another order, or too early: game definitions merge (see
aggregate.definition_merge), and a stage never goes back and is reached only when its time has come (see
topics.stage_due). A control that does not apply changes nothing: so does one of an earlier generation of its
game (see aggregate.topic_table).
"""

from __future__ import annotations

from aggregate import definition_merge, topics
from aggregate.block import BadBlock
from aggregate.board import Board as Standings
from aggregate.fold import Drop, FoldState
from aggregate.tally import Tallies
from aggregate.topic_table import FoldedGame, TopicTable
from aggregate.topics import Topic, TopicKey
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Game, Poll, Stage
from grandstand.internal.v1.internal_pb2 import Control, RemoveScore, VoidVotes
from grandstand.wire import ids
from grandstand.wire.errors import Invalid


class ControlHandler:
    def __init__(self, table: TopicTable, tallies: Tallies) -> None:
        self._table = table
        self._tallies = tallies

    def apply(self, control: Control, sequence: int, now_us: int) -> None:
        """`sequence`: of the block in the stream; `now_us`: the partition's watermark. Raises BadBlock for a
        definition that cannot be folded; nothing has changed then."""
        try:
            topics.check_control(control)
        except Invalid as error:
            raise BadBlock(error.message) from None
        match control.WhichOneof("definition"):
            case "game":
                self._define_game(control.game, sequence, now_us)
            case "poll":
                self._set_stage(control, control.poll, sequence, now_us)
            case "board":
                self._set_stage(control, control.board, sequence, now_us)
            case "void_votes":
                self._void_votes(control.void_votes, sequence)
            case "remove_score":
                self._remove_score(control.remove_score, sequence, now_us)
            case "forget_game":
                forgets = control.forget_game
                known = self._table.games.get(forgets.game_id)
                if known is not None and known.generation <= forgets.generation:
                    self._table.forget(forgets.game_id)

    def _void_votes(self, void: VoidVotes, sequence: int) -> None:
        key = (void.game_id, f"poll/{void.poll_id}")
        number = self._tallies.number(*key)
        if number >= 0 and self._tallies.void(number, ids.actor_key(void.actor_id)):
            self._table.changed[key] = sequence

    def _remove_score(self, remove: RemoveScore, sequence: int, now_us: int) -> None:
        key = (remove.game_id, f"board/{remove.board_id}")
        topic = self._table.topics.get(key)
        if topic is None or not isinstance(topic.fold, Standings):
            return
        moved = topic.advance(now_us)
        if topic.fold.remove(remove.actor_id, remove.season) or moved:
            self._table.changed[key] = sequence

    def _define_game(self, definition: Game, sequence: int, now_us: int) -> None:
        table = self._table
        game = table.enter(definition.game_id, definition.generation)
        if game is None or game.stage == STAGE_SEALED:
            return
        known = game.definition or Game()
        merged = definition_merge.merge(known, definition)
        merged.stage = known.stage
        game.definition = merged
        table.defined.add((definition.game_id, ""))
        for name in topics.topics_of_game(merged):
            key = (definition.game_id, name)
            # A known topic gets another configuration only if the first was never admitted: it has no events.
            if key not in table.topics or topics.is_reconfigured(known, merged, name):
                fold = topics.fold_of_game(merged, name, FoldState())
                table.add(key, Topic(fold, stage=game.own_stage))
                table.changed[key] = sequence
        stage = topics.stage_due(definition, game, now_us)
        if stage >= STAGE_CLOSED and stage > game.stage:
            self._end_game(game, stage, sequence, max(now_us, topics.closes_at_us(definition)))

    def _end_game(self, game: FoldedGame, stage: Stage, sequence: int, at_us: int) -> None:
        """Closes or seals the topics that the game's definition makes."""
        assert game.definition is not None
        game.definition.stage = stage
        if stage == STAGE_CLOSED:
            game.closed_at_us = at_us
        self._table.ended[game.definition.game_id] = stage
        for name in topics.topics_of_game(game.definition):
            key = (game.definition.game_id, name)
            topic = self._table.topics[key]
            topic.stage = stage
            self._table.changed[key] = sequence
            if stage == STAGE_SEALED:
                self._seal(key, topic)

    def _set_stage(self, control: Control, definition: Poll | Board, sequence: int, now_us: int) -> None:
        """Opens, closes or seals a poll or a board. A control that comes too early counts as the stage that
        is due. Its sender checks whether the partition took it (see aggregate.closing)."""
        table = self._table
        if table.enter(definition.game_id, definition.generation) is None:
            return
        key = topics.key_of(definition)
        topic = table.topics.get(key)
        if topic is None:
            topic = self._add(key, definition)
        elif topic.stage == STAGE_SEALED:
            return
        stage = topics.stage_due(definition, topic, now_us)
        is_new = stage > topic.stage
        if is_new:  # only from a definition that is stored, see below (I4)
            topic.lasts_until_us = topics.lasts_until_us(definition)
        if topic.advance(now_us):
            table.changed[key] = sequence
        if not is_new:  # repeated, overtaken, or too early
            return
        topic.control = topics.control_at(control, stage)
        topic.stage = stage
        if stage == STAGE_CLOSED:
            topic.closed_at_us = max(now_us, definition.closes_at.ToMicroseconds())
        table.changed[key] = sequence
        table.defined.add(key)
        if stage == STAGE_SEALED:
            self._seal(key, topic)

    def _add(self, key: TopicKey, definition: Poll | Board) -> Topic:
        topic = self._table.add(key, Topic())
        if isinstance(definition, Poll):
            self._tallies.open(*key, definition)
        else:
            topic.fold = topics.fold_of_board(definition, FoldState())
        return topic

    def _seal(self, key: TopicKey, topic: Topic) -> None:
        """Keeps the last partial and drops the fold. A board's standings stay readable in Redis; nobody
        reads the state of a topic that its game's definition made."""
        table = self._table
        last = table.partial(key)
        if topic.fold is None:
            table.sealed[key] = (last, [])
            self._tallies.seal(*key)
        elif not topic.control:
            table.sealed[key] = (last, [Drop("")])
            topic.fold = None
        else:
            table.sealed[key] = (last, topic.fold.delta())
            topic.parts = tuple(topic.fold.parts())
            topic.fold = None
        del table.changed[key]
