"""What a game's own backend asks of the mesh: define, open, close, read; an operator may revoke. Unary calls.

CatalogService and AccessService live on the mesh listener, AggregateService also at the edge, as are GetGame,
ListPolls and ListBoards. On the mesh listener every call shows a token; defining, opening, closing and taking
back takes one with the role owner, revoking one with the role operator.

Every call here may be repeated: the catalog answers the very same definition as the first time. See `unary`
for what is tried again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import grpc.aio

from grandstand.access.v1.access_pb2 import (
    ListRevocationsRequest,
    ListRevocationsResponse,
    Revocation,
    RevokeRequest,
    RevokeResponse,
)
from grandstand.access.v1.access_pb2_grpc import AccessServiceStub
from grandstand.aggregate.v1.aggregate_pb2 import (
    ReadRequest,
    ReadResponse,
    ReadStandingRequest,
    ReadStandingResponse,
)
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceStub
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from grandstand.client.credentials import Token
from grandstand.client.unary import Retried
from grandstand.event.v1.event_pb2 import Position

PAGE_SIZE = 200
# The server answers DEADLINE_EXCEEDED until the grace is over.
DELETE_PATIENCE_S = 30.0


class Backend:
    """Unary calls over one channel, to the mesh listener.

    Every call may be repeated, and is tried again for at most `patience_s` seconds while the mesh is away.
    Every call raises ClientError with the server's code: UNAUTHENTICATED and PERMISSION_DENIED for the token,
    INVALID_ARGUMENT for what is malformed, NOT_FOUND for an unknown game, poll or board, and UNAVAILABLE or
    DEADLINE_EXCEEDED when `patience_s` is over. The docstrings name further ones.
    """

    def __init__(
        self, channel: grpc.aio.Channel, *, token: Token | None = None, patience_s: float = 10.0
    ) -> None:
        self._catalog: Any = CatalogServiceStub(channel)
        self._aggregate: Any = AggregateServiceStub(channel)
        self._access: Any = AccessServiceStub(channel)
        self._retried = Retried(token, patience_s)

    async def define_game(self, game: catalog.Game) -> catalog.Game:
        """Creates a game, or changes its title and adds topics to it. Returns the game as it is stored.

        FAILED_PRECONDITION: the definition would take away or alter what counts already, or the game has
        ended.
        """
        response: catalog.DefineGameResponse = await self._retried.call(
            self._catalog.DefineGame, catalog.DefineGameRequest(game=game)
        )
        return response.game

    async def end_game(self, game_id: str) -> catalog.Game:
        """Ends a game for good; all of its topics stop at its `ended_at`. Returns the game. Ending it again
        is answered as the first time."""
        request = catalog.EndGameRequest(game_id=game_id)
        response: catalog.EndGameResponse = await self._retried.call(self._catalog.EndGame, request)
        return response.game

    async def delete_game(self, game_id: str) -> None:
        """Returns after the grace, some ten seconds; the id may be used again then. A game in which something
        was counted ends, and the call fails with FAILED_PRECONDITION."""
        request = catalog.DeleteGameRequest(game_id=game_id)
        await self._retried.call(self._catalog.DeleteGame, request, DELETE_PATIENCE_S)

    async def get_game(self, game_id: str) -> catalog.GetGameResponse:
        """Reads a game, with the polls and boards that are not sealed and the newest of the others."""
        request = catalog.GetGameRequest(game_id=game_id)
        response: catalog.GetGameResponse = await self._retried.call(self._catalog.GetGame, request)
        return response

    async def list_games(
        self, stage: catalog.Stage = catalog.STAGE_UNSPECIFIED, *, hidden: bool = False
    ) -> AsyncIterator[catalog.Game]:
        """The games that the token opens, by id; of all stages where none is given. `hidden`: also those
        whose id begins with an underscore."""
        request = catalog.ListGamesRequest(stage=stage, page_size=PAGE_SIZE, hidden=hidden)
        while True:
            page: catalog.ListGamesResponse = await self._retried.call(self._catalog.ListGames, request)
            for game in page.games:
                yield game
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_polls(
        self, game_id: str, stage: catalog.Stage = catalog.STAGE_UNSPECIFIED
    ) -> AsyncIterator[catalog.Poll]:
        """The polls of the game, newest first."""
        request = catalog.ListPollsRequest(game_id=game_id, stage=stage, page_size=PAGE_SIZE)
        while True:
            page: catalog.ListPollsResponse = await self._retried.call(self._catalog.ListPolls, request)
            for poll in page.polls:
                yield poll
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_boards(
        self, game_id: str, stage: catalog.Stage = catalog.STAGE_UNSPECIFIED
    ) -> AsyncIterator[catalog.Board]:
        """The boards of the game, newest first."""
        request = catalog.ListBoardsRequest(game_id=game_id, stage=stage, page_size=PAGE_SIZE)
        while True:
            page: catalog.ListBoardsResponse = await self._retried.call(self._catalog.ListBoards, request)
            for board in page.boards:
                yield board
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def open_poll(self, poll: catalog.Poll) -> catalog.Poll:
        """Opens a poll; once this returns, votes are admitted everywhere. Returns the poll as it is stored.

        ALREADY_EXISTS: its id was used in this game with another definition.
        """
        response: catalog.OpenPollResponse = await self._retried.call(
            self._catalog.OpenPoll, catalog.OpenPollRequest(poll=poll)
        )
        return response.poll

    async def close_poll(self, game_id: str, poll_id: str) -> catalog.Poll:
        """Closes a poll at its `closes_at`, a moment ahead. Returns the poll. Its result is sealed some 8 s
        later. Closing it again is answered as the first time."""
        request = catalog.ClosePollRequest(game_id=game_id, poll_id=poll_id)
        response: catalog.ClosePollResponse = await self._retried.call(self._catalog.ClosePoll, request)
        return response.poll

    async def open_board(self, board: catalog.Board) -> catalog.Board:
        """Opens a leaderboard. Returns the board as it is stored. ALREADY_EXISTS: as of `open_poll`."""
        response: catalog.OpenBoardResponse = await self._retried.call(
            self._catalog.OpenBoard, catalog.OpenBoardRequest(board=board)
        )
        return response.board

    async def close_board(self, game_id: str, board_id: str) -> catalog.Board:
        """Closes a leaderboard, as `close_poll` closes a poll."""
        request = catalog.CloseBoardRequest(game_id=game_id, board_id=board_id)
        response: catalog.CloseBoardResponse = await self._retried.call(self._catalog.CloseBoard, request)
        return response.board

    async def void_votes(self, game_id: str, poll_id: str, actor_id: str) -> catalog.VoidVotesResponse:
        """Voids what the actor has voted in the poll up to `applied_at`. Called again, up to then. A vote
        that is stored later counts.

        FAILED_PRECONDITION: the poll is sealed. UNAVAILABLE: it may have taken effect; call again.
        """
        request = catalog.VoidVotesRequest(game_id=game_id, poll_id=poll_id, actor_id=actor_id)
        response: catalog.VoidVotesResponse = await self._retried.call(self._catalog.VoidVotes, request)
        return response

    async def remove_score(
        self, game_id: str, board_id: str, actor_id: str, *, season: int = 0
    ) -> catalog.RemoveScoreResponse:
        """Takes the actor off the board, in the season of that number; 0: the current one. A later score
        counts.

        FAILED_PRECONDITION: the board or that season is sealed, or the board has no such season.
        """
        request = catalog.RemoveScoreRequest(
            game_id=game_id, board_id=board_id, actor_id=actor_id, season=season
        )
        response: catalog.RemoveScoreResponse = await self._retried.call(self._catalog.RemoveScore, request)
        return response

    async def read(
        self, game_id: str, topics: Sequence[str] = (), positions: Iterable[Position] = ()
    ) -> ReadResponse:
        """The states of these topics, of all topics without any; with the events at `positions` (I6).

        DEADLINE_EXCEEDED: the positions were not folded in time. RESOURCE_EXHAUSTED: too many reads wait.
        """
        request = ReadRequest(game_id=game_id, topics=topics, positions=positions)
        response: ReadResponse = await self._retried.call(self._aggregate.Read, request)
        return response

    async def read_standing(
        self,
        game_id: str,
        board_id: str,
        actor_id: str,
        *,
        neighbours: int = 0,
        positions: Iterable[Position] = (),
        previous_season: bool = False,
    ) -> ReadStandingResponse:
        """Where the actor stands on a board, with up to `neighbours` (0 to 25) actors on each side, and with
        the events at `positions` (I6). `previous_season`: of the season before the current one. An actor
        without a score is no error: its standing is unset.

        DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED: as of `read`.
        """
        request = ReadStandingRequest(
            game_id=game_id,
            board_id=board_id,
            actor_id=actor_id,
            neighbours=neighbours,
            positions=positions,
            previous_season=previous_season,
        )
        response: ReadStandingResponse = await self._retried.call(self._aggregate.ReadStanding, request)
        return response

    async def revoke(self, request: RevokeRequest) -> Revocation:
        """Revokes tokens; needs the role operator. Returns the revocation as it is stored. Every service goes
        by it within a second. RESOURCE_EXHAUSTED: 10,000 revocations are kept."""
        response: RevokeResponse = await self._retried.call(self._access.Revoke, request)
        return response.revocation

    async def list_revocations(self) -> AsyncIterator[Revocation]:
        """The revocations that are in force now. Needs the role operator."""
        request = ListRevocationsRequest(page_size=PAGE_SIZE)
        while True:
            page: ListRevocationsResponse = await self._retried.call(self._access.ListRevocations, request)
            for revocation in page.revocations:
                yield revocation
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
