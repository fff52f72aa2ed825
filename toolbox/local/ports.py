"""Ports of loopback for the mesh's inner addresses, outside the kernel's ephemeral range.

A port from that range may be taken as the source of somebody's outgoing connection between the moment it is
found free and the moment it is used, and again at every restart of a service. So we look between 20000 and
32000, in an order that differs from process to process. Ports that the user chose are claimed as well.

Two meshes starting at once (tests beside an `up`) would still find the same port free; on Linux each port is
therefore claimed by an abstract Unix socket of its number, for as long as the claiming process lives. The
kernel drops it with the process, it lives in the same network namespace as the port, and holds against other
users too. Whatever is not a mesh is kept out by the kernel: no listener of ours shares its port
(SO_REUSEPORT). Rejected: files with flocks (they stay), and handing the listening socket down (nats-server
and Valkey do not take one).
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import sys
from pathlib import Path

FIRST, LAST = 20_000, 32_000
_LISTEN = "0A"


class NoPort(Exception):
    """All ports of the range are taken."""


class Ports:
    """Hands out free ports, each once; the claims last until `close`."""

    def __init__(self) -> None:
        self._claims = contextlib.ExitStack()
        self._candidates = iter(random.sample(range(FIRST, LAST), LAST - FIRST))

    def take(self) -> int:
        """One that nobody asked for by its number."""
        for port in self._candidates:
            if self._claim(f"grandstand-port-{port}", "127.0.0.1", port):
                return port
        raise NoPort(f"every port from {FIRST} to {LAST - 1} is taken on 127.0.0.1")

    def choose(self, host: str, port: int) -> bool:
        """One by its number; False if it is taken, or chosen by another mesh, on whatever address. Who hands
        a port that it took to a mesh does not compete with it. Raises OSError as `is_free`."""
        return self._claim(_chosen(port), host, port)

    def _claim(self, name: str, host: str, port: int) -> bool:
        with contextlib.ExitStack() as held:
            if sys.platform == "linux":
                claim = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                try:
                    claim.bind(f"\0{name}")
                except OSError:
                    return False
            if not is_free(host, port):
                return False
            self._claims.callback(held.pop_all().close)
            return True

    def close(self) -> None:
        self._claims.close()


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. Connections of an earlier server that linger do not count.

    Raises OSError when `host` is no address of this machine, or the port is not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Binding alone succeeds beside another SO_REUSEADDR socket that does not listen yet.
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def holder(port: int) -> str | None:
    """Who listens on a TCP port or has claimed it, such as "nginx (pid 123)"; None when this user cannot
    know."""
    inodes = _listening_inodes(port) or _claiming_inodes(port)
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) in inodes:
                    return f"{_name(process)} (pid {process.name})"
    return None


def _chosen(port: int) -> str:
    return f"grandstand-chosen-port-{port}"


def _claiming_inodes(port: int) -> set[str]:
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/unix").read_text().splitlines()
        return {f"socket:[{line.split()[6]}]" for line in lines if line.endswith(f"@{_chosen(port)}")}
    return set()


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes


def _name(process: Path) -> str:
    """The program, and of a Python program also its module."""
    words = (process / "cmdline").read_bytes().split(b"\0")
    name = Path(words[0].decode("utf-8", "replace")).name
    if name.startswith("python") and b"-m" in words[:-2]:
        name += " -m " + words[words.index(b"-m") + 1].decode("utf-8", "replace")
    return name
