"""A registry gives what its sources say, one family for each declaration, as OpenMetrics."""

from __future__ import annotations

import asyncio
import logging

import pytest
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from mesh.http2.errors import CANCELLED, UNAVAILABLE
from mesh.metrics import declarations as d
from mesh.metrics.exposition import Exposition
from mesh.metrics.histogram import Histogram
from mesh.metrics.hottest import hottest
from mesh.metrics.process import ProcessWatch
from mesh.metrics.registry import MetricRegistry
from mesh.metrics.rpc_counts import METHODS_MAX, RpcCounts
from tests.support.scrape import Scrape


def scraped(registry: MetricRegistry) -> Scrape:
    async def scenario() -> str:
        return (await Exposition(registry).rendered.get()).decode()

    return Scrape(asyncio.run(scenario()))


def test_values_labels_histograms_and_exemplars_are_read_back() -> None:
    registry, publish_s = MetricRegistry(), Histogram()
    for seconds in (0.002, 0.3):
        publish_s.observe(seconds, f"00-{'a' * 32}-{'b' * 16}-01")
    registry.value(d.INGEST_BLOCKS, lambda: 7)
    registry.value(d.INGEST_SHED, lambda: {"measure": 2, 'a "quoted"\nkind': 1})
    registry.value(d.CLOCK_OFFSET, lambda: None)
    registry.histogram(d.INGEST_PUBLISH, publish_s)
    found = scraped(registry)
    assert found.total("grandstand_ingest_blocks_stored_total") == 7
    assert found.total("grandstand_ingest_events_shed_total", kind='a "quoted"\nkind') == 1
    assert found.families["grandstand_clock_offset_seconds"].samples == []
    assert found.total("grandstand_ingest_publish_duration_seconds_count") == 2
    assert found.total("grandstand_ingest_publish_duration_seconds_bucket", le="0.0025") == 1
    (slow,) = found.samples("grandstand_ingest_publish_duration_seconds_bucket", le="0.5")
    assert slow.exemplar is not None
    assert slow.exemplar.labels == {"trace_id": "a" * 32, "span_id": "b" * 16}


def test_a_source_that_fails_is_left_out_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    registry = MetricRegistry()
    registry.value(d.INGEST_BLOCKS, lambda: 1 / 0)
    registry.value(d.INGEST_STORED, lambda: 5)
    with caplog.at_level(logging.ERROR):
        scraped(registry)
        found = scraped(registry)
    assert "grandstand_ingest_blocks_stored" not in found.families
    assert found.total("grandstand_ingest_events_stored_total") == 5
    # What failed in this scrape is counted in the next.
    assert found.total("grandstand_scrape_failures_total", metric=d.INGEST_BLOCKS.name) == 1
    assert len(caplog.records) == 1


def test_a_declaration_is_read_once() -> None:
    registry = MetricRegistry()
    registry.value(d.INGEST_BLOCKS, lambda: 7)
    with pytest.raises(AssertionError, match="twice"):
        registry.value(d.INGEST_BLOCKS, lambda: 7)


def test_the_series_of_a_process_do_not_grow_with_games_or_with_what_clients_invent() -> None:
    registry, rpc = MetricRegistry(), RpcCounts()
    registry.value(d.GATEWAY_GAME_VIEWERS, lambda: hottest({f"game-{n}": n for n in range(1000)}))
    registry.value(d.RPC_OPENED, rpc.opened_by_method)
    for method in range(2 * METHODS_MAX):
        rpc.open(f"/a.B/{method}")
    found = scraped(registry)
    assert len(found.families["grandstand_gateway_game_viewers"].samples) == 11
    assert len(found.families["grandstand_rpc_opened"].samples) == METHODS_MAX + 1
    assert found.total("grandstand_rpc_opened_total") == 2 * METHODS_MAX


def test_calls_are_told_by_method_and_code() -> None:
    registry, rpc = MetricRegistry(), RpcCounts()
    registry.value(d.RPC_ENDED, rpc.ended_by_code)
    registry.histogram(d.RPC_SECONDS, rpc.seconds_by_method)
    for code in (0, 0, CANCELLED, UNAVAILABLE, 99):
        rpc.open("/a.B/C").end(code, 0.01, "")
    found = scraped(registry)
    codes = {
        sample.labels["code"]: sample.value
        for sample in found.samples("grandstand_rpc_ended_total", method="a.B/C")
    }
    assert codes == {"OK": 2, "CANCELLED": 1, "UNAVAILABLE": 1, "UNKNOWN": 1}
    assert found.total("grandstand_rpc_duration_seconds_count", method="a.B/C") == 5


def test_a_process_measures_its_loop_and_its_collections() -> None:
    async def scenario() -> Scrape:
        registry = MetricRegistry()
        watch, exposition = ProcessWatch(registry), Exposition(registry, cached_s=0)
        watch.start()
        try:
            while True:
                found = Scrape((await exposition.rendered.get()).decode())
                if found.total("grandstand_event_loop_lag_seconds_count"):
                    return found
        finally:
            watch.stop()

    found, own = asyncio.run(asyncio.wait_for(scenario(), 20)), CollectorRegistry()
    given = {each.name for each in (*ProcessCollector(registry=None).collect(), *GCCollector(own).collect())}
    assert {each.name for each in (*d.PROCESS, *d.COLLECTIONS)} == given <= found.families.keys()
    assert found.total("process_resident_memory_bytes") > 0
    assert found.total("grandstand_build_info") == 1
