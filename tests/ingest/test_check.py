"""Every bad event is refused with its code, its field, its value and the bound."""

from __future__ import annotations

import contextlib
import math

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from bench._rows import Row
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_CLOSED,
    STAGE_UNSPECIFIED,
    WRITERS_ACTORS,
    WRITERS_PRODUCERS,
    CustomTopic,
    Game,
    Metric,
    Pulse,
)
from grandstand.event.v1.event_pb2 import (
    PRESENCE_STATE_GONE,
    PRESENCE_STATE_HERE,
    Custom,
    Event,
    Measure,
    Presence,
    Reaction,
    Score,
    Vote,
)
from grandstand.internal.v1.internal_pb2 import IncomingEvent
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Forbidden, GrandstandError, Invalid, NotNow, Unknown
from ingest.intake import Unresolved
from mesh.auth.identity import Identity
from mesh.catalog.view import CatalogView
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.intake import IntakeRig, Listener, bearer, taken

CLOSES_AT_S = NOW_S + 60


@pytest.fixture(scope="module")
def catalog() -> CatalogView:
    view = CatalogView()
    game = Game(
        game_id=GAME,
        title="Game",
        spread=1,
        pulses=[Pulse(pulse_id="cheer", kinds=["fire", "clap"])],
        metrics=[
            Metric(metric_id="latency", unit="ms"),
            Metric(metric_id="speed", writers=WRITERS_PRODUCERS),
            Metric(metric_id="mood", writers=WRITERS_ACTORS),
        ],
        audience=True,
        customs=[
            CustomTopic(custom_id="words", fold="words"),
            CustomTopic(custom_id="plays", fold="words", writers=WRITERS_PRODUCERS),
        ],
    )
    poll = blocks.poll()
    poll.closes_at.FromSeconds(CLOSES_AT_S)
    closed = blocks.poll("closed")
    closed.stage = STAGE_CLOSED
    closed.closes_at.FromSeconds(NOW_S - 5)
    opening = blocks.poll("opening")
    opening.stage = STAGE_UNSPECIFIED
    many = blocks.poll("many")
    many.choices_max = 2
    weighted = blocks.poll("weighted", changeable=True)
    weighted.weight_max = 10
    board = blocks.board(BOARD_MODE_SUM)
    laps = blocks.board(
        BOARD_MODE_SUM, board_id="laps", writers=WRITERS_PRODUCERS, points_min=-5, points_max=0
    )
    cheers = blocks.board(BOARD_MODE_SUM, board_id="cheers", writers=WRITERS_ACTORS)
    for revision, (key, definition) in enumerate(
        {
            f"game.{GAME}": game,
            "game.plain": Game(game_id="plain", title="Plain", spread=1),
            f"poll.{GAME}.mvp": poll,
            f"poll.{GAME}.closed": closed,
            f"poll.{GAME}.opening": opening,
            f"poll.{GAME}.many": many,
            f"poll.{GAME}.weighted": weighted,
            f"board.{GAME}.top": board,
            f"board.{GAME}.laps": laps,
            f"board.{GAME}.cheers": cheers,
        }.items(),
        start=1,
    ):
        view.put(key, revision, definition.SerializeToString())
    return view


def vote(poll_id: str = "mvp", *options: str, weight: int = 0, **event: object) -> Event:
    return Event(
        **({"game_id": GAME, "origin_seq": 1} | event),
        vote=Vote(poll_id=poll_id, option_ids=options or ("a",), weight=weight),
    )


def score(points: int, board_id: str = "top") -> Event:
    return Event(game_id=GAME, origin_seq=1, score=Score(board_id=board_id, points=points))


def reaction(kind: str = "fire", count: int = 1, pulse_id: str = "cheer") -> Event:
    return Event(game_id=GAME, origin_seq=1, reaction=Reaction(pulse_id=pulse_id, kind=kind, count=count))


def presence(state: int = PRESENCE_STATE_HERE, game_id: str = GAME, source: int = 0) -> Event:
    event = Event(game_id=game_id, origin_seq=1, presence=Presence(source=source))
    event.presence.state = state  # type: ignore[assignment]  # also what no client should send
    return event


def measure(value: float, metric_id: str = "latency") -> Event:
    return Event(game_id=GAME, origin_seq=1, measure=Measure(metric_id=metric_id, value=value))


def custom(payload: bytes = b"", custom_id: str = "words") -> Event:
    return Event(game_id=GAME, origin_seq=1, custom=Custom(custom_id=custom_id, payload=payload))


def checked(
    catalog: CatalogView, event: Event, *, now_s: float = NOW_S, producer: bool = False, origin_id: str = ""
) -> Row:
    origin_id = origin_id or origin(1, producer=producer)
    return taken(IntakeRig(catalog), event, now_s=now_s, producer=producer, origin_id=origin_id)


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        (vote(game_id="nowhere"), Unknown, "game 'nowhere' is not known"),
        (vote("nope"), Unknown, "poll 'nope' is not known in game 'game'"),
        (vote("mvp", "z"), Unknown, "'z' is not an option of poll 'mvp'; there are a, b, c"),
        (vote("mvp", "a", "b"), Invalid, "2 options; exactly 1"),
        (vote("many", "a", "b", "c"), Invalid, "3 options; 1 to 2 are allowed"),
        (vote("many", "a", "a"), Invalid, "'a' comes twice"),
        (vote("many", "a", "z"), Unknown, "'z' is not an option of poll 'many'"),
        (vote("weighted", weight=2), Invalid, "is 2; more than 1 is for producers only"),
        (vote("weighted", weight=11), Invalid, "is 11; at most 10 is allowed in poll 'weighted'"),
        (vote(weight=2), Invalid, "is 2; at most 1 is allowed in poll 'mvp'"),
        (vote("closed"), NotNow, "poll 'closed' of game 'game' closed at 20.*Z, 5.0 s before this came"),
        (vote("opening"), Unknown, "not open yet"),
        (vote("x" * 65), Invalid, "vote.poll_id: 'x*' has 65 characters; at most 64 are allowed"),
        (vote(game_id="a b"), Invalid, "has the character ' '; allowed are"),
        (vote(game_id=""), Invalid, "event.game_id: is empty"),
        (vote(game_id="x" * 500_000), Invalid, "500000 characters"),
        (vote(actor_id="bob"), Forbidden, "'bob' is not the stream's actor 'ann'"),
        (score(2**53 + 1), Invalid, "out of range"),
        (score(1, "nope"), Unknown, "board 'nope' is not known"),
        (reaction("boo"), Unknown, "'boo' is not a kind of pulse 'cheer'; there are fire, clap"),
        (reaction(pulse_id="x"), Unknown, "'x' is not a pulse of game 'game'; there are cheer"),
        (reaction(pulse_id="a b"), Invalid, "reaction.pulse_id: 'a b' has the character ' '"),
        (score(1, "x" * 65), Invalid, "score.board_id: 'x*' has 65 characters"),
        (measure(1.0, ""), Invalid, "measure.metric_id: is empty"),
        (custom(custom_id="a.b"), Invalid, "custom.custom_id: 'a.b' has the character '.'"),
        (vote("game.mvp"), Invalid, "vote.poll_id: 'game.mvp' has the character '.'"),
        (reaction(count=101), Invalid, "is 101; at most 100"),
        (presence(), Forbidden, "event.presence: who watches is told by gateways"),
        (presence(source=9), Forbidden, "event.presence: who watches is told by gateways"),
        (measure(1.0, "x"), Unknown, "'x' is not a metric of game 'game'; there are latency"),
        (measure(math.nan), Invalid, "nan is out of range"),
        (measure(-math.inf), Invalid, "-inf is out of range"),
        (measure(1.001e15), Invalid, r"1.001e\+15 is out of range; finite values of -10\^15 to 10\^15"),
        (custom(b"x" * 1_025), Invalid, "1025 bytes; at most 1024 are allowed"),
        (custom(custom_id="x"), Unknown, "'x' is not a custom topic of game 'game'; there are words"),
        (Event(game_id=GAME, origin_seq=1), Invalid, "body: is not set"),
    ],
    ids=lambda value: None if isinstance(value, Event) else str(getattr(value, "__name__", value))[:40],
)
def test_a_bad_event_is_refused(
    catalog: CatalogView, event: Event, error: type[GrandstandError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        checked(catalog, event)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        (presence(0), Invalid, "is 0; PRESENCE_STATE_HERE"),
        (presence(7), Invalid, "is 7; PRESENCE_STATE_HERE"),
        (presence(game_id="plain"), Unknown, "game 'plain' counts no audience"),
    ],
)
def test_a_bad_presence_of_a_producer_is_refused(
    catalog: CatalogView, event: Event, error: type[GrandstandError], message: str
) -> None:
    with pytest.raises(error, match=message):
        checked(catalog, event, producer=True)


def test_a_vote_counts_until_the_servers_clock_reaches_the_close(catalog: CatalogView) -> None:
    row = checked(catalog, vote("mvp", "b"), now_s=CLOSES_AT_S - 0.001)
    assert (row.topic, row.value, row.label, row.weight, row.final) == ("poll/mvp", 0b010, "", 0, True)
    with pytest.raises(NotNow):
        checked(catalog, vote(), now_s=CLOSES_AT_S)


def test_a_closing_is_known_from_the_moment_it_stands_in_the_catalog() -> None:
    view = CatalogView()
    view.put(f"game.{GAME}", 1, Game(game_id=GAME, title="Game", spread=1).SerializeToString())
    poll = blocks.poll()
    view.put(f"poll.{GAME}.mvp", 2, poll.SerializeToString())
    rig = IntakeRig(view)
    assert taken(rig, vote(), now_s=NOW_S + 1).topic == "poll/mvp"
    poll.closes_at.FromSeconds(NOW_S)
    view.put(f"poll.{GAME}.mvp", 3, poll.SerializeToString())
    with pytest.raises(NotNow):
        taken(rig, vote(), now_s=NOW_S + 1)
    with pytest.raises(NotNow):
        rig.checker.check_open((GAME, "poll/mvp", False, 0), NOW_S + 1)


def test_a_game_takes_nothing_from_its_end_on() -> None:
    """Polls that its owner has not closed are none the wiser."""
    view = CatalogView()
    game = Game(game_id=GAME, spread=1, pulses=[Pulse(pulse_id="cheer", kinds=["fire"])])
    view.put(f"game.{GAME}", 1, game.SerializeToString())
    view.put(f"poll.{GAME}.mvp", 2, blocks.poll().SerializeToString())
    rig = IntakeRig(view)
    reaction = Event(game_id=GAME, origin_seq=1)
    reaction.reaction.pulse_id, reaction.reaction.kind = "cheer", "fire"
    for event in (vote(), reaction):
        assert taken(rig, event, now_s=NOW_S + 1)
    ended = Game()
    ended.CopyFrom(view.game(GAME))
    ended.ended_at.FromNanoseconds(int((NOW_S + 5.25) * 1e9))
    view.put(f"game.{GAME}", 1_000, ended.SerializeToString())
    rows = [taken(rig, event, now_s=NOW_S + 5) for event in (vote(), reaction)]
    places = [(row.game_id, row.topic, row.guest, row.generation) for row in rows]
    for event in (vote(), reaction):
        with pytest.raises(NotNow, match=r"game 'game' ended at .*\.250Z, 0\.8 s before this came"):
            taken(rig, event, now_s=NOW_S + 6)
    for place in places:
        rig.checker.check_open(place, NOW_S + 5)
        rig.checker.check_stage(place, NOW_S + 9)
        with pytest.raises(NotNow):
            rig.checker.check_open(place, NOW_S + 6)
    ended.stage = STAGE_CLOSED
    view.put(f"game.{GAME}", 1_001, ended.SerializeToString())
    poll, own = places
    rig.checker.check_stage(poll, NOW_S + 9)  # it has a stage of its own
    with pytest.raises(NotNow):
        rig.checker.check_stage(own, NOW_S + 9)


def test_nothing_of_an_earlier_game_is_left_for_the_next_of_its_id() -> None:
    view = CatalogView()
    rig = IntakeRig(view)
    for revision, generation in ((1, 7), (5, 9)):
        game = Game(game_id=GAME, title="Game", spread=1, generation=generation)
        view.put(f"game.{GAME}", revision, game.SerializeToString())
        if generation == 9:
            with pytest.raises(Unknown):  # the poll of the game before
                taken(rig, vote())
            with pytest.raises(NotNow, match="is another by now"):
                rig.checker.check_open((GAME, "poll/mvp", False, 7), NOW_S)
        poll = blocks.poll(generation=generation)
        view.put(f"poll.{GAME}.mvp", revision + 1, poll.SerializeToString())
        assert taken(rig, vote()).generation == generation


@pytest.mark.parametrize(
    ("event", "producer", "topic", "value", "weight"),
    [
        (vote("many", "c", "a"), False, "poll/many", 0b101, 0),
        (vote("many", "c"), False, "poll/many", 0b100, 0),
        (vote("weighted"), False, "poll/weighted", 0b001, 1),
        (vote("weighted", weight=1), False, "poll/weighted", 0b001, 1),
        (vote("weighted", weight=10), True, "poll/weighted", 0b001, 10),
        (vote(weight=1), False, "poll/mvp", 0b001, 0),
        (score(-5), False, "board/top", -5, 0),
        (reaction(count=0), False, "pulse/cheer", 1, 0),
        (presence(), True, "audience", PRESENCE_STATE_HERE, 0),
        (presence(PRESENCE_STATE_GONE), True, "audience", PRESENCE_STATE_GONE, 0),
        (presence(source=2**32 - 1), True, "audience", (2**32 - 1) * 256 + PRESENCE_STATE_HERE, 0),
        (measure(-1e15), False, "metric/latency", -1e15, 0),
        (custom(b"hello"), False, "custom/words", 0, 0),
    ],
)
def test_an_event_becomes_what_its_fold_reads(
    catalog: CatalogView, event: Event, producer: bool, topic: str, value: float, weight: int
) -> None:
    row = checked(catalog, event, producer=producer)
    assert (row.topic, row.value, row.weight, row.payload) == (topic, value, weight, event.custom.payload)
    assert (row.label, row.final) == (event.reaction.kind, topic in ("poll/many", "poll/mvp"))


@given(st.lists(st.sampled_from("abcz"), max_size=4), st.integers(1, 3))
def test_a_vote_is_taken_if_its_options_are_different_known_and_not_too_many(
    options: list[str], choices_max: int
) -> None:
    view = CatalogView()
    view.put(f"game.{GAME}", 1, Game(game_id=GAME, title="Game", spread=1).SerializeToString())
    poll = blocks.poll()
    poll.choices_max = choices_max
    view.put(f"poll.{GAME}.mvp", 2, poll.SerializeToString())
    event = Event(game_id=GAME, origin_seq=1, vote=Vote(poll_id="mvp", option_ids=options))
    good = 1 <= len(options) <= choices_max and len(set(options)) == len(options) and "z" not in options
    try:
        row = checked(view, event)
    except (Invalid, Unknown):
        assert not good
    else:
        assert good
        assert row.value == sum(1 << "abc".index(option) for option in options)


@given(st.sampled_from(("g", "game-7", "another")), st.text("abc", min_size=1), st.integers(0, 16))
def test_an_event_goes_where_its_actor_folds(game_id: str, actor_id: str, spread: int) -> None:
    view = CatalogView()
    game = Game(game_id=game_id, title="G", spread=spread, audience=True)
    view.put(f"game.{game_id}", 1, game.SerializeToString())
    here = presence(game_id=game_id)
    here.actor_id = actor_id
    row = taken(IntakeRig(view), here, producer=True)
    assert row.partition == ids.partition_of(game_id, actor_id, spread)


def test_an_actor_always_folds_in_one_place(catalog: CatalogView) -> None:
    rows = [
        checked(catalog, event, origin_id=origin(n, producer=True), producer=True)
        for n, event in enumerate((vote(), score(3), reaction(), presence(), measure(1.5), custom()))
    ]
    assert len({row.partition for row in rows}) == 1
    assert 0 <= rows[0].partition < wire_bounds.PARTITIONS


def test_more_definitions_than_are_kept_are_checked_all_the_same(
    catalog: CatalogView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.check.DEFINITIONS_KEPT_MAX", 1)
    monkeypatch.setattr("ingest.check.VALIDATED_KEPT_MAX", 2)
    rig = IntakeRig(catalog)
    for _ in range(3):
        for poll_id in ("mvp", "many", "weighted"):
            row = taken(rig, vote(poll_id))
            assert row.topic == f"poll/{poll_id}"


@given(st.binary(max_size=400))
def test_arbitrary_bytes_that_parse_are_taken_or_refused_never_a_crash(
    catalog: CatalogView, data: bytes
) -> None:
    try:
        event = IncomingEvent.FromString(data)
    except DecodeError:
        return
    rig, listener = IntakeRig(catalog), Listener()
    listener.open(producer=True)
    with contextlib.suppress(GrandstandError):
        rig.intake.take(listener, [event], NOW_S, NOW_S, [])
    assert len(rig.rows()) <= 1


@given(
    st.binary(max_size=40), st.sampled_from(("vote", "score", "reaction", "presence", "measure", "custom"))
)
def test_a_body_that_is_no_message_is_refused_alone(catalog: CatalogView, body: bytes, kind: str) -> None:
    """The stream goes on: what was done stays unparsed until it is judged."""
    rig, listener = IntakeRig(catalog), Listener()
    listener.open()
    bad = IncomingEvent(game_id=GAME, origin_seq=1, **{kind: body})
    good = IncomingEvent(game_id=GAME, origin_seq=2, reaction=reaction().reaction.SerializeToString())
    unresolved: Unresolved = []
    rig.intake.take(listener, [bad, good], NOW_S, NOW_S, unresolved)
    rig.intake.take_unresolved(listener, unresolved, NOW_S, NOW_S)
    assert "pulse/cheer" in [row.topic for row in rig.rows()]
    assert listener.session.next_seq == 3


def test_what_was_judged_before_is_judged_anew_once_its_time_is_over(catalog: CatalogView) -> None:
    rig = IntakeRig(catalog)
    assert taken(rig, vote(), now_s=CLOSES_AT_S - 1).topic == "poll/mvp"
    with pytest.raises(NotNow):
        taken(rig, vote(), now_s=CLOSES_AT_S)


FOR_PRODUCERS = (score(-5, "laps"), measure(1.0, "speed"), custom(b"hi", "plays"))
FOR_ALL = (score(2**53, "top"), score(1, "cheers"), measure(1.0), measure(1.0, "mood"), custom(b"hi"))


def sent(rig: IntakeRig, event: Event, identity: Identity, **hello: object) -> str:
    """What the stream of `identity` is told: "" for a row."""
    listener = Listener()
    listener.open(identity, **hello)
    rig.take(listener, event)
    assert len(rig.rows()) == (not listener.told)
    return listener.told[0][2].message if listener.told else ""


@pytest.mark.parametrize("event", FOR_PRODUCERS, ids=lambda event: event.WhichOneof("body"))
def test_what_producers_write_no_viewer_does(catalog: CatalogView, event: Event) -> None:
    rig, ann = IntakeRig(catalog), bearer("ann")
    for _ in range(2):
        with pytest.raises(Forbidden, match=r"is written by producers only.* IngestService\.Publish"):
            taken(rig, event)
        assert taken(rig, event, producer=True)
    assert "written by producers only" in sent(rig, event, ann)
    # A game server that acts as one of its players, on a stream like theirs.
    assert sent(rig, event, bearer("server", producer=True)) == ""


@pytest.mark.parametrize("event", FOR_PRODUCERS, ids=lambda event: event.WhichOneof("body"))
def test_what_a_gateway_relays_for_an_actor_is_no_producers(catalog: CatalogView, event: Event) -> None:
    """GatewayService.Send relays under the viewer's origin, on the gateway's own producer's stream."""
    rig, gateway = IntakeRig(catalog), bearer("", producer=True)
    relayed = Event()
    relayed.CopyFrom(event)
    relayed.actor_id, relayed.origin_id = "ann", origin(7)
    listener = Listener()
    listener.open(gateway, producer=True)
    rig.take(listener, relayed)
    assert [(origin_id, type(error)) for origin_id, _, error, _ in listener.told] == [(origin(7), Forbidden)]
    relayed.origin_id = origin(8, producer=True)
    rig.take(listener, relayed)
    assert len(rig.rows()) == 1
    assert len(listener.told) == 1


@pytest.mark.parametrize("event", FOR_ALL, ids=lambda event: event.WhichOneof("body"))
def test_what_is_for_actors_or_older_than_the_choice_everybody_writes(
    catalog: CatalogView, event: Event
) -> None:
    rig = IntakeRig(catalog)
    assert taken(rig, event)
    assert taken(rig, event, producer=True)


def test_a_board_bounds_the_points_of_a_score(catalog: CatalogView) -> None:
    rig = IntakeRig(catalog)
    for points in (-6, 1, 2**53 + 1, -(2**60)):
        with pytest.raises(Invalid, match=rf"{points} is out of range; -5 to 0 are allowed on board 'laps'"):
            taken(rig, score(points, "laps"), producer=True)
    for points in (-5, 0):
        assert taken(rig, score(points, "laps"), producer=True).value == points
    for points in (2**53 + 1, -(2**53) - 1):
        with pytest.raises(Invalid, match=r"-2\^53 to 2\^53 \(9007199254740992\) are allowed"):
            taken(rig, score(points))


def test_what_a_producer_may_say_is_not_known_of_a_viewer(catalog: CatalogView) -> None:
    rig = IntakeRig(catalog)
    assert taken(rig, vote("weighted", weight=10), producer=True).weight == 10
    with pytest.raises(Invalid, match="for producers only"):
        taken(rig, vote("weighted", weight=10))
