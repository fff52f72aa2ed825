"""The words for what keeps a store from writing: the same from the supervisor, status and to senders. Pure.

The stores tell it in the operating system's words, somewhere in an error text: nats-server in the answer to a
publish (2.10), in its own /healthz (2.15), Valkey in MISCONF and in its log.
"""

from __future__ import annotations

from typing import Final

DISK_FULL: Final = "disk full"

_WORDS: Final = (
    ("no space left", DISK_FULL),
    ("disk quota exceeded", "disk full: the quota is used up"),
    ("out of space", DISK_FULL),
    ("read-only file system", "read-only disk"),
    ("too many open files", "out of files"),
    ("input/output error", "disk error"),
)


def storage_problem(text: str) -> str:
    """Such as "disk full"; "" for a text that names nothing of the kind."""
    lower = text.lower()
    return next((words for said, words in _WORDS if said in lower), "")
