"""Looks at the mesh that runs in a home: what its supervisor, its gateways and its processes say."""

from __future__ import annotations

import asyncio
import datetime
import json
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from toolbox.doctor.facts import MeshFacts, ProcessFact, Sample
from toolbox.local import health
from toolbox.local.probe import get
from toolbox.local.status import MeshStatus, ServiceStatus

WITHIN_S = 4.0
"""Of each question. `up` itself waits 2 s for a process."""
APART_S = 1.5
"""Between the two looks at the metrics."""


async def mesh_facts(status: MeshStatus) -> MeshFacts:
    promises, measured = await asyncio.gather(
        asyncio.to_thread(health.read, status.addresses.edge), _measured(status.addresses.metrics)
    )
    said, before, now, problem = measured
    return MeshFacts(
        state=status.state,
        processes=tuple(map(_process, status.services)),
        promises={name: promises.get(name) for name in health.PROMISES},
        said=said,
        now=now,
        before=before,
        metrics_problem=problem,
    )


async def _measured(
    url: str | None,
) -> tuple[dict[str, Any], tuple[Sample, ...], tuple[Sample, ...], str]:
    if url is None:
        return {}, (), (), ""
    port = urlsplit(url).port
    assert port is not None, "up named it"
    try:
        before, said = await asyncio.gather(_samples(port), _answer(port, "/readyz"))
        await asyncio.sleep(APART_S)
        now = await _samples(port)
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
        return {}, (), (), f"{url} does not answer: {str(error) or f'nothing within {WITHIN_S:g} s'}"
    return json.loads(said)["processes"], before, now, ""


async def _samples(port: int) -> tuple[Sample, ...]:
    text = (await _answer(port, "/metrics")).decode()
    return tuple(
        Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


async def _answer(port: int, path: str) -> bytes:
    async with asyncio.timeout(WITHIN_S):
        return (await get(port, path))[1]


def _process(service: ServiceStatus) -> ProcessFact:
    ago_s = None
    if service.last_restart_at:
        at = datetime.datetime.fromisoformat(service.last_restart_at)
        ago_s = (datetime.datetime.now(datetime.UTC) - at).total_seconds()
    return ProcessFact(
        service.name,
        service.state,
        service.detail,
        service.problem,
        service.restarts,
        ago_s,
        service.last_restart_reason,
    )
