"""docs/metrics.md has the metrics that are declared, under names that follow Prometheus's conventions.

That each process exposes exactly what is declared for it is tested on a real mesh (tests/mesh/metrics).
"""

from __future__ import annotations

import re

import pytest

from mesh.metrics.declarations import TABLE, Declaration, MetricType
from mesh.metrics.table import put_into
from toolbox.local.provision import checkout

DOCUMENT = checkout() / "docs" / "metrics.md"


def test_the_table_is_the_code() -> None:
    text = DOCUMENT.read_text()
    assert put_into(text) == text, "rewrite it: python -m mesh.metrics.table docs/metrics.md"


def test_each_metric_that_the_text_names_is_declared() -> None:
    named = set(re.findall(r"`(grandstand_[a-z0-9_]+)", DOCUMENT.read_text()))
    assert named == {each.exposed for each in TABLE if each.name.startswith("grandstand_")}


@pytest.mark.parametrize("declared", TABLE, ids=lambda declared: declared.name)
def test_names_follow_the_conventions(declared: Declaration) -> None:
    assert re.fullmatch(r"(grandstand|process|python)(_[a-z0-9]+)+", declared.name)
    assert not declared.name.endswith(("_total", "_info", "_count", "_sum", "_bucket"))
    assert declared.name.endswith(declared.unit)
    assert not re.search(r"_(ms|milliseconds|us|kb|mb|percent)(_|$)", declared.name), "base units"
    assert declared.help.endswith(".")
    assert all(re.fullmatch(r"[a-z]+", label) for label in declared.labels)
    assert not {"le", "service", "instance"} & set(declared.labels)
    if declared.kind is MetricType.HISTOGRAM:
        assert declared.unit or "_block_" in declared.name or "_flush_" in declared.name
