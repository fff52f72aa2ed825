"""Envoy between a gateway and its viewers: who stalls holds up nobody (I8), and where each comes from."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from mesh.envoy import clusters
from mesh.envoy.config import Endpoint, EnvoyConfig
from mesh.http2.call import Call, Handler, Methods
from mesh.http2.health import Health
from mesh.http2.server import Http2Server
from tests.support.envoy_proxy import proxy
from tests.support.games import until
from tests.support.grpc_web import web_viewer
from tests.support.http2_service import HOST
from tests.support.supervision import PATIENT, supervised
from toolbox.local.home import Home
from toolbox.local.ports import Ports

SERVICE = "grandstand.gateway.v1.GatewayService"
SUBSCRIBE = f"/{SERVICE}/Subscribe"
STALLED = 400
FRAME = b"f" * 4_000
FLOOD_BYTES = 1024 * 1024
QUIET_BYTES = 64 * 1024


@contextlib.asynccontextmanager
async def gateway(
    tmp_path: Path, methods: Methods, **changes: Any
) -> AsyncIterator[tuple[Http2Server, EnvoyConfig]]:
    home = Home(tmp_path / "home")
    home.create()
    health = Health()
    for name in ("", SERVICE):
        health.set(name, True)
    server = Http2Server({**methods, **health.methods()}, message_bytes_max=16 * 1024)
    port = await server.start(f"{HOST}:0")
    try:
        with contextlib.closing(Ports()) as ports:
            spec, config = proxy(home, ports, {"gateway": (Endpoint(HOST, port),)}, "gateway", **changes)
            async with supervised(home, spec, policy=PATIENT):
                yield server, config
    finally:
        await server.close(0.0)


class Viewer:
    """Asked for "all", it is sent more than it takes; else what the test sends it."""

    def __init__(self, call: Call, stage: Stage) -> None:
        self.call = call
        self.stage = stage

    def received(self, message: bytes) -> None:
        if message != b"all":
            self.stage.healthy.append(self)
            return
        self.stage.greedy.append(self)
        for _ in range(FLOOD_BYTES // len(FRAME)):
            self.call.send(FRAME)

    def writable(self) -> None:
        pass

    def half_closed(self) -> None:
        pass

    def gone(self) -> None:
        pass


class Stage:
    def __init__(self) -> None:
        self.greedy: list[Viewer] = []
        self.healthy: list[Viewer] = []

    def accept(self, call: Call) -> Handler:
        return Viewer(call, self)


def test_hundreds_that_do_not_read_hold_up_nobody_on_the_connection_they_share(tmp_path: Path) -> None:
    """What Envoy keeps for them counts against the one connection to the gateway."""

    async def scenario() -> None:
        stage = Stage()
        async with (
            gateway(tmp_path, {SUBSCRIBE: stage.accept}) as (server, config),
            web_viewer(config.edge, SUBSCRIBE, b"beats") as healthy,
            contextlib.AsyncExitStack() as stack,
        ):
            await until(lambda: stage.healthy, "the healthy one is there")
            for _ in range(STALLED):
                await stack.enter_async_context(web_viewer(config.edge, SUBSCRIBE, b"all"))
            beats = itertools.count()

            async def beat() -> None:
                text = b"<beat %d>" % next(beats)
                stage.healthy[0].call.send(text)
                await healthy.until(text)

            await until(lambda: len(stage.greedy) == STALLED, "all are there")
            loop, before = asyncio.get_running_loop(), -1
            while server.bytes_sent > before + QUIET_BYTES:
                before, until_s = server.bytes_sent, loop.time() + 0.25
                while loop.time() < until_s:
                    await beat()
            # Each is stuck on its own window, which Envoy holds in full; what the kernel holds beside that
            # is bounded, so the newest state is not behind megabytes of older ones.
            each = server.bytes_sent / STALLED
            assert clusters.STREAM_WINDOW_BYTES < each < FLOOD_BYTES / 2
            assert not any(viewer.call.is_writable for viewer in stage.greedy)
            # One for the viewers, and one for the health checks of each listener's cluster.
            assert server.connections <= 3

    asyncio.run(scenario())


class Where:
    """Answers with every x-forwarded-for that came, and ends."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.seen = [value for name, value in call.metadata if name == "x-forwarded-for"]

    def received(self, _: bytes) -> None:
        self.call.send("|".join(self.seen).encode())
        self.call.end()

    def half_closed(self) -> None:
        pass

    def writable(self) -> None:
        pass

    def gone(self) -> None:
        pass


async def told(edge: Endpoint, claim: tuple[tuple[str, str], ...]) -> str:
    """What the gateway reads: one header, however many the client sent."""
    async with web_viewer(edge, SUBSCRIBE, b"", (*claim, ("connection", "close"))) as viewer:
        body = (await viewer.to_the_end()).partition(b"\r\n\r\n")[2]
    first_chunk = body.split(b"\r\n")[1]
    assert b"|" not in first_chunk
    return first_chunk[5:].decode()


def test_the_last_address_that_is_forwarded_is_what_envoy_saw_whatever_a_client_claims(
    tmp_path: Path,
) -> None:
    claims: tuple[tuple[tuple[str, str], ...], ...] = (
        (("x-forwarded-for", "203.0.113.7"),),
        (("x-forwarded-for", "203.0.113.7, 198.51.100.9,"),),
        (("x-forwarded-for", "203.0.113.7"), ("X-Forwarded-For", "198.51.100.9")),
        (("x-forwarded-for", ""), ("x-forwarded-for", "not an address")),
        (
            ("x-envoy-external-address", "203.0.113.7"),
            ("x-real-ip", "203.0.113.7"),
            ("forwarded", "for=203.0.113.7"),
        ),
    )

    async def scenario() -> None:
        async with gateway(tmp_path, {SUBSCRIBE: Where}) as (_, config):
            # For who comes over loopback Envoy says this machine's own address.
            own = await told(config.edge, ())
            assert str(ipaddress.ip_address(own)) == own
            for claim in claims:
                assert (await told(config.edge, claim)).rpartition(",")[2] == own, claim
            for address in (config.edge, config.mesh):
                async with grpc.aio.insecure_channel(f"{address.host}:{address.port}") as channel:
                    metadata = (("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "198.51.100.9"))
                    call = channel.unary_stream(SUBSCRIBE)(b"", metadata=metadata)
                    assert (await call.read()).decode().rpartition(",")[2] == own

    asyncio.run(scenario())


def test_behind_proxies_the_address_is_where_the_services_count_for_it_and_no_claim_moves_it(
    tmp_path: Path,
) -> None:
    """Each proxy appends whom it heard, Envoy too, so it stands `trusted_hops` left of the last."""

    async def scenario() -> None:
        async with gateway(tmp_path, {SUBSCRIBE: Where}, trusted_hops=2) as (_, config):
            for claim in ("", "203.0.113.99, ", "1.1.1.1, not an address, "):
                forwarded = f"{claim}203.0.113.7, 198.51.100.1"
                seen = (await told(config.edge, (("x-forwarded-for", forwarded),))).split(",")
                assert [each.strip() for each in seen[-3:-1]] == ["203.0.113.7", "198.51.100.1"]
                assert str(ipaddress.ip_address(seen[-1])) == seen[-1]

    asyncio.run(scenario())
