"""`python -m toolbox.chaos.tmpfs BYTES FOLDER… -- COMMAND…`: runs a command for which each folder is a
small disk.

The command ends with whoever started it.

The disks are tmpfs, mounted in a user and mount namespace of the command's own: nobody else sees them, no
root is needed, and they are gone with its last process. `Disk` fills one from outside, by way of a process
in there.

Where the kernel or a container's policy allows no user namespaces, `why_not` says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from toolbox.local.child import end_with_parent_process
from toolbox.local.provision import checkout

_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MS_NOSUID, _MS_NODEV = 2, 4
_CHUNK = bytes(256 * 1024)
_FILLER = "filler"
_TRIED_WITHIN_S = 20.0


def enter(size_bytes: int, folders: Sequence[Path]) -> None:
    """This process, which has one thread, gets the namespaces and the disks. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path("/proc/self", name).write_text(text)
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = _MS_NOSUID | _MS_NODEV
        options = f"size={size_bytes},mode=0700".encode()
        if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"mount a tmpfs on {folder}: {os.strerror(number)}")


def command(size_bytes: int, folders: Sequence[Path], inner: Sequence[str]) -> list[str]:
    """The command line that runs `inner` in there; without the disks, where there are no such namespaces."""
    disks = () if why_not() else folders
    return [sys.executable, "-P", "-m", __name__, str(size_bytes), *map(str, disks), "--", *inner]


@functools.cache
def why_not() -> str:
    """Why there can be no such disks here; empty when there can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no user namespaces"
    tried = [sys.executable, "-P", "-m", __name__, "4096", "/tmp", "--", "/bin/true"]
    try:
        done = subprocess.run(
            tried, capture_output=True, text=True, check=False, timeout=_TRIED_WITHIN_S, cwd=checkout()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"a user namespace could not be tried: {error}"
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return "" if done.returncode == 0 else f"this machine allows no user namespaces ({last[0]})"


class Disk:
    """The disk of a folder. `pid` answers a process that has it mounted; None while there is none."""

    def __init__(self, folder: Path, pid: Callable[[], int | None]) -> None:
        self._folder = folder
        self._pid = pid

    def fill(self) -> bool:
        """Takes all that is free now; False if it cannot be reached. To be called again: space is freed
        meanwhile."""
        path = self._filler()
        if path is None:
            return False
        with contextlib.suppress(FileNotFoundError), path.open("ab", buffering=0) as file:
            try:
                while file.write(_CHUNK):
                    pass
            except OSError:
                return True
        return False

    def free(self) -> None:
        path = self._filler()
        if path is not None:
            path.unlink(missing_ok=True)

    def _filler(self) -> Path | None:
        pid = self._pid()
        if pid is None:
            return None
        path = Path(f"/proc/{pid}/root{self._folder}")
        # Never the machine's own disk.
        return path / _FILLER if os.path.ismount(path) else None


if __name__ == "__main__":
    split = sys.argv.index("--")
    if disks := [Path(folder) for folder in sys.argv[2:split]]:
        enter(int(sys.argv[1]), disks)
    end_with_parent_process(signal.SIGKILL)
    os.execvp(sys.argv[split + 1], sys.argv[split + 1 :])
