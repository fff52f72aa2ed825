"""CatalogService and AggregateService: thin shells around the catalog's writer and the store."""

from __future__ import annotations

import time
from typing import TypeVar

import grpc

from aggregate.catalog import CatalogWriter
from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest, ReadResponse
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceServicer
from grandstand.catalog.v1 import catalog_pb2 as pb
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceServicer
from mesh import ids, limits, subjects
from mesh.catalog import CatalogWatch
from mesh.errors import Unavailable, Unknown, shown
from mesh.merge import TopicMerge
from mesh.runtime import answering
from mesh.store import RedisError, ResultStore
from mesh.topics import TopicPatterns, check_positions

Listed = TypeVar("Listed", pb.Poll, pb.Board)

_DEADLINE_MARGIN_S = 0.05


class CatalogService(CatalogServiceServicer):
    def __init__(self, watch: CatalogWatch, writer: CatalogWriter) -> None:
        self._watch = watch
        self._writer = writer

    async def DefineGame(
        self, request: pb.DefineGameRequest, context: grpc.aio.ServicerContext
    ) -> pb.DefineGameResponse:
        async with answering(context):
            return pb.DefineGameResponse(game=await self._writer.define_game(request.game))

    async def GetGame(
        self, request: pb.GetGameRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetGameResponse:
        async with answering(context):
            game_id = ids.check_id("game_id", request.game_id)
            view = self._watch.view
            if subjects.game_key(game_id) not in view:
                await self._watch.refresh(subjects.game_key(game_id))
            return pb.GetGameResponse(
                game=view.game(game_id),
                polls=_newest([p for p in view.polls() if p.game_id == game_id and p.stage]),
                boards=_newest([b for b in view.boards() if b.game_id == game_id and b.stage]),
            )

    async def OpenPoll(
        self, request: pb.OpenPollRequest, context: grpc.aio.ServicerContext
    ) -> pb.OpenPollResponse:
        async with answering(context):
            return pb.OpenPollResponse(poll=await self._writer.open_poll(request.poll))

    async def ClosePoll(
        self, request: pb.ClosePollRequest, context: grpc.aio.ServicerContext
    ) -> pb.ClosePollResponse:
        async with answering(context):
            return pb.ClosePollResponse(poll=await self._writer.close_poll(request.game_id, request.poll_id))

    async def OpenBoard(
        self, request: pb.OpenBoardRequest, context: grpc.aio.ServicerContext
    ) -> pb.OpenBoardResponse:
        async with answering(context):
            return pb.OpenBoardResponse(board=await self._writer.open_board(request.board))

    async def CloseBoard(
        self, request: pb.CloseBoardRequest, context: grpc.aio.ServicerContext
    ) -> pb.CloseBoardResponse:
        async with answering(context):
            return pb.CloseBoardResponse(
                board=await self._writer.close_board(request.game_id, request.board_id)
            )


def _newest(definitions: list[Listed]) -> list[Listed]:
    definitions.sort(key=lambda d: d.opened_at.ToNanoseconds(), reverse=True)
    return definitions[: limits.LISTED_MAX]


class AggregateService(AggregateServiceServicer):
    def __init__(self, watch: CatalogWatch, results: ResultStore) -> None:
        self._watch = watch
        self._results = results

    async def Read(self, request: ReadRequest, context: grpc.aio.ServicerContext) -> ReadResponse:
        async with answering(context):
            game_id = ids.check_id("game_id", request.game_id)
            patterns = TopicPatterns(request.topics)
            positions = check_positions(request.positions)
            if subjects.game_key(game_id) not in self._watch.view:
                await self._watch.refresh(subjects.game_key(game_id))
            game = self._watch.view.game(game_id)
            left_s = context.time_remaining()
            patience_s = limits.BARRIER_S if left_s is None else max(0.0, left_s - _DEADLINE_MARGIN_S)
            try:
                shares = await self._results.read_at_least(
                    game_id, game.spread, positions, min(patience_s, limits.BARRIER_S)
                )
            except RedisError as error:
                raise Unavailable(f"results cannot be read now ({type(error).__name__}); try again") from None
            merged: dict[str, TopicMerge] = {}
            for share in shares:
                for topic, partial in share.partials.items():
                    if patterns.match(topic):
                        merged.setdefault(topic, TopicMerge(topic)).offer(partial)
            for topic in patterns.exact:
                if topic not in merged and not topic.startswith("pulse/"):
                    raise Unknown(f"topic {shown(topic)} is not known in game {shown(game_id)}")
            now_s = time.time()
            response = ReadResponse(topics=[merged[topic].state(now_s) for topic in sorted(merged)])
            response.as_of.FromNanoseconds(int(now_s * 1e9))
            return response
