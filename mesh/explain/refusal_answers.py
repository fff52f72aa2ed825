"""Answers, over NATS, what this process refused of an actor lately (mesh.explain.recent_refusals).

Every ingest and gateway answers each question; who asks takes what comes in time. Only who may publish on the
subject can ask (docs/store-rights.md).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import RefusalsRequest
from mesh.explain.recent_refusals import RecentRefusals
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def answering(bus: Bus, refusals: RecentRefusals, instance: str, service: str) -> AsyncIterator[None]:
    async def on_question(message: Msg) -> None:
        try:
            actor_id = RefusalsRequest.FromString(message.data).actor_id
            await message.respond(refusals.of(actor_id, instance, service).SerializeToString())
        except (DecodeError, NatsError) as error:
            log.warning("a question about refusals: %s", str(error) or type(error).__name__)

    subscription = await bus.client.subscribe(subjects.REFUSALS, cb=on_question)
    try:
        yield
    finally:
        with contextlib.suppress(NatsError):
            await subscription.unsubscribe()
