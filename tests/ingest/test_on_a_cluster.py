"""I1, I2 end to end on a cluster of three: clients of a real ingest whose nats-server, which leads the event
stream too, dies or stands still. Their streams stay open, and what they were acked is counted once."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import api as js_api

from aggregate.origins import OriginWindows
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Heartbeat, Hello, PublishRequest, PublishResponse
from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.mesh.jetstream.test_nats_cluster import ELECTION_S, stored_messages
from tests.support.games import run, until
from tests.support.lone_ingest import GAME, PUBLISH, definitions, score
from tests.support.mesh_fixture import wait_for
from tests.support.nats_cluster import NODES, NatsCluster, nats_cluster
from tests.support.servers import HOST, Process, eventually, listens
from toolbox.local import development
from toolbox.local.ports import Ports

STREAMS = 8
BATCH = 4
CREDIT_GONE_S = 2.0


class Client:
    """One Publish stream, never opened again: sends what its credit lets it, without a pause."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        method = channel.stream_stream(
            PUBLISH,
            request_serializer=PublishRequest.SerializeToString,
            response_deserializer=PublishResponse.FromString,
        )
        self._call: Any = method(metadata=(("authorization", f"Bearer {token}"),))
        self._stopping = False
        self._heard = asyncio.Event()
        self.origin_id = ""
        self.sent = self.acked = self.credit = 0
        self.rejects: list[str] = []
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    async def _write(self) -> None:
        await self._call.write(PublishRequest(hello=Hello()))
        await self._heard.wait()
        beat_at = 0.0
        loop = asyncio.get_running_loop()
        while not self._stopping:
            if self.acked + self.credit >= self.sent + BATCH:
                numbers = range(self.sent + 1, self.sent + 1 + BATCH)
                self.sent += BATCH
                await self._say(events=EventBatch(events=map(event, numbers)))
            elif loop.time() - beat_at > wire_bounds.PUBLISH_HEARTBEAT_S / 2:
                beat_at = loop.time()
                await self._say(heartbeat=Heartbeat())
            await asyncio.sleep(0.01)
        await self._call.done_writing()

    async def _say(self, **fields: Any) -> None:
        await self._call.write(PublishRequest(**fields))

    async def _read(self) -> None:
        async for response in self._call:
            kind = response.WhichOneof("message")
            if kind == "welcome":
                self.origin_id, self.credit = response.welcome.origin_id, response.welcome.credit
            elif kind == "ack":
                self.acked = response.ack.origin_seq
                assert not response.ack.shed_origin_seqs
            elif kind == "credit":
                self.credit = response.credit.credit
            elif kind == "reject":
                self.rejects.append(response.reject.message)
            self._heard.set()

    async def end(self) -> None:
        """Half-closes: the server settles everything and ends the stream."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        assert (await self._call.code(), self.rejects) == (grpc.StatusCode.OK, [])


def event(origin_seq: int) -> Event:
    if origin_seq % 2:
        return score(origin_seq)
    return Event(origin_seq=origin_seq, game_id=GAME, vote=Vote(poll_id="mvp", option_ids=["red"]))


def start_ingest(folder: Path, ports: Ports, nats_url: str) -> tuple[Process, str]:
    """Answers its address."""
    development.ensure_development_key(folder)
    port = ports.take()
    process = Process(
        "ingest-1",
        [
            *(sys.executable, "-m", "ingest", "--instance", "ingest-1", "--listen", f"{HOST}:{port}"),
            *("--nats", nats_url, "--redis", f"redis://{HOST}:1", "--mesh", f"{HOST}:1"),
            *("--keys", folder / development.DEVELOPMENT_KEY),
            *("--mesh-key", development.ensure_mesh_key(folder)),
        ],
        folder,
    )
    process.start()
    wait_for(lambda: listens(port) or not process.running, "ingest listens")
    assert process.running, process.said()[-2_000:]
    return process, f"{HOST}:{port}"


async def prepare(cluster: NatsCluster) -> Bus:
    bus = await Bus.connect(cluster.url, "test", replicas=NODES)
    await bus.ensure_events_stream(bytes_max=10**9)
    config = js_api.KeyValueConfig(
        bucket=subjects.CATALOG_BUCKET, storage=js_api.StorageType.FILE, replicas=bus.replicas
    )

    async def defined() -> bool:
        # A new group of servers elects its leader first.
        with suppress(NatsTimeoutError):
            bucket = await bus.js.create_key_value(config)
            for key, definition in definitions().items():
                await bucket.put(key, definition.SerializeToString())
            return True
        return False

    await eventually(defined, "the catalog is stored")
    return bus


async def counted(bus: Bus) -> tuple[dict[tuple[bytes, int], int], int]:
    """How often the fold's windows admit each (origin, number), and how many rows they refuse."""
    found: dict[tuple[bytes, int], int] = {}
    refused = 0
    windows: dict[str, OriginWindows] = {}
    for message in await stored_messages(bus):
        assert message.data is not None
        assert message.subject is not None
        events = Block.FromString(message.data).events
        origin = np.frombuffer(events.origin, dtype="<u2").astype(np.int64)
        sequence = np.frombuffer(events.origin_seq, dtype="<u8")
        window = windows.setdefault(message.subject, OriginWindows())
        admitted = window.admit(events.viewers, events.producers, origin, sequence).new
        keys = events.viewers + events.producers
        for at in np.flatnonzero(admitted):
            key = keys[16 * origin[at] : 16 * origin[at] + 16], int(sequence[at])
            found[key] = found.get(key, 0) + 1
        refused += len(admitted) - int(admitted.sum())
    return found, refused


@pytest.mark.parametrize("strike", ["kill", "stop"])
def test_i1_i2_streams_stay_open_without_credit_while_the_log_has_no_leader_and_each_event_counts_once(
    tmp_path: Path, record_property: pytest.RecordProperty, strike: str
) -> None:
    async def scenario(cluster: NatsCluster, ports: Ports) -> None:
        loop = asyncio.get_running_loop()
        bus = await prepare(cluster)
        leader = await cluster.leader(bus)
        ingest, address = await asyncio.to_thread(start_ingest, tmp_path, ports, cluster.url_of(leader))
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                tokens = [development.development_token(tmp_path, f"actor-{n}") for n in range(STREAMS)]
                clients = [Client(channel, token) for token in tokens]
                await until(lambda: all(client.acked > 20 for client in clients), "all are acked")

                if strike == "kill":
                    leader.kill()
                else:
                    await cluster.stop(leader)
                struck_at = loop.time()
                await until(lambda: not any(client.credit for client in clients), "no credit", CREDIT_GONE_S)
                gone_s = loop.time() - struck_at
                before = [client.acked for client in clients]
                await until(lambda: all(client.credit for client in clients), "credit is back", ELECTION_S)
                back_s = loop.time() - struck_at
                if strike == "stop":
                    leader.send_signal(signal.SIGCONT)
                await until(
                    lambda: all(
                        c.acked > was + wire_bounds.VIEWER_CREDIT
                        for c, was in zip(clients, before, strict=True)
                    ),
                    "all are acked again",
                )
                await asyncio.gather(*(client.end() for client in clients))
            assert all(client.acked == client.sent for client in clients)
            found, refused = await counted(bus)
            acked = {
                (ids.origin_key(client.origin_id), number): 1
                for client in clients
                for number in range(1, client.acked + 1)
            }
            assert found == acked
            print(
                f"credit gone after {gone_s:.2f} s, back after {back_s:.2f} s; {len(acked)} events counted, "
                f"{refused} stored again and refused by the windows"
            )
            record_property("credit_back_s", back_s)
        finally:
            ingest.end()
            await bus.close()

    with nats_cluster(tmp_path / "nats") as cluster, closing(Ports()) as ports:
        run(scenario(cluster, ports), within_s=120)
