"""What this machine allows the processes of a mesh: open files, and memory."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

DESCRIPTORS_WANTED = 65_536
HEAP_BYTES_MIN = 512 * 1024**2
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def raise_descriptor_limit() -> int:
    """To the hard limit, for this process and its children; answers what they have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted


def heap_bytes_max() -> int:
    """Of Envoy: half of the machine's memory, or of the container's."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        found = min(found, int(_CGROUP_LIMIT.read_text()))
    return max(HEAP_BYTES_MIN, found // 2)
