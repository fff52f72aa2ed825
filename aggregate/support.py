"""SupportService: why an actor's events count, or do not, told to support staff (mesh.explain).

It reads the stream beside the folds, and gives way to them after each batch of blocks. Each call leaves a
line in the audit: who asked about whom. Bounds: one call at a time of a caller and EXPLAINS_MAX in all,
refused beyond (RESOURCE_EXHAUSTED); EXPLAIN_S of reading, or less by the caller's deadline, after which it
tells what it has read.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from nats.errors import Error as NatsError

from aggregate import bounds
from grandstand.support.v1.support_pb2 import ExplainRequest, ExplainResponse
from grandstand.support.v1.support_pb2_grpc import SupportServiceServicer
from grandstand.wire import actors
from grandstand.wire.errors import Exhausted, Unavailable
from mesh.auth import audit
from mesh.auth.access import Access
from mesh.explain.explaining import Explainer
from mesh.explain.question import ExplainQuestion
from mesh.jetstream.bus import Bus
from mesh.redis.results import ResultStore
from mesh.runtime import answering

_MARGIN_S = 1.0
"""What an answer takes once the reading has ended."""


class SupportService(SupportServiceServicer):
    def __init__(self, bus: Bus, results: ResultStore, access: Access) -> None:
        self._explainer = Explainer(bus, results)
        self._access = access
        self._asking: set[str] = set()
        """Whose calls are under way."""

    async def Explain(
        self, request: ExplainRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ExplainResponse:
        async with answering(context):
            caller = self._access.operator(context)
            by = caller.identity
            by.check_game("game_id", request.game_id)
            question = ExplainQuestion(
                *(request.game_id, request.actor_id, request.topic, request.origin_id, request.origin_seq)
            )
            question.check()
            self._enter(by.actor_id)
            about = f"actor {actors.said(question.actor_id)} in game {question.game_id}"
            audit.tell("explained", f"{about} {question.topic}".rstrip(), caller)
            try:
                left_s = context.time_remaining()
                patience_s = bounds.EXPLAIN_S if left_s is None else min(bounds.EXPLAIN_S, left_s - _MARGIN_S)
                give_up_s = asyncio.get_running_loop().time() + max(0.0, patience_s)
                return await self._explainer.explain(question, give_up_s)
            except (NatsError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                raise Unavailable(f"the event stream cannot be read now ({why}); try again") from None
            finally:
                self._asking.discard(by.actor_id)

    def _enter(self, caller: str) -> None:
        """Raises Exhausted."""
        if caller in self._asking:
            raise Exhausted("another Explain of yours is under way; one at a time is allowed, wait for it")
        if len(self._asking) >= bounds.EXPLAINS_MAX:
            raise Exhausted(
                f"{len(self._asking)} calls of Explain are under way, the most that are; try again"
            )
        self._asking.add(caller)
