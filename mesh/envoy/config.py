"""What varies from mesh to mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where something listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page: served at `path` (beginning with a slash) from `file`, or from `text`."""

    path: str
    content_type: str
    file: str = ""
    text: str = ""
    immutable: bool = False
    """Its name changes with its content: a browser may keep it for good."""


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A JWKS with the development key, which is symmetric: read once, when Envoy starts, and never served."""

    path: str


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A JWKS of public keys. One that is renamed into its place is taken within seconds."""

    path: str


@dataclass(frozen=True, slots=True)
class KeyUrl:
    """A JWKS at an http or https URL; `trusted_ca` is a file of certificates in PEM, for https."""

    url: str
    trusted_ca: str = ""


Keys = SecretFile | KeyFile | KeyUrl


@dataclass(frozen=True, slots=True)
class EnvoyConfig:
    edge: Endpoint
    mesh: Endpoint
    admin: Endpoint
    replicas: Mapping[str, tuple[Endpoint, ...]]
    """The endpoints of each service: ingest, aggregate, gateway."""
    keys: Keys
    """With which clients' tokens are signed."""
    issuer: str = ""
    """Who issues them; "" is not checked."""
    page: tuple[PageFile, ...] = ()
    allow_origins: tuple[str, ...] = ("*",)
    """Whose pages may call the edge: exact origins such as "https://example.com", or "*" for all."""
    otlp: Endpoint | None = None
    """Where Envoy's own spans go, by OTLP over gRPC without TLS."""
    connections_max: int = 16_000
    """Downstream, over both listeners; each costs a file descriptor, and most one more upstream."""
