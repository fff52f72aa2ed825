"""Findings from the metrics of a mesh: as they are now and, for rates, as they were a moment ago. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grandstand.wire import bounds as wire_bounds
from mesh.metrics import declarations as d
from toolbox.doctor.facts import Labels, Sample
from toolbox.doctor.findings import (
    CLOCK_S,
    LAG_S,
    OVERLOAD_LEVEL,
    PRESSURE,
    SLOW_S,
    USED,
    Diagnosis,
    clock_finding,
    dead_letters,
    disk_findings,
    error,
    log_finding,
    slow_finding,
    warning,
)

_Key = tuple[str, str]


def metric_findings(now: Sequence[Sample], before: Sequence[Sample]) -> Iterator[Diagnosis]:
    if not now:
        return
    yield from _slow(now, before)
    yield from _folding(now)
    yield from _ingest(now)
    for sample in _of(now, d.CLOCK_OFFSET.exposed):
        if abs(sample.value) > CLOCK_S:
            yield clock_finding(_who(sample), sample.value)
    for sample in _of(now, d.GATEWAY_OVERLOAD.exposed):
        if sample.value >= OVERLOAD_LEVEL:
            yield warning(
                "overloaded",
                _who(sample),
                f"its overload level is {sample.value:.0f} of 10: viewers get fewer updates; at 10 new ones"
                " are refused",
                "start more gateways (--gateway), or see what else uses its CPU",
            )
    open_files = {_who(sample): sample.value for sample in _of(now, "process_open_fds")}
    for sample in _of(now, "process_max_fds"):
        if open_files.get(_who(sample), 0.0) > USED * sample.value:
            yield warning(
                "files-used-up",
                _who(sample),
                f"it has {open_files[_who(sample)]:.0f} of {sample.value:.0f} files and sockets open",
                "raise the limit (ulimit -Hn, LimitNOFILE=), or start more of it",
            )
    letters = sum(sample.value for sample in _of(now, d.AGGREGATE_DEAD_LETTERS.exposed))
    if letters:
        yield dead_letters(letters)


def _slow(now: Sequence[Sample], before: Sequence[Sample]) -> Iterator[Diagnosis]:
    sums, counts = (
        {part: _by_dependency(samples, part) for part in ("sum", "count")} for samples in (now, before)
    )
    for key, count in sums["count"].items():
        trips = count - counts["count"].get(key, count)
        took_s = sums["sum"].get(key, 0.0) - counts["sum"].get(key, 0.0)
        if trips > 0 and took_s / trips > SLOW_S:
            yield slow_finding(": ".join(key), took_s / trips)


def _by_dependency(samples: Sequence[Sample], part: str) -> dict[_Key, float]:
    found = _of(samples, f"{d.DEPENDENCY_SECONDS.name}_{part}")
    return {(_who(sample), sample.labels["dependency"]): sample.value for sample in found}


def _folding(now: Sequence[Sample]) -> Iterator[Diagnosis]:
    lags: dict[str, float] = {}
    for sample in _of(now, d.AGGREGATE_LAG_SECONDS.exposed):
        lags[_who(sample)] = max(lags.get(_who(sample), 0.0), sample.value)
    for who, lag_s in lags.items():
        if lag_s > LAG_S:
            yield error(
                "folding-lags",
                who,
                f"it is {lag_s:.1f} s behind with counting, more than {LAG_S:g}",
                "see how long its flushes to Redis take; if its CPU is used up, start more (--aggregate)",
            )
    owned = sum(sample.value for sample in _of(now, d.AGGREGATE_PARTITIONS.exposed))
    if owned < wire_bounds.PARTITIONS:
        yield error(
            "partitions-unowned",
            "aggregate",
            f"{owned:.0f} of {wire_bounds.PARTITIONS} partitions have an owner that answers",
            "see the log of aggregate; a lease lapses within 2 s and another worker takes over",
        )


def _ingest(now: Sequence[Sample]) -> Iterator[Diagnosis]:
    most = {_who(sample): sample.value for sample in _of(now, d.INGEST_LOG_MAX.exposed)}
    for sample in _of(now, d.INGEST_LOG_USED.exposed):
        max_bytes = most.get(_who(sample), 0.0)
        if max_bytes and sample.value / max_bytes > USED:
            yield log_finding(sample.value, max_bytes)
    sizes = {_who(sample): sample.value for sample in _of(now, d.INGEST_DISK_SIZE.exposed)}
    for sample in _of(now, d.INGEST_DISK_FREE.exposed):
        yield from disk_findings("the disk of NATS", sample.value, sizes.get(_who(sample), 0.0))
    for sample in _of(now, d.INGEST_PRESSURE.exposed):
        if sample.value > PRESSURE:
            yield warning(
                "overloaded",
                _who(sample),
                f"its pressure is {sample.value:.0%}: measures and reactions are shed, and credit is short",
                "see whether JetStream is slow or folding lags; start more ingests (--ingest)",
            )


def _of(samples: Sequence[Sample], name: str) -> Iterator[Sample]:
    return (sample for sample in samples if sample.name == name)


def _who(sample: Sample) -> str:
    labels: Labels = sample.labels
    return labels.get("instance", "the mesh")
