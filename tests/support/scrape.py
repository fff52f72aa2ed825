"""What a scrape finds, read by prometheus-client's own parser."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Scrape:
    """Raises ValueError for a text that is not OpenMetrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: dict[str, Family] = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in self.families, f"{family.name} comes twice"
            self.families[family.name] = family

    def samples(self, name: str, **labels: str) -> Iterator[Sample]:
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    yield sample

    def total(self, name: str, **labels: str) -> float:
        """Over all series that have these labels."""
        return sum(sample.value for sample in self.samples(name, **labels))


def got(url: str) -> tuple[int, str]:
    """HTTP status and content."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(url: str) -> Scrape:
    status, text = got(url)
    assert status == 200, text
    return Scrape(text)
