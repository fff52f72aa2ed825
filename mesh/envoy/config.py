"""What varies from mesh to mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where something listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SocketPath:
    """A Unix socket on this machine, by its absolute path."""

    path: str


Address = Endpoint | SocketPath


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """Envoy shows a service its certificate, and asks for the service's. Files in PEM.

    Envoy reads them when it starts; a renewed certificate is taken with a restart, or from an SDS server.
    """

    trusted_ca: str
    name: str
    """The DNS name that must be in the service's certificate."""
    certificate: str = ""
    key: str = ""
    """Both or neither: a service that asks for none is shown none."""


@dataclass(frozen=True, slots=True)
class EdgeTls:
    """What the edge shows its clients."""

    secret: str
    """A file as `edge_tls.secret_text` makes it. One that is renamed into its place is taken at once."""
    names: tuple[str, ...] = ()
    """The DNS names in the certificate, such as "example.com" and "*.example.com"."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page, served at `path` (beginning with a slash)."""

    path: str
    content_type: str
    body: bytes
    is_gzip: bool = False
    immutable: bool = False
    """Its name changes with its content: a browser may keep it for good."""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A JWKS with the development key, which is symmetric: read once, when Envoy starts, and never served."""

    path: str


@dataclass(frozen=True, slots=True)
class JwksFile:
    """A JWKS of public keys. One that is renamed into its place is taken within seconds."""

    path: str


@dataclass(frozen=True, slots=True)
class JwksUrl:
    """A JWKS at an http or https URL; `trusted_ca` is a file of certificates in PEM, for https."""

    url: str
    trusted_ca: str = ""


Keys = SecretFile | JwksFile | JwksUrl


@dataclass(frozen=True, slots=True)
class EnvoyConfig:
    edge: Endpoint
    mesh: Endpoint
    admin: SocketPath
    """Whoever reaches it can end Envoy: in a folder of this user's alone."""
    replicas: Mapping[str, tuple[Address, ...]]
    """Where each service of contract.KINDS listens."""
    keys: Keys
    """With which clients' tokens are signed."""
    issuer: str = ""
    """Who issues them; "" is not checked."""
    page: tuple[PageFile, ...] = ()
    allow_origins: tuple[str, ...] = ("*",)
    """Whose pages may call the edge: exact origins such as "https://example.com", or "*" for all."""
    otlp: Endpoint | None = None
    """Where Envoy's own spans go, by OTLP over gRPC without TLS."""
    trace_share: float = 1.0
    """Of what begins here, 0 to 1."""
    trusted_hops: int = 0
    """How many proxies before the edge append to x-forwarded-for what is believed."""
    proxies: tuple[str, ...] = ()
    """The only networks that the edge takes connections from, such as "10.0.0.0/8"; none: from everywhere."""
    address_rates: bool = True
    """Whether the edge bounds how fast one address may ask, see `address_rates`."""
    edge_tls: EdgeTls | None = None
    upstream_tls: Mapping[str, UpstreamTls] = field(default_factory=dict)
    """Of the services that are asked with TLS; the others are asked without."""
    connections_max: int = 16_000
    """At the edge; each costs a file descriptor. The mesh listener has a bound of its own, see `overload`."""
    heap_bytes_max: int = 2 * 1024**3
    """From 85 % of it on the edge gives up what it can, see `overload`."""
