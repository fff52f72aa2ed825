"""A supervisor in the test's own loop, with every status it tells; it is stopped, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from mesh.logs.line import message_of
from toolbox.local.home import Home
from toolbox.local.lifecycle import Policy
from toolbox.local.spec import ProcessSpec
from toolbox.local.status import ServiceStatus
from toolbox.local.supervisor import Supervisor

PATIENCE_S = 30.0
HASTY = Policy(backoff_first_s=0.01, backoff_max_s=0.05, budget=3, window_s=60)
PATIENT = Policy(backoff_first_s=50.0, backoff_max_s=50.0)
"""What is killed stays dead for a test."""


class Watched:
    """A supervisor, and every status it ever told."""

    def __init__(self, specs: list[ProcessSpec], home: Home, policy: Policy) -> None:
        self.told: list[dict[str, ServiceStatus]] = []
        self.lines: list[tuple[str, str]] = []
        self._changed = asyncio.Event()
        self.supervisor = Supervisor(
            specs,
            home,
            self._on_change,
            lambda name, line: self.lines.append((name, message_of(line))),
            policy,
        )

    def _on_change(self) -> None:
        self.told.append({status.name: status for status in self.supervisor.statuses()})
        self._changed.set()

    def __getitem__(self, name: str) -> ServiceStatus:
        return {status.name: status for status in self.supervisor.statuses()}[name]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE_S:g} s: {what}; {self.told[-1:]}") from None

    def pids(self) -> set[int]:
        return {s.pid for statuses in self.told for s in statuses.values() if s.pid is not None}


@contextlib.asynccontextmanager
async def supervised(home: Home, *specs: ProcessSpec, policy: Policy = HASTY) -> AsyncIterator[Watched]:
    watched = Watched(list(specs), home, policy)
    running = asyncio.create_task(watched.supervisor.run())
    try:
        await watched.until(watched.supervisor.ready.is_set, "all are ready")
        yield watched
    finally:
        watched.supervisor.stop()
        await running
    assert [pid for pid in watched.pids() if is_alive(pid)] == []


def is_alive(pid: int) -> bool:
    """Zombies, which nobody but their parent can bury, do not count."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
