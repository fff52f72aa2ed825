"""A poll whose numbers are cut out of its encoded partials: viewers are sent what the decoded ones give."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cohort import Cohort, CohortKey
from gateway.overload import Tier
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED
from grandstand.gateway.v1.gateway_pb2 import SubscribeResponse
from grandstand.internal.v1.internal_pb2 import GameResults, Partial, PartitionResults, TallyPartial
from grandstand.wire.topics import TopicPatterns
from mesh.redis.share import Share
from mesh.results_feed.partition_results import WatchedPartition
from mesh.results_feed.view import GameView
from tests.support.seats import WIDE, Line

NOW_S = 1_790_000_000
PARTITION = 3
GAME = "g"
TOPICS = ("poll/x", "poll/y")


class Source:
    """The partition's owner."""

    def __init__(self) -> None:
        self.sequence = 0
        self.stream = "s"
        self.partials: dict[str, Partial] = {}

    def share(self) -> Share:
        kept = {topic: Partial.FromString(each.SerializeToString()) for topic, each in self.partials.items()}
        return Share(PARTITION, self.sequence, kept, True, self.stream)

    def flush(self, changed: dict[str, Partial], by: int) -> PartitionResults:
        before, self.sequence = self.sequence, self.sequence + by
        for topic, partial in changed.items():
            partial.sequence = self.sequence
            self.partials[topic] = partial
        said = [partial.SerializeToString() for partial in changed.values()]
        return PartitionResults(
            partition=PARTITION,
            before=before,
            after=self.sequence,
            stream=self.stream,
            games=[GameResults(game_id=GAME, partials=said)],
        )


class DecodedView(GameView):
    """Never takes a partial without decoding it."""

    def _take_plain(self, *_: object) -> bool:
        return False


class CountingView(GameView):
    taken = 0

    def _take_plain(self, *arguments: object) -> bool:
        found = super()._take_plain(*arguments)  # type: ignore[arg-type]
        self.taken += found
        return found


class Gateway:
    """One game's view, a cohort, and its viewers."""

    def __init__(self, view: GameView, window: int, patterns: list[str], *, deltas: bool) -> None:
        self.view = view
        view.fold_in([PARTITION])
        self.watched = WatchedPartition(PARTITION)
        self.watched.watch(GAME, view)
        self.line = Line(window)
        key = CohortKey(GAME, TopicPatterns(patterns), 20, Tier.VIEWER, deltas)
        self.cohort = Cohort(key, view, lambda: None, NOW_S)

    def hear(self, message: PartitionResults) -> dict[str, list[str]]:
        return self.watched.hear(PartitionResults.FromString(message.SerializeToString())).topics

    def load(self, share: Share) -> list[str]:
        return sorted(self.watched.load(GAME, share))

    def join(self, *, ahead: bool) -> None:
        self.cohort.join(*self.line.open(), ahead=ahead, at_s=0.0)

    def tick(self) -> None:
        if self.cohort.frames.due_at_s() is not None:
            self.cohort.tick(0.0, NOW_S)

    def heard(self) -> list[list[SubscribeResponse]]:
        return [
            [SubscribeResponse.FromString(each) for each in self.line.messages(stream)]
            for stream in self.line.streams
        ]


def poll(
    topic: str, options: list[str], votes: list[int], stage: int = STAGE_OPEN, **more: object
) -> Partial:
    tally = TallyPartial(option_ids=options, votes=votes, voters=sum(votes), **more)  # type: ignore[arg-type]
    partial = Partial(game_id=GAME, topic=topic, partition=PARTITION, changed_at_s=NOW_S, tally=tally)
    partial.stage = stage  # type: ignore[assignment]
    return partial


def test_an_update_of_a_small_game_decodes_no_partial_before_somebody_asks_for_all_of_it() -> None:
    source, view = Source(), CountingView()
    gateway = Gateway(view, WIDE, ["poll/x"], deltas=True)
    source.flush({"poll/x": poll("poll/x", ["a", "b"], [200, 5])}, 1)
    gateway.load(source.share())
    gateway.join(ahead=False)
    gateway.tick()
    gateway.cohort.flush(0.0, NOW_S)
    for votes in range(201, 300):
        gateway.hear(source.flush({"poll/x": poll("poll/x", ["a", "b"], [votes, 5])}, 1))
        gateway.tick()
    assert view.taken == 99
    ((*_, last),) = gateway.heard()
    (option,) = last.update.deltas[0].tally.options
    assert (option.place, option.votes, option.weight) == (0, 299, 299)
    assert view.shown("poll/x", NOW_S).state.tally.voters == 304
    assert view.partial("poll/x", PARTITION) == source.partials["poll/x"]


STEPS = ["hear", "hear+tick", "hear+tick", "lose", "again", "load", "old", "tick", "join", "flush", "widen"]
STEPS += [*["hear+tick"] * 3, "anew"]
NUMBERS = st.integers(0, 3) | st.sampled_from([126, 16_383, 2**21 - 1, 2**40])


@st.composite
def polls(draw: st.DrawFn, source: Source) -> dict[str, Partial]:
    """What became of some topics: mostly a few votes more; at times of another form."""
    changed = {}
    for topic in draw(st.lists(st.sampled_from(TOPICS), min_size=1, max_size=2, unique=True)):
        known = source.partials.get(topic)
        if known is None or draw(st.integers(0, 9)) == 0:
            options = ["red", "blue", "ü" * 40][: draw(st.integers(1, 3))]
            changed[topic] = poll(topic, options, [draw(NUMBERS) for _ in options])
            continue
        partial = Partial.FromString(known.SerializeToString())
        tally = partial.tally
        for place in range(len(tally.votes)):
            tally.votes[place] += draw(NUMBERS)
        tally.voters = sum(tally.votes)
        match draw(st.integers(0, 12)):
            case 0:
                tally.weights[:] = [draw(NUMBERS) for _ in tally.votes]
            case 1:
                tally.guest_votes[:] = [draw(NUMBERS) for _ in tally.votes]
                tally.guest_voters = draw(NUMBERS)
            case 2:
                tally.voided = draw(NUMBERS)
            case 3:
                partial.stage = draw(st.sampled_from([STAGE_CLOSED, STAGE_SEALED]))
            case 4:
                tally.ClearField("weights")
                tally.ClearField("guest_votes")
                tally.ClearField("guest_voters")
                tally.ClearField("voided")
            case 5:
                partial.ClearField("changed_at_s")
        changed[topic] = partial
    return changed


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_viewers_are_sent_the_same_whether_partials_are_decoded_or_not(data: st.DataObject) -> None:
    """Over flushes that are heard, lost, repeated or late, loads, another event stream, joins, viewers that
    stall and read by bits."""
    window = data.draw(st.sampled_from([0, 300, WIDE]))
    patterns, deltas = data.draw(st.sampled_from([["poll/x"], []])), data.draw(st.booleans())
    source = Source()
    gateways = [Gateway(view, window, patterns, deltas=deltas) for view in (GameView(), DecodedView())]
    told: list[PartitionResults] = []
    shares = [source.share()]
    for _ in range(data.draw(st.integers(1, 40))):
        what = data.draw(st.sampled_from(STEPS))
        message, share = None, None
        if what in ("hear", "hear+tick", "lose"):
            told.append(source.flush(data.draw(polls(source)), data.draw(st.integers(1, 3))))
            message = None if what == "lose" else told[-1]
        elif what == "again" and told:
            message = data.draw(st.sampled_from(told))
        elif what == "load":
            share = source.share()
            shares.append(share)
        elif what == "old":
            share = data.draw(st.sampled_from(shares))
            share = share if share.stream == source.stream else None
        elif what == "anew":
            source.stream += "s"
            source.sequence = data.draw(st.integers(0, source.sequence))
            for partial in source.partials.values():
                partial.sequence = min(partial.sequence, source.sequence)
            told.clear()
        ahead, by = data.draw(st.booleans()), data.draw(st.sampled_from([1, 30, 700]))
        heard = []
        for gateway in gateways:
            changed: object = None
            if message is not None:
                changed = gateway.hear(message)
            if share is not None:
                changed = gateway.load(share)
            if what == "join":
                gateway.join(ahead=ahead)
            if what in ("hear+tick", "tick"):
                gateway.tick()
            if what == "flush":
                gateway.cohort.flush(0.0, NOW_S)
            if what == "widen" and gateway.line.streams:
                gateway.line.widen(gateway.line.streams[-1], by)
            heard.append(
                (
                    changed,
                    gateway.heard(),
                    gateway.view.positions(),
                    gateway.view.lacks(PARTITION),
                    gateway.view.version,
                )
            )
        assert heard[0] == heard[1]
    plain, decoded = (gateway.view for gateway in gateways)
    for topic in TOPICS:
        assert plain.partial(topic, PARTITION) == decoded.partial(topic, PARTITION)
        if plain.has(topic):
            assert plain.shown(topic, NOW_S).state == decoded.shown(topic, NOW_S).state
