"""Every bad event is refused with its code, its field, its value and the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM, STAGE_CLOSED, STAGE_UNSPECIFIED, Game, Pulse
from grandstand.event.v1.event_pb2 import Event, Reaction, Score, Vote
from ingest.check import check
from mesh import limits
from mesh.catalog import CatalogView
from mesh.errors import GrandstandError, Invalid, NotNow, Unknown
from tests import blocks
from tests.blocks import GAME, NOW_S, origin

CLOSES_AT_S = NOW_S + 60


@pytest.fixture(scope="module")
def catalog() -> CatalogView:
    view = CatalogView()
    game = Game(
        game_id=GAME, title="Game", spread=1, pulses=[Pulse(pulse_id="cheer", kinds=["fire", "clap"])]
    )
    poll = blocks.poll()
    poll.closes_at.FromSeconds(CLOSES_AT_S)
    closed = blocks.poll("closed")
    closed.stage = STAGE_CLOSED
    closed.closes_at.FromSeconds(NOW_S - 5)
    opening = blocks.poll("opening")
    opening.stage = STAGE_UNSPECIFIED
    board = blocks.board(BOARD_MODE_SUM)
    for revision, (key, definition) in enumerate(
        {
            f"game.{GAME}": game,
            f"poll.{GAME}.mvp": poll,
            f"poll.{GAME}.closed": closed,
            f"poll.{GAME}.opening": opening,
            f"board.{GAME}.top": board,
        }.items(),
        start=1,
    ):
        view.put(key, revision, definition.SerializeToString())
    return view


def vote(poll_id: str = "mvp", *options: str, **event: object) -> Event:
    return Event(
        **({"game_id": GAME, "origin_seq": 1} | event),
        vote=Vote(poll_id=poll_id, option_ids=options or ("a",)),
    )


def score(points: int, board_id: str = "top") -> Event:
    return Event(game_id=GAME, origin_seq=1, score=Score(board_id=board_id, points=points))


def reaction(kind: str = "fire", count: int = 1, pulse_id: str = "cheer") -> Event:
    return Event(game_id=GAME, origin_seq=1, reaction=Reaction(pulse_id=pulse_id, kind=kind, count=count))


@pytest.mark.parametrize(
    ("event", "error", "message"),
    [
        (vote(game_id="nowhere"), Unknown, "game 'nowhere' is not known"),
        (vote("nope"), Unknown, "poll 'nope' is not known in game 'game'"),
        (vote("mvp", "z"), Unknown, "'z' is not an option of poll 'mvp'; there are a, b, c"),
        (vote("mvp", "a", "b"), Invalid, "2 options; exactly 1"),
        (vote("closed"), NotNow, "poll 'closed' of game 'game' closed at 20.*Z, 5.0 s before this came"),
        (vote("opening"), Unknown, "not open yet"),
        (vote("x" * 65), Invalid, "vote.poll_id: 'x*' has 65 characters; at most 64 are allowed"),
        (vote(game_id="a b"), Invalid, "has the character ' '; allowed are"),
        (vote(game_id=""), Invalid, "event.game_id: is empty"),
        (vote(game_id="x" * 500_000), Invalid, "500000 characters"),
        (vote(actor_id="bob"), Invalid, "'bob' is not the stream's actor 'ann'"),
        (vote(origin_id="forged"), Invalid, "'forged' is not an origin id"),
        (score(2**53 + 1), Invalid, "out of range"),
        (score(1, "nope"), Unknown, "board 'nope' is not known"),
        (reaction("boo"), Unknown, "'boo' is not a kind of pulse 'cheer'; there are fire, clap"),
        (reaction(pulse_id="x"), Unknown, "'x' is not a pulse of game 'game'; there are cheer"),
        (reaction(count=101), Invalid, "is 101; at most 100"),
        (Event(game_id=GAME, origin_seq=1), Invalid, "body: is not set"),
    ],
    ids=lambda value: None if isinstance(value, Event) else str(getattr(value, "__name__", value))[:40],
)
def test_a_bad_event_is_refused(
    catalog: CatalogView, event: Event, error: type[GrandstandError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        check(event, catalog, origin_id=origin(1), actor_id="ann", now_s=NOW_S)
    assert len(caught.value.message) < 400


def test_a_vote_counts_until_the_servers_clock_reaches_the_close(catalog: CatalogView) -> None:
    row = check(vote(), catalog, origin_id=origin(1), actor_id="ann", now_s=CLOSES_AT_S - 0.001)
    assert (row.topic, row.label, row.final) == ("poll/mvp", "a", True)
    with pytest.raises(NotNow):
        check(vote(), catalog, origin_id=origin(1), actor_id="ann", now_s=CLOSES_AT_S)


def test_an_actor_always_folds_in_one_place(catalog: CatalogView) -> None:
    rows = [
        check(event, catalog, origin_id=origin(n), actor_id="ann", now_s=NOW_S)
        for n, event in enumerate((vote(), score(3), reaction()))
    ]
    assert len({row.partition for row in rows}) == 1
    assert 0 <= rows[0].partition < limits.PARTITIONS


@given(st.binary(max_size=400))
def test_arbitrary_bytes_that_parse_are_taken_or_refused_never_a_crash(
    catalog: CatalogView, data: bytes
) -> None:
    event = Event()
    try:
        event.ParseFromString(data)
    except Exception:
        return
    with pytest.raises(GrandstandError):
        check(event, catalog, origin_id=origin(1), actor_id="ann", now_s=NOW_S)
