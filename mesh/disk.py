"""What keeps a store from writing, in the same words from the supervisor, `status` and to senders.

Stores say it in the operating system's words, somewhere in an error text: nats-server in the answer to a
publish (2.10), or in its own /healthz alone (2.15), Valkey in MISCONF. Where its directory is on this machine
the file system is asked, which tells a full disk from one without inodes, and also what a silent store hides.
Asking writes nothing. Less than FREE_BYTES_MIN free counts as full: a block of events is up to 1 MiB, and a
store needs room for more than one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FREE_BYTES_MIN = 2 * 1024 * 1024
DISK_FULL: Final = "disk full"

_WORDS: Final = (
    ("no space left", DISK_FULL),
    ("disk quota exceeded", DISK_FULL),
    ("read-only file system", "read-only disk"),
    ("too many open files", "out of files"),
    ("input/output error", "disk error"),
    ("used memory > 'maxmemory'", "out of memory"),
)


def problem_in(text: str) -> str:
    """Such as "disk full"; "" for a text that names nothing of the kind."""
    lower = text.lower()
    return next((words for said, words in _WORDS if said in lower), "")


def worded(text: str) -> str:
    """The text, after the words for it if there are any."""
    words = problem_in(text)
    return f"{words}: {text}" if words else text


@dataclass(frozen=True, slots=True)
class DiskRoom:
    free_bytes: int
    size_bytes: int


def room(directory: Path) -> DiskRoom:
    """Of the file system, for this user. Raises OSError."""
    found = os.statvfs(directory)
    return DiskRoom(_free_bytes(found), found.f_blocks * found.f_frsize)


def _free_bytes(found: os.statvfs_result) -> int:
    return (found.f_bfree if os.geteuid() == 0 else found.f_bavail) * found.f_frsize


def problem(directory: Path) -> str:
    """The words, and after a colon the numbers: "disk full: 0.1 MB are free in /x, 2 MB are needed"; "" when
    the directory takes writes."""
    try:
        found = os.statvfs(directory)
    except OSError as error:
        return f"disk error: {directory}: {error.strerror or error}"
    if found.f_flag & os.ST_RDONLY:
        return f"read-only disk: {directory} cannot be written"
    free = _free_bytes(found)
    if free < FREE_BYTES_MIN:
        needed = FREE_BYTES_MIN / 1024**2
        return f"{DISK_FULL}: {free / 1024**2:.1f} MB are free in {directory}, {needed:g} MB are needed"
    if found.f_files and not found.f_ffree:
        return f"out of inodes: no file can be made in {directory}"
    return ""


def problem_word(directory: Path | None) -> str:
    """`problem` without paths and numbers, for those who send; "" without a directory."""
    return problem(directory).partition(":")[0] if directory is not None else ""
