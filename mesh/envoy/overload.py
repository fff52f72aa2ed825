"""The bounds of Envoy's process: connections of each listener, and what it does when its heap is nearly full.

Strangers use up the edge, never the inside: each listener has a bound of connections of its own. The mesh
listener and the admin heed neither the bound of the whole process nor what the heap makes the edge do. A
connection beyond the bound is closed as soon as it is accepted.

The heap (`heap_bytes_max`), in this order: free pages go back to the system; idle connections at the edge are
closed sooner; new ones are closed; new requests are answered with 503. What is open goes on.

A connection that sends many requests at once has REQUESTS_PER_TURN of them answered, then everybody else has
a turn, and so it is with connections that come at once (`listeners.ACCEPTS_PER_TURN`): without the two,
25,000 HEADERS over 250 connections held up every viewer of a worker for seconds. One request in a turn is
fairer by little and dearer by much: each refusal is a write of its own then, and wakes its reader (95 µs of
Envoy against 55).

What stock Envoy cannot do: bound connections by address (envoyproxy/envoy#27853), or time a connection that
has sent an HTTP/2 preface and no request differently from one that is idle between two. So one address can
hold all of the edge's connections, for `EDGE_IDLE_S` at a time. Streams are bounded by address in the
services. Who needs more puts a load balancer or a packet filter in front that counts by address.

Rejected: `reset_high_memory_stream`, whose accounting costs each buffer something; every stream's buffers are
bounded already. `connection_limit`, a filter of each connection, where the listener itself counts.
"""

from __future__ import annotations

from typing import Any

from mesh.envoy.config import EnvoyConfig

MESH_SHARE = 8
"""The mesh listener may have one connection for this many of the edge; from descriptors kept beside those."""
HEAP_SHRINK, HEAP_IDLE, HEAP_CONNECTIONS, HEAP_REQUESTS = 0.85, 0.90, 0.95, 0.98
IDLE_LEAST_S = 1
REQUESTS_PER_TURN = 16
"""Of one connection in one turn of a worker's loop; the rest are read in the next ones."""

assert HEAP_SHRINK < HEAP_IDLE < HEAP_CONNECTIONS < HEAP_REQUESTS < 1

_HEAP = "envoy.resource_monitors.fixed_heap"
_TYPES = "type.googleapis.com/envoy"


def mesh_connections_max(config: EnvoyConfig) -> int:
    return max(64, config.connections_max // MESH_SHARE)


def connection_limits(config: EnvoyConfig) -> dict[str, Any]:
    """Of listeners and connections, in the form of a runtime layer."""
    return {
        "http.max_requests_per_io_cycle": REQUESTS_PER_TURN,
        "envoy.resource_limits.listener.edge.connection_limit": config.connections_max,
        "envoy.resource_limits.listener.mesh.connection_limit": mesh_connections_max(config),
    }


def overload_manager(config: EnvoyConfig) -> dict[str, Any]:
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": config.heap_bytes_max,
                },
            },
            {
                # Of all listeners together, so above the edge's own: Envoy warns of a process without it.
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.resource_monitors.downstream_connections.v3"
                    ".DownstreamConnectionsConfig",
                    "max_active_downstream_connections": config.connections_max
                    + mesh_connections_max(config),
                },
            },
        ],
        "actions": [
            {"name": "envoy.overload_actions.shrink_heap", "triggers": [_above(HEAP_SHRINK)]},
            {
                "name": "envoy.overload_actions.reduce_timeouts",
                "triggers": [
                    {
                        "name": _HEAP,
                        "scaled": {"scaling_threshold": HEAP_IDLE, "saturation_threshold": HEAP_CONNECTIONS},
                    }
                ],
                "typed_config": {
                    "@type": f"{_TYPES}.config.overload.v3.ScaleTimersOverloadActionConfig",
                    "timer_scale_factors": [
                        {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": f"{IDLE_LEAST_S}s"}
                    ],
                },
            },
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": [_above(HEAP_REQUESTS)]},
        ],
        "loadshed_points": [
            {"name": "envoy.load_shed_points.tcp_listener_accept", "triggers": [_above(HEAP_CONNECTIONS)]}
        ],
    }


def _above(share: float) -> dict[str, Any]:
    return {"name": _HEAP, "threshold": {"value": share}}
