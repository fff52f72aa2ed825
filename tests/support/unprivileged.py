"""Runs a command as a user who is not root, where the tests are: production refuses root.

In a user namespace of its own, in which the files of root are this user's: no other account is needed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
UID = 1000


def unprivileged(arguments: Sequence[object]) -> list[str]:
    """What to put before a command: nothing, unless it is for production and this is root."""
    if os.geteuid() != 0 or not {"--production", "production"}.intersection(map(str, arguments)):
        return []
    from toolbox.chaos import tmpfs

    assert not (why := tmpfs.why_not()), f"run the tests as a user who is not root: {why}"
    return [sys.executable, str(Path(__file__).absolute())]


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{UID} 0 1"), ("gid_map", f"{UID} 0 1")):
        Path("/proc/self", name).write_text(text)


if __name__ == "__main__":
    _enter()
    os.execvp(sys.argv[1], sys.argv[1:])
