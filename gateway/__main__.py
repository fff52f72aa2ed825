"""`python -m gateway`: wiring of the gateway."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from gateway.fanout import StreamFanOut
from gateway.relay import Relay
from gateway.service import GatewayService, add_to_server
from mesh import config, limits, runtime, store
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.client.connect import open_channel


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    bus = await Bus.connect(process.config.nats, process.config.instance)
    catalog = CatalogWatch(bus)
    await catalog.start()
    redis = store.connect(process.config.redis)
    async with open_channel(process.config.mesh) as channel:
        relay = Relay(channel, process.config.instance)
        relay.start()
        fan_out = StreamFanOut(bus, store.ResultStore(redis), catalog, process.draining)
        add_to_server(GatewayService(relay, fan_out), process.server)
        try:
            yield
        finally:
            await fan_out.stop()
            await relay.stop()
            await catalog.stop()
            await redis.aclose()
            await bus.close()


if __name__ == "__main__":
    runtime.run(
        config.parse("gateway"),
        start,
        ["grandstand.gateway.v1.GatewayService"],
        limits.GATEWAY_MESSAGE_BYTES_MAX,
    )
