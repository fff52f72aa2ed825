"""Looks at this machine: what `up` would need of it. Programs are only asked for their version."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from mesh import disk
from toolbox.doctor.facts import DiskFact, MachineFacts, PortFact, ProgramFact
from toolbox.local import nats_version, ports, provision
from toolbox.local.home import Home
from toolbox.local.provision import ProvisionError
from toolbox.local.session import EDGE_PORT
from toolbox.local.stores import LOOPBACK

_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
_CLIENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
_VERSION_WITHIN_S = 5.0


def machine_facts(home: Home, *, own_nats: bool, own_redis: bool) -> MachineFacts:
    """`own_nats`, `own_redis`: whether `up` would start one."""
    return MachineFacts(
        programs=tuple(_programs(own_nats=own_nats, own_redis=own_redis)),
        ports_taken=tuple(_ports()),
        files_max=_files_max(),
        listen_queue_max=next(iter(_numbers(_SOMAXCONN)), None),
        client_ports=_client_ports(),
        memory_bytes=_memory_bytes(),
        disk=_disk(home.root),
    )


def _programs(*, own_nats: bool, own_redis: bool) -> Iterator[ProgramFact]:
    if own_nats:
        try:
            program = provision.nats_server()
            version = provision.nats_server_version(program)
            objection = nats_version.objection(version, str(program), provision.NATS_WAY_OUT)
            yield ProgramFact("nats-server", str(version), warning=objection)
        except ProvisionError as error:
            yield ProgramFact("nats-server", problem=str(error))
    if own_redis:
        yield _program("valkey", provision.valkey_server)
    yield _program("envoy", provision.envoy)


def _program(name: str, find: Callable[[], Path]) -> ProgramFact:
    try:
        path = find()
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_WITHIN_S, check=False
        )
    except ProvisionError as error:
        return ProgramFact(name, problem=str(error))
    except (OSError, subprocess.TimeoutExpired) as error:
        return ProgramFact(name, problem=f"it does not run: {error}")
    if done.returncode:
        return ProgramFact(name, problem=f"it does not run: {(done.stderr or done.stdout).strip()[-200:]}")
    return ProgramFact(name, version=" ".join(done.stdout.split())[:100])


def _ports() -> Iterator[PortFact]:
    """The edge's alone: the others have substitutes when they are taken."""
    with contextlib.suppress(OSError):
        if not ports.is_free(LOOPBACK, EDGE_PORT):
            yield PortFact(EDGE_PORT, "--port", ports.holder(EDGE_PORT) or "")


def _files_max() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else 2**31


def _numbers(path: Path) -> list[int]:
    with contextlib.suppress(OSError, ValueError):
        return [int(word) for word in path.read_text().split()]
    return []


def _client_ports() -> tuple[int, int] | None:
    found = _numbers(_CLIENT_PORTS)
    return (found[0], found[1]) if len(found) == 2 else None


def _memory_bytes() -> int:
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([found, *_numbers(_CGROUP_MEMORY)])


def _disk(folder: Path) -> DiskFact | None:
    """Of the home, or where it will be."""
    while not folder.exists():
        if folder.parent == folder:
            return None
        folder = folder.parent
    try:
        room = disk.room(folder)
    except OSError as error:
        return DiskFact(str(folder), 0, 0, f"disk error: {error.strerror}")
    return DiskFact(str(folder), room.free_bytes, room.size_bytes, disk.problem(folder))
