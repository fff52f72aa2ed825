"""Whose trace contexts ingest follows, and the spans of a block."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.ingest.v1.ingest_pb2 import EventBatch
from mesh import telemetry
from mesh.auth import Identity
from mesh.tracing.kept import KeptSpans
from tests.support.games import run
from tests.support.ingest_server import GAME, serving


@pytest.mark.parametrize("is_producer", [True, False])
def test_only_a_sampled_context_of_a_trusted_role_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_producer: bool
) -> None:
    kept = KeptSpans("ingest", "ingest-1")
    monkeypatch.setattr(telemetry, "_kept", kept)
    identity = Identity("ann", is_producer, None, time.time() + 3600)

    async def scenario() -> None:
        async with serving(tmp_path, identity=identity) as served:
            stream = served.stream()
            # Not as a producer's stream: the token says what it may.
            await stream.hello(actor_id="ann")
            for seq, flag in ((1, 0), (2, 1)):
                event = Event(origin_seq=seq, game_id=GAME, score=Score(board_id="top", points=1))
                batch = EventBatch(events=[event], traceparent=f"00-{'a' * 32}-{'b' * 16}-0{flag}")
                await stream.say(events=batch)
                await stream.acked(seq)

    run(scenario())
    spans = json.loads(kept.page())["spans"]
    if not is_producer:
        assert spans == []
        return
    received, sent = spans
    assert (received["name"], received["parent_id"]) == ("receive events", "b" * 16)
    assert sent["name"].startswith("send events.")
    assert sent["parent_id"] == received["span_id"]
    assert sent["started_ns"] <= sent["events"][0][1] <= sent["ended_ns"]
