"""Pages of what is defined: whole, in order, stable while things come and go, and only for who asked."""

from __future__ import annotations

import pytest

from aggregate import bounds, page_tokens
from aggregate.lists import Lists, game_with_topics
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Game,
    ListBoardsRequest,
    ListGamesRequest,
    ListPollsRequest,
    Stage,
)
from grandstand.wire.errors import Invalid, Unavailable, Unknown
from mesh.auth.identity import Games
from mesh.jetstream import subjects
from tests.mesh.catalog.test_view import Bucket


class Rig:
    def __init__(self) -> None:
        self.bucket = Bucket()
        self.view = self.bucket.view
        self.now_s = 1e9
        self.lists = Lists(self.view, lambda: self.now_s)
        self.view.put(subjects.PSEUDONYM_KEY, 1, b"k" * 32)

    def game(self, game_id: str, stage: Stage = STAGE_UNSPECIFIED) -> None:
        self.bucket.put(Game(game_id=game_id, spread=1, stage=stage))

    def games(self, opens: Games | None = None, stage: Stage = STAGE_UNSPECIFIED) -> list[list[str]]:
        """Of each page."""
        pages, token = [], ""
        while True:
            found = self.lists.games(ListGamesRequest(stage=stage, page_size=2, page_token=token), opens)
            pages.append([game.game_id for game in found.games])
            if not (token := found.next_page_token):
                return pages


def test_games_come_by_their_ids_and_only_those_that_the_token_opens_and_of_the_stage() -> None:
    rig = Rig()
    for game_id in ("b", "a1", "d", "a2", "c"):
        rig.game(
            game_id, STAGE_SEALED if game_id == "c" else STAGE_OPEN if game_id == "d" else STAGE_UNSPECIFIED
        )
    assert rig.games() == [["a1", "a2"], ["b", "c"], ["d"]]
    assert rig.games(Games.of(["a*", "d"])) == [["a1", "a2"], ["d"]]
    assert rig.games(stage=STAGE_SEALED) == [["c"]]
    assert rig.games(stage=STAGE_OPEN) == [["a1", "a2"], ["b", "d"]], "unspecified: as open"
    assert Rig().games() == [[]]


def test_hidden_games_are_listed_for_who_asks() -> None:
    rig = Rig()
    for game_id in ("_canary", "a"):
        rig.game(game_id)
    assert rig.games() == [["a"]]
    found = rig.lists.games(ListGamesRequest(hidden=True, page_size=1), None)
    assert [game.game_id for game in found.games] == ["_canary"]
    with pytest.raises(Invalid, match="was not issued for this question"):
        rig.lists.games(ListGamesRequest(page_token=found.next_page_token), None)


def test_what_stays_is_listed_once_whatever_comes_and_goes_between_two_pages() -> None:
    rig = Rig()
    rig.game("g")
    for number in range(6):
        rig.bucket.poll("g", f"p{number}", STAGE_OPEN, number)
    first = rig.lists.polls(ListPollsRequest(game_id="g", page_size=2))
    assert [poll.poll_id for poll in first.polls] == ["p5", "p4"]
    rig.bucket.forget("poll.g.p4")
    rig.bucket.forget("poll.g.p3")
    rig.bucket.poll("g", "new", STAGE_OPEN, 9)
    rest = rig.lists.polls(ListPollsRequest(game_id="g", page_token=first.next_page_token))
    assert [poll.poll_id for poll in rest.polls] == ["p2", "p1", "p0"]
    assert not rest.next_page_token
    for number in range(3):
        rig.bucket.poll("g", f"p{number}", STAGE_CLOSED, number)
    closed = rig.lists.polls(ListPollsRequest(game_id="g", stage=STAGE_CLOSED))
    assert [poll.poll_id for poll in closed.polls] == ["p2", "p1", "p0"]
    assert not rig.lists.boards(ListBoardsRequest(game_id="g")).boards
    with pytest.raises(Unknown):
        rig.lists.polls(ListPollsRequest(game_id="none"))


def test_a_token_is_good_for_its_question_alone_and_for_an_hour() -> None:
    rig = Rig()
    for game_id in ("g", "h"):
        rig.game(game_id)
        for number in range(3):
            rig.bucket.poll(game_id, f"p{number}", STAGE_OPEN, number)
    token = rig.lists.polls(ListPollsRequest(game_id="g", page_size=1)).next_page_token

    def asked(**fields: object) -> None:
        rig.lists.polls(ListPollsRequest(**({"game_id": "g", "page_token": token} | fields)))  # type: ignore[arg-type]

    asked()
    asked(page_size=7)
    flipped = ("B" if token[0] == "A" else "A") + token[1:]
    for fields in ({"game_id": "h"}, {"stage": STAGE_OPEN}, {"page_token": flipped}):
        with pytest.raises(Invalid, match="was not issued for this question"):
            asked(**fields)
    with pytest.raises(Invalid, match="was not issued for this question"):
        rig.lists.boards(ListBoardsRequest(game_id="g", page_token=token))
    for forged in ("x", "ä", "a" * 600, "====", token[:20]):
        with pytest.raises(Invalid, match="page_token"):
            asked(page_token=forged)
    with pytest.raises(Invalid, match="page_size: is 501; at most 500"):
        asked(page_size=501)
    rig.now_s += page_tokens.LIFE_S + 1
    with pytest.raises(Invalid, match="is 3601 s old"):
        asked()
    rig.view.pseudonym_key = b""
    with pytest.raises(Unavailable):
        asked()


def test_a_game_shows_what_is_not_sealed_first_whatever_came_after_it() -> None:
    rig = Rig()
    rig.game("g")
    most = bounds.LISTED_MAX
    rig.bucket.poll("g", "old", STAGE_OPEN, 1)
    for number in range(most):
        rig.bucket.poll("g", f"p{number}", STAGE_SEALED, 10 + number)
    found = game_with_topics(rig.view, rig.view.game("g"))
    assert [poll.poll_id for poll in found.polls] == ["old", *(f"p{n}" for n in range(most - 1, 0, -1))]
    assert found.more
    rig.bucket.forget("poll.g.p0")
    assert not game_with_topics(rig.view, rig.view.game("g")).more
