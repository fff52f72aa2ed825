"""One address for the metrics of a whole local mesh: what `up` serves on loopback.

    /metrics         of every service process, with labels service and instance
    /metrics/envoy   what Envoy says of itself, in Prometheus's own older form
    /canary          what the canary says: docs/service-level.md
    /readyz          what each process says of itself and its dependencies; 200 if all are ready
    /spans           the newest spans of every process, for `grandstand trace`

In production Prometheus asks each process itself, and Envoy. Whoever scrapes here waits for the slowest
process, PATIENCE_S at most; one that does not answer is missing, and its grandstand_up is 0.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.metrics import declarations
from mesh.metrics.admin import AdminReply, AdminServer
from mesh.metrics.cached import Cached
from toolbox.local.merged_metrics import MergedMetrics, NotMetrics
from toolbox.local.probe import get

PATIENCE_S = 2.0
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CANARY = "canary"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Scraped:
    """A process with an admin port on loopback."""

    service: str
    instance: str
    port: int


class MetricsCollector:
    def __init__(self, processes: Sequence[Scraped], envoy_admin: Path) -> None:
        self._processes = processes
        self._envoy_admin = envoy_admin
        self._merged = Cached(self._merge)
        self._server = AdminServer(
            {
                "/metrics": self._metrics,
                "/metrics/envoy": self._envoy,
                "/readyz": self._readyz,
                "/spans": self._spans,
                "/canary": self._canary,
            }
        )

    async def start(self, port: int) -> None:
        """Raises OSError."""
        await self._server.start(f"127.0.0.1:{port}")

    def stop(self) -> None:
        self._server.stop()

    async def _metrics(self) -> AdminReply:
        return AdminReply(200, await self._merged.get(), _OPEN_METRICS)

    async def _merge(self) -> bytes:
        answers = await asyncio.gather(*(_ask(each.port, "/metrics") for each in self._processes))
        merged, ups = MergedMetrics(), list[str]()
        name = declarations.UP.name
        for process, (status, content) in zip(self._processes, answers, strict=True):
            labels = {"service": process.service, "instance": process.instance}
            try:
                if is_up := status == 200:
                    merged.add(content.decode(), labels)
            except NotMetrics:
                is_up = False
            ups.append(f'{name}{{service="{process.service}",instance="{process.instance}"}} {int(is_up)}')
            await asyncio.sleep(0)
        head = f"# HELP {name} {declarations.UP.help}\n# TYPE {name} gauge\n"
        return (head + "\n".join(ups) + "\n").encode() + merged.text()

    async def _envoy(self) -> AdminReply:
        status, content = await _ask(self._envoy_admin, "/stats/prometheus")
        return AdminReply(200 if status == 200 else 503, content, _PROMETHEUS)

    async def _canary(self) -> AdminReply:
        port = next((each.port for each in self._processes if each.service == CANARY), None)
        if port is None:
            return AdminReply(404, b"no canary runs here\n", "text/plain; charset=utf-8")
        status, content = await _ask(port, "/canary")
        return AdminReply(status or 503, content)

    async def _readyz(self) -> AdminReply:
        answers = await asyncio.gather(*(_ask(each.port, "/readyz") for each in self._processes))
        said = {}
        for process, (status, content) in zip(self._processes, answers, strict=True):
            said[process.instance] = (
                json.loads(content)
                if status
                else {"ok": False, "state": "silent", "service": process.service, "dependencies": []}
            )
        ok = all(each["ok"] for each in said.values())
        found = json.dumps({"ok": ok, "processes": said}).encode() + b"\n"
        return AdminReply(200 if ok else 503, found)

    async def _spans(self) -> AdminReply:
        answers = await asyncio.gather(*(_ask(each.port, "/spans") for each in self._processes))
        found, silent = list[bytes](), list[str]()
        for process, (status, content) in zip(self._processes, answers, strict=True):
            if status == 200:
                found.append(content.rstrip())
            else:
                silent.append(process.instance)
        said = b'{"processes": [%b], "silent": %b}\n' % (b", ".join(found), json.dumps(silent).encode())
        return AdminReply(200, said)


async def _ask(at: int | Path, path: str) -> tuple[int, bytes]:
    """HTTP status and content; 0 from one that does not answer."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await get(at, path)
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
        return 0, b"it does not answer\n"
