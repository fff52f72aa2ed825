"""I2, I4: a pull brings every block of its partition once and in order, or says that it is broken. On real
nats-servers; statuses that these do not send at will are sent in their name, to the request that stands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import FEW, PULL_BATCH, PULL_BYTES_MAX, Pull, PullBroken
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run, until
from tests.support.nats_cluster import NODES, nats_cluster
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from tests.support.servers import eventually

pytestmark = EACH_NATS
SHORT_S = 0.2


class Requests:
    """The pull requests that were made, each by its reply subject; answers them in the server's name."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.made: list[str] = []

    async def listen(self) -> None:
        await self._bus.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", cb=self._on_request)
        await self._bus.client.flush()

    async def _on_request(self, message: Msg) -> None:
        self.made.append(message.reply)

    async def answer(self, status: str, number: int = -1) -> None:
        code, _, description = status.partition(" ")
        headers = {"Status": code, "Description": description}
        await self._bus.client.publish(self.made[number], headers=headers)
        await self._bus.client.flush()


@asynccontextmanager
async def pulling(tmp_path: Path, blocks: int = 0) -> AsyncIterator[tuple[Bus, Pull, Requests]]:
    """A pull of partition 0 from its first block on."""
    async with on_nats(tmp_path) as (nats, bus, _):
        await put(bus, range(1, blocks + 1))
        other = await Bus.connect(nats.url, "requests")
        requests = Requests(other)
        await requests.listen()
        pull = pull_of_first(bus)
        await pull.open(1)
        await until(lambda: requests.made, "the first request is made")
        yield bus, pull, requests
        await pull.close()
        await other.close()


def pull_of_first(bus: Bus) -> Pull:
    """Of partition 0."""
    return Pull(bus, subjects.EVENTS_STREAM, [subjects.events(0)], subjects.consumer(0))


async def put(bus: Bus, numbers: Sequence[int], size: int = 0) -> None:
    for number in numbers:
        await bus.js.publish(subjects.events(0), str(number).encode().ljust(size))


async def take(pull: Pull, count: int) -> list[int]:
    got: list[int] = []
    while len(got) < count:
        got += [int(message.data) for message in await pull.next(SHORT_S)]
    return got


async def asked(pull: Pull, requests: Requests, count: int) -> None:
    """Until this many requests were made, with nothing to take meanwhile."""
    while len(requests.made) < count:
        assert await pull.next(SHORT_S) == []


async def break_of(pull: Pull) -> str:
    """Why it breaks; it has nothing more to hand out."""
    while True:
        try:
            assert await pull.next(SHORT_S) == []
        except PullBroken as broken:
            return str(broken)


def test_a_pull_that_gathers_hands_a_few_out_once_it_is_time_and_many_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _pipeline):
            loop = asyncio.get_running_loop()
            pull = pull_of_first(bus)
            await pull.open(1)
            taking = asyncio.create_task(pull.next(3_600, loop.time() + 3_600))
            await put(bus, range(FEW))
            await until(lambda: pull.queued == FEW, "a few are there")
            assert not taking.done()
            await put(bus, [FEW])
            assert [int(message.data) for message in await taking] == [*range(FEW + 1)]
            await put(bus, [9])
            await until(lambda: pull.queued == 1, "one is there")
            until_s = loop.time() + 0.05
            assert len(await pull.next(3_600, until_s)) == 1
            assert pull.first_at_s < until_s <= loop.time()
            await pull.close()

    run(scenario())


def test_a_pull_brings_every_block_in_order_from_where_it_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, pipeline):
            stored = [
                await pipeline.publish(subjects.events(n % 2), str(n).encode(), f"m{n}")
                for n in range(1, 601)
            ]
            pull = pull_of_first(bus)
            await pull.open(stored[100])
            assert await take(pull, 250) == list(range(102, 602, 2))
            await pull.close()

    run(scenario())


def test_many_batches_are_one_pull(tmp_path: Path) -> None:
    """nats-io/nats-server#3822: from 2.10 on a complete batch is followed by a status."""
    blocks = 5 * PULL_BATCH + 7

    async def scenario() -> None:
        async with pulling(tmp_path, blocks) as (bus, pull, requests):
            assert await take(pull, blocks) == list(range(1, blocks + 1))
            assert len(requests.made) <= 6
            await put(bus, [blocks + 1])
            assert await take(pull, 1) == [blocks + 1], "the last request goes on"

    run(scenario())


def test_requests_that_end_by_their_bytes_are_one_pull(tmp_path: Path) -> None:
    """nats-io/nats-server#3816: a request that has used up its bytes got fewer than its batch."""
    size = limits.BLOCK_BYTES_MAX - 100

    async def scenario() -> None:
        async with pulling(tmp_path) as (bus, pull, requests):
            await put(bus, range(1, 41), size)
            assert await take(pull, 40) == list(range(1, 41))
            assert len(requests.made) == 1 + 40 // (PULL_BYTES_MAX // size)

    run(scenario())


def test_a_block_larger_than_a_request_is_brought_and_not_asked_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-io/nats-server#5888: the server refuses it at once, as often as one asks."""
    monkeypatch.setattr(
        "mesh.jetstream.pull._BATCH", b'{"batch": 256, "max_bytes": 1000, "expires": 30000000000}'
    )

    async def scenario() -> None:
        async with pulling(tmp_path) as (bus, pull, requests):
            await put(bus, [1])
            await put(bus, [2], size=2_000)
            await put(bus, [3])
            assert await take(pull, 3) == [1, 2, 3]
            assert len(requests.made) <= 4

    run(scenario())


@pytest.mark.parametrize("status", ["408 Request Timeout", "409 Leadership Change", "409 Batch Completed"])
def test_a_request_that_ended_is_followed_by_the_next(tmp_path: Path, status: str) -> None:
    """nats-io/nats.go#2063: after a change of leader nothing asked again, and the consumer stood still."""

    async def scenario() -> None:
        async with pulling(tmp_path, blocks=1) as (bus, pull, requests):
            assert await take(pull, 1) == [1]
            await requests.answer(status)
            await asked(pull, requests, 2)
            await put(bus, [2])
            assert await take(pull, 1) == [2]

    run(scenario())


def test_requests_that_end_at_once_are_not_repeated_without_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pulling(tmp_path) as (_, pull, requests):
            await requests.answer("409 Leadership Change")
            await asked(pull, requests, 2)
            await requests.answer("409 Leadership Change")
            assert await break_of(pull) == "two requests in a row brought nothing: 409 Leadership Change"
            assert len(requests.made) == 2

    run(scenario())


@pytest.mark.parametrize("status", ["408 Request Timeout", "409 Consumer Deleted", "499 Something New"])
def test_a_late_status_of_a_request_that_has_ended_ends_nothing(tmp_path: Path, status: str) -> None:
    """nats-io/nats.py#241, nats-io/nats.java#1576: it was taken for the answer to a later request."""

    async def scenario() -> None:
        async with pulling(tmp_path, blocks=PULL_BATCH) as (bus, pull, requests):
            await take(pull, PULL_BATCH)
            await until(lambda: len(requests.made) == 2, "the second request stands")
            await requests.answer(status, number=0)
            await put(bus, [1_000])
            assert await take(pull, 1) == [1_000]
            assert len(requests.made) == 2

    run(scenario())


@pytest.mark.parametrize(
    "status",
    [
        *("409 Consumer Deleted", "409 Server Shutdown", "409 Exceeded MaxRequestBatch of 1"),
        *("409 Exceeded MaxWaiting", "423 Nats-Wrong-Pin-Id", "499 Something New"),
    ],
)
def test_what_came_before_a_break_is_handed_out_first(tmp_path: Path, status: str) -> None:
    async def scenario() -> None:
        async with pulling(tmp_path, blocks=3) as (_, pull, requests):
            await until(lambda: pull.queued == 3, "three blocks have come")
            await requests.answer(status)
            await put_aside(pull)
            assert [int(message.data) for message in await pull.next(SHORT_S)] == [1, 2, 3]
            assert await break_of(pull) == status

    run(scenario())


async def put_aside(pull: Pull) -> None:
    """Until it has noticed that it is broken. Private: from without that shows only when all is taken."""
    await until(lambda: pull._broken, "the break is noticed")


def test_a_reconnect_hands_out_what_came_before_and_breaks(tmp_path: Path) -> None:
    """nats-io/nats.go#1370: the consumer may be another, or none, behind the new connection."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, _):
            await put(bus, [1, 2])
            pull = pull_of_first(bus)
            await pull.open(1)
            await until(lambda: pull.queued == 2, "two blocks have come")
            nats.kill()
            nats.start()
            await put_aside(pull)
            assert [int(message.data) for message in await pull.next(SHORT_S)] == [1, 2]
            assert "reconnected" in await break_of(pull)
            await pull.close()

    run(scenario())


def test_a_consumer_that_is_another_owners_by_now_breaks_the_pull(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with pulling(tmp_path, blocks=2) as (bus, former, _):
            assert await take(former, 2) == [1, 2]
            later = pull_of_first(bus)
            _, last = await bus.events_stream()
            await later.open(last)
            assert await take(later, 1) == [2]
            assert await break_of(former) == "409 Consumer Deleted"
            await later.close()

    run(scenario())


def test_a_consumer_that_nobody_serves_breaks_the_pull(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (_, bus, _):
            await put(bus, range(PULL_BATCH))
            pull = pull_of_first(bus)
            await pull.open(1)
            await until(lambda: pull.queued == PULL_BATCH, "the first request is served")
            await bus.js.delete_consumer(subjects.EVENTS_STREAM, subjects.consumer(0))
            assert len(await pull.next(SHORT_S)) == PULL_BATCH
            assert (await break_of(pull)).startswith("503")
            await pull.close()

    run(scenario())


def test_no_block_is_lost_or_doubled_while_the_consumers_leader_moves(tmp_path: Path) -> None:
    """nats-io/nats.node#570, nats-io/nats-server#3143: by this pull, or by one made where it broke."""
    blocks = 4 * PULL_BATCH

    async def scenario(url: str) -> None:
        bus = await Bus.connect(url, "test", replicas=NODES)
        await bus.ensure_events_stream(bytes_max=10**8)
        _, before = await bus.events_stream()
        await put(bus, range(1, blocks + 1))

        async def opened() -> Pull | None:
            pull = pull_of_first(bus)
            with contextlib.suppress(NatsError, TimeoutError):
                await pull.open(before + len(got) + 1)
                return pull
            await pull.close()
            return None

        async def stepped_down() -> bool:
            request = f"$JS.API.CONSUMER.LEADER.STEPDOWN.{subjects.EVENTS_STREAM}.{subjects.consumer(0)}"
            with contextlib.suppress(NatsError, TimeoutError):
                return b'"success":true' in (await bus.client.request(request, timeout=2)).data
            return False

        got: list[int] = []
        moves = 0
        pull = await eventually(opened, "a consumer is made")
        assert pull is not None
        while len(got) < blocks:
            try:
                got += [int(message.data) for message in await pull.next(SHORT_S)]
            except PullBroken:
                await pull.close()
                pull = await eventually(opened, "a consumer is made")
                assert pull is not None
            if len(got) > (moves + 1) * PULL_BATCH and moves < 2:
                await eventually(stepped_down, "the consumer's leader steps down")
                moves += 1
        assert got == list(range(1, blocks + 1))
        assert moves == 2
        await pull.close()
        await bus.close()

    with nats_cluster(tmp_path) as cluster:
        run(scenario(cluster.url), within_s=120)
