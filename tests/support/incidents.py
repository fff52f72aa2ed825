"""Incidents of a real mesh that a test makes, and what the canary measured of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.support.mesh_fixture import wait_for
from tests.support.scrape import scrape


class MeasuredMesh:
    """One that runs a canary. `status`: as `status --json` said it."""

    def __init__(self, home: Path, status: dict[str, Any]) -> None:
        self._home = home
        self._metrics: str = status["metrics"]

    def said(self) -> dict[str, Any]:
        """What the canary says; no vote measured while it does not answer."""
        with contextlib.suppress(OSError):
            answer = urllib.request.urlopen(self._metrics.replace("/metrics", "/canary"), timeout=10)
            return dict(json.loads(answer.read()))
        return {"votes": 0, "open_incident": None, "incidents": []}

    def metric(self, name: str, **labels: str) -> float:
        return scrape(self._metrics).total(name, **labels)

    def families(self) -> set[str]:
        return set(scrape(self._metrics).families)

    def service(self, name: str) -> dict[str, Any]:
        found = json.loads((self._home / "run" / "status.json").read_text())
        return next(each for each in found["services"] if each["name"] == name)

    def wait_measuring(self) -> None:
        wait_for(lambda: self.said()["votes"], "the canary sees votes")

    def wait_closed(self) -> dict[str, Any]:
        """The newest incident, once none is open."""
        wait_for(lambda: self.said()["open_incident"] is None, "the incident is closed")
        return dict(self.said()["incidents"][-1])

    @contextlib.contextmanager
    def frozen(self, names: Iterable[str]) -> Iterator[None]:
        pids = [int(self.service(name)["pid"]) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def freeze_gateway_and_then_nats(self) -> tuple[dict[str, Any], float, float]:
        """The incident, and for how long the gateway and NATS stood still."""
        before = len(self.said()["incidents"])
        gateway_s = time.monotonic()
        with self.frozen(["gateway-1"]):
            wait_for(lambda: self.said()["open_incident"], "frames are missed")
            assert self.said()["open_incident"]["kind"] == "frames"
            nats_s = time.monotonic()
            with self.frozen(["nats"]):
                wait_for(lambda: self.said()["open_incident"]["kind"] == "acks", "acks are missed")
                nats_s = time.monotonic() - nats_s
        gateway_s = time.monotonic() - gateway_s
        closed = self.wait_closed()
        assert len(self.said()["incidents"]) == before + 1, "it is one incident"
        return closed, gateway_s, nats_s
