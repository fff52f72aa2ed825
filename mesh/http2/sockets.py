"""Where a server listens: "host:port", or "unix:/path/to/socket" for who shares this machine.

A socket file is its user's alone (mode 0600, set before anybody can connect). One that is there already is
replaced if nobody listens on it, as whoever made it was killed; a file that is no socket never is. Who
looks and replaces holds a lock on the folder, so of two that start at once one is told that the other
listens. `remove` takes away the file that was made here, and no other's.

Rejected: binding to another name and renaming it into place, which takes a listening server's place without
a word. A file as lock, which would stay behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNIX = "unix:"
PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103
"""Of a socket file's path, as the operating system bounds it."""
BACKLOG = 4096
_MODE = 0o600
_CONNECT_PATIENCE_S = 1.0


def is_unix(address: str) -> bool:
    return address.startswith(UNIX)


def unix_path(address: str) -> Path:
    """Of "unix:/path". Raises ValueError for a path that is not absolute, or too long for any socket."""
    path = address.removeprefix(UNIX)
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{address!r} is not unix:/PATH, with an absolute path")
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise ValueError(
            f"{path!r} has {size} bytes; a socket's path has {PATH_BYTES_MAX} at most: use a shorter one"
        )
    return Path(path)


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket that listens, and the file it was bound to."""

    raw: socket.socket
    path: Path
    identity: tuple[int, int]
    """Device and inode."""

    def remove(self) -> None:
        """The file, while `raw` still listens: nobody else would take its place before."""
        with contextlib.suppress(OSError):
            if _identity(self.path) == self.identity:
                self.path.unlink()


def listen_unix(address: str) -> SocketFile:
    """Blocks while another process listens in the same folder. Raises OSError; ValueError for a bad path."""
    path = unix_path(address)
    with _locked(path.parent):
        vacate(path)
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            raw.setblocking(False)
            raw.bind(str(path))
            # Nobody can connect before it listens.
            path.chmod(_MODE)
            raw.listen(BACKLOG)
            return SocketFile(raw, path, _identity(path))
        except BaseException:
            raw.close()
            raise


def vacate(path: Path) -> None:
    """Makes sure that nothing is at `path`. Raises OSError if somebody listens there, or it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "a file is there that is no socket; move it away", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_PATIENCE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except (BlockingIOError, TimeoutError):
            # Its backlog is full: somebody listens.
            pass
    raise OSError(errno.EADDRINUSE, "another process listens there", str(path))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(found, fcntl.LOCK_EX)
        yield
    finally:
        os.close(found)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
