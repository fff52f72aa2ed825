"""One vote's trace, whole, as the operator finds it in the tracing UI."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from tests.browser.chromium import chromium
from tests.browser.parts import option, own_vote
from tests.browser.stage import new_stage
from tests.support.games import new_game, run
from tests.support.mesh_fixture import RunningMesh, running, wait_for
from tests.support.scrape import scrape
from toolbox.cli import sending, trace
from toolbox.local import provision
from toolbox.local.waterfall import VotePath, path_of_vote


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


Span = dict[str, Any]
"""As mesh.tracing writes one, with its service."""


def spans_of(mesh: RunningMesh, trace_id: str = "") -> list[Span]:
    """What the UI's API holds of a trace, or of all (OTLP JSON)."""
    url = f"{mesh.addresses.traces_ui}/api/telemetry/traces?limit=10000"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["data"]
    return [
        _span(span, {a["key"]: a["value"].get("stringValue") for a in resource["resource"]["attributes"]})
        for resource in found.get("resourceSpans", [])
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if span["traceId"].lower() == (trace_id or span["traceId"].lower())
    ]


def _span(span: dict[str, Any], resource: dict[str, Any]) -> Span:
    return {
        "service": str(resource["service.name"]),
        "name": span["name"],
        "trace_id": span["traceId"].lower(),
        "span_id": span["spanId"],
        "parent_id": span.get("parentSpanId") or "",
        "started_ns": int(span["startTimeUnixNano"]),
        "ended_ns": int(span["endTimeUnixNano"]),
        "attributes": {a["key"]: next(iter(a["value"].values()), None) for a in span.get("attributes", [])},
        "events": [(event["name"], int(event["timeUnixNano"])) for event in span.get("events", [])],
        "links": [link["traceId"].lower() for link in span.get("links", [])],
        "error": "",
    }


HOPS = {
    ("envoy-mesh", "grandstand.gateway.v1.GatewayService/Send"),
    ("gateway", "/grandstand.gateway.v1.GatewayService/Send"),
    ("ingest", "receive events"),
    ("ingest", "send events"),
    ("aggregate", "process events"),
    ("aggregate", "EVALSHA flush"),
    ("gateway", "process results"),
}


def missing(spans: list[Span], sender: str) -> list[object]:
    """What keeps the trace from being whole: hops that are not there, spans whose parent is not."""
    there = {
        (span["service"], span["name"].split(".")[0] if "events." in span["name"] else span["name"])
        for span in spans
    }
    known = {span["span_id"] for span in spans} | {sender}
    return [*(HOPS - there), *(span for span in spans if span["parent_id"] not in known)]


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
        kinds = {span["attributes"].get("messaging.operation.type"): span for span in spans}
        assert kinds["send"]["attributes"]["messaging.destination.name"].startswith("events.")
        assert kinds["process"]["attributes"]["messaging.system"] == "nats"
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
            while asked not in {(s["service"], s["name"]) for s in await asyncio.to_thread(spans_of, mesh)}:
                assert loop.time() < give_up_at
                await asyncio.sleep(0.1)
            assert await asyncio.to_thread(spans_of, mesh, trace_id) == []

    run(scenario())


def test_one_browser_vote_is_followed_by_its_trace_id_and_the_parts_of_its_latency_add_up(
    traced_mesh: RunningMesh,
) -> None:
    mesh = traced_mesh
    with new_stage(mesh.edge_url, mesh.edge, mesh.mesh) as stage, chromium() as browser:
        stage.open_poll()
        page = browser.new_page()
        page.goto(stage.url)
        with page.expect_response(lambda response: response.url.endswith("/Send")) as sent:
            option(page, "blue").click()
        expect(own_vote(page, "counted")).to_be_visible()
        said = re.search(r"On screen in (\d+)\sms", own_vote(page, "counted").inner_text())
        _, trace_id, *_ = sent.value.header_value("traceresponse").split("-")  # type: ignore[union-attr]
    ways: list[VotePath] = []

    def is_whole() -> bool:
        ways[:] = filter(None, [path_of_vote(spans_of(mesh, trace_id))])
        return bool(ways)

    wait_for(is_whole, f"the trace {trace_id} of the vote is whole")
    (way,) = ways
    assert list(dict.fromkeys(span["service"] for span in way.spans)) == [
        *("envoy-edge", "gateway", "ingest", "aggregate")
    ]
    assert way.spans[-1]["service"] == "gateway", "it is back with who shows it"
    names = [part.name for part in way.parts]
    for part in ("relay to ingest", "ingest: wait", "NATS", "fold", "Redis", "tick", "frame"):
        assert sum(part in name for name in names) == 1, (part, names)
    assert sum(part.ms for part in way.parts) == pytest.approx(way.total_ms)
    assert way.skew_ns < 1e6, "no span begins before what caused it"
    # The page has a stopwatch of its own, from the click to the screen: what it shows is in whole ms.
    assert said is not None
    assert way.total_ms <= float(said[1]) + 1.0, (way, said[1])
    # I1: the answer left after the PubAck.
    by_name = {span["name"].split(".")[0]: span for span in way.spans if span["service"] == "ingest"}
    answered = next(
        span for span in way.spans if span["name"] == "/grandstand.gateway.v1.GatewayService/Send"
    )
    assert by_name["send events"]["ended_ns"] <= answered["ended_ns"]


def test_a_commands_trace_goes_through_the_edge_and_its_waterfall_names_the_slowest_part(
    traced_mesh: RunningMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh = traced_mesh
    with new_stage(mesh.edge_url, mesh.edge, mesh.mesh) as stage:
        stage.open_poll()
        trace.vote(game=stage.game_id, home=mesh.home)
        drawn = capsys.readouterr().out
        trace.vote("mvp", "blue", game=stage.game_id, home=mesh.home, as_json=True)
        told = json.loads(capsys.readouterr().out)
        # By Publish, as native clients send.
        sending.vote("mvp", ["gold"], actor="cy", game=stage.game_id, home=mesh.home)
    assert "◀ the slowest" in drawn
    assert f"{mesh.addresses.traces_ui}/traces/detail/" in drawn
    assert told["slowest"] == max(told["parts"], key=lambda part: part["ms"])["name"]
    assert sum(part["ms"] for part in told["parts"]) == pytest.approx(told["seen_ms"])
    assert {span["service"] for span in told["spans"]} == {"cli", "gateway", "ingest", "aggregate"}

    def is_followed() -> bool:
        spans = spans_of(mesh)
        by_command = {span["trace_id"] for span in spans if span["name"] == "grandstand send vote"}
        return any(s["trace_id"] in by_command and s["name"].startswith("process events.") for s in spans)

    wait_for(is_followed, "the trace of `send vote` leads from the command to the fold")


def test_the_mesh_goes_on_without_its_tracing_ui(traced_mesh: RunningMesh) -> None:
    mesh = traced_mesh
    mesh.kill("traces")

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            positions = await game.send(game.vote("ann"))
            assert (await game.topic("poll/mvp", positions)).tally.voters == 1

    run(scenario())
