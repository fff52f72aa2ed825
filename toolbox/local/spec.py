"""What is to run, as data: one `ProcessSpec` for each process, and how to ask it whether it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """gRPC health: every one of `services` must be SERVING; "" is the server as a whole."""

    port: int
    services: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """GET answers 200."""

    port: int
    path: str


@dataclass(frozen=True, slots=True)
class NatsProbe:
    """Its /healthz answers 200, and JetStream stores a message in the stream PROBES. `password`: that of the
    prober; empty where the store asks for none."""

    port: int
    monitor_port: int
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RedisProbe:
    """A key is written and read; LOADING is alive, but not ready."""

    port: int
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class EnvoyProbe:
    """The admin's /ready answers 200 and each of `clusters` has at least one healthy host."""

    admin: Path
    """Its socket."""
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunningProbe:
    """Ready as soon as it runs: for a process that serves nobody."""


Probe = GrpcProbe | HttpProbe | NatsProbe | RedisProbe | EnvoyProbe | RunningProbe


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One supervised process.

    `needs` names the processes that must be ready before this one is started, each time again. Processes of a
    lower `stop_stage` are stopped, and gone, before those of a higher one get their signal. An `optional`
    process neither holds back nor ends the start of the others. `keep_trying`: once it was ready it is
    restarted for as long as it takes. `store`: the directory that it must be able to write. Secrets go by
    `environment` or a file, never by `command`, which everybody on the machine can read.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe
    address: str = ""
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    grace_s: float = 10.0
    start_within_s: float = 30.0
    stop_stage: int = 0
    optional: bool = False
    keep_trying: bool = False
    store: Path | None = None

    def __post_init__(self) -> None:
        if self.name in self.needs:
            raise ValueError(f"process {self.name!r} needs itself")
        if not self.command:
            raise ValueError(f"process {self.name!r} has no command")


def check(specs: tuple[ProcessSpec, ...]) -> None:
    """Raises ValueError for a name used twice, a need that is no process, or a circle of needs."""
    by_name = {spec.name: spec for spec in specs}
    if len(by_name) != len(specs):
        raise ValueError(f"a process name is used twice: {sorted(spec.name for spec in specs)}")
    for spec in specs:
        if unknown := [need for need in spec.needs if need not in by_name]:
            raise ValueError(f"process {spec.name!r} needs {unknown[0]!r}, which is no process")
    startable: set[str] = set()
    while more := {s.name for s in specs if s.name not in startable and startable.issuperset(s.needs)}:
        startable |= more
    if circle := sorted(set(by_name) - startable):
        raise ValueError(f"processes need each other in a circle: {', '.join(circle)}")
