"""A channel to the mesh, with the options that make it recover quickly.

grpc's own defaults wait up to two minutes before they look for a server that went away; here
the ceiling is `RECONNECT_MAX_MS`. A connection that fell silent without being closed is found by its pings
before any stream on it is given up, so the next stream does not fall into the same hole. gRPC sends no
keepalive ping while another one (it measures bandwidth with them) waits for its answer, for 60 s by
default: all pings get the same timeout here. Channels to one address share one connection unless
`own_connection` is set: a crowd sets it, so that its streams spread over real connections.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import grpc.aio

from grandstand.wire import bounds

RECONNECT_MIN_MS = 100
RECONNECT_MAX_MS = 1_000
KEEPALIVE_MS = 15_000
_PORTS = {"http": 80, "https": 443}

assert 1.5 * KEEPALIVE_MS < 1000 * bounds.PUBLISH_SILENCE_S, "a dead connection goes before its streams"


def address_of(target: str) -> str:
    """host:port of `host:port`, `http://host:port/` or `https://host:port/`. Raises ValueError for another
    scheme, or without a host."""
    if "://" not in target:
        return target
    parts = urlsplit(target)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(
            f"{target!r} is no address of a mesh; give host:port, http://host:port or https://host:port"
        )
    return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"


def open_channel(
    target: str, *, own_connection: bool = False, trusted_ca: bytes | None = None
) -> grpc.aio.Channel:
    """A channel to `target` (host:port, or an http or https URL). It connects on first use, and again by
    itself.

    https means TLS; `trusted_ca` has the authorities, in PEM, that may have signed the mesh's certificate;
    None: those that gRPC trusts. `own_connection`: shares no connection with other channels to the same
    address. Raises ValueError for a target that is no address.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MIN_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_MS // 2),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.use_local_subchannel_pool", int(own_connection)),
    ]
    address = address_of(target)
    if target.startswith("https://"):
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(trusted_ca), options=options)
    return grpc.aio.insecure_channel(address, options=options)
