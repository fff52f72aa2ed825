"""A rolling restart of a mesh's gateways, as an operator does it: the next when the edge knows the last.

A gateway that serves again is found by Envoy's next health check only. Until then a restart of the other one
would leave the edge without any that it believes in.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

from mesh.envoy.contract import LISTENERS
from tests.support.envoy_admin import hosts
from tests.support.mesh_fixture import RunningMesh, wait_for
from toolbox.local.home import Home

GATEWAYS = ("gateway-1", "gateway-2")


def restarts(mesh: RunningMesh) -> Iterator[str]:
    """Each gateway is told to go away before it is yielded, and is back before the next one."""
    for gateway in GATEWAYS:
        pid = mesh.send_signal(gateway, signal.SIGTERM)
        yield gateway
        mesh.wait_restarted(gateway, pid)
        wait_until_routed(mesh)


def wait_until_routed(mesh: RunningMesh) -> None:
    """Until Envoy sends calls to every gateway."""

    def all_healthy() -> bool:
        found = hosts(Home(mesh.home).envoy_admin, "gateway")
        failed = ("failed_active_health_check", "failed_outlier_check", "pending_active_hc")
        good = [host for host in found if not any(host["health_status"].get(flag) for flag in failed)]
        return len(good) == len(found) == len(LISTENERS) * len(GATEWAYS)

    wait_for(all_healthy, "Envoy sends calls to both gateways")
