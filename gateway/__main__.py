"""`python -m gateway`: wiring of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from gateway import bounds
from gateway.collectors import collect
from gateway.fanout import FanOut
from gateway.guest_limits import GuestLimits
from gateway.guests import Guests
from gateway.personal import Personal
from gateway.presence_reporter import PresenceReporter
from gateway.relay import Relay
from gateway.service import GatewayService
from gateway.subscribe import SubscribeService
from grandstand.client.connect import open_channel
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import tasks
from mesh import runtime
from mesh.addresses import AddressKeys
from mesh.auth.service import MeshCredentials, open_origins, open_signing_key, open_verifier
from mesh.catalog.watch import CatalogWatch
from mesh.config import parse
from mesh.health import proofs
from mesh.health.clock_watch import ClockWatch
from mesh.health.reporter import reporting
from mesh.health.watch import HealthWatch
from mesh.jetstream.bus import Bus
from mesh.listener import Http2Listener
from mesh.redis.database import connect
from mesh.redis.results import ResultStore
from mesh.stream_limits import StreamLimits
from mesh.token_ends import checking, keep_ending


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    config = process.config
    guest_key = open_signing_key(config, config.guest_key) if config.guest_key else None
    # Before anything is waited for: without its key a gateway does not start.
    credentials = MeshCredentials.of(config, lambda: clock.now_s())
    async with (
        open_verifier(config) as verifier,
        open_origins(config) as origins,
        open_channel(config.mesh) as channel,
    ):
        bus = await Bus.connect(config.nats, config.instance, config.replicas)
        catalog = CatalogWatch(bus, puts_back=False)
        clock = ClockWatch(bus, config, catalog)
        await catalog.start()
        redis = connect(config.redis)
        relay = Relay(channel, config.instance, token=credentials.token)
        relay.start()
        viewer_limits = StreamLimits(bounds.VIEWER_BOUNDS, random=random.random)
        presence = PresenceReporter(relay, catalog.view, config.instance, now=clock.now_s)
        personal = Personal(bus, redis, catalog.view, catalog.public_id, clock.now_s)
        personal.start()
        results = ResultStore(redis)
        fan_out = FanOut(
            *(bus, results, catalog, viewer_limits, presence, personal, process.draining), now=clock.now_s
        )
        personal.announce_to(fan_out.announce)
        checked = checking(verifier, clock, catalog)
        addresses = AddressKeys(config.trusted_hops, config.exempt)
        guests = Guests(guest_key, checked, GuestLimits(random.random), config.issuer)
        subscribe = SubscribeService(
            *(fan_out, viewer_limits, checked, addresses),
            now=clock.now_s,
            revocations=catalog.revocations,
        )
        ending = asyncio.create_task(keep_ending(subscribe.tokens, clock.least_s))
        service = GatewayService(
            *(relay, subscribe.accept, checked, guests, addresses, origins, clock.now_s),
            public=catalog.public_id,
        )
        process.methods.update(service.methods())
        collect(process.metrics, fan_out, viewer_limits, relay, guests)
        proven = [proofs.nats_echo(bus), proofs.catalog(catalog), proofs.redis_reads(redis)]
        health = HealthWatch(bus, config.instance, proven[0].check)
        process.pages.update(health.pages())
        try:
            async with (
                health.open(),
                clock.open(process),
                reporting(process, bus, proven, health.hear, clock),
            ):
                yield
        finally:
            await tasks.end(ending)
            await fan_out.stop()
            await personal.stop()
            await relay.stop()
            await catalog.stop()
            await redis.aclose()
            await bus.close()


if __name__ == "__main__":
    runtime.run(
        parse("gateway"),
        start,
        ["grandstand.gateway.v1.GatewayService"],
        wire_bounds.GATEWAY_MESSAGE_BYTES_MAX,
        Http2Listener,
    )
