"""SIGKILL between two steps of storing, firing, deriving and pushing: between a process of notify, NATS and
Valkey stand proxies, which stop at the request of that step. Then it is killed, and started again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from pathlib import Path
from typing import NamedTuple

import grpc
import redis

from grandstand.catalog.v1.catalog_pb2 import Threshold
from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceStub
from mesh.auth import OWNER
from mesh.redis import layout
from notify import inbox_scripts
from tests.notify.evaluator_rig import playing
from tests.notify.rules_rig import poll, rule, tally
from tests.support.games import bearing, run
from tests.support.notices import notices_on
from tests.support.proxy import proxy_to
from tests.support.servers import stores
from toolbox.local.development import development_token


class Step(NamedTuple):
    """`is_done`: the request takes effect, and nobody hears of it."""

    at: str
    request: bytes
    is_done: bool


_PUT = inbox_scripts.PUT.sha.encode()
STEPS = (
    Step("nats", b"notices.sent.", is_done=True),
    Step("redis", _PUT, is_done=False),
    Step("redis", _PUT, is_done=True),
    Step("nats", b"PUB inbox.", is_done=False),
)
FIRED = Step("nats", b"notices.fired.", is_done=True)


def test_a_notify_killed_between_two_steps_tells_each_notice_and_firing_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        with stores(tmp_path) as around, redis.Redis.from_url(around.redis_url) as client:
            async with (
                notices_on(around) as notices,
                playing(around) as played,
                proxy_to(int(around.nats_url.rpartition(":")[2])) as nats,
                proxy_to(client.get_connection_kwargs()["port"]) as database,
            ):
                proxies = {"nats": nats, "redis": database}
                await played.put(poll())
                await played.show(tally({"a": 0, "b": 0}))
                await played.define(rule(rule_id="each", threshold=Threshold(at=2, each=True)))
                process = around.notify(
                    "killed", f"nats://127.0.0.1:{nats.port}", f"redis://127.0.0.1:{database.port}"
                )
                token = development_token(around.folder, "boss", roles=(OWNER,), games=[played.game_id])

                async def send(key: str) -> None:
                    async with grpc.aio.insecure_channel(process.address) as channel:
                        await asyncio.wait_for(channel.channel_ready(), 20)
                        notice = pb.Notice(key=key, game_id=played.game_id, code="c", title=f"title of {key}")
                        notice.audience.actor_id = "ann"
                        stub = NotifyServiceStub(bearing(channel, lambda: token))
                        await stub.SendNotice(pb.SendNoticeRequest(notice=notice), timeout=20)

                async def die(step: Step, work: Awaitable[None]) -> None:
                    proxy = proxies[step.at]
                    proxy.hold(step.request, answer=step.is_done)
                    under_way = asyncio.ensure_future(work)
                    await asyncio.wait_for(proxy.held.wait(), 20)
                    process.kill()
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        await under_way
                    proxy.release()
                    client.delete(layout.NOTICES_LEASE)  # as if its time were over
                    process.start()

                keys = ["first"]
                await send("first")
                await notices.until_told("ann", *keys)
                for number, step in enumerate(STEPS):
                    keys.append(f"key {number}")
                    await die(step, send(keys[-1]))
                    await send(keys[-1])
                    await notices.until_told("ann", *keys)
                await die(FIRED, played.show(tally({"a": 2, "b": 0})))
                await played.is_told("each 1 2 A")
                await played.show(tally({"a": 3, "b": 1}))
                await played.is_told("each 1 2 A", "each 2 4 A")
                await notices.until_told("ann", *keys)

    run(scenario(), within_s=150)
