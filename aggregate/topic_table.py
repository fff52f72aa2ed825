"""All topics of one partition, and what the next flush has to store of them. Pure.

The table is shared: aggregate.control_handler creates topics and moves them through their stages,
aggregate.partition folds events into them and writes what changed. The topics of a game stay in the
table until the game is forgotten, sealed ones too.

A game of the table has one generation. Whatever is said of an earlier one changes nothing; a later one
replaces it, with all of its topics.

Bound: the topics of the games that hash to the partition and are not forgotten; a sealed topic keeps no fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aggregate import encoded_partials, topics
from aggregate.encoded_partials import EncodedPartial
from aggregate.fold import Change, FoldState
from aggregate.tally import Tallies
from aggregate.topics import Topic, TopicKey
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Game,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Control, StoredTopic
from mesh.wire_format import varint


@dataclass(slots=True)
class FoldedGame:
    """A game of one partition."""

    generation: int
    definition: Game | None = None
    """With the stage that it has here. None: only polls or boards of it are known here."""
    closed_at_us: int = 0
    """As Topic.closed_at_us."""
    topics: list[str] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        return STAGE_UNSPECIFIED if self.definition is None else self.definition.stage

    @property
    def own_stage(self) -> Stage:
        """Of the topics that its definition makes: they have none before the game ends."""
        return self.stage if self.stage >= STAGE_CLOSED else STAGE_UNSPECIFIED


@dataclass(slots=True)
class Forgotten:
    """What is stored of a game that is forgotten: fields of the partition's topics, and parts of folds."""

    fields: set[str] = field(default_factory=set)
    parts: set[tuple[TopicKey, str]] = field(default_factory=set)


class TopicTable:
    def __init__(self, partition: int, tallies: Tallies) -> None:
        """`tallies`: the fold of all polls, which have no fold of their own."""
        self._partition = partition
        self._tallies = tallies
        self.topics: dict[TopicKey, Topic] = {}
        self.games: dict[str, FoldedGame] = {}
        # The rest is what changed since the last flush.
        self.times_s: dict[int, int] = {}
        """The partition's time at each block, Unix seconds, by sequence."""
        self._moments: dict[tuple[int, Stage], bytes] = {}
        """What partials say of when they are, by sequence and stage."""
        self.changed: dict[TopicKey, int] = {}
        """Topics whose share changed, with the sequence of the last change. A partial carries that sequence,
        not the one at which its flush happened to end. So a state that is rebuilt from the stream is never
        behind what a viewer has seen (I4, I5)."""
        self.defined: set[TopicKey] = set()
        """Topics, and games under ("<game>", ""), whose StoredTopic changed."""
        self.sealed: dict[TopicKey, tuple[EncodedPartial, list[Change]]] = {}
        """The last partial and the last delta of each topic that was sealed."""
        self.ended: dict[str, Stage] = {}
        """Games that were closed or sealed, and to which stage."""
        self.forgotten: dict[str, Forgotten] = {}
        """Games that are gone. One of the same id may have come since."""

    def load(self, key: TopicKey, stored: StoredTopic, states: Mapping[TopicKey, FoldState]) -> None:
        """Restores what was stored under `key`: a game with all its topics, a poll, or a board.

        `states`: by topic, the stored state of its fold. Raises DecodeError, ValueError.
        """
        control = stored.control
        match control.WhichOneof("definition"):
            case "game":
                definition = control.game
                game = self.enter(key[0], definition.generation)
                assert game is not None, "a partition's stored topics are of one generation of a game"
                game.definition, game.closed_at_us = definition, stored.closed_at_us
                for name in topics.topics_of_game(definition):
                    topic = self.add((key[0], name), Topic(stage=game.own_stage))
                    if topic.stage != STAGE_SEALED:
                        state = states.get((key[0], name), FoldState())
                        topic.fold = topics.fold_of_game(definition, name, state)
            case "poll":
                self.enter(key[0], control.poll.generation)
                topic = self.add(key, Topic(None, control.SerializeToString(), control.poll.stage))
                topic.closed_at_us = stored.closed_at_us
                if control.poll.stage != STAGE_SEALED:
                    self._tallies.open(*key, control.poll)
            case "board":
                self.enter(key[0], control.board.generation)
                encoded = control.SerializeToString()
                topic = self.add(key, Topic(None, encoded, control.board.stage, tuple(stored.parts)))
                topic.lasts_until_us = topics.lasts_until_us(control.board)
                topic.closed_at_us = stored.closed_at_us
                if control.board.stage != STAGE_SEALED:
                    topic.fold = topics.fold_of_board(control.board, states.get(key, FoldState()))

    def enter(self, game_id: str, generation: int) -> FoldedGame | None:
        """The game of that generation, in which something is to be defined; one of an earlier generation is
        forgotten. None if there is one of a later generation: then nothing may be. 0, which definitions of
        earlier releases say: the game that there is."""
        known = self.games.get(game_id)
        if known is not None and generation:
            if generation < known.generation:
                return None
            if generation > known.generation:
                self.forget(game_id)
                known = None
        if known is None:
            known = self.games[game_id] = FoldedGame(generation)
        return known

    def add(self, key: TopicKey, topic: Topic) -> Topic:
        """A new topic of a game that was entered, or another in its place."""
        game = self.games[key[0]]
        topic.generation = game.generation
        if key not in self.topics:
            game.topics.append(key[1])
        self.topics[key] = topic
        return topic

    def forget(self, game_id: str) -> None:
        """Takes the game out, with all of its topics."""
        gone = self.forgotten.setdefault(game_id, Forgotten())
        gone.fields.add("")
        for name in self.games.pop(game_id).topics:
            key = (game_id, name)
            topic = self.topics.pop(key)
            if not topic.control:
                gone.parts.add((key, ""))
            elif self._tallies.number(*key) >= 0:
                self._tallies.seal(*key)
            gone.fields.add(name)
            gone.parts.update((key, part) for part in topic.parts)
            gone.parts.update((key, change.part) for change in self.sealed.pop(key, (None, ()))[1])
            self.changed.pop(key, None)
            self.defined.discard(key)
        self.defined.discard((game_id, ""))
        self.ended.pop(game_id, None)

    def is_past(self, game_id: str, generation: int) -> bool:
        """Whether there is a later game of the id than this."""
        known = self.games.get(game_id)
        return known is not None and generation < known.generation

    def stored(self, key: TopicKey) -> StoredTopic:
        """What is stored of a game, a poll or a board."""
        if not key[1]:
            game = self.games[key[0]]
            return StoredTopic(control=Control(game=game.definition), closed_at_us=game.closed_at_us)
        topic = self.topics[key]
        stored = StoredTopic(parts=topic.parts, closed_at_us=topic.closed_at_us)
        stored.control.MergeFromString(topic.control)
        return stored

    def partial(self, key: TopicKey) -> EncodedPartial:
        """The partition's share of a topic in `changed`."""
        topic, sequence = self.topics[key], self.changed[key]
        if not topic.identity:
            topic.identity = encoded_partials.identity(*key, self._partition)
            topic.value_tag = encoded_partials.value_tag(topics.value_field(key[1]))
        at = sequence, topic.stage
        moment = self._moments.get(at)
        if moment is None:
            moment = self._moments[at] = encoded_partials.moment(*at, self.times_s.get(sequence, 0))
        fold = topic.fold
        value = self._tallies.partial(key) if fold is None else fold.partial().SerializeToString()
        encoded = b"".join((topic.identity, moment, topic.value_tag, varint(len(value)), value))
        return EncodedPartial(*key, encoded)

    def flushed(self) -> None:
        """Everything that changed has been taken for a flush."""
        self.times_s.clear()
        self._moments.clear()
        self.changed.clear()
        self.defined.clear()
        self.sealed.clear()
        self.ended.clear()
        self.forgotten.clear()
