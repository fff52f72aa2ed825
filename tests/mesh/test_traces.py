"""One vote's trace, whole, as the operator finds it in the tracing UI."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from tests.support.games import new_game, run
from tests.support.mesh_fixture import RunningMesh, running, wait_for
from tests.support.scrape import scrape
from toolbox.local import provision


@pytest.fixture(scope="module")
def traced_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    try:
        provision.aspire()
    except provision.ProvisionError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no tracing UI here: {error}")
    with running(tmp_path_factory.mktemp("traced"), "--traces") as started:
        # The mesh does not wait for it: telemetry may be away.
        wait_for(lambda: started.service("traces").state == "ready", "the tracing UI is ready")
        yield started


class Span(NamedTuple):
    service: str
    name: str
    span_id: str
    parent_id: str


def spans_of(mesh: RunningMesh, trace_id: str = "") -> list[Span]:
    """What the UI's API holds of a trace, or of all (OTLP JSON)."""
    url = f"{mesh.addresses.traces_ui}/api/telemetry/traces?limit=10000"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["data"]
    spans = []
    for resource in found.get("resourceSpans", []):
        attributes = {a["key"]: a["value"].get("stringValue") for a in resource["resource"]["attributes"]}
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                if span["traceId"].lower() == (trace_id or span["traceId"].lower()):
                    parent = span.get("parentSpanId") or ""
                    spans.append(Span(str(attributes["service.name"]), span["name"], span["spanId"], parent))
    return spans


HOPS = {
    ("envoy-mesh", "grandstand.gateway.v1.GatewayService/Send"),
    ("gateway", "/grandstand.gateway.v1.GatewayService/Send"),
    ("ingest", "receive events"),
    ("ingest", "send events"),
    ("aggregate", "process events"),
    ("gateway", "fan out"),
}


def missing(spans: list[Span], sender: str) -> list[object]:
    """What keeps the trace from being whole: hops that are not there, spans whose parent is not."""
    there = {
        (span.service, span.name.split(".")[0] if "events." in span.name else span.name) for span in spans
    }
    known = {span.span_id for span in spans} | {sender}
    return [*(HOPS - there), *(span for span in spans if span.parent_id not in known)]


def test_one_votes_trace_runs_through_every_service(traced_mesh: RunningMesh) -> None:
    mesh = traced_mesh
    trace_id, sender = secrets.token_hex(16), secrets.token_hex(8)

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            async with game.watching("poll/mvp"):
                context = (("traceparent", f"00-{trace_id}-{sender}-01"),)
                inside = GatewayServiceStub(game.mesh)
                issued = await inside.IssueOrigin(gateway.IssueOriginRequest(), timeout=20)
                event = game.vote("ann", origin_id=issued.origin_id, origin_seq=1)
                await inside.Send(gateway.SendRequest(event=event), metadata=context, timeout=20)
                spans: list[Span] = []
                loop = asyncio.get_running_loop()
                give_up_at = loop.time() + 30
                while gaps := missing(spans, sender):
                    assert loop.time() < give_up_at, (gaps, spans)
                    await asyncio.sleep(0.1)
                    spans = await asyncio.to_thread(spans_of, mesh, trace_id)
        # The durations of its parts name it.
        found = await asyncio.to_thread(scrape, f"{mesh.addresses.metrics}")
        for part in ("rpc", "ingest_publish", "aggregate_flush"):
            buckets = found.samples(f"grandstand_{part}_duration_seconds_bucket")
            traces = {each.exemplar.labels["trace_id"] for each in buckets if each.exemplar is not None}
            assert trace_id in traces, part

    run(scenario())


def test_at_the_edge_nobody_joins_a_trace_or_has_one_made(traced_mesh: RunningMesh) -> None:
    mesh = traced_mesh
    trace_id, sender = secrets.token_hex(16), secrets.token_hex(8)

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            context = (("traceparent", f"00-{trace_id}-{sender}-01"),)
            await game.gateway.IssueOrigin(gateway.IssueOriginRequest(), metadata=context, timeout=20)
            asked = ("envoy-edge", "grandstand.gateway.v1.GatewayService/IssueOrigin")
            loop = asyncio.get_running_loop()
            give_up_at = loop.time() + 30
            while asked not in {(s.service, s.name) for s in await asyncio.to_thread(spans_of, mesh)}:
                assert loop.time() < give_up_at
                await asyncio.sleep(0.1)
            assert await asyncio.to_thread(spans_of, mesh, trace_id) == []

    run(scenario())


def test_the_mesh_goes_on_without_its_tracing_ui(traced_mesh: RunningMesh) -> None:
    mesh = traced_mesh
    mesh.kill("traces")

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            positions = await game.send(game.vote("ann"))
            assert (await game.topic("poll/mvp", positions)).tally.voters == 1

    run(scenario())
