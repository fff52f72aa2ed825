"""What a gateway knows of a partition: exact about what it includes, never older, whatever was lost."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregate.encoded_partials import EncodedPartial
from aggregate.results_messages import results_messages
from grandstand.internal.v1.internal_pb2 import GameResults, Partial, PartitionResults, TallyPartial
from grandstand.wire.topics import TopicPatterns
from mesh.redis.share import Share
from mesh.results_feed.partition_results import Progress, WatchedPartition
from mesh.results_feed.view import GameView

GAMES = ("a", "b", "c")
TOPICS = ("poll/x", "poll/y")


def partial(game_id: str, topic: str, sequence: int, votes: int) -> Partial:
    tally = TallyPartial(option_ids=["o"], votes=[votes], voters=votes)
    return Partial(game_id=game_id, topic=topic, sequence=sequence, tally=tally)


def message(before: int, after: int, *, part: int = 0, stream: str = "s", votes: int = 0) -> PartitionResults:
    games = [GameResults(game_id="a", partials=[partial("a", "poll/x", after, votes).SerializeToString()])]
    return PartitionResults(
        before=before, after=after, part=part, stream=stream, games=games if votes else []
    )


def watched(*, at: int, stream: str = "s") -> tuple[WatchedPartition, GameView]:
    """A game `a` that was loaded at `at`."""
    partition, view = WatchedPartition(0), GameView()
    view.fold_in([0])
    partition.watch("a", view)
    partition.load("a", Share(0, at, {}, stream=stream))
    return partition, view


def test_a_game_is_known_as_far_as_its_partition_also_where_nothing_of_it_changed() -> None:
    partition, view = watched(at=5)
    assert view.applied(0) == 5
    partition.hear(message(5, 9))
    assert (view.applied(0), partition.lacking) == (9, set())
    assert view.includes(0, 9)
    assert not view.includes(0, 10)


def test_a_gap_is_seen_and_the_game_is_known_up_to_it_until_it_is_loaded() -> None:
    partition, view = watched(at=5)
    partition.hear(message(5, 9))
    assert partition.hear(message(12, 14, votes=3)).topics == {"a": ["poll/x"]}, "what came is shown"
    assert (view.applied(0), partition.lacking) == (9, {"a"})
    partition.load("a", Share(0, 11, {}, stream="s"))
    assert (view.applied(0), partition.lacking) == (11, {"a"}), "a replica that lags"
    partition.load("a", Share(0, 13, {}, stream="s"))
    assert (view.applied(0), partition.lacking) == (14, set())


def test_the_first_message_may_follow_what_was_loaded_or_not() -> None:
    partition, view = watched(at=5)
    partition.hear(message(6, 9))
    assert (view.applied(0), partition.lacking) == (5, {"a"})


def test_one_who_comes_in_the_middle_knows_nothing_of_what_was_said_before() -> None:
    partition, _ = watched(at=5)
    partition.hear(message(5, 9))
    late = GameView()
    partition.watch("b", late)
    partition.load("b", Share(0, 7, {}, stream="s"))
    assert late.applied(0) == 7
    partition.hear(message(9, 12))
    assert (late.applied(0), partition.lacking) == (7, {"b"})


def test_a_flush_in_parts_counts_only_whole() -> None:
    partition, view = watched(at=5)
    for part, (before, after) in enumerate([(5, 5), (5, 5), (5, 9)]):
        partition.hear(message(before, after, part=part))
    assert view.applied(0) == 9
    for part, (before, after) in [(1, (9, 9)), (2, (9, 12))]:
        partition.hear(message(before, after, part=part))
    assert (view.applied(0), partition.lacking) == (9, {"a"})


def test_a_new_owner_and_a_rebuilt_state_need_no_load_where_nothing_was_missed() -> None:
    partition, view = watched(at=5)
    partition.hear(message(5, 9))
    partition.hear(
        message(7, 12),
    )
    assert (view.applied(0), partition.lacking) == (12, set())
    partition.hear(message(2, 4, votes=1))
    assert (view.applied(0), partition.lacking) == (12, set())


def test_a_stream_made_anew_is_shown_once_it_was_loaded_though_its_numbers_are_smaller() -> None:
    partition, view = watched(at=5)
    partition.hear(message(5, 900, votes=7))
    assert partition.hear(message(3, 4, stream="anew", votes=1)).topics == {}
    assert (view.applied(0), partition.lacking) == (900, {"a"})
    assert view.shown("poll/x", 0).state.tally.voters == 7
    share = Share(0, 4, {"poll/x": partial("a", "poll/x", 4, 1)}, stream="anew")
    assert partition.load("a", share) == ["poll/x"]
    assert (view.applied(0), partition.lacking) == (4, set())
    assert view.shown("poll/x", 0).state.tally.voters == 1
    assert partition.hear(message(4, 6, stream="anew", votes=2)).topics == {"a": ["poll/x"]}


def test_a_last_message_that_was_lost_is_found_by_a_look() -> None:
    partition, view = watched(at=5)
    partition.look("s", 5)
    assert partition.lacking == set()
    partition.look("s", 6)
    assert partition.lacking == {"a"}
    partition.load("a", Share(0, 6, {}, stream="s"))
    partition.look("s", 6)
    partition.hear(message(6, 7))
    assert (view.applied(0), partition.lacking) == (7, set())


def encoded(partials: Iterable[Partial]) -> list[EncodedPartial]:
    return [EncodedPartial(each.game_id, each.topic, each.SerializeToString()) for each in partials]


def test_a_flush_that_is_too_great_for_a_message_is_told_in_parts() -> None:
    flushed = [partial(game, topic, 9, 5) for game in GAMES for topic in TOPICS]
    size = flushed[0].ByteSize()
    told = list(
        results_messages(
            partition=3,
            before=5,
            after=9,
            stream="s",
            partials=encoded(flushed),
            bytes_max=4096 + 3 * size,
            forgotten=["gone"],
        )
    )
    said = [PartitionResults.FromString(each) for each in told]
    assert [(each.part, each.before, each.after) for each in said][-1] == (len(said) - 1, 5, 9)
    assert len(said) > 2
    assert all(len(each) <= 4096 + 3 * size and each for each in told)
    found = [(g.game_id, Partial.FromString(p)) for each in said for g in each.games for p in g.partials]
    assert found == [(each.game_id, each) for each in flushed]
    assert next((g.game_id, g.forgotten) for g in said[0].games) == ("gone", True), "before all else"
    (empty,) = results_messages(partition=3, before=5, after=9, stream="s", partials=[], bytes_max=4096)
    assert PartitionResults.FromString(empty).after == 9, "also said if nothing changed"


def test_what_is_said_after_a_game_was_forgotten_is_of_another_game() -> None:
    partition, view = watched(at=5)
    said = message(5, 9, votes=3)
    new = said.games.pop()
    said.games.add(game_id="a", forgotten=True)
    said.games.append(new)
    heard = partition.hear(said)
    assert (heard.topics, heard.forgotten) == ({}, ["a"])
    assert view.changed(TopicPatterns([]), 0) == []


class World:
    """A partition's owner, its store, and what is on its way to a gateway."""

    def __init__(self) -> None:
        self.applied = 0
        self.flushed = 0
        self.changes: list[tuple[str, str, int]] = []
        """Game, topic, sequence; each a vote."""
        self.sent: list[PartitionResults] = []
        self.partition = WatchedPartition(0)
        self.views: dict[str, GameView] = {}
        self.loads: dict[str, Share] = {}
        self.known: dict[str, int] = {}

    def votes(self, game_id: str, topic: str, sequence: int) -> tuple[int, int]:
        """How many there are up to `sequence`, and where the last one is."""
        found = [at for g, t, at in self.changes if (g, t) == (game_id, topic) and at <= sequence]
        return len(found), max(found, default=0)

    def partials(self, game_id: str, since: int, up_to: int) -> list[Partial]:
        """Of topics that changed after `since`."""
        found = {topic: self.votes(game_id, topic, up_to) for topic in TOPICS}
        return [partial(game_id, t, at, votes) for t, (votes, at) in found.items() if at > since]

    def fold(self, game_id: str, topic: str) -> None:
        self.applied += 1
        self.changes.append((game_id, topic, self.applied))

    def flush(self, *, small: bool) -> None:
        changed = [each for g in GAMES for each in self.partials(g, self.flushed, self.applied)]
        room = 4096 + (60 if small else 10_000)
        told = results_messages(
            partition=0,
            before=self.flushed,
            after=self.applied,
            stream="s",
            partials=encoded(changed),
            bytes_max=room,
        )
        if self.applied > self.flushed:
            self.sent += [PartitionResults.FromString(each) for each in told]
            self.flushed = self.applied

    def fold_anew(self, since: int) -> None:
        """The state was lost: what came after `since` is folded and told again, in one flush."""
        self.flushed = min(since, self.flushed)
        self.flush(small=False)

    def read(self, game_id: str) -> Share:
        held = {each.topic: each for each in self.partials(game_id, 0, self.flushed)}
        return Share(0, self.flushed, held, stream="s")

    def check(self) -> None:
        for game_id, view in self.views.items():
            applied = view.applied(0)
            if applied is None:
                continue
            assert self.known.get(game_id, 0) <= applied <= self.flushed, "never back, never ahead"
            self.known[game_id] = applied
            for topic in TOPICS:
                votes, _ = self.votes(game_id, topic, applied)
                if votes:
                    state = view.shown(topic, 0.0).state
                    assert state.tally.voters >= votes, "all up to `applied` is in"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_i5_i6_what_is_known_is_in_the_view_and_in_the_end_all_is(data: st.DataObject) -> None:
    """Messages are lost, repeated and reordered, loads take their time, states are folded again, and games
    come to be watched in the middle."""
    world = World()
    steps = ["fold", "fold", "fold", "flush", "flush", "hear", "hear", "hear", "lose", "repeat", "swap"]
    steps += ["watch", "read", "load", "look", "anew"]
    repeated: list[PartitionResults] = []
    for _ in range(data.draw(st.integers(1, 80))):
        match data.draw(st.sampled_from(steps)):
            case "fold":
                world.fold(data.draw(st.sampled_from(GAMES)), data.draw(st.sampled_from(TOPICS)))
            case "flush":
                world.flush(small=data.draw(st.booleans()))
            case "hear" if world.sent:
                repeated.append(world.sent[0])
                world.partition.hear(world.sent.pop(0))
            case "lose" if world.sent:
                world.sent.pop(data.draw(st.integers(0, len(world.sent) - 1)))
            case "repeat" if repeated:
                world.sent.insert(0, data.draw(st.sampled_from(repeated)))
            case "swap" if len(world.sent) > 1:
                world.sent[0], world.sent[1] = world.sent[1], world.sent[0]
            case "watch":
                game_id = data.draw(st.sampled_from(GAMES))
                if game_id not in world.views:
                    view = world.views[game_id] = GameView()
                    view.fold_in([0])
                    world.partition.watch(game_id, view)
            case "read" if world.partition.lacking:
                game_id = data.draw(st.sampled_from(sorted(world.partition.lacking)))
                world.loads[game_id] = world.read(game_id)
            case "load" if world.loads:
                game_id = data.draw(st.sampled_from(sorted(world.loads)))
                world.partition.load(game_id, world.loads.pop(game_id))
            case "look":
                world.partition.look("s", world.flushed)
            case "anew":
                world.fold_anew(data.draw(st.integers(0, world.flushed)))
        world.check()
    world.flush(small=False)
    world.partition.look("s", world.flushed)
    for game_id in sorted(world.partition.lacking):
        world.partition.load(game_id, world.read(game_id))
    world.check()
    for game_id, view in world.views.items():
        assert view.applied(0) == world.flushed
        for topic in TOPICS:
            votes, at = world.votes(game_id, topic, world.flushed)
            if votes:
                state = view.shown(topic, 0.0).state
                assert (state.tally.voters, state.cursor.positions[0].sequence) == (votes, at)
    assert not world.partition.lacking


def test_progress_follows_only_its_own_stream() -> None:
    progress = Progress()
    assert progress.gap(message(3, 5)) == 3
    progress.move(message(3, 5))
    assert progress.gap(message(5, 6)) is None
    assert progress.gap(message(5, 6, stream="t")) == 6
