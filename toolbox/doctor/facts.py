"""What the collectors found out. Nothing here holds a password: `at` is an address without its login."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProgramFact:
    """`problem`: why it cannot be run; `warning`: what is wrong with its version."""

    name: str
    version: str = ""
    problem: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class PortFact:
    """A port that `up` would take, and somebody else holds."""

    port: int
    option: str
    holder: str


@dataclass(frozen=True, slots=True)
class DiskFact:
    path: str
    free_bytes: int
    size_bytes: int
    problem: str = ""
    """In the words of mesh.disk."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    programs: tuple[ProgramFact, ...]
    ports_taken: tuple[PortFact, ...]
    files_max: int
    listen_queue_max: int | None
    """net.core.somaxconn; None where there is none."""
    client_ports: tuple[int, int] | None
    """The kernel's range for outgoing connections."""
    memory_bytes: int
    disk: DiskFact | None
    """Of the home."""


@dataclass(frozen=True, slots=True)
class CertificateFact:
    """`days_left` is negative once it has expired; None: there was no handshake, and `problem` says why."""

    of: str
    days_left: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StreamFact:
    used_bytes: int
    max_bytes: int
    """0: without bound."""
    replicas: int
    is_on_disk: bool
    drops_old: bool


@dataclass(frozen=True, slots=True)
class NatsFacts:
    at: str
    version: str = ""
    problem: str = ""
    """Why it cannot be used; then nothing else is known."""
    warning: str = ""
    round_trip_s: float | None = None
    max_payload_bytes: int = 0
    clock_offset_s: float | None = None
    """How far this machine's clock is ahead of the server's."""
    events: StreamFact | None = None
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class RedisFacts:
    at: str
    problem: str = ""
    warning: str = ""
    """It evicts, or keeps nothing."""
    round_trip_s: float | None = None
    used_bytes: int = 0
    max_bytes: int = 0
    """0: without bound."""
    write_problem: str = ""
    """What its last write to the disk ended with."""


@dataclass(frozen=True, slots=True)
class ProcessFact:
    """One of `up`'s."""

    name: str
    state: str
    detail: str
    problem: str
    restarts: int
    restarted_ago_s: float | None
    restart_reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class MeshFacts:
    state: str
    processes: tuple[ProcessFact, ...]
    promises: Mapping[str, Any]
    """As /healthz has them."""
    said: Mapping[str, Any]
    """By instance what its /readyz says; empty where nothing is collected."""
    now: tuple[Sample, ...]
    before: tuple[Sample, ...]
    """The metrics, and those of a moment ago."""
    metrics_problem: str = ""


@dataclass(frozen=True, slots=True)
class DoctorFacts:
    machine: MachineFacts | None = None
    nats: NatsFacts | None = None
    redis: RedisFacts | None = None
    certificates: tuple[CertificateFact, ...] = ()
    mesh: MeshFacts | None = None
    """None: no mesh runs here."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """By collector, why it came to nothing."""
