"""CatalogService and AggregateService: thin shells around the catalog's writer and the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import grpc

from aggregate import audit, bounds
from aggregate.catalog import CatalogWriter
from aggregate.lists import Lists, game_with_topics
from aggregate.topics import topics_of_game
from aggregate.waiting_reads import WaitingReads
from grandstand.aggregate.v1.aggregate_pb2 import (
    PartitionStatus,
    ReadPartitionsRequest,
    ReadPartitionsResponse,
    ReadRequest,
    ReadResponse,
    ReadStandingRequest,
    ReadStandingResponse,
)
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceServicer
from grandstand.catalog.v1 import catalog_pb2 as pb
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceServicer
from grandstand.event.v1.event_pb2 import Position
from grandstand.wire import actors, ids
from grandstand.wire.errors import Invalid, Unavailable, Unknown, shown
from grandstand.wire.topics import TopicPatterns, check_positions
from mesh import limits, wall_clock
from mesh.addresses import AddressKeys, forwarded_for
from mesh.auth.access import Access
from mesh.catalog.spreads import Spreads
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.merge import TopicMerge
from mesh.redis.database import RedisError
from mesh.redis.ranking import ranking_of
from mesh.redis.results import ResultStore
from mesh.redis.share import Share
from mesh.redis.standings import StandingStore
from mesh.runtime import answering

_DEADLINE_MARGIN_S = 0.05


class CatalogService(CatalogServiceServicer):
    def __init__(self, watch: CatalogWatch, writer: CatalogWriter, access: Access) -> None:
        self._watch = watch
        self._writer = writer
        self._access = access
        self._lists = Lists(watch.view, watch.clock.now_s)

    async def DefineGame(
        self, request: pb.DefineGameRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DefineGameResponse:
        async with answering(context):
            by = self._access.owner(context, "game.game_id", request.game.game_id)
            game, positions = await self._writer.define_game(request.game)
            audit.called("defined", game, by)
            return pb.DefineGameResponse(game=game, applied_at=positions)

    async def GetGame(
        self, request: pb.GetGameRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetGameResponse:
        async with answering(context):
            self._access.reader(context, request.game_id)
            game_id = ids.check_id("game_id", request.game_id)
            view = self._watch.view
            # Whoever adds to a definition reads it first, perhaps from another instance than wrote it.
            await self._watch.refresh_shared(subjects.game_key(game_id))
            game = view.game(game_id)
            return game_with_topics(view, game)

    async def ListGames(
        self, request: pb.ListGamesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListGamesResponse:
        async with answering(context):
            return self._lists.games(request, self._access.any_owner(context).games)

    async def ListPolls(
        self, request: pb.ListPollsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListPollsResponse:
        async with answering(context):
            await self._may_list(request.game_id, context)
            return self._lists.polls(request)

    async def ListBoards(
        self, request: pb.ListBoardsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListBoardsResponse:
        async with answering(context):
            await self._may_list(request.game_id, context)
            return self._lists.boards(request)

    async def _may_list(self, game_id: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._access.reader(context, game_id)
        key = subjects.game_key(ids.check_id("game_id", game_id))
        if key not in self._watch.view:
            await self._watch.refresh_shared(key)

    async def OpenPoll(
        self, request: pb.OpenPollRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.OpenPollResponse:
        async with answering(context):
            by = self._access.owner(context, "poll.game_id", request.poll.game_id)
            poll, positions = await self._writer.open_poll(request.poll)
            audit.called("opened", poll, by)
            return pb.OpenPollResponse(poll=poll, applied_at=positions)

    async def ClosePoll(
        self, request: pb.ClosePollRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ClosePollResponse:
        async with answering(context):
            by = self._access.owner(context, "game_id", request.game_id)
            poll = await self._writer.close_poll(request.game_id, request.poll_id)
            audit.called("closed", poll, by)
            return pb.ClosePollResponse(poll=poll)

    async def OpenBoard(
        self, request: pb.OpenBoardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.OpenBoardResponse:
        async with answering(context):
            by = self._access.owner(context, "board.game_id", request.board.game_id)
            board, positions = await self._writer.open_board(request.board)
            audit.called("opened", board, by)
            return pb.OpenBoardResponse(board=board, applied_at=positions)

    async def CloseBoard(
        self, request: pb.CloseBoardRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.CloseBoardResponse:
        async with answering(context):
            by = self._access.owner(context, "game_id", request.game_id)
            board = await self._writer.close_board(request.game_id, request.board_id)
            audit.called("closed", board, by)
            return pb.CloseBoardResponse(board=board)

    async def VoidVotes(
        self, request: pb.VoidVotesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.VoidVotesResponse:
        async with answering(context):
            by = self._access.owner(context, "game_id", request.game_id)
            poll, at = await self._writer.void_votes(request.game_id, request.poll_id, request.actor_id)
            audit.called(f"voided the votes of {actors.said(request.actor_id)} in", poll, by)
            return pb.VoidVotesResponse(poll=poll, applied_at=at)

    async def RemoveScore(
        self, request: pb.RemoveScoreRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RemoveScoreResponse:
        async with answering(context):
            by = self._access.owner(context, "game_id", request.game_id)
            board, at, season = await self._writer.remove_score(
                request.game_id, request.board_id, request.actor_id, request.season
            )
            of_season = f" in season {season}" if season else ""
            audit.called(f"removed the score of {actors.said(request.actor_id)}{of_season} from", board, by)
            return pb.RemoveScoreResponse(board=board, applied_at=at, season=season)

    async def EndGame(
        self, request: pb.EndGameRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.EndGameResponse:
        async with answering(context):
            by = self._access.owner(context, "game_id", request.game_id)
            game = await self._writer.lives.end_game(request.game_id)
            audit.called("ended", game, by)
            return pb.EndGameResponse(game=game)

    async def DeleteGame(
        self, request: pb.DeleteGameRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DeleteGameResponse:
        async with answering(context):
            by = self._access.owner(context, "game_id", request.game_id)
            audit.called("deleted", await self._writer.lives.delete_game(request.game_id), by)
            return pb.DeleteGameResponse()


class AggregateService(AggregateServiceServicer):
    def __init__(
        self,
        watch: CatalogWatch,
        results: ResultStore,
        standings: StandingStore,
        statuses: Callable[[], list[PartitionStatus]],
        waiting: WaitingReads,
        addresses: AddressKeys,
        access: Access,
        now: Callable[[], float] = wall_clock.now_s,
    ) -> None:
        """`statuses`: how far each partition is, in their order. `now`: Unix seconds."""
        self._now = now
        self._waiting = waiting
        self._addresses = addresses
        self._watch = watch
        self._spreads = Spreads(watch.view)
        self._results = results
        self._standings = standings
        self._statuses = statuses
        self._access = access

    async def ReadPartitions(
        self, request: ReadPartitionsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ReadPartitionsResponse:
        async with answering(context):
            self._access.operator(context)
            return ReadPartitionsResponse(partitions=self._statuses())

    async def Read(self, request: ReadRequest, context: grpc.aio.ServicerContext[Any, Any]) -> ReadResponse:
        async with answering(context):
            reader = self._access.reader(context, request.game_id)
            public = self._access.public_id(reader, self._watch.public_id)
            game_id = ids.check_id("game_id", request.game_id)
            patterns = TopicPatterns(request.topics)
            positions = check_positions(request.positions)
            _, shares = await self._shares(game_id, positions, context)
            # It may have waited, and the token have ended meanwhile.
            self._access.reader(context, request.game_id)
            merged: dict[str, TopicMerge] = {}
            for share in shares:
                for topic, partial in share.partials.items():
                    if patterns.match(topic):
                        merged.setdefault(topic, TopicMerge(topic, public)).offer(partial)
            for topic in sorted(patterns.exact - merged.keys()):
                raise self._missing(game_id, topic)
            now_s = self._now()
            partitions = len(shares)
            states = (
                merged[topic].state(now_s, partitions=partitions, full=True) for topic in sorted(merged)
            )
            response = ReadResponse(topics=states)
            response.as_of.FromNanoseconds(int(now_s * 1e9))
            return response

    async def ReadStanding(
        self, request: ReadStandingRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ReadStandingResponse:
        async with answering(context):
            reader = self._access.reader(context, request.game_id)
            game_id = ids.check_id("game_id", request.game_id)
            board_id = ids.check_id("board_id", request.board_id)
            actor_id = actors.check_actor("actor_id", request.actor_id)
            self._access.standing(reader, actor_id)
            if request.neighbours > bounds.NEIGHBOURS_MAX:
                raise Invalid(
                    f"neighbours: is {request.neighbours}; at most {bounds.NEIGHBOURS_MAX} are allowed"
                )
            positions = check_positions(request.positions)
            previous = request.previous_season
            spread, shares = await self._shares(game_id, positions, context)
            self._access.reader(context, request.game_id)
            if not any(f"board/{board_id}" in share.partials for share in shares):
                raise self._missing(game_id, f"board/{board_id}")
            ranking = ranking_of(game_id, spread, board_id, shares, previous=previous)
            try:
                standing = await self._standings.read(ranking, actor_id, request.neighbours)
                while previous:
                    # A new season may have begun meanwhile, and what was read been dropped.
                    shares = await self._results.read(game_id, spread)
                    newest = ranking_of(game_id, spread, board_id, shares, previous=True)
                    if newest == ranking:
                        break
                    ranking = newest
                    standing = await self._standings.read(ranking, actor_id, request.neighbours)
            except RedisError as error:
                raise _away(error) from None
            standing = standing.shown_as(self._access.public_id(reader, self._watch.public_id))
            return ReadStandingResponse(
                standing=standing.entry,
                neighbours=standing.neighbours,
                actors=standing.actors,
                season=ranking.season,
            )

    def _missing(self, game_id: str, topic: str) -> Unknown | Unavailable:
        """Why there is no result of a topic: it is not defined, or is being rebuilt."""
        view = self._watch.view
        kind, _, name = topic.partition("/")
        if kind in ("poll", "board"):
            key = (subjects.poll_key if kind == "poll" else subjects.board_key)(game_id, name)
            definition = view.get(key)
            known = not isinstance(definition, pb.Game) and definition is not None and bool(definition.stage)
        else:
            known = topic in topics_of_game(view.game(game_id))
        if known:
            return Unavailable(f"topic {shown(topic)} of game {shown(game_id)} is being rebuilt; try again")
        return Unknown(f"topic {shown(topic)} is not known in game {shown(game_id)}")

    async def _shares(
        self, game_id: str, positions: list[Position], context: grpc.aio.ServicerContext[Any, Any]
    ) -> tuple[int, list[Share]]:
        """The game's spread, and its results at a moment that includes the positions (I6)."""
        key = subjects.game_key(game_id)
        if key not in self._watch.view:
            await self._watch.refresh_shared(key)
        spread = self._spreads.of(game_id)
        partitions = ids.partitions_of(game_id, spread)
        if any(position.partition not in partitions for position in positions):
            # The game may be spread wider by now than is known here.
            await self._watch.refresh_shared(key)
            spread = self._spreads.of(game_id)
        left_s = context.time_remaining()
        patience_s = limits.BARRIER_S if left_s is None else max(0.0, left_s - _DEADLINE_MARGIN_S)
        try:
            return spread, await self._results.read_at_least(
                game_id,
                spread,
                positions,
                min(patience_s, limits.BARRIER_S),
                lambda: self._waiting.entered(self._address_of(context)),
            )
        except RedisError as error:
            raise _away(error) from None

    def _address_of(self, context: grpc.aio.ServicerContext[Any, Any]) -> int | None:
        metadata = context.invocation_metadata() or ()
        return self._addresses.of(forwarded_for(metadata), peer_host(context.peer()))


def peer_host(peer: str) -> str:
    """The host of a peer as grpc names it: `ipv4:1.2.3.4:5`, `ipv6:%5B::1%5D:5`; "" of a Unix socket."""
    kind, _, address = peer.partition(":")
    return unquote(address.rpartition(":")[0]).strip("[]") if kind in ("ipv4", "ipv6") else ""


def _away(error: RedisError) -> Unavailable:
    return Unavailable(f"results cannot be read now ({type(error).__name__}); try again")
