"""Whether a store's directory can be written now, in the words a person knows. Reads only: no trial writes.

Less than FREE_BYTES_MIN free counts as full: a block of events is up to 1 MiB, and the store needs more than
one of them.
"""

from __future__ import annotations

import os
from pathlib import Path

from mesh.storage_errors import DISK_FULL

FREE_BYTES_MIN = 2 * 1024 * 1024


def problem(directory: Path) -> str:
    """Such as "disk full: 0.1 MB are free in /x, 2 MB are needed"; "" when it takes writes."""
    try:
        found = os.statvfs(directory)
    except OSError as error:
        return f"cannot look at {directory}: {error.strerror or error}"
    if found.f_flag & os.ST_RDONLY:
        return f"read-only disk: {directory} cannot be written"
    blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    free = blocks * found.f_frsize
    if free < FREE_BYTES_MIN:
        needed = FREE_BYTES_MIN / 1024**2
        return f"{DISK_FULL}: {free / 1024**2:.1f} MB are free in {directory}, {needed:g} MB are needed"
    if found.f_files and not found.f_ffree:
        return f"out of inodes: no file can be made in {directory}"
    return ""
