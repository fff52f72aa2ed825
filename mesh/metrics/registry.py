"""What a process measures: each declared metric with who reads it, at a scrape.

A source is a number, a mapping from label values to numbers, or histograms alike; a function is called at
each scrape, on the loop, between two of whose turns it sees one state. A source that fails is left out of
that scrape, is counted, and is told once; the others are served.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from mesh.metrics import declarations
from mesh.metrics.declarations import Declaration, MetricType
from mesh.metrics.histogram import Histogram

log = logging.getLogger(__name__)

Labels = str | Sequence[str]
"""The value of the one label, or the values of all, in the order of the declaration."""
Values = float | Mapping[str, float] | Mapping[tuple[str, ...], float] | Mapping[tuple[str, str], float]
Histograms = Histogram | Mapping[str, Histogram]
Read = Callable[[], Family]
"""Of one family, as it is now."""


class MetricRegistry:
    def __init__(self) -> None:
        self._reads: dict[str, Read] = {}
        self._failed: dict[str, int] = {}
        self.value(declarations.SCRAPE_FAILURES, lambda: self._failed)

    def value(self, declared: Declaration, source: Callable[[], Values | None]) -> None:
        """A counter or gauge; None: it is not known now."""
        self._add(declared, lambda: _family_of(declared, source()))

    def info(self, declared: Declaration, labels: Mapping[str, str]) -> None:
        def read() -> Family:
            family = InfoMetricFamily(declared.name, declared.help)
            family.add_metric((), dict(labels))
            return family

        self._add(declared, read)

    def histogram(self, declared: Declaration, source: Histogram | Callable[[], Histograms]) -> None:
        read = (lambda: source) if isinstance(source, Histogram) else source
        self._add(declared, lambda: _histogram_of(declared, read()))

    def collector(self, declared: Sequence[Declaration], collect: Callable[[], Iterator[Family]]) -> None:
        """One of prometheus-client's own, which gives the families of these declarations."""
        for each in declared:
            self._add(each, partial(_of_collector, each, collect))

    def _add(self, declared: Declaration, read: Read) -> None:
        assert declared.name not in self._reads, f"{declared.name} is read twice"
        self._reads[declared.name] = read

    @property
    def names(self) -> set[str]:
        """Of the declarations that are read here."""
        return set(self._reads)

    def families(self, only: Container[str] | None = None) -> Iterator[Family]:
        """`only`: the names of those that are read; None: all."""
        for name, read in self._reads.items():
            if only is not None and name not in only:
                continue
            try:
                yield read()
            except Exception:
                if name not in self._failed:
                    log.exception("metric %s cannot be read; it is left out", name)
                self._failed[name] = self._failed.get(name, 0) + 1


def _of_collector(declared: Declaration, collect: Callable[[], Iterator[Family]]) -> Family:
    family = next(family for family in collect() if family.name == declared.name)
    family.documentation, family.unit = declared.help, declared.unit
    return family


def _family_of(declared: Declaration, values: Values | None) -> Family:
    name, text, labels = declared.name, declared.help, declared.labels
    of = CounterMetricFamily if declared.kind is MetricType.COUNTER else GaugeMetricFamily
    family = of(name, text, labels=labels, unit=declared.unit)
    if isinstance(values, Mapping):
        for at, value in values.items():
            family.add_metric(_listed(at), value)
    elif values is not None:
        family.add_metric((), values)
    return family


def _histogram_of(declared: Declaration, histograms: Histograms) -> Family:
    family = HistogramMetricFamily(declared.name, declared.help, labels=declared.labels, unit=declared.unit)
    if isinstance(histograms, Histogram):
        family.add_metric((), *_buckets(histograms))
    else:
        for at, histogram in histograms.items():
            family.add_metric(_listed(at), *_buckets(histogram))
    return family


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float] | tuple[str, float, Exemplar]], float]:
    """Cumulated, as Prometheus has them; and the sum."""
    found: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    reached = 0
    for at, count in enumerate(histogram.counts):
        reached += count
        bound = str(float(histogram.bounds[at])) if at < len(histogram.bounds) else "+Inf"
        exemplar = histogram.exemplars.get(at)
        found.append((bound, reached) if exemplar is None else (bound, reached, _exemplar(*exemplar)))
    return found, histogram.sum


def _exemplar(value: float, traceparent: str) -> Exemplar:
    _, trace_id, span_id, _ = traceparent.split("-")
    return Exemplar({"trace_id": trace_id, "span_id": span_id}, value)


def _listed(at: Labels) -> Sequence[str]:
    return (at,) if isinstance(at, str) else at
