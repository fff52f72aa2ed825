"""I4: ingest stops before the event log is full, controls still fit, and nothing unstored is acked."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire import ids
from grandstand.wire.errors import Exhausted
from ingest import publisher
from ingest.log_capacity import RESERVE, LogCapacity
from mesh import telemetry
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from mesh.tracing.kept import KeptSpans
from tests.support.games import run, until
from tests.support.ingest_server import serving

BYTES_MAX = 200_000


@given(st.integers(0, 10**10), st.integers(-1, 10**10))
def test_there_is_room_until_less_than_the_reserve_is_left(used: int, bytes_max: int) -> None:
    capacity = LogCapacity()
    assert capacity.refusal() is None
    capacity.update(used, bytes_max)
    full = bytes_max > 0 and (bytes_max - used) / bytes_max < RESERVE
    refusal = capacity.refusal()
    assert (refusal is not None) == full
    if refusal is not None:
        assert refusal.retryable
        assert f"{used} of at most {bytes_max} bytes" in refusal.message


async def fill(pipeline: PublishPipeline, bus: Bus, up_to: float) -> None:
    """Blocks of others, until the log holds this share of its bound."""
    number = 0
    while (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.bytes < up_to * BYTES_MAX:
        await pipeline.publish(subjects.events(9), bytes(1_000), f"fill-{number}")
        number += 1


def relayed(seq: int) -> dict[str, object]:
    origin_id = ids.new_origin(producer=False, now_s=time.time(), entropy=seq.to_bytes(12, "big"))
    return {"origin_id": origin_id, "actor_id": "bob"}


def test_i4_a_nearly_full_log_takes_no_event_and_still_takes_controls(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, bytes_max=BYTES_MAX) as served:
            bus, pipeline = served.bus, served.pipeline
            ann, gateway = served.stream(), served.stream()
            await ann.hello(actor_id="ann")
            await gateway.hello(producer=True)
            await ann.score(1)
            await ann.acked(1)
            await fill(pipeline, bus, 1 - RESERVE + 0.005)
            credit = (await ann.until("credit")).credit
            assert (credit.credit, credit.reason) == (0, "the event log is full")
            before = (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages
            await ann.score(2, 3)
            await gateway.score(7, **relayed(7))
            reject = (await gateway.until("reject")).reject
            assert (reject.origin_seq, reject.code, reject.retryable) == (7, Exhausted.code, True)
            assert "the event log is nearly full; send again once the operator" in reject.message
            assert any(stream.is_held for stream in served.service.streams), "ann waits"
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == before
            await pipeline.publish(subjects.events(1), bytes(1_000), "control-poll.g.mvp-2-1")
            await bus.js.purge_stream(subjects.EVENTS_STREAM)
            await ann.acked(3)
            assert not any(each.HasField("reject") for each in ann.heard)
            await gateway.score(8, **relayed(8))
            while not (await gateway.until("ack")).ack.receipts:
                pass

    run(scenario())


def test_i1_what_a_full_log_refuses_is_not_acked_and_stored_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The bound was reached between two looks: the block is refused by the log itself. It is not traced, and
    gets spans after the fact."""
    kept = KeptSpans("ingest", "ingest-1")
    monkeypatch.setattr(telemetry, "_kept", kept)
    monkeypatch.setattr(publisher, "AGAIN_S", 0.01)
    monkeypatch.setattr(publisher, "COMPLAIN_EVERY_S", 3_600.0)

    async def scenario() -> None:
        async with serving(tmp_path, bytes_max=BYTES_MAX, looks_for_room=False) as served:
            with pytest.raises(Exhausted):
                await fill(served.pipeline, served.bus, 2.0)
            stream = served.stream()
            await stream.hello(actor_id="ann")
            # More than whatever the filling left: no block of its size fits any more.
            await stream.score(*range(1, 61))
            await until(lambda: served.publisher.refused_blocks > 3, "the log has refused the block again")
            span = json.loads(kept.page())["spans"][0]
            assert span["name"].startswith("send events.")
            assert span["attributes"]["grandstand.kept_because"] == "failed"
            assert "full" in span["error"] or "maximum bytes" in span["error"], span["error"]
            assert caplog.text.count("not stored") == 1, "a line now and then, not one for each block"
            assert not any(each.HasField("ack") or each.HasField("reject") for each in stream.heard)
            await served.bus.js.purge_stream(subjects.EVENTS_STREAM)
            await stream.acked(60)

    run(scenario())
