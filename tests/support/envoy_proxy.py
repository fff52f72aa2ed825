"""A real Envoy before services of a test, configured as `up` does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mesh.envoy.bootstrap import bootstrap
from mesh.envoy.config import Address, Endpoint, EnvoyConfig, JwksFile, SocketPath
from mesh.envoy.contract import KINDS, clusters_of
from tests.support.tokens import jwks, private_jwk
from toolbox.local import provision
from toolbox.local.home import Home
from toolbox.local.ports import Ports
from toolbox.local.spec import EnvoyProbe, ProcessSpec

LOOPBACK = "127.0.0.1"
CLIENTS_KEY = private_jwk("EdDSA")
"""Signs the tokens that this Envoy takes."""


def proxy(
    home: Home,
    ports: Ports,
    replicas: Mapping[str, tuple[Address, ...]],
    *healthy: str,
    **changes: Any,
) -> tuple[ProcessSpec, EnvoyConfig]:
    """Envoy before the given services, ready once the named ones are healthy; the others are nowhere.

    `changes`: further fields of the configuration.
    """
    config = EnvoyConfig(
        edge=Endpoint(LOOPBACK, ports.take()),
        mesh=Endpoint(LOOPBACK, ports.take()),
        admin=SocketPath(str(home.envoy_admin)),
        replicas={name: replicas.get(name) or (Endpoint(LOOPBACK, ports.take()),) for name in KINDS},
        keys=JwksFile(str(home.jwks)),
        **changes,
    )
    home.jwks.parent.mkdir(exist_ok=True)
    home.jwks.write_bytes(jwks(CLIENTS_KEY))
    path = home.run / "envoy.json"
    path.write_text(json.dumps(bootstrap(config)))
    command = (str(provision.envoy()), "-c", str(path), "--disable-hot-restart", "--concurrency", "1")
    spec = ProcessSpec(
        name="envoy",
        command=(*command, "--log-level", "warning"),
        probe=EnvoyProbe(home.envoy_admin, clusters_of(*healthy)),
    )
    return spec, config


def envoy(
    home: Home, ports: Ports, replicas: Mapping[str, tuple[int, ...]], *healthy: str
) -> tuple[ProcessSpec, str]:
    """The same before ports on loopback; and the address of its mesh listener."""
    at: dict[str, tuple[Address, ...]] = {
        name: tuple(Endpoint(LOOPBACK, port) for port in found) for name, found in replicas.items()
    }
    spec, config = proxy(home, ports, at, *healthy)
    return spec, f"{LOOPBACK}:{config.mesh.port}"
