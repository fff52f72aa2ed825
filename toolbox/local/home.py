"""The folder a mesh lives in, and the lock that says whether it does.

    run/     lock, status.json, the configuration files of this run; keys/jwks.json, for clients' tokens;
             stores.json, with which people and tools reach NATS and Valkey; envoy.sock, Envoy's admin;
             edge/secret.json, the edge's certificate and key
    certs/   what `grandstand certs` made
    logs/    one log for each process
    nats/    JetStream's files      valkey/  the append-only file
    *-key.json  the keys made here, see `keys`

A socket's path is bounded by the operating system. Where that of `run/envoy.sock` would be too long, it lies
in a folder of this home's in /tmp instead, like the others for this user alone. Not where TMPDIR says: that
may be as long, and differ between who starts the mesh and who asks it.

The lock is a flock on `run/lock`, held by the supervisor for as long as it lives: the kernel lets go of it
whatever way the supervisor ends. The pid inside is only for people and for `down`; it is emptied on a clean
end, so a pid that is there while the lock is free is stale, reliably, and whoever took over its number since
is never mistaken for a mesh.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from mesh.http2.sockets import PATH_BYTES_MAX
from toolbox.local.errors import MeshError, from_os

_ADMIN = "envoy.sock"
CHECKOUT_HOME = ".grandstand"
"""The name of a checkout's own home, where set-up has put files before the first mesh runs."""
SHORT = Path("/tmp")
FREE_BYTES_MIN = 512 * 1024 * 1024
"""Room for logs (8 processes of 16 MiB), the append-only file and the first minutes of events."""


@dataclass(frozen=True, slots=True)
class Home:
    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def status(self) -> Path:
        return self.run / "status.json"

    @property
    def store_urls(self) -> Path:
        """By user, StoreUrls (`toolbox.local.running`)."""
        return self.run / "stores.json"

    @property
    def jwks(self) -> Path:
        """In a folder of its own: Envoy watches that."""
        return self.run / "keys" / "jwks.json"

    @property
    def canary_token(self) -> Path:
        """What the canary acts by, renewed in time."""
        return self.run / "canary" / "token"

    @property
    def sockets(self) -> Path:
        """Where Envoy's admin listens. Whoever reaches it can end Envoy, and read its configuration."""
        if len(os.fsencode(self.run / _ADMIN)) <= PATH_BYTES_MAX:
            return self.run
        named = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return SHORT / f"grandstand-{os.getuid()}-{named}"

    @property
    def envoy_admin(self) -> Path:
        return self.sockets / _ADMIN

    @property
    def edge_secret(self) -> Path:
        """The edge's certificate with its key. In a folder of its own: Envoy watches that."""
        return self.run / "edge" / "secret.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Makes the folders, for this user only: they hold what the crowd did, and passwords. A root that
        others could enter is closed to them if it is a mesh's own. Raises MeshError."""
        self._close_root()
        for folder in (self.root, self.run, self.logs, self.nats, self.valkey):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise from_os(error, f"create the folder {folder}") from None
        if self.sockets != self.run:
            _own_folder(self.sockets)

    def _close_root(self) -> None:
        try:
            found = self.root.stat()
        except OSError:
            return  # it is made, or creating says why not
        if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return
        is_own = self.root.name == CHECKOUT_HOME or self.run.is_dir() or not any(self.root.iterdir())
        if found.st_uid == os.geteuid() and is_own:
            self.root.chmod(0o700)
            return
        raise MeshError(
            f"{self.root} holds other files and is open to other users, and a mesh keeps passwords in its"
            " home; give a folder of its own by --home, or chmod 700 it"
        )

    def require_free(self, bytes_min: int = FREE_BYTES_MIN) -> None:
        """Raises MeshError when the disk of this home is nearly full."""
        free = shutil.disk_usage(self.root).free
        if free < bytes_min:
            raise MeshError(
                f"only {free / 2**20:.0f} MiB are free in {self.root}, the mesh needs"
                f" {bytes_min / 2**20:.0f} MiB to start; free some space or give another --home"
            )


def _own_folder(folder: Path) -> None:
    """For this user alone, in a place where everybody may make one. Raises MeshError."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise from_os(error, f"create the folder {folder}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise MeshError(
            f"{folder} is not a folder of this user's alone; remove it, or give a --home with a shorter path"
        )


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who the lock file names: a mesh that runs, or one that ended without cleaning up."""

    pid: int
    running: bool


def tenant(home: Home) -> Tenant | None:
    """None when no mesh runs here and the last one ended cleanly (or there never was one)."""
    try:
        file = home.lock.open("rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os(error, f"read {home.lock}") from None
    with file:
        try:
            # Shared, so that two askers do not take each other for a mesh.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            running = False
        except BlockingIOError:
            running = True
        pid = _pid_in(file.read(32))
    if pid is None:
        # Running and not yet written: a mesh takes its first milliseconds.
        return Tenant(0, running=True) if running else None
    return Tenant(pid, running)


def _pid_in(text: bytes) -> int | None:
    text = text.strip()
    return int(text) if text.isdigit() else None


class Lock:
    """Held by the one supervisor of a home."""

    def __init__(self, home: Home) -> None:
        """Raises MeshError when a mesh runs here. `stale_pid` tells of one that ended without cleaning up."""
        self._home = home
        try:
            self._fd = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise from_os(error, f"open {home.lock}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.stale_pid = _pid_in(os.pread(self._fd, 32, 0))
            self._write(str(os.getpid()))
        except BlockingIOError:
            pid = _pid_in(os.pread(self._fd, 32, 0))
            os.close(self._fd)
            raise MeshError(
                f"a mesh is already running in {home.root}{f' (pid {pid})' if pid else ''}:"
                " ./grandstand status shows it, ./grandstand down stops it"
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise from_os(error, f"write {home.lock}") from None

    def _write(self, text: str) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def release(self) -> None:
        """A clean end: nothing is left that could be called stale."""
        with contextlib.suppress(OSError):
            self._home.status.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._home.envoy_admin.unlink(missing_ok=True)
            if self._home.sockets != self._home.run:
                self._home.sockets.rmdir()
        with contextlib.suppress(OSError):
            self._write("")
        os.close(self._fd)


def clear_stale(home: Home) -> int | None:
    """Cleans up after a mesh that could not; answers its pid, or None when there is nothing to clean up."""
    lock = Lock(home)
    try:
        return lock.stale_pid
    finally:
        lock.release()
