"""The proxies of chaos between real clients and real stores: silence, slowness, another clock, a failover."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import nats
import pytest
import redis
from nats.js.api import StreamConfig
from redis.asyncio import Redis

from tests.support.games import run
from tests.support.mesh_fixture import wait_for
from tests.support.nats_versions import nats_version, on_each_nats  # noqa: F401
from tests.support.servers import Stores, eventually, listens, stores
from toolbox.chaos import tmpfs
from toolbox.chaos.standby import Standby, second_valkey
from toolbox.chaos.ways import Ways, open_ways
from toolbox.local.ports import Ports

HOST = "127.0.0.1"
SHIFT_S = 40.0


@pytest.fixture
def found(tmp_path: Path) -> Iterator[tuple[Stores, Ways]]:
    with (
        stores(tmp_path / "stores") as started,
        closing(Ports()) as ports,
        open_ways(tmp_path, ["ingest-1"], ports) as ways,
    ):
        ways.target("nats", started.nats_url.removeprefix("nats://"))
        ways.target("valkey", started.redis_url.removeprefix("redis://"))
        wait_for(lambda: all(map(listens, ways.ports.values())), "the proxies listen")
        yield started, ways


def url(ways: Ways, store: str) -> str:
    scheme = "nats" if store == "nats" else "redis"
    return f"{scheme}://{HOST}:{ways.ports[f'ingest-1 {store}']}"


@on_each_nats
def test_what_was_stored_while_natss_clock_was_off_has_the_time_of_that_clock(
    found: tuple[Stores, Ways],
) -> None:
    started, ways = found

    async def read(at: str) -> list[float]:
        """Message times by a consumer and by direct gets, and the server's own time, in Unix seconds."""
        async with await nats.connect(at) as client:
            jetstream = client.jetstream()
            pulled = await jetstream.pull_subscribe_bind(stream="S", consumer="c")
            messages = await pulled.fetch(2, timeout=5)
            times = [message.metadata.timestamp.timestamp() for message in messages]
            for sequence in (1, 2):
                got = await jetstream.get_msg("S", sequence, direct=True)
                assert got.time is not None
                times.append(got.time.timestamp())
            info = await jetstream.stream_info("S")
            assert info.created is not None
            assert [message.data for message in messages] == [b"before", b"during"]
            return [*times, info.created.timestamp()]

    async def play() -> None:
        async with await nats.connect(url(ways, "nats")) as client:
            jetstream = client.jetstream()
            await jetstream.add_stream(StreamConfig(name="S", subjects=["s"], allow_direct=True))
            await jetstream.publish("s", b"before")
            ways.clock(SHIFT_S)

            async def is_off() -> bool:
                info = await client.request("$JS.API.STREAM.CREATE.T", b'{"name":"T","subjects":["t"]}')
                await client.request("$JS.API.STREAM.DELETE.T")
                created = str(info.data).partition('"created":"')[2][:19]
                return created > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + SHIFT_S / 2))

            await eventually(is_off, "NATS's clock is off")
            await jetstream.publish("s", b"during")
            for name in ("c", "d"):
                await jetstream.add_consumer("S", durable_name=name, ack_policy="none")

        shown = await read(url(ways, "nats"))
        async with await nats.connect(started.nats_url) as client:
            await client.jetstream().delete_consumer("S", "c")
            await client.jetstream().add_consumer("S", durable_name="c", ack_policy="none")
        true = await read(started.nats_url)
        off = [round(a - b, 6) for a, b in zip(shown, true, strict=True)]
        assert off == [0, SHIFT_S, 0, SHIFT_S, 0]

    run(play())


def test_a_way_that_is_held_carries_nothing_closes_nothing_and_delivers_late(
    found: tuple[Stores, Ways],
) -> None:
    _, ways = found

    async def play() -> None:
        for up, down in ((True, False), (False, True), (True, True)):
            client = Redis.from_url(url(ways, "valkey"), single_connection_client=True)
            async with client:
                await client.set("n", 0)
                ways.hold("ingest-1 valkey", up=up, down=down)
                asking = asyncio.create_task(client.incr("n"))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await asyncio.shield(asking)
                ways.hold("ingest-1 valkey", up=False, down=False)
                assert await asyncio.wait_for(asking, 5) == 1

    run(play())


def test_in_one_direction_the_store_has_heard_what_its_client_believes_lost(
    found: tuple[Stores, Ways],
) -> None:
    started, ways = found

    async def play() -> None:
        async with Redis.from_url(url(ways, "valkey"), single_connection_client=True) as client:
            await client.set("n", 0)
            ways.hold("ingest-1 valkey", up=False, down=True)
            asking = asyncio.create_task(client.incr("n"))
            async with Redis.from_url(started.redis_url) as direct:

                async def heard() -> bool:
                    return await direct.get("n") == b"1"

                await eventually(heard, "the store has heard it")
            assert not asking.done()
            ways.hold("ingest-1 valkey", up=False, down=False)
            assert await asking == 1

    run(play())


def test_replies_come_as_late_as_was_said_and_soon_again_afterwards(found: tuple[Stores, Ways]) -> None:
    _, ways = found

    async def play() -> None:
        async with Redis.from_url(url(ways, "valkey"), single_connection_client=True) as client:
            await client.ping()
            ways.slow("valkey", 0.3)

            async def is_slow() -> bool:
                began = time.monotonic()
                await client.ping()
                return time.monotonic() - began >= 0.3

            async def is_quick() -> bool:
                return not await is_slow()

            await eventually(is_slow, "replies are late")
            ways.slow("valkey", 0.0)
            await eventually(is_quick, "replies are not late any more")

    run(play())


def test_after_a_failover_open_connections_are_on_a_replica_and_new_ones_on_the_master(
    found: tuple[Stores, Ways], tmp_path: Path
) -> None:
    started, ways = found

    async def play(standby: Standby) -> None:
        async with Redis.from_url(url(ways, "valkey"), single_connection_client=True) as before:
            for turn in range(1, 3):
                await before.set("turn", turn)
                assert await standby.fail_over(10.0), "the replica has the data and is promoted"
                assert standby.failovers == turn

                async def is_read_only() -> bool:
                    try:
                        await before.set("turn", 9)
                    except redis.ReadOnlyError:
                        return True
                    return False

                await eventually(is_read_only, "the old master is a replica")
                async with Redis.from_url(url(ways, "valkey")) as after:
                    assert await after.get("turn") == b"%d" % turn
                    await after.set("turn", -turn)
                await before.aclose()

    with closing(Ports()) as ports, second_valkey(ports.take(), tmp_path / "second", 2**24) as second:
        run(play(Standby(ways, started.redis_url.removeprefix("redis://"), second)))


@pytest.mark.skipif(bool(tmpfs.why_not()), reason=tmpfs.why_not() or "-")
def test_a_disk_of_its_own_is_filled_and_freed_from_outside(tmp_path: Path) -> None:
    folder = tmp_path / "second"
    with closing(Ports()) as ports, second_valkey(ports.take(), folder, 2**23) as second:
        host, port = second.address.split(":")
        wait_for(lambda: listens(int(port)), "Valkey listens")
        disk = tmpfs.Disk(folder, lambda: second.pid)
        with redis.Redis(host=host, port=int(port)) as client:
            client.set("a", "a")
            assert disk.fill()

            def is_full() -> bool:
                try:
                    client.set("a", "b" * 100_000)
                except redis.ResponseError as error:
                    return "MISCONF" in str(error)
                return False

            wait_for(is_full, "writes are refused for want of space")
            disk.free()

            def has_space() -> bool:
                return not is_full()

            wait_for(has_space, "it goes on by itself")
    assert not list(folder.iterdir()), "the machine's own disk saw nothing of it"


def test_a_disk_that_is_nobodys_own_is_never_filled(tmp_path: Path) -> None:
    assert not tmpfs.Disk(tmp_path, os.getpid).fill()
    assert not tmpfs.Disk(tmp_path, lambda: None).fill()
    assert not list(tmp_path.iterdir())
