"""`python -m notify`: keeps inboxes, and announces openings and closings to the viewers of a game.

It watches the catalog and publishes on `announcements.<game>`, which gateways pass on; and one notify of all
keeps in Redis what inboxes are made of (notify.keeper).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator

from nats.errors import Error as NatsError

from grandstand.notify.v1.notify_pb2 import Announcement
from grandstand.wire.tasks import end
from mesh import config, limits, runtime
from mesh.catalog.view import Definition
from mesh.catalog.watch import CatalogWatch
from mesh.health import proofs
from mesh.health.clock_watch import ClockWatch
from mesh.health.reporter import reporting
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.database import connect
from notify.announcer import Announcer
from notify.keeper import Keeper

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    bus = await Bus.connect(process.config.nats, process.config.instance, process.config.replicas)
    announcer = Announcer()
    under_way: set[asyncio.Task[None]] = set()

    def on_change(key: str, definition: Definition | None) -> None:
        announcement = announcer.changed(key, definition, int(clock.now_s() * 1e9))
        if announcement is not None:
            task = asyncio.create_task(_publish(bus, announcement))
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    catalog = CatalogWatch(bus, on_change, puts_back=False)
    clock = ClockWatch(bus, process.config, catalog)
    await catalog.start()
    view = catalog.view
    redis = connect(process.config.redis)
    keeper = Keeper(
        bus,
        redis,
        f"{process.config.instance}/{uuid.uuid4().hex}",
        lambda game_id: subjects.game_key(game_id) in view,
    )
    for poll in view.polls():
        announcer.learn(subjects.poll_key(poll.game_id, poll.poll_id), poll)
    for board in view.boards():
        announcer.learn(subjects.board_key(board.game_id, board.board_id), board)
    proven = [
        proofs.nats_echo(bus),
        proofs.catalog(catalog),
        proofs.looked_at("inboxes", proofs.BOUND_S, keeper.refusal),
    ]
    keeping = asyncio.create_task(keeper.run())
    try:
        async with clock.open(process), reporting(process, bus, proven, clock=clock):
            yield
    finally:
        await end(keeping)
        await asyncio.gather(*under_way)
        await catalog.stop()
        await redis.aclose()
        await bus.close()


async def _publish(bus: Bus, announcement: Announcement) -> None:
    """At most once: an announcement nobody heard is no loss, the state is elsewhere."""
    log.info("game %s: %s", announcement.game_id, announcement.WhichOneof("news"))
    with contextlib.suppress(NatsError):
        await bus.client.publish(
            subjects.announcements(announcement.game_id), announcement.SerializeToString()
        )


if __name__ == "__main__":
    runtime.run(config.parse("notify"), start, [], limits.CONTROL_MESSAGE_BYTES_MAX)
