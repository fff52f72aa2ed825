"""What `top` shows, asked again and again: of the mesh of this machine, or of any by its mesh listener.

The local mesh is read from where `up` collects metrics, which answers also while gateways or NATS stand
still; elsewhere a gateway answers (OperatorService). Both make an Overview by mesh.overview.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc.aio
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from grandstand.client.credentials import Token, call_metadata
from grandstand.operator.v1.operator_pb2 import GetOverviewRequest, GetOverviewResponse, Overview
from grandstand.operator.v1.operator_pb2_grpc import OperatorServiceStub
from mesh import wall_clock
from mesh.overview.loads import FAMILIES, load_of
from mesh.overview.mesh_overview import MeshOverview
from toolbox.local import health
from toolbox.local.errors import MeshError
from toolbox.local.probe import get
from toolbox.local.running import running_mesh, running_status

PATIENCE_S = 5.0
"""The collector waits 2 s for a process that stands still."""


class Overviews(Protocol):
    async def overview(self) -> Overview:
        """Raises MeshError when nobody answers; the next call may."""
        ...


class LocalOverviews:
    """Of the mesh that runs in `home`. Rates are known from the second call on."""

    def __init__(self, home: Path | None) -> None:
        self._home = home
        # Who does not answer is asked and silent, however long that took.
        self._mesh = MeshOverview(deaf_s=math.inf)

    async def overview(self) -> Overview:
        at = running_mesh(self._home)
        if at.metrics is None:
            raise MeshError("the mesh was started without a collector of metrics; give --mesh")
        port = urlsplit(at.metrics).port or 0
        # Of when they were asked for: what waits for a process that stands still is older than its answer.
        asked_s = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                (_, text), (_, ready), promised = await asyncio.gather(
                    get(port, "/metrics"), get(port, "/readyz"), asyncio.to_thread(health.read, at.edge_url)
                )
            self._hear(text.decode(), json.loads(ready)["processes"], asked_s)
        except (OSError, TimeoutError, ValueError, KeyError, EOFError, asyncio.LimitOverrunError) as error:
            running_status(self._home)
            why = str(error) or type(error).__name__
            raise MeshError(f"the collector of metrics at {at.metrics} does not answer: {why}") from None
        wall_s = wall_clock.now_s()
        self._mesh.look(asked_s, wall_s)
        view = self._mesh.overview(asked_s, wall_s)
        for name in health.PROMISES:
            told = view.promises.add(name=name, ok=promised[name]["ok"], reason=promised[name]["reason"])
            if promised[name]["since"]:
                told.since.FromJsonString(promised[name]["since"])
        return view

    def _hear(self, text: str, ready: Mapping[str, Any], asked_s: float) -> None:
        families = families_by_instance(text)
        for instance, said in ready.items():
            service = said["service"]
            self._mesh.expect(service, instance)
            if instance in families:
                why = [f"{each['name']}: {each['reason']}" for each in said["dependencies"] if not each["ok"]]
                if not said["ok"] and not why:
                    why = [f"is {said['state']}"]
                load = load_of(families[instance], asked_s)
                self._mesh.hear(service, instance, load, "; ".join(why), asked_s)


def families_by_instance(text: str) -> dict[str, list[Family]]:
    """Of FAMILIES, from what the collector answers. Raises ValueError."""
    if not text.endswith("# EOF\n"):
        raise ValueError(f"{len(text)} characters of metrics that were cut off")
    found: dict[str, list[Family]] = {}
    needed = "\n".join([*_needed(text.splitlines()), "# EOF\n"])
    for family in text_string_to_metric_families(needed):
        by_instance: dict[str, Family] = {}
        for sample in family.samples:
            instance = sample.labels.get("instance", "")
            if instance not in by_instance:
                own = Family(family.name, family.documentation, family.type)
                by_instance[instance] = own
                found.setdefault(instance, []).append(own)
            by_instance[instance].samples.append(sample)
    return found


def _needed(lines: list[str]) -> Iterator[str]:
    """The lines of FAMILIES: to parse the others would take ten times as long."""
    takes = False
    for line in lines:
        if line.startswith("# ") and line != "# EOF":
            takes = line.split(" ", 3)[2] in FAMILIES
        if takes and line != "# EOF":
            yield line


class RemoteOverviews:
    """By `channel`, to a mesh listener."""

    def __init__(self, channel: grpc.aio.Channel, token: Token) -> None:
        self._stub: Any = OperatorServiceStub(channel)
        self._token = token

    async def overview(self) -> Overview:
        """Raises AioRpcError for a token that does not do."""
        try:
            response: GetOverviewResponse = await self._stub.GetOverview(
                GetOverviewRequest(), metadata=call_metadata(self._token), timeout=PATIENCE_S
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise MeshError(f"no gateway answers: {error.details()}") from None
            raise
        return response.overview
