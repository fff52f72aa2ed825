"""The round trips that prove a dependency: what each service asks, and how the answer is taken.

A proof is made again and again by `keep_proving`; what it raises is the reason. TimeoutError is no reason:
the check itself says for how long nothing answered. No proof goes through the queues of the work it speaks
for, so a mesh under backpressure is no mesh that is stuck.

Rejected: asking a server how it is (`/healthz` of nats-server, PING of Redis): a nats-server with a full disk
and a Redis that lost its slots both say that they are well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from grandstand.wire import bounds as wire_bounds
from mesh import disk, limits
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import PROBE_CALMLY_S, CatalogWatch
from mesh.health.check import Check
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis import layout
from mesh.redis.database import Database

BOUND_S = 3.0
ATTEMPT_S = 2.0
"""An answer that takes longer proves nothing."""
PERIOD_S = 0.5
REDIS_PERIOD_S = 1.0
_PROBE = b"." * 4_096
"""A page of a file: a message that fits what its last page has left is stored on a full disk."""

assert ATTEMPT_S + PERIOD_S < BOUND_S, "one attempt may be lost"


class Unproven(Exception):
    """For a person: what the dependency answered instead."""


class Proof(NamedTuple):
    check: Check
    prove: Callable[[], Awaitable[None]]
    period_s: float = PERIOD_S


async def keep_proving(proof: Proof) -> None:
    """Until cancelled."""
    loop = asyncio.get_running_loop()
    check = proof.check
    check.begin(loop.time())
    while True:
        began_s = loop.time()
        try:
            await proof.prove()
            check.proved(loop.time())
        except Exception as error:
            reason = (
                "" if isinstance(error, TimeoutError) else disk.worded(str(error) or type(error).__name__)
            )
            check.failed(reason, loop.time())
            check.failures += 1
        check.seconds.observe(loop.time() - began_s)
        await asyncio.sleep(proof.period_s)


def looked_at(name: str, bound_s: float, refusal: Callable[[], str | None], silence_s: float = 0.0) -> Proof:
    """What this process knows already: `refusal` is the reason, None if it is proven, and empty if nothing
    answered."""

    async def prove() -> None:
        reason = refusal()
        if reason is not None:
            raise Unproven(reason) if reason else TimeoutError

    return Proof(Check(name, bound_s, silence_s, is_round_trip=False), prove, 0.1)


def catalog(watch: CatalogWatch, probe_s: float = PROBE_CALMLY_S) -> Proof:
    """By the watch's own probes through the bucket, which come every `probe_s`."""
    age_max_s = limits.VIEW_FRESH_S if probe_s <= limits.VIEW_PROBE_S else 2 * probe_s + ATTEMPT_S

    def refusal() -> str | None:
        return None if boot_s() - watch.freshness.anchor_s <= age_max_s else ""

    return looked_at("catalog", BOUND_S - 2 * PERIOD_S, refusal)


class _Echo:
    """A message of core NATS to ourselves."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._subject = ""
        self._number = 0
        self._heard = asyncio.Event()

    async def prove(self) -> None:
        client = self._bus.client
        if not client.is_connected:
            raise TimeoutError
        if not self._subject:
            self._subject = client.new_inbox()
            await client.subscribe(self._subject, cb=self._on_message)
        self._number += 1
        self._heard.clear()
        await client.publish(self._subject, b"%d" % self._number)
        async with asyncio.timeout(ATTEMPT_S):
            await self._heard.wait()

    async def _on_message(self, message: Msg) -> None:
        if message.data == b"%d" % self._number:
            self._heard.set()


def nats_echo(bus: Bus) -> Proof:
    return Proof(Check("NATS", BOUND_S), _Echo(bus).prove)


def event_log(bus: Bus, service: str, instance: str, stored: Callable[[], int]) -> Proof:
    """A publish with its PubAck, into a stream made like the event stream. `stored`: how many real blocks
    were stored so far.

    A stream of a nats-server 2.15 whose disk was full answers nothing until the server is started again. If
    that hit the probes' stream alone, real blocks are stored, and it is recreated.
    """
    subject = subjects.probe(service, instance)

    async def store() -> None:
        reply = await bus.client.request(subject, _PROBE, timeout=ATTEMPT_S)
        answer = json.loads(reply.data)
        if "error" in answer:
            raise Unproven(f"JetStream says: {answer['error'].get('description')}")
        if not answer.get("seq"):
            raise Unproven("JetStream answers without a sequence")

    async def prove() -> None:
        if not bus.client.is_connected:
            raise TimeoutError
        before = stored()
        try:
            await store()
        except NoRespondersError:
            await bus.ensure_probes_stream()
            await store()
        except TimeoutError:
            if stored() == before:
                raise
            await bus.remove_probes_stream()

    return Proof(Check("event log", BOUND_S), prove)


def redis_reads(database: Database) -> Proof:
    """A key of each node that owns state: of each partition on a cluster, of one elsewhere."""

    async def read(partition: int) -> None:
        try:
            async with asyncio.timeout(ATTEMPT_S):
                await database.string(layout.applied_key(partition))
        except TimeoutError:
            raise
        except Exception as error:
            raise Unproven(f"partition {partition}: {str(error) or type(error).__name__}") from error

    async def prove() -> None:
        async with asyncio.timeout(ATTEMPT_S):
            several = await database.is_cluster()
        await asyncio.gather(*map(read, range(wire_bounds.PARTITIONS if several else 1)))

    return Proof(Check("Redis", BOUND_S), prove, REDIS_PERIOD_S)
