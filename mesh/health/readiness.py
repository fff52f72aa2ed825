"""Whether a process lives and is ready, and how each of its dependencies is: /livez and /readyz. Pure.

    alive   its event loop answers; nothing else is asked, as a restart mends nothing else
    ready   gRPC health says SERVING: it has started, does not drain, and did not take itself out of service

A dependency that fails does not make a process unready, but is told with its reason: NATS and Redis are the
same ones for all, so every process would be taken out of service at once, and what each can still do (hold
streams, show what it has) with it. Whether votes are stored, folded and shown is what /healthz says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from mesh.health.check import Check

STARTING, SERVING, OUT_OF_SERVICE, DRAINING = "starting", "serving", "out of service", "draining"


class Readiness:
    def __init__(self, service: str, instance: str) -> None:
        self.phase = STARTING
        self.is_in_service = True
        """It did not take itself out."""
        self.checks: Sequence[Check] = ()
        """Of its dependencies, once they are being proven."""
        self._who = {"service": service, "instance": instance}

    @property
    def state(self) -> str:
        return OUT_OF_SERVICE if self.phase == SERVING and not self.is_in_service else self.phase

    @property
    def is_ready(self) -> bool:
        return self.state == SERVING

    def livez(self) -> tuple[int, bytes]:
        """HTTP status and JSON."""
        return 200, _json({"ok": True, **self._who})

    def readyz(self, now_s: float) -> tuple[int, bytes]:
        """`now_s`: of the checks' clock."""
        dependencies = []
        for check in self.checks:
            problem = check.problem(now_s)
            dependencies.append({"name": check.name, "ok": not problem, "reason": problem})
        found = {"ok": self.is_ready, "state": self.state, **self._who, "dependencies": dependencies}
        return (200 if self.is_ready else 503), _json(found)


def health_name(check: str) -> str:
    """What grpc.health.v1 is asked for one dependency, such as "dependency/event-log"."""
    return f"dependency/{check.lower().replace(' ', '-')}"


def _json(found: dict[str, object]) -> bytes:
    return json.dumps(found).encode() + b"\n"
