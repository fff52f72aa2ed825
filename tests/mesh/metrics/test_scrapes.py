"""What a real mesh tells of itself: every declared metric of every process, moved by traffic."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grandstand.catalog.v1 import catalog_pb2
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from grandstand.event.v1.event_pb2 import Event, Vote
from mesh.metrics import declarations as d
from tests.support.games import new_game, run
from tests.support.mesh_fixture import RunningMesh, wait_for
from tests.support.scrape import got, scrape


def url(mesh: RunningMesh) -> str:
    found = mesh.addresses.metrics
    assert found is not None
    return found


def test_every_process_has_the_metrics_that_are_declared_for_it_and_no_others(mesh: RunningMesh) -> None:
    found = scrape(url(mesh))
    services = {"ingest-1", "ingest-2", "aggregate-1", "gateway-1", "gateway-2", "notify-1"}
    assert {sample.labels["instance"] for sample in found.samples("grandstand_up", service="ingest")} == {
        "ingest-1",
        "ingest-2",
    }
    assert found.total("grandstand_up") == len(services)
    # This mesh has no canary: tests/mesh/canary looks at its metrics.
    table = [each for each in d.TABLE if each.of != ("canary",)]
    assert found.families.keys() == {each.name for each in table}
    for each in table:
        family = found.families[each.name]
        assert (family.type, family.unit, family.documentation) == (each.kind, each.unit, each.help)
        for sample in family.samples:
            assert sample.labels["service"] in each.of or each is d.UP
            labels = sample.labels.keys() - {"service", "instance", "le"}
            assert labels == set(each.labels) or each is d.BUILD
    assert found.total("grandstand_scrape_failures_total") == 0
    # Every process says something of each that has no labels which nothing has moved yet.
    for each in table:
        if not each.labels and each is not d.UP:
            said = {sample.labels["service"] for sample in found.families[each.name].samples}
            assert said == set(each.of) - {"canary"}, each.name


MOVED: tuple[tuple[str, dict[str, str]], ...] = (
    ("grandstand_ingest_events_received_total", {}),
    ("grandstand_ingest_events_stored_total", {}),
    ("grandstand_ingest_blocks_stored_total", {}),
    ("grandstand_ingest_publish_duration_seconds_count", {}),
    ("grandstand_ingest_block_events_sum", {}),
    ("grandstand_ingest_stored_bytes_total", {}),
    ("grandstand_ingest_events_rejected_total", {"reason": "Unknown"}),
    ("grandstand_aggregate_events_folded_total", {}),
    ("grandstand_aggregate_blocks_folded_total", {}),
    ("grandstand_aggregate_flush_duration_seconds_count", {}),
    ("grandstand_aggregate_flush_rows_sum", {}),
    ("grandstand_gateway_ticks_total", {}),
    ("grandstand_gateway_frames_total", {"kind": "snapshot"}),
    ("grandstand_gateway_join_duration_seconds_count", {}),
    ("grandstand_http2_received_bytes_total", {}),
    ("grandstand_nats_messages_total", {"direction": "in"}),
    ("grandstand_catalog_changes_total", {}),
    ("grandstand_rpc_ended_total", {"method": "grandstand.gateway.v1.GatewayService/Send", "code": "OK"}),
    ("grandstand_rpc_ended_total", {"code": "NOT_FOUND", "service": "aggregate"}),
    ("grandstand_rpc_duration_seconds_count", {"method": "grandstand.catalog.v1.CatalogService/OpenPoll"}),
)


def test_values_move_with_traffic(mesh: RunningMesh) -> None:
    before = scrape(url(mesh))

    def game_has_viewers() -> bool:
        now = scrape(url(mesh))
        viewers = now.total("grandstand_gateway_viewers")
        return 1 <= now.total("grandstand_gateway_game_viewers") <= viewers

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            async with game.watching("poll/mvp"):
                await game.send(game.vote("ann"))
                # What is scraped may be of a moment ago.
                await asyncio.to_thread(
                    wait_for, game_has_viewers, "a game has viewers, and the viewer is told"
                )
                with pytest.raises(grpc.aio.AioRpcError):
                    await game.send(
                        Event(game_id=game.game_id, vote=Vote(poll_id="none", option_ids=["red"]))
                    )
                catalog = CatalogServiceStub(game.mesh)
                with pytest.raises(grpc.aio.AioRpcError):
                    await catalog.GetGame(catalog_pb2.GetGameRequest(game_id="no-such-game"), timeout=20)

    run(scenario())

    def still() -> list[str]:
        now = scrape(url(mesh))
        return [f"{name} {of}" for name, of in MOVED if now.total(name, **of) <= before.total(name, **of)]

    wait_for(lambda: not still(), "every value has moved")
    assert scrape(url(mesh)).total("grandstand_aggregate_partitions_owned") == 16


def test_each_process_says_how_its_dependencies_are(mesh: RunningMesh) -> None:
    status, content = got(url(mesh).replace("/metrics", "/readyz"))
    said = json.loads(content)
    assert (status, said["ok"]) == (200, True)
    assert said["processes"].keys() == {
        *("ingest-1", "ingest-2", "aggregate-1", "gateway-1", "gateway-2", "notify-1")
    }
    for each in said["processes"].values():
        assert each["state"] == "serving"
        assert {"catalog", "clock"} <= {named["name"] for named in each["dependencies"]}
        assert all(named["ok"] for named in each["dependencies"])


def test_grpc_health_has_the_dependencies_of_both_kinds_of_listener(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        for name, dependencies in (
            ("gateway-1", ("nats", "redis", "catalog", "clock")),
            ("aggregate-1", ("nats", "redis", "catalog", "clock")),
            ("ingest-1", ("event-log", "disk", "room")),
        ):
            async with grpc.aio.insecure_channel(mesh.service(name).address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                for each in dependencies:
                    request = health_pb2.HealthCheckRequest(service=f"dependency/{each}")
                    answer = await stub.Check(request, timeout=20)
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, each)

    run(scenario())


def test_envoys_own_metrics_are_beside_ours(mesh: RunningMesh) -> None:
    status, text = got(f"{url(mesh)}/envoy")
    assert status == 200
    assert "# TYPE envoy_cluster_upstream_rq_total counter" in text
    assert 'envoy_cluster_name="edge-aggregate"' in text


def test_forty_who_scrape_at_once_get_one_text(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        texts = await asyncio.gather(*(asyncio.to_thread(got, url(mesh)) for _ in range(40)))
        assert {status for status, _ in texts} == {200}
        # Threads do not all ask within the same quarter of a second on a busy machine.
        assert len({text for _, text in texts}) < 20

    run(scenario())


def test_nothing_listens_beyond_loopback_unless_it_is_asked_to(mesh: RunningMesh) -> None:
    assert urlsplit(url(mesh)).hostname == "127.0.0.1"
    assert mesh.status().addresses.metrics == url(mesh)
