"""What `run/status.json` says: written at each change, whole or not at all, read by every other command."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a mesh is reached. `edge` is a URL, `mesh` host:port; the page is served at `edge`."""

    edge: str
    mesh: str
    nats: str
    redis: str
    otlp: str | None
    traces_ui: str | None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One process. `detail` is for a person: what it waits for, or why it last ended."""

    name: str
    pid: int | None
    state: str
    restarts: int
    address: str
    log: str
    detail: str
    ready_after_s: float | None
    optional: bool
    problem: str = ""
    """Why it does no work although it answers, as far as its probe knows."""
    last_restart_at: str = ""
    """ISO 8601, UTC; empty if it was never restarted."""
    last_restart_reason: str = ""


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """`state`: starting, ready (every process was ready at once, once), stopping. `error` ends a start."""

    pid: int
    home: str
    state: str
    addresses: Addresses
    services: tuple[ServiceStatus, ...]
    error: str | None = None
    keys: str = ""
    """Whose tokens are good here, for a person."""
    own_keys: bool = False
    """Those of the home's own development key."""
    nats_version: str = ""
    """Of the nats-server at the start; empty if it did not answer."""
    nats_warning: str = ""
    """What is wrong with that version, for a person."""

    @property
    def settled(self) -> bool:
        """It is ready, and what is optional is ready or has failed at least once."""
        return self.state == "ready" and not any(s.state == "starting" for s in self.services)

    @property
    def headline(self) -> str:
        """`state` in a word for a person: a ready mesh recovers while a process it needs is away."""
        away = [s.name for s in self.services if not s.optional and (s.state != "ready" or s.problem)]
        return f"recovering, {', '.join(away)} away" if self.state == "ready" and away else self.state

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {**fields.pop("addresses"), **fields}


def from_json(value: dict[str, Any]) -> MeshStatus:
    """Raises KeyError or TypeError for what `as_json` did not write."""
    names = Addresses.__dataclass_fields__
    return MeshStatus(
        pid=value["pid"],
        home=value["home"],
        state=value["state"],
        addresses=Addresses(**{name: value[name] for name in names}),
        services=tuple(ServiceStatus(**service) for service in value["services"]),
        error=value["error"],
        keys=value["keys"],
        own_keys=value["own_keys"],
        nats_version=value["nats_version"],
        nats_warning=value["nats_warning"],
    )


def write(path: Path, status: MeshStatus) -> None:
    """Beside its place and renamed into it: a reader sees the old or the new. Raises OSError.

    Not synced to the disk: after a power cut there is no mesh whose status it could be.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(status.as_json(), indent=2) + "\n")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def read(path: Path) -> MeshStatus | None:
    """None when there is none, or it is not from this version."""
    try:
        return from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
