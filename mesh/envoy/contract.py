"""The RPCs and what may be retried, read from the protos themselves.

A unary call is retried by Envoy exactly when its RPC says `idempotency_level` NO_SIDE_EFFECTS or IDEMPOTENT,
so the contract a client reads and what the mesh does cannot drift apart. Send is among them: its event
carries its own identity, and is counted once however often it arrives (I2). A stream is opened again by its
client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from grandstand.access.v1 import access_pb2
from grandstand.aggregate.v1 import aggregate_pb2
from grandstand.catalog.v1 import catalog_pb2
from grandstand.gateway.v1 import gateway_pb2
from grandstand.ingest.v1 import ingest_pb2
from grandstand.notify.v1 import notify_pb2
from grandstand.operator.v1 import operator_pb2
from grandstand.support.v1 import support_pb2

Listener = Literal["edge", "mesh"]
LISTENERS: tuple[Listener, ...] = get_args(Listener)

_SERVED_BY: tuple[tuple[str, ServiceDescriptor], ...] = (
    ("gateway", gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]),
    ("gateway", operator_pb2.DESCRIPTOR.services_by_name["OperatorService"]),
    ("ingest", ingest_pb2.DESCRIPTOR.services_by_name["IngestService"]),
    ("aggregate", aggregate_pb2.DESCRIPTOR.services_by_name["AggregateService"]),
    ("aggregate", catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]),
    ("aggregate", access_pb2.DESCRIPTOR.services_by_name["AccessService"]),
    ("aggregate", support_pb2.DESCRIPTOR.services_by_name["SupportService"]),
    ("notify", notify_pb2.DESCRIPTOR.services_by_name["NotifyService"]),
)
KINDS = tuple(dict.fromkeys(kind for kind, _ in _SERVED_BY))
"""The services behind Envoy."""

_INBOX_METHODS = (
    "NotifyService/ListInbox",
    "NotifyService/AcknowledgeNotices",
    "NotifyService/GetPreferences",
    "NotifyService/SetPreferences",
)
"""What an actor does with its own inbox. To send is for backends, on the mesh listener."""

_EDGE_SERVICES = ("GatewayService", "IngestService", "AggregateService")
_EDGE_METHODS = (
    "CatalogService/GetGame",
    "CatalogService/ListPolls",
    "CatalogService/ListBoards",
    *_INBOX_METHODS,
)
"""Defining, opening and closing is for a game's own backend, on the mesh listener."""
_MESH_METHODS = ("AggregateService/ReadPartitions",)
"""For operators."""
_MESH_TOKEN_METHODS = (
    "IngestService/Publish",
    "AggregateService/ReadPartitions",
    "AccessService/Revoke",
    "AccessService/ListRevocations",
    "SupportService/Explain",
    "NotifyService/SendNotice",
    "NotifyService/SendNoticeToActors",
    "NotifyService/CancelNotice",
    "NotifyService/TailNotices",
    "NotifyService/ChangeSegment",
    "NotifyService/ListSegments",
    "NotifyService/ListSegmentActors",
    "NotifyService/DeleteSegment",
)
"""Also called with the mesh's own tokens, which Envoy cannot check: the service does."""
_TOKEN_METHODS = (
    "IngestService/Publish",
    "GatewayService/Send",
    "GatewayService/IssueOrigin",
    *_INBOX_METHODS,
)
"""Who acts must say who it is; who watches need not."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC: `path` as in HTTP/2's :path, `kind` the service that serves it."""

    path: str
    kind: str
    streams: bool
    client_streams: bool
    retryable: bool
    at_edge: bool
    wants_token: bool
    """A client's, at the edge."""
    wants_token_inside: bool
    """A client's, on the mesh listener."""


def rpcs() -> tuple[Rpc, ...]:
    return tuple(_rpc(kind, method) for kind, service in _SERVED_BY for method in service.methods)


def services_of(kind: str) -> tuple[str, ...]:
    """The full names of the gRPC services that one of KINDS serves, for its health check."""
    return tuple(service.full_name for served_by, service in _SERVED_BY if served_by == kind)


def cluster_name(listener: Listener, kind: str) -> str:
    return f"{listener}-{kind}"


def clusters_of(*kinds: str) -> tuple[str, ...]:
    """The names of both listeners' clusters."""
    return tuple(cluster_name(listener, kind) for listener in LISTENERS for kind in kinds)


def _rpc(kind: str, method: MethodDescriptor) -> Rpc:
    service = method.containing_service
    name = f"{service.name}/{method.name}"
    level = method.GetOptions().idempotency_level
    return Rpc(
        path=f"/{service.full_name}/{method.name}",
        kind=kind,
        streams=method.client_streaming or method.server_streaming,
        client_streams=method.client_streaming,
        retryable=level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT),
        at_edge=name in _EDGE_METHODS or (service.name in _EDGE_SERVICES and name not in _MESH_METHODS),
        wants_token=name in _TOKEN_METHODS,
        wants_token_inside=(kind in ("aggregate", "notify") or service.name == "OperatorService")
        and name not in _MESH_TOKEN_METHODS,
    )
