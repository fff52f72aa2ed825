"""CPU seconds and memory of processes, as the kernel accounts them: all threads, user and system."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Mapping[str, int]) -> dict[str, float]:
    """By name. A process that is gone counts 0; so do all where there is no /proc."""
    return {name: _cpu_s(pid) for name, pid in pids.items()}


def spent_s(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The difference by name, to the hundredth (the kernel's own grain)."""
    return {name: round(max(0.0, after[name] - before.get(name, 0.0)), 2) for name in after}


def rss_kib(pid: int) -> int:
    """Resident memory; 0 of a process that is gone, and where there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)


def exact_cpu_s(pid: int) -> float:
    """Of a process and its children, to the nanosecond: nginx works in children. Raises OSError when it is
    gone, and where there is no Linux."""
    # The clock of another process, as clock_getcpuclockid(3) makes its id: CPUCLOCK_SCHED is 2.
    return time.clock_gettime((~pid << 3) | 2) + sum(map(exact_cpu_s, _children(pid)))


def tree_rss_kib(pid: int) -> int:
    """Resident memory of a process and its children."""
    return rss_kib(pid) + sum(map(tree_rss_kib, _children(pid)))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # proc(5): utime and stime are fields 14 and 15; the third is the first after the name.
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
