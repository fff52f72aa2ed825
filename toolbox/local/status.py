"""What `run/status.json` says: written at each change, whole or not at all, read by every other command."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_ROOM_BYTES = 16 * 1024
"""A status takes a multiple of this, so that the next one fits into its place."""
_READS_MAX = 5
_READ_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a mesh is reached. `edge` is a URL, `mesh` host:port; the page is served at `edge`. Without
    credentials: `status` shows it."""

    edge: str
    mesh: str
    nats: str
    redis: str
    otlp: str | None
    traces_ui: str | None
    metrics: str | None = None
    """The URL of all metrics; /readyz beside it."""
    prometheus: str | None = None


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
    edge_tls: str = ""
    """What the edge shows its clients, for a person; empty without TLS."""
    own_keys: bool = False
    """Those of the home's own development key."""
    nats_version: str = ""
    """Of the nats-server at the start; empty if it did not answer."""
    nats_warning: str = ""
    """What is wrong with that version, for a person."""
    redis_warning: str = ""
    """How somebody else's Redis may lose what it is given, for a person, as it said at the start."""

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
        edge_tls=value["edge_tls"],
        own_keys=value["own_keys"],
        nats_version=value["nats_version"],
        nats_warning=value["nats_warning"],
        redis_warning=value["redis_warning"],
    )


def write(path: Path, status: MeshStatus) -> None:
    """Beside its place and renamed into it: a reader sees the old or the new. Raises OSError.

    Not synced to the disk: after a power cut there is no mesh whose status it could be. On a full disk the
    room of the last one is written over, of which a reader may see a half (`read` looks again).
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    text = json.dumps(status.as_json(), indent=2).encode() + b"\n"
    data = text.ljust(-(-len(text) // _ROOM_BYTES) * _ROOM_BYTES)
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.exists():
            raise
        _write_over(path, data)


def _write_over(path: Path, data: bytes) -> None:
    """Raises OSError."""
    with path.open("r+b", buffering=0) as file:
        file.write(data.ljust(path.stat().st_size))


def read(path: Path) -> MeshStatus | None:
    """None when there is none, or it is not from this version."""
    for _ in range(_READS_MAX):
        try:
            return from_json(json.loads(path.read_text()))
        except ValueError:
            time.sleep(_READ_AGAIN_S)
        except (OSError, KeyError, TypeError):
            break
    return None
