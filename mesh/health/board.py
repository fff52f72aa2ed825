"""Whether the mesh stores votes, folds them and shows the results, as a gateway hears it. Pure.

    stored    an ingest is heard that proves its event log and its catalog, and none is heard that cannot
    folded    every partition has an owner that is heard, has no problem, folds what waits for it, and is at
              most BEHIND_S behind; no aggregate that is heard fails a check
    shown     no gateway that is heard fails a check; this one is among them

What is not proven is not kept: a gateway that has only just begun says no until it has heard the others,
and `settling` meanwhile. An instance that fails its checks breaks the promise although others are well, for
Envoy sends calls to it all the same; unless it took itself out of service, and others are in. One that is
**silent** does not while another of its service is well: it answers Envoy no better than us, and gets no
calls. So a drain needs no announcement. A silent one is named where it is missed. Services without a
promise (notify) are heard and not judged.

A partition's status travels over core NATS from its owner to the gateways, as its results do: hearing it
proves their way.

`now_s` is a monotonic clock. What this process could not hear because it was stopped or stalled is no
silence of others: a gap between two judgements moves all that was heard. `since` is kept through a
break of less than SETTLED_S: a promise that is broken again at once was never mended.

Bounds: PROCESSES_MAX processes (the one silent for longest is forgotten), CHECKS_MAX checks of each, an entry
for each partition; reasons of REASON_CHARACTERS_MAX. A silent process is forgotten after FORGOTTEN_S.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import HealthReport
from grandstand.wire import bounds as wire_bounds
from mesh.health.check import REASON_CHARACTERS_MAX

REPORT_S = 1.0
SILENT_S = 4.0
"""A process says how it is every REPORT_S, an owner how its partitions are twice as often. A worker that is
killed is replaced sooner than this."""
STALLED_S = 5.0
BEHIND_S = 10.0
"""A worker that folds what waited for a dependency is behind for some seconds."""
DEAF_S = 1.5
"""Two judgements further apart than this: nothing was heard in between."""
SETTLED_S = 5.0
FORGOTTEN_S = 600.0
PROCESSES_MAX = 4_096
CHECKS_MAX = 16
NAMED_MAX = 3

assert SILENT_S >= 3 * REPORT_S, "two reports may be lost"


@dataclass(frozen=True, slots=True)
class Promise:
    ok: bool
    reason: str
    """For a person; empty while it is kept."""
    since_s: float | None
    """Unix seconds from which on it is broken; None while it is kept."""

    def as_json(self) -> dict[str, Any]:
        since = None
        if self.since_s is not None:
            since = datetime.fromtimestamp(self.since_s, UTC).isoformat(timespec="milliseconds")
        return {"ok": self.ok, "reason": self.reason, "since": since}


@dataclass(frozen=True, slots=True)
class MeshHealth:
    stored: Promise
    folded: Promise
    shown: Promise
    settling: bool
    """The gateway has only just begun, and may not have heard everybody yet."""

    @property
    def ok(self) -> bool:
        return self.stored.ok and self.folded.ok and self.shown.ok

    def as_json(self) -> dict[str, Any]:
        """What `GET /healthz` answers."""
        return {
            "ok": self.ok,
            "stored": self.stored.as_json(),
            "folded": self.folded.as_json(),
            "shown": self.shown.as_json(),
            "settling": self.settling,
        }


class HealthBoard:
    def __init__(self, now_s: float, partitions: int = wire_bounds.PARTITIONS) -> None:
        self._began_s = now_s
        self._judged_s = now_s
        self._processes: dict[tuple[str, str], _Process] = {}
        self._partitions = [_Partition() for _ in range(partitions)]
        self._stored, self._folded, self._shown = _Broken(), _Broken(), _Broken()

    def hear(self, report: HealthReport, now_s: float) -> None:
        name = (report.service, report.instance)
        if name not in self._processes and len(self._processes) >= PROCESSES_MAX:
            del self._processes[min(self._processes, key=lambda each: self._processes[each].heard_s)]
        failing = [
            f"{check.name}: {check.reason or 'fails'}"[:REASON_CHARACTERS_MAX]
            for check in report.checks[:CHECKS_MAX]
            if not check.ok
        ]
        self._processes[name] = _Process(now_s, tuple(failing), report.out_of_service)

    def hear_partition(self, status: PartitionStatus, now_s: float) -> None:
        if status.partition < len(self._partitions):
            self._partitions[status.partition].hear(status, now_s)

    def judge(self, now_s: float, wall_s: float, deaf: str = "") -> MeshHealth:
        """Called several times a second. `wall_s`: Unix seconds; `deaf`: why this process hears nobody now;
        empty while it does."""
        self._look(now_s)
        folded = [*self._unfolded(now_s), *self._failing("aggregate", now_s)]
        stored = self._failing("ingest", now_s) or self._missing("ingest", now_s)
        shown = self._failing("gateway", now_s)
        if deaf:
            stored = folded = shown = [deaf]
        return MeshHealth(
            self._stored.update(stored, now_s, wall_s),
            self._folded.update(folded, now_s, wall_s),
            self._shown.update(shown, now_s, wall_s),
            settling=now_s - self._began_s < SILENT_S,
        )

    def _look(self, now_s: float) -> None:
        gap_s, self._judged_s = now_s - self._judged_s, now_s
        for name, process in list(self._processes.items()):
            if gap_s > DEAF_S:
                process.heard_s = min(now_s, process.heard_s + gap_s)
            elif now_s - process.heard_s > FORGOTTEN_S:
                del self._processes[name]
        if gap_s > DEAF_S:
            for partition in self._partitions:
                partition.moved(gap_s, now_s)

    def _of(self, service: str) -> list[tuple[str, _Process]]:
        return sorted((name[1], each) for name, each in self._processes.items() if name[0] == service)

    def _failing(self, service: str, now_s: float) -> list[str]:
        """Of the processes of a service that are heard; not of those that get no calls, if others do."""
        heard = [each for each in self._of(service) if now_s - each[1].heard_s <= SILENT_S]
        called = [each for each in heard if not each[1].out_of_service]
        return [
            f"{instance}: {reason}" for instance, process in called or heard for reason in process.failing
        ]

    def _missing(self, service: str, now_s: float) -> list[str]:
        """Empty while one is heard."""
        silent = []
        for instance, process in self._of(service):
            silent_s = now_s - process.heard_s
            if silent_s <= SILENT_S:
                return []
            silent.append(f"{instance} was not heard for {silent_s:.0f} s")
        return silent or [f"no {service} was heard"]

    def _unfolded(self, now_s: float) -> list[str]:
        unowned, told = [], dict[str, list[int]]()
        for index, partition in enumerate(self._partitions):
            reason = partition.problem(now_s)
            if reason is None:
                unowned.append(index)
            elif reason:
                told.setdefault(reason, []).append(index)
        found = [f"{self._named(indices)}: {reason}" for reason, indices in told.items()]
        if unowned:
            found = [*self._silent_owners(now_s), f"{self._named(unowned)} without an owner", *found]
        return found

    def _silent_owners(self, now_s: float) -> list[str]:
        """Of the partitions that nobody owns: who owned them last, if it is silent."""
        heard = dict[str, float]()
        for partition in self._partitions:
            if partition.owner and partition.problem(now_s) is None:
                process = self._processes.get(("aggregate", partition.owner))
                heard_s = partition.heard_s if process is None else max(partition.heard_s, process.heard_s)
                heard[partition.owner] = max(heard_s, heard.get(partition.owner, heard_s))
        return [
            f"{owner} was not heard for {now_s - heard_s:.0f} s"
            for owner, heard_s in sorted(heard.items())
            if now_s - heard_s > SILENT_S
        ]

    def _named(self, indices: Sequence[int]) -> str:
        if len(indices) > NAMED_MAX:
            return f"{len(indices)} of {len(self._partitions)} partitions"
        return f"partition{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))}"


class _Process:
    __slots__ = ("failing", "heard_s", "out_of_service")

    def __init__(self, heard_s: float, failing: tuple[str, ...], out_of_service: bool) -> None:
        self.heard_s = heard_s
        self.failing = failing
        self.out_of_service = out_of_service

    def __lt__(self, other: _Process) -> bool:
        return self.heard_s < other.heard_s


class _Partition:
    __slots__ = ("_applied", "_behind_s", "_lag_blocks", "_moved_s", "_problem", "heard_s", "owner")

    def __init__(self) -> None:
        self.owner = ""
        self.heard_s = -math.inf
        self._applied = -1
        self._lag_blocks = 0
        self._behind_s = 0.0
        self._problem = ""
        self._moved_s = -math.inf
        """When it was last seen to fold, or to have nothing to fold."""

    def hear(self, status: PartitionStatus, now_s: float) -> None:
        if not status.lag_blocks or status.applied != self._applied or status.owner != self.owner:
            self._moved_s = now_s
        self.owner = status.owner
        self.heard_s = now_s
        self._applied = status.applied
        self._lag_blocks = status.lag_blocks
        self._behind_s = status.lag_ms / 1000
        self._problem = status.problem[:REASON_CHARACTERS_MAX]

    def moved(self, gap_s: float, now_s: float) -> None:
        self.heard_s = min(now_s, self.heard_s + gap_s)
        self._moved_s = min(now_s, self._moved_s + gap_s)

    def problem(self, now_s: float) -> str | None:
        """Why nothing is folded; empty while it is, None while nobody is heard to own it."""
        if now_s - self.heard_s > SILENT_S:
            return None
        if self._problem:
            return self._problem
        if not self.owner:
            return None
        if self._lag_blocks and now_s - self._moved_s > STALLED_S:
            return f"{self._lag_blocks} blocks wait, and none was folded for {now_s - self._moved_s:.0f} s"
        if self._behind_s > BEHIND_S:
            return f"the fold is {self._behind_s:.0f} s behind, more than {BEHIND_S:g} s"
        return ""


class _Broken:
    """Since when a promise is broken."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._is_broken = False
        self._kept_from_s = -math.inf

    def update(self, reasons: Iterable[str], now_s: float, wall_s: float) -> Promise:
        found = list(reasons)
        if not found:
            if self._is_broken:
                self._is_broken, self._kept_from_s = False, now_s
            return Promise(True, "", None)
        if not self._is_broken:
            self._is_broken = True
            if now_s - self._kept_from_s > SETTLED_S:
                self._since_s = wall_s
        more = f"; and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
        return Promise(False, "; ".join(found[:NAMED_MAX]) + more, self._since_s)
