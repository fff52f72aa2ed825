"""I4, I9: a game ends, is forgotten, and its id returns; the state follows from the stream alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from aggregate.partition import Loaded, Partition
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Game,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Block, Partial
from mesh import limits
from mesh.redis import layout
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.partitions import Kept, fold, partials_of, points_of, sealing, set_aside, votes_of

_OWN = ("pulse/cheer", "metric/ping", "audience")


def game(generation: int, stage: Stage = STAGE_OPEN) -> Game:
    made = blocks.game(audience=True, metrics=["ping"], generation=generation, stage=stage)
    if stage >= STAGE_CLOSED:
        made.ended_at.FromSeconds(NOW_S)
    return made


def ending(generation: int, at_s: float = NOW_S) -> list[Block]:
    """The controls that close the game, and seal it as soon as may be."""
    return [
        blocks.game_control(game(generation, STAGE_CLOSED), at_s),
        blocks.game_control(game(generation, STAGE_SEALED), at_s + limits.SEAL_GRACE_S),
    ]


def reaction(number: int, generation: int = 0) -> Block:
    return blocks.block([blocks.reaction("fire", 1, origin(number), 1, generation=generation)])


def vote(number: int, generation: int) -> Block:
    voter = f"voter{number}"
    return blocks.block([blocks.vote(voter, "a", origin(number), 1, generation=generation)])


class Stored:
    """A partition whose owner changes with each flush: what is shown is always what was stored."""

    def __init__(self) -> None:
        self.kept = Kept()
        self.partition = Partition(0, Loaded())

    def take(self, *stream: Block) -> dict[str, Partial]:
        for block in stream:
            assert set_aside(self.partition, block) == []
        return self.flush()

    def flush(self) -> dict[str, Partial]:
        flush = self.partition.take_flush()
        if flush is None:
            return {}
        self.kept.apply(flush)
        self.partition = Partition(0, self.kept.loaded())
        return {partial.topic: partial for partial in partials_of(flush)}

    def shown(self) -> dict[str, Partial]:
        """What a reader of Redis is shown."""
        results = self.kept.hashes.get(layout.results_key(0, GAME), {})
        return {n.decode(): Partial.FromString(v) for n, v in results.items() if not n.startswith(b"!")}


def test_what_a_games_definition_makes_stops_with_the_game() -> None:
    stored = Stored()
    stored.take(blocks.game_control(game(7)), reaction(1, 7))
    assert {partial.stage for partial in stored.shown().values()} == {STAGE_UNSPECIFIED}
    close, seal = ending(7)
    stored.take(close)
    late = stored.take(reaction(2, 7))["pulse/cheer"]
    assert (late.stage, list(late.pulse.totals)) == (STAGE_CLOSED, [2]), "received in time, stored later"
    sealed = stored.take(seal)
    assert {name: partial.stage for name, partial in sealed.items()} == dict.fromkeys(_OWN, STAGE_SEALED)
    assert list(sealed["pulse/cheer"].pulse.totals) == [2]
    assert stored.take(reaction(3, 7)) == {}, "nothing changes after the seal"
    assert stored.kept.hashes[layout.results_key(0, GAME)][b"!stage"] == b"%d" % STAGE_SEALED
    assert not [key for key in stored.kept.values if GAME in key], "no state is kept of what is sealed"


def test_a_game_is_sealed_no_earlier_than_the_grace_after_its_close() -> None:
    partition = Partition(0, Loaded())
    close, seal = ending(7)
    fold(partition, blocks.game_control(game(7), NOW_S - 10))
    early = fold(partition, blocks.game_control(game(7, STAGE_SEALED), NOW_S - 5))
    assert not [partial for partial in early.values() if partial.stage], "too early even for a close"
    closed = fold(partition, close, blocks.game_control(game(7, STAGE_SEALED), NOW_S + 1))
    assert {partial.stage for partial in closed.values()} == {STAGE_CLOSED}
    assert {partial.stage for partial in fold(partition, seal).values()} == {STAGE_SEALED}
    assert fold(partition, close, blocks.game_control(game(7))) == {}, "a stage never goes back"


def test_nothing_is_stored_of_a_game_that_is_forgotten() -> None:
    stored = Stored()
    board, poll = blocks.board(BOARD_MODE_SUM, generation=7), blocks.poll(generation=7)
    stored.take(
        *(blocks.game_control(game(7)), blocks.control(board), blocks.control(poll)),
        *(reaction(1, 7), vote(2, 7)),
        blocks.block([blocks.score("ann", 5, origin(3), 1, generation=7)]),
    )
    assert [key for key in stored.kept.hashes if GAME in key]
    set_aside(stored.partition, vote(4, 7))
    for block in (*ending(7), *sealing(poll, NOW_S + 20), blocks.forget_game(7, NOW_S + 40)):
        set_aside(stored.partition, block)
    flush = stored.partition.take_flush()
    assert flush is not None
    assert flush.forgotten == (GAME,)
    assert not flush.partials
    stored.kept.apply(flush)
    assert not [key for key in (*stored.kept.hashes, *stored.kept.values) if GAME in key]
    assert stored.kept.hashes[layout.topics_key(0)] == {}
    assert not [key for key, value in stored.kept.values.items() if GAME.encode() in value]


def test_an_id_that_returns_begins_at_nothing() -> None:
    """Though the stream holds the votes of the old one."""
    stored = Stored()
    for generation in (7, 9):
        poll = blocks.poll(generation=generation)
        stored.take(blocks.game_control(game(generation)), blocks.control(poll))
        assert votes_of(stored.shown()["poll/mvp"])["a"] == 0
        stored.take(blocks.block([blocks.vote("ann", "a", origin(generation), 1, generation=generation)]))
        assert votes_of(stored.shown()["poll/mvp"])["a"] == 1, "ann's first in this game"
    stored.take(
        blocks.forget_game(7), blocks.game_control(game(7)), blocks.control(blocks.poll(generation=7))
    )
    assert votes_of(stored.shown()["poll/mvp"])["a"] == 1, "what is said of the old game is too late"


def test_what_was_sent_to_the_old_game_counts_in_no_other() -> None:
    stored = Stored()
    stored.take(blocks.game_control(game(9)), blocks.control(blocks.poll(generation=9)))
    assert stored.take(vote(1, 7), reaction(2, 7)) == {}
    (letter,) = set_aside(stored.partition, vote(3, 11))
    assert "is not known" in letter.reason, "the stream has lost what defined it"
    assert stored.take(vote(3, 9))["poll/mvp"].tally.voters == 1, "and it counts once it is known"
    assert stored.take(vote(4, 0))["poll/mvp"].tally.voters == 2, "an earlier release says no generation"


def test_a_partial_says_when_its_topic_last_changed() -> None:
    partition = Partition(0, Loaded())
    fold(partition, blocks.game_control(game(7)))
    at = blocks.block([blocks.reaction("fire", 1, origin(1), 1)], NOW_S + 60)
    partition.fold(partition.folded + 1, at.SerializeToString())
    shown = fold(partition, blocks.control(blocks.board(BOARD_MODE_SUM), at_s=NOW_S + 90))
    assert {name: partial.changed_at_s - NOW_S for name, partial in shown.items()} == {
        "pulse/cheer": 60,
        "board/top": 90,
    }


@dataclass
class Model:
    """Of one game's id: what counts, event by event."""

    generation: int = 0
    stage: Stage = STAGE_UNSPECIFIED
    poll: Stage = STAGE_UNSPECIFIED
    voters: set[str] = field(default_factory=set)
    points: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    reactions: int = 0
    has_board: bool = False


class Played:
    """A random history, with the stamps of its blocks as they come."""

    def __init__(self) -> None:
        self.stored = Stored()
        self.stream: list[Block] = []
        self.model = Model()
        self.at_s = float(NOW_S)
        self.sent = 0

    def step(self, what: str, generation: int) -> None:
        self.at_s += limits.SEAL_GRACE_S + 1
        model = self.model
        match what:
            case "flush":
                self.stored.flush()
                return
            case "take over":
                self._fold_on(self.stored.kept)
                return
            case "rebuild":
                self._fold_on(Kept())
                return
        if what in ("vote", "score", "react"):
            self._event(what, generation)
            return
        if what == "forget":
            if model.generation <= generation:
                self.model = Model()
            self._fold(blocks.forget_game(generation, self.at_s))
            return
        if generation > model.generation:
            model = self.model = Model(generation)
        is_now = generation == model.generation
        if what in ("define", "close", "seal"):
            stage = {"define": STAGE_OPEN, "close": STAGE_CLOSED, "seal": STAGE_SEALED}[what]
            if is_now and model.stage < STAGE_SEALED:
                if stage == STAGE_SEALED and model.stage != STAGE_CLOSED:
                    stage_now: Stage = STAGE_CLOSED
                else:
                    stage_now = stage
                model.stage = max(model.stage, stage_now, STAGE_OPEN)
            self._fold(blocks.game_control(game(generation, stage), self.at_s))
        elif what == "poll":
            if is_now:
                model.poll = max(model.poll, STAGE_OPEN)
            self._fold(blocks.control(blocks.poll(generation=generation), at_s=self.at_s))
        elif what == "board":
            if is_now:
                model.has_board = True
            definition = blocks.board(BOARD_MODE_SUM, generation=generation)
            self._fold(blocks.control(definition, at_s=self.at_s))

    def _event(self, what: str, generation: int) -> None:
        self.sent += 1
        model, actor = self.model, f"actor{self.sent % 3}"
        is_known = {
            "vote": model.poll > 0,
            "score": model.has_board,
            "react": model.stage > 0,
        }[what]
        if generation == model.generation and is_known:
            if what == "vote":
                model.voters.add(actor)
            elif what == "score":
                model.points[actor] += 5
            elif model.stage < STAGE_SEALED:
                model.reactions += 1
        fields = {"generation": generation}
        by = origin(self.sent)
        row = {
            "vote": lambda: blocks.vote(actor, "a", by, 1, **fields),
            "score": lambda: blocks.score(actor, 5, by, 1, **fields),
            "react": lambda: blocks.reaction("fire", 1, by, 1, **fields),
        }[what]()
        self._fold(blocks.block([row], self.at_s))

    def _fold(self, block: Block) -> None:
        self.stream.append(block)
        set_aside(self.stored.partition, block)

    def _fold_on(self, kept: Kept) -> None:
        """The owner is killed: the next one folds what `kept` does not hold."""
        self.stored.kept = kept
        partition = self.stored.partition = Partition(0, kept.loaded())
        for block in self.stream[partition.folded :]:
            set_aside(partition, block)

    def check(self) -> None:
        self.stored.flush()
        shown, model = self.stored.shown(), self.model
        topics = {"poll/mvp"} if model.poll else set()
        topics |= {"board/top"} if model.has_board else set()
        topics |= set(_OWN) if model.stage else set()
        assert shown.keys() == topics
        if model.poll:
            assert shown["poll/mvp"].tally.voters == len(model.voters)
        if model.has_board:
            assert points_of(shown["board/top"]) == dict(model.points)
        if model.stage:
            assert sum(shown["pulse/cheer"].pulse.totals) == model.reactions
            stage = model.stage if model.stage >= STAGE_CLOSED else STAGE_UNSPECIFIED
            assert {shown[name].stage for name in _OWN} == {stage}


_STEPS = (
    *("define", "poll", "board", "vote", "score", "react", "close", "seal", "forget"),
    *("flush", "take over", "rebuild"),
)


@given(st.lists(st.tuples(st.sampled_from(_STEPS), st.integers(1, 3)), max_size=40))
def test_whatever_comes_in_whatever_order_counts_in_the_games_of_its_generation(
    steps: Sequence[tuple[str, int]],
) -> None:
    """Whoever folds it, and however often: also if its owner dies, or all is folded again, between any two
    steps of its end."""
    played = Played()
    for what, generation in steps:
        played.step(what, generation)
    played.check()
