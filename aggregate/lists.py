"""What is defined, in pages: games by their ids, polls and boards of a game newest first. Pure.

A page costs what it holds, and what it passes over because of the stage asked for or of games that the token
does not open; bounded by _PASSED_MAX, after which a page may be short and the next goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Container, Iterable
from typing import TypeVar

from aggregate import bounds, page_tokens
from grandstand.catalog.v1 import catalog_pb2 as pb
from grandstand.wire.ids import is_hidden
from mesh.catalog.view import CatalogView, Definition
from mesh.jetstream import subjects

_PASSED_MAX = 10_000

Kind = TypeVar("Kind", pb.Game, pb.Poll, pb.Board)


def game_with_topics(view: CatalogView, game: pb.Game) -> pb.GetGameResponse:
    """The game and bounds.LISTED_MAX polls and boards: what is not sealed first, then the newest."""
    polls, boards = view.opened(game.game_id)
    response = pb.GetGameResponse(game=game)
    response.polls.extend(_found(view, _first(view, polls), pb.Poll))
    response.boards.extend(_found(view, _first(view, boards), pb.Board))
    response.more = max(len(polls), len(boards)) > bounds.LISTED_MAX
    return response


def _first(view: CatalogView, keys: list[str]) -> list[str]:
    if len(keys) <= bounds.LISTED_MAX:
        chosen = keys
    else:
        chosen = [key for key in keys if view.stage(key) != pb.STAGE_SEALED][: bounds.LISTED_MAX]
        chosen += [k for k in keys if view.stage(k) == pb.STAGE_SEALED][: bounds.LISTED_MAX - len(chosen)]
    return sorted(chosen, key=lambda key: view.stage(key) == pb.STAGE_SEALED)


class Lists:
    """`now`: Unix seconds of the mesh's clock."""

    def __init__(self, view: CatalogView, now: Callable[[], float]) -> None:
        self._view = view
        self._now = now

    def games(self, request: pb.ListGamesRequest, opens: Container[str] | None) -> pb.ListGamesResponse:
        """`opens`: the games that the asker may see; None: all. Raises Invalid, Unavailable."""
        view, wanted = self._view, page_tokens.page_size(request.page_size)
        question: tuple[str | int, ...] = ("games", request.stage)
        if request.hidden:
            question = (*question, "hidden")
        ids = view.game_ids()
        after = self._place(request.page_token, question)
        at, end = bisect_right(ids, after) if after else 0, len(ids)
        response, last = pb.ListGamesResponse(), ""
        for game_id in ids[at : at + _PASSED_MAX]:
            if len(response.games) == wanted:
                break
            at, last = at + 1, game_id
            if opens is not None and game_id not in opens:
                continue
            if is_hidden(game_id) and not request.hidden:
                continue
            if not request.stage or _stage_of(view, subjects.game_key(game_id)) == request.stage:
                response.games.append(view.game(game_id))
        if at < end:
            response.next_page_token = self._token(last, question)
        return response

    def polls(self, request: pb.ListPollsRequest) -> pb.ListPollsResponse:
        """Raises Invalid, Unknown, Unavailable."""
        polls, _ = self._view.opened(self._view.game(request.game_id).game_id)
        keys, token = self._page("polls", polls, request)
        return pb.ListPollsResponse(polls=_found(self._view, keys, pb.Poll), next_page_token=token)

    def boards(self, request: pb.ListBoardsRequest) -> pb.ListBoardsResponse:
        """As `polls`."""
        _, boards = self._view.opened(self._view.game(request.game_id).game_id)
        keys, token = self._page("boards", boards, request)
        return pb.ListBoardsResponse(boards=_found(self._view, keys, pb.Board), next_page_token=token)

    def _page(
        self, what: str, keys: list[str], request: pb.ListPollsRequest | pb.ListBoardsRequest
    ) -> tuple[list[str], str]:
        """Keys of the page, and the next one's token."""
        view, wanted = self._view, page_tokens.page_size(request.page_size)
        question = (what, request.game_id, request.stage)
        after = self._place(request.page_token, question)
        at = 0
        if after:
            order, _, key = after.partition(" ")
            at = bisect_right(keys, (-int(order), key), key=lambda k: (-view.opened_at_ns(k), k))
        page: list[str] = []
        last = ""
        for key in keys[at : at + _PASSED_MAX]:
            if len(page) == wanted:
                break
            at, last = at + 1, key
            if not request.stage or view.stage(key) == request.stage:
                page.append(key)
        if at == len(keys):
            return page, ""
        return page, self._token(f"{view.opened_at_ns(last)} {last}", question)

    def _place(self, token: str, question: tuple[str | int, ...]) -> str:
        return page_tokens.place_of(token, question, self._view.pseudonym_key, self._now())

    def _token(self, place: str, question: tuple[str | int, ...]) -> str:
        return page_tokens.issue(place, question, self._view.pseudonym_key, self._now())


def _stage_of(view: CatalogView, key: str) -> int:
    return view.stage(key) or pb.STAGE_OPEN


def _found(view: CatalogView, keys: Iterable[str], kind: type[Kind]) -> list[Kind]:
    found: list[Definition | None] = [view.get(key) for key in keys]
    return [each for each in found if isinstance(each, kind)]
