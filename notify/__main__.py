"""`python -m notify`: announces openings and closings to the viewers of a game, and judges its rules."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from mesh import config, limits, runtime
from mesh.catalog.view import Definition
from mesh.catalog.watch import CatalogWatch
from mesh.health import proofs
from mesh.health.clock_watch import ClockWatch
from mesh.health.reporter import reporting
from mesh.jetstream.bus import Bus
from mesh.redis.database import connect
from mesh.redis.results import ResultStore
from notify.announcing import Announcing
from notify.evaluator import Evaluator


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    settings = process.config
    bus = await Bus.connect(settings.nats, settings.instance, settings.replicas)
    redis = connect(settings.redis)

    def on_change(key: str, definition: Definition | None) -> None:
        announcing.changed(key, definition)
        evaluator.changed(key, definition)

    catalog = CatalogWatch(bus, on_change, puts_back=False)
    clock = ClockWatch(bus, settings, catalog)
    evaluator = Evaluator(bus, ResultStore(redis), catalog, settings.instance, clock.now_s)
    announcing = Announcing(bus, clock.now_s, evaluator.judges)
    await catalog.start()
    announcing.learn(catalog.view)
    proven = [proofs.nats_echo(bus), proofs.catalog(catalog), proofs.redis_reads(redis)]
    try:
        async with evaluator.open(), clock.open(process), reporting(process, bus, proven, clock=clock):
            yield
    finally:
        await announcing.stop()
        await catalog.stop()
        await redis.aclose()
        await bus.close()


if __name__ == "__main__":
    runtime.run(config.parse("notify"), start, [], limits.CONTROL_MESSAGE_BYTES_MAX)
