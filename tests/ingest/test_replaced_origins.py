"""I2: origins that must leave, or are over, are replaced before anything of theirs could be lost."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import OriginRefused
from ingest import bounds
from ingest.service import STREAMS_LOOK_S
from mesh.jetstream import subjects
from tests.support.blocks import origin
from tests.support.games import run
from tests.support.ingest_server import Served, serving


async def announce(served: Served, from_s: int) -> None:
    status = PartitionStatus(partition=3, owner="aggregate-1", origins_from_s=from_s)
    await served.bus.client.publish(subjects.partition_status(3), status.SerializeToString())


def test_streams_finish_and_resume_under_new_origins_and_what_is_relayed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "FINISH_PATIENCE_S", STREAMS_LOOK_S / 2)

    async def scenario() -> None:
        async with serving(tmp_path) as served:
            polite, stubborn = served.stream(), served.stream()
            for stream in (polite, stubborn):
                await stream.hello(actor_id="ann")
                await stream.score(1)
                await stream.acked(1)
            old = polite.heard[0].welcome.origin_id
            await announce(served, ids.origin_issued_at_s(old) + 1)
            await polite.until("drain")
            await polite.score(2)
            await polite.half_close()
            assert (await polite.ending())[0] is grpc.StatusCode.OK
            assert polite.heard[-1].ack.origin_seq == 2, "nothing of it is uncertain"
            assert await stubborn.ending() == (
                grpc.StatusCode.UNAVAILABLE,
                "the stream was asked to finish; resume on a new one",
            )
            again = served.stream()
            await again.hello(actor_id="ann", origin_id=old, next_origin_seq=3)
            welcome = again.heard[0].welcome
            assert "had to make room for newer ones" in welcome.replaced
            assert (welcome.origin_id != old, welcome.next_origin_seq) == (True, 1)
            gateway = served.stream()
            await gateway.hello(producer=True)
            for origin_id, wanted in ((old, "reject"), (origin(1, now_s=time.time() + 60), "ack")):
                await gateway.score(1, origin_id=origin_id, actor_id="ann")
                answer = await gateway.until(wanted)
                if wanted == "reject":
                    told = answer.reject
                    assert told.code == OriginRefused.code
                    assert (told.origin_refused, told.maybe_stored) == (True, True)

    run(scenario())


def test_a_stream_does_not_outlive_its_origins_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as served:
            stream = served.stream()
            await stream.hello(actor_id="ann")
            monkeypatch.setattr(wire_bounds, "ORIGIN_AGE_MAX_S", -5)
            await stream.until("drain")

    run(scenario())
