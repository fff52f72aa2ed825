"""`python -m notify`: wires NotifyService, the keeper of inboxes, the scheduler, the rules and the announcer.

The announcer tells the viewers of a game that something opened or closed: it watches the catalog and
publishes on `announcements.<game>`, which gateways pass on.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from grandstand.notify.v1.notify_pb2_grpc import add_NotifyServiceServicer_to_server
from grandstand.wire.tasks import end
from mesh import config, limits, runtime
from mesh.auth import Verifier
from mesh.auth.access import Access
from mesh.auth.service import open_verifier
from mesh.catalog.view import Definition
from mesh.catalog.watch import CatalogWatch
from mesh.health import proofs
from mesh.health.clock_watch import ClockWatch
from mesh.health.reporter import reporting
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices.store import NoticeStore
from mesh.notices.streams import ensure_streams
from mesh.redis.database import connect
from mesh.redis.results import ResultStore
from mesh.token_ends import checking
from notify.announcing import Announcing
from notify.collectors import collect
from notify.completeness import Completeness
from notify.evaluator import Evaluator
from notify.keeper import Keeper
from notify.quotas import Quotas
from notify.readers import Readers
from notify.scheduler import Scheduler
from notify.segments import Segments
from notify.sending import Sender
from notify.service import NotifyService
from notify.tails import Tails


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    # Before anything is waited for: without keys for its callers' tokens it does not start.
    async with open_verifier(process.config, mesh_tokens=True) as verifier, _working(process, verifier):
        yield


@contextlib.asynccontextmanager
async def _working(process: runtime.Runtime, verifier: Verifier) -> AsyncIterator[None]:
    instance = process.config.instance
    bus = await Bus.connect(process.config.nats, instance, process.config.replicas)
    database = connect(process.config.redis)

    def on_change(key: str, definition: Definition | None) -> None:
        announcing.changed(key, definition)
        evaluator.changed(key, definition)

    catalog = CatalogWatch(bus, on_change, puts_back=False)
    clock = ClockWatch(bus, process.config, catalog)
    quotas = Quotas(database)
    evaluator = Evaluator(bus, ResultStore(database), catalog, instance, quotas, clock.now_s)
    announcing = Announcing(bus, clock.now_s, evaluator.judges)
    await catalog.start()
    view = catalog.view
    announcing.learn(view)
    await ensure_streams(bus)
    completeness = await Completeness.begin(bus)
    keeper = Keeper(
        bus,
        database,
        f"{instance}/{uuid.uuid4().hex}",
        lambda game_id: subjects.game_key(game_id) in view,
        clock.now_s,
    )
    scheduler = Scheduler(bus, quotas, clock.now_s)
    segments = Segments(bus, database, keeper.applier, completeness)
    sender = Sender(bus, catalog, segments, scheduler.scheduled, quotas, clock.now_s)
    service = NotifyService(
        sender,
        Readers(bus, NoticeStore(database), keeper.applier, completeness, view.generation, clock.now_s),
        segments,
        Tails(bus),
        Access(checking(verifier, clock, catalog), clock.now_s),
        process.draining,
    )
    add_NotifyServiceServicer_to_server(service, process.server)
    collect(process.metrics, sender, scheduler, evaluator, announcing, keeper)
    loops = [asyncio.create_task(each.run()) for each in (keeper, scheduler)]
    proven = [
        proofs.nats_echo(bus),
        proofs.catalog(catalog),
        proofs.redis_reads(database),
        proofs.looked_at("inboxes", proofs.BOUND_S, keeper.refusal),
    ]
    try:
        async with evaluator.open(), clock.open(process), reporting(process, bus, proven, clock=clock):
            yield
    finally:
        await end(*loops)
        await announcing.stop()
        await catalog.stop()
        await database.aclose()
        await bus.close()


if __name__ == "__main__":
    runtime.run(
        config.parse("notify"),
        start,
        ["grandstand.notify.v1.NotifyService"],
        limits.CONTROL_MESSAGE_BYTES_MAX,
    )
