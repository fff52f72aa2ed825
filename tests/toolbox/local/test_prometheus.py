"""The Prometheus of `up --metrics`: where it comes from, what it scrapes, and that its pages are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolbox.local import prometheus, provision
from toolbox.local.home import Home
from toolbox.local.metrics_collector import Scraped
from toolbox.local.provision import ProvisionError


def test_each_process_is_scraped_by_itself_and_envoy_by_way_of_up() -> None:
    processes = (Scraped("ingest", "ingest-1", 7001), Scraped("canary", "canary", 7002))
    found = json.loads(prometheus.config(processes, 8082, Path("/a b/rules.yml")))
    assert found["rule_files"] == ["/a b/rules.yml"]
    own, envoy = found["scrape_configs"]
    assert own["job_name"] == "grandstand"
    assert own["static_configs"] == [
        {"targets": ["127.0.0.1:7001"], "labels": {"service": "ingest", "instance": "ingest-1"}},
        {"targets": ["127.0.0.1:7002"], "labels": {"service": "canary", "instance": "canary"}},
    ]
    assert envoy["metrics_path"] == "/metrics/envoy"
    assert envoy["static_configs"][0]["targets"] == ["127.0.0.1:8082"]


def test_one_that_is_named_is_taken_and_one_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "prometheus"
    program.touch(mode=0o700)
    monkeypatch.setenv("PROMETHEUS", str(program))
    assert prometheus.prometheus() == program
    program.unlink()
    with pytest.raises(ProvisionError, match="no program that can be run; name one or unset it"):
        prometheus.prometheus()


def test_an_unpacked_one_finds_its_pages_below_the_folder_it_is_started_in(tmp_path: Path) -> None:
    program = prometheus.prometheus(lambda _: None)
    started_in = prometheus.process(program, 9090, Home(tmp_path), 0).cwd
    assert started_in is not None
    if not started_in.is_relative_to(provision.tools_dir()):
        pytest.skip("this machine has a Prometheus of its own")
    assert (started_in / "usr/share/prometheus/web/templates/_base.html").is_file()
    assert b"/usr/share/prometheus/web/" not in program.read_bytes()
