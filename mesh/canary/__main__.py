"""`python -m mesh.canary`: the process `canary`.

    GRANDSTAND_NATS=… python -m mesh.canary --edge HOST:PORT --mesh HOST:PORT --token-file FILE

Its token is an owner's of the games `_canary*`. It sends to the public edge, keeps its game by the mesh
listener, and its incidents in NATS; it needs no Redis and serves nobody but its admin port.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from grandstand.client.backend import Backend
from grandstand.client.connect import open_channel
from grandstand.wire import tasks
from mesh.canary.canary import Canary
from mesh.canary.collectors import collect, page
from mesh.canary.edge_health import what_is_wrong
from mesh.canary.incident_log import IncidentLog
from mesh.canary.token_file import TokenFile
from mesh.health import readiness
from mesh.health.readiness import Readiness
from mesh.logs.line import LEVELS
from mesh.logs.setup import set_up
from mesh.metrics.observed import telling
from mesh.metrics.registry import MetricRegistry
from mesh.secrecy import NATS_VARIABLE

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0


def main() -> None:
    found = _parse()
    logs = set_up(found.instance, found.log_level)
    try:
        asyncio.run(_main(found))
    except OSError as error:
        log.error("%s: %s", found.instance, error)
        sys.exit(1)
    finally:
        logs.close()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mesh.canary", description="Measures the service level by votes of its own."
    )
    parser.add_argument("--edge", required=True, metavar="URL", help="the public edge: HOST:PORT or a URL")
    parser.add_argument("--edge-ca", type=Path, metavar="FILE", help="who signed the edge's certificate, PEM")
    parser.add_argument("--mesh", required=True, metavar="HOST:PORT", help="Envoy's mesh listener")
    parser.add_argument("--token-file", required=True, type=Path, metavar="FILE", help="the token to act by")
    parser.add_argument("--admin", metavar="ADDRESS", help="where to serve /metrics, /canary and probes")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="how much it logs")
    parser.add_argument("--instance", default="canary", help="this process among its kind")
    parser.add_argument("--replicas", type=int, choices=(1, 3, 5), default=1, help="of the stream INCIDENTS")
    found = parser.parse_args()
    found.nats = os.environ.get(NATS_VARIABLE)
    if not found.nats:
        parser.error(f"{NATS_VARIABLE} is not set: where incidents are kept")
    return found


async def _main(found: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    trusted_ca = found.edge_ca.read_bytes() if found.edge_ca else None
    incidents, token = IncidentLog(), TokenFile(found.token_file)
    async with (
        open_channel(found.edge, own_connection=True, trusted_ca=trusted_ca) as edge,
        open_channel(found.mesh) as mesh,
    ):
        backend = Backend(mesh, token=token, patience_s=_PATIENCE_S)
        canary = Canary(edge, backend, token, incidents, lambda: what_is_wrong(found.edge))
        registry, ready = MetricRegistry(), Readiness("canary", found.instance)
        collect(registry, canary)
        async with telling(found.admin, registry, ready, {"/canary": page(canary)}):
            ready.phase = readiness.SERVING
            work = [
                asyncio.create_task(canary.run()),
                asyncio.create_task(incidents.run(found.nats, found.replicas)),
            ]
            stopping = asyncio.create_task(_wait(stop))
            await asyncio.wait([*work, stopping], return_when=asyncio.FIRST_COMPLETED)
            ready.phase = readiness.DRAINING
            failed = [each for each in work if each.done()]
            await tasks.end(*work, stopping)
            for each in failed:
                each.result()
    await tasks.end_all_others()


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


if __name__ == "__main__":
    main()
