"""The mesh that runs in a home, and where it listens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from toolbox.local import provision, status
from toolbox.local.errors import MeshError, from_os
from toolbox.local.home import CHECKOUT_HOME, Home, tenant
from toolbox.local.status import Addresses, MeshStatus
from toolbox.local.store_users import StoreUrls


@dataclass(frozen=True, slots=True)
class MeshAddresses:
    """Where a running mesh is reached: URLs have their scheme, `edge` and `mesh` are host:port. NATS and
    Redis want credentials, too: see `store_urls`.

    `edge` is for the tools of this machine: where the edge speaks TLS, it is the mesh listener instead, which
    serves the same calls on loopback, whatever name the certificate has and whoever signed it.
    """

    edge_url: str
    edge: str
    mesh: str
    nats: str
    redis: str
    otlp: str | None
    traces_ui: str | None
    metrics: str | None


def reached_without_tls(at: Addresses) -> str:
    edge = urlsplit(at.edge)
    return at.mesh if edge.scheme == "https" else edge.netloc


def home_of(home: Path | None) -> Home:
    """The home a `--home` names; without one the checkout's own, or of a wheel the current folder's."""
    own = provision.checkout() if provision.is_checkout() else Path.cwd()
    return Home((home or own / CHECKOUT_HOME).expanduser().absolute())


def running_status(home: Path | None) -> MeshStatus:
    """What the mesh in `home` says of itself. Raises MeshError when none runs there."""
    place = home_of(home)
    found = tenant(place)
    if found is None:
        raise MeshError(f"no mesh is running in {place.root}; start one with ./grandstand up")
    if not found.running:
        raise MeshError(
            f"no mesh is running in {place.root}: the last one (pid {found.pid}) ended without cleaning up;"
            " ./grandstand up clears that and starts one"
        )
    now = status.read(place.status)
    if now is None or now.pid != found.pid:
        raise MeshError(f"the mesh in {place.root} is just starting; try again in a moment")
    return now


def store_urls(home: Path | None, user: str) -> StoreUrls:
    """How NATS and Redis of the mesh in `home` are reached, with credentials: as OPERATOR or ADMIN, or with
    those that somebody else's were named with. Raises MeshError when no mesh is ready there."""
    running_mesh(home)
    path = home_of(home).store_urls
    try:
        return StoreUrls(**json.loads(path.read_text())[user])
    except OSError as error:
        raise from_os(error, f"read {path}") from None


def running_mesh(home: Path | None) -> MeshAddresses:
    """The addresses of a mesh that is ready. Raises MeshError."""
    now = running_status(home)
    if now.state == "starting":
        raise MeshError(f"the mesh in {now.home} is still starting; ./grandstand status shows how far it is")
    at = now.addresses
    return MeshAddresses(
        edge_url=at.edge,
        edge=reached_without_tls(at),
        mesh=at.mesh,
        nats=at.nats,
        redis=at.redis,
        otlp=at.otlp,
        traces_ui=at.traces_ui,
        metrics=at.metrics,
    )
