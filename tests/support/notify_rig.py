"""The parts of notify on a real nats-server, with a clock that the test sets, and without Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from nats.js import api as js_api
from nats.js.errors import APIError

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Game
from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1.notify_pb2 import Notice, SendNoticeToActorsRequest, SendNoticeToActorsResponse
from grandstand.wire.errors import Unknown
from grandstand.wire.tasks import end
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from notify.orders import order_of
from notify.quotas import Quotas
from notify.scheduler import Scheduler
from notify.sending import Sender
from tests.simulation.database import ModelDatabase as MemoryDatabase


class NoSegments:
    async def check_known(self, field: str, segment: str) -> None:
        raise Unknown(f"{field}: there is no segment {segment!r}")


@dataclass
class NotifyRig:
    bus: Bus
    catalog: CatalogWatch
    game_id: str = field(default_factory=lambda: f"g-{uuid.uuid4().hex[:12]}")
    ahead_s: float = 0.0
    """Of the clock of the parts, beyond the real one."""
    quotas: Quotas = field(default_factory=lambda: Quotas(MemoryDatabase(time.time)))  # type: ignore[arg-type]
    running: int = 0
    """Schedulers."""

    def now_s(self) -> float:
        return time.time() + self.ahead_s

    def notice(self, key: str = "k", **changed: object) -> Notice:
        """To an actor, unless its audience is given as None."""
        given: dict[str, Any] = {"key": key, "game_id": self.game_id, "code": "goal", "title": "A goal"}
        given |= {"audience": {"actor_id": "ann"}} | changed
        return Notice(**given)

    def sender(self, scheduled: int = 0) -> Sender:
        return Sender(self.bus, self.catalog, NoSegments(), lambda: scheduled, self.quotas, self.now_s)

    async def send_list(
        self, notice: Notice, messages: Iterable[list[str]], end_after: int | None = None
    ) -> SendNoticeToActorsResponse:
        """`end_after`: the client is gone after this many messages."""

        given = [*messages]
        total = sum(map(len, given))

        async def requests() -> AsyncIterator[SendNoticeToActorsRequest]:
            for number, named in enumerate(given, 1):
                if number - 1 == end_after:
                    return  # as grpc.aio ends a stream that was broken off
                yield SendNoticeToActorsRequest(actor_ids=named, actors=total if number == len(given) else 0)

        first = SendNoticeToActorsRequest(notice=notice)
        return await self.sender().send_list(order_of(notice, is_list=True), first, requests())

    @contextlib.asynccontextmanager
    async def scheduler(self) -> AsyncIterator[Scheduler]:
        made = Scheduler(self.bus, self.quotas, self.now_s)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            await end(task)

    async def stored(self, key: str, kind: str) -> list[tuple[str, StoredNotice]]:
        """What is stored of a notice: the rest of each subject, and the message; in its order."""
        name = subjects.notice_name(self.game_id, key)
        prefix = f"notices.{kind}.{name}"
        found: list[tuple[str, StoredNotice]] = []
        info = await self.bus.js.stream_info(subjects.NOTICES_STREAM, subjects_filter=f"notices.{kind}.>")
        for subject in info.state.subjects or {}:
            if subject == prefix or subject.startswith(f"{prefix}."):
                message = await self.bus.js.get_last_msg(subjects.NOTICES_STREAM, subject)
                stored = StoredNotice.FromString(message.data or b"")
                found.append((subject.removeprefix(prefix), stored))
        return sorted(found, key=lambda each: [int(part) for part in each[0].split(".") if part])


@contextlib.asynccontextmanager
async def notify_rig(nats_url: str, max_bytes: int = 64 * 1024**2) -> AsyncIterator[NotifyRig]:
    """With a game of its own, on streams that stay."""
    bus = await Bus.connect(nats_url, "test")
    catalog = CatalogWatch(bus)
    try:
        with contextlib.suppress(APIError):
            await bus.js.add_stream(
                js_api.StreamConfig(
                    name=subjects.NOTICES_STREAM,
                    subjects=[subjects.NOTICES_ALL],
                    discard=js_api.DiscardPolicy.NEW,
                    max_bytes=max_bytes,
                )
            )
        await catalog.start()
        rig = NotifyRig(bus, catalog)
        game = Game(game_id=rig.game_id, spread=1, stage=STAGE_OPEN)
        await catalog.bucket.put(subjects.game_key(rig.game_id), game.SerializeToString())
        yield rig
    finally:
        await catalog.stop()
        await bus.close()
