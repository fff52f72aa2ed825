"""`python -m gateway`: wiring of the gateway."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from gateway.fanout import StreamFanOut
from gateway.guests import Guests
from gateway.relay import Relay
from gateway.service import GatewayService, add_to_server
from mesh import limits, runtime, store
from mesh.auth.service import MeshCredentials, open_signing_key, open_verifier
from mesh.bus import Bus
from mesh.catalog import CatalogWatch
from mesh.client.connect import open_channel
from mesh.config import parse


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    config = process.config
    credentials = MeshCredentials.of(config)
    guest_key = open_signing_key(config, config.guest_key) if config.guest_key else None
    async with open_verifier(config) as verifier, open_channel(config.mesh) as channel:
        guests = Guests(guest_key, verifier, config.issuer)
        bus = await Bus.connect(config.nats, config.instance, config.replicas)
        catalog = CatalogWatch(bus)
        await catalog.start()
        redis = store.connect(config.redis)
        relay = Relay(channel, config.instance, token=credentials.token)
        relay.start()
        fan_out = StreamFanOut(bus, store.ResultStore(redis), catalog, process.draining)
        add_to_server(GatewayService(relay, fan_out, verifier, guests), process.server)
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
        parse("gateway"),
        start,
        ["grandstand.gateway.v1.GatewayService"],
        limits.GATEWAY_MESSAGE_BYTES_MAX,
    )
