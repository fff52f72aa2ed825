"""The texts of several processes become one, in which each family stands once."""

from __future__ import annotations

import pytest

from tests.support.scrape import Scrape
from toolbox.local.merged_metrics import MergedMetrics, NotMetrics

ONE = """\
# HELP a_seconds How long.
# TYPE a_seconds histogram
# UNIT a_seconds seconds
a_seconds_bucket{le="1.0"} 2.0 # {trace_id="ab"} 0.5
a_seconds_bucket{le="+Inf"} 3.0
a_seconds_count 3.0
a_seconds_sum 9.0
# HELP b Said "{so}".
# TYPE b counter
b_total{x="} 1"} 4.0
# EOF
"""
OTHER = """\
# HELP c Another.
# TYPE c gauge
c 1.0
# HELP b Said "{so}".
# TYPE b counter
b_total{x="y"} 6.0
# EOF
"""


def test_each_sample_says_whose_it_is() -> None:
    merged = MergedMetrics()
    merged.add(ONE, {"service": "ingest", "instance": "ingest-1"})
    merged.add(OTHER, {"service": "gateway", "instance": "gateway-1"})
    found = Scrape(merged.text().decode())
    assert list(found.families) == ["a_seconds", "b", "c"]
    assert found.total("a_seconds_count", service="ingest", instance="ingest-1") == 3
    assert found.total("b_total", x="} 1", instance="ingest-1") == 4
    assert found.total("b_total", x="y", instance="gateway-1") == 6
    assert found.total("c", service="gateway") == 1
    (sample,) = found.samples("a_seconds_bucket", le="1.0")
    assert sample.exemplar is not None
    assert sample.exemplar.labels == {"trace_id": "ab"}


def test_nothing_is_an_empty_text() -> None:
    assert MergedMetrics().text() == b"# EOF\n"


@pytest.mark.parametrize("text", ["", "<html>", ONE[:-6]])
def test_a_text_that_was_cut_off_is_not_taken(text: str) -> None:
    merged = MergedMetrics()
    with pytest.raises(NotMetrics):
        merged.add(text, {"service": "ingest"})
    assert merged.text() == b"# EOF\n"
