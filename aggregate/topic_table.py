"""All topics of one partition, and what the next flush has to store of them. Pure.

The table is shared: aggregate.control_handler creates topics and moves them through their stages,
aggregate.partition folds events into them and writes what changed. The topics of a game stay in the
table until the partition is loaded again, sealed ones too.

Bound: the topics of the games that hash to the partition; a sealed topic keeps no fold.
"""

from __future__ import annotations

from collections.abc import Mapping

from aggregate import topics
from aggregate.fold import Change, FoldState
from aggregate.tally import Tallies
from aggregate.topics import Topic, TopicKey
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Game
from grandstand.internal.v1.internal_pb2 import Control, Partial, StoredTopic


class TopicTable:
    def __init__(self, partition: int, tallies: Tallies) -> None:
        """`tallies`: the fold of all polls, which have no fold of their own."""
        self._partition = partition
        self._tallies = tallies
        self.topics: dict[TopicKey, Topic] = {}
        self.games: dict[str, Game] = {}
        # The rest is what changed since the last flush.
        self.changed: dict[TopicKey, int] = {}
        """Topics whose share changed, with the sequence of the last change. A partial carries that sequence,
        not the one at which its flush happened to end. So a state that is rebuilt from the stream is never
        behind what a viewer has seen (I4, I5)."""
        self.defined: set[TopicKey] = set()
        """Topics, and games under ("<game>", ""), whose StoredTopic changed."""
        self.sealed: dict[TopicKey, tuple[Partial, list[Change]]] = {}
        """The last partial and the last delta of each topic that was sealed."""

    def load(self, key: TopicKey, stored: StoredTopic, states: Mapping[TopicKey, FoldState]) -> None:
        """Restores what was stored under `key`: a game with all its topics, a poll, or a board.

        `states`: by topic, the stored state of its fold. Raises DecodeError, ValueError.
        """
        control = stored.control
        match control.WhichOneof("definition"):
            case "game":
                self.games[key[0]] = control.game
                for name in topics.topics_of_game(control.game):
                    state = states.get((key[0], name), FoldState())
                    self.topics[key[0], name] = Topic(topics.fold_of_game(control.game, name, state))
            case "poll":
                self.topics[key] = Topic(None, control, control.poll.stage)
                if control.poll.stage != STAGE_SEALED:
                    self._tallies.open(*key, control.poll)
            case "board":
                topic = self.topics[key] = Topic(None, control, control.board.stage, tuple(stored.parts))
                topic.lasts_until_us = topics.lasts_until_us(control.board)
                if control.board.stage != STAGE_SEALED:
                    topic.fold = topics.fold_of_board(control.board, states.get(key, FoldState()))
        if key[1]:
            self.topics[key].closed_at_us = stored.closed_at_us

    def has_game(self, game_id: str) -> bool:
        """True if the game or any of its topics is defined here."""
        return game_id in self.games or any(game == game_id for game, _ in self.topics)

    def stored(self, key: TopicKey) -> StoredTopic:
        """What is stored of a game, a poll or a board."""
        if not key[1]:
            return StoredTopic(control=Control(game=self.games[key[0]]))
        topic = self.topics[key]
        return StoredTopic(control=topic.control, parts=topic.parts, closed_at_us=topic.closed_at_us)

    def partial(self, key: TopicKey) -> Partial:
        """The partition's share of a topic in `changed`."""
        topic = self.topics[key]
        topic.prefix = topic.prefix or self._prefix(key, topic)
        partial = Partial.FromString(topic.prefix)
        partial.sequence = self.changed[key]
        partial.stage = topic.stage
        if topic.fold is None:
            self._tallies.fill(self._tallies.number(*key), partial.tally)
        else:
            getattr(partial, topics.value_field(key[1])).CopyFrom(topic.fold.partial())
        return partial

    def _prefix(self, key: TopicKey, topic: Topic) -> bytes:
        partial = Partial(game_id=key[0], topic=key[1], partition=self._partition)
        if topic.fold is None:
            partial.tally.option_ids.extend(self._tallies.option_ids(self._tallies.number(*key)))
        return partial.SerializeToString()

    def flushed(self) -> None:
        """Everything that changed has been taken for a flush."""
        self.changed.clear()
        self.defined.clear()
        self.sealed.clear()
