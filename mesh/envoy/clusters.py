"""The services behind Envoy: circuit breakers, outlier detection, health checks.

Each listener has clusters of its own, `edge-gateway` and `mesh-gateway` and so on: what strangers use up, or
make Envoy believe of a host, closes no way inside. It costs a second health check for each host.

Health is asked actively, every half second, by the name of the gRPC service. Routing goes to healthy hosts
only; when not one is left, to all of them (panic at 1 %), so that a lone replica which restarts is found by
retries as soon as it listens.

A failed check moves only new calls. Streams on a frozen process are cut by HTTP/2 pings instead, and soon
where another replica can take their clients; a lone replica is given longer, because a process that is slow
for a few seconds would lose every viewer for nothing. Rejected: `close_connections_on_host_health_failure`,
which (tried with 1.40) lets HTTP streams on the failed host go on.

Outlier detection counts only what Envoy itself saw (connections refused, reset, timed out). Status codes
never eject: a client earns DEADLINE_EXCEEDED with a position from the future, and must not take a host away
from others by asking for it.
"""

from __future__ import annotations

from typing import Any

from mesh import limits
from mesh.envoy.config import Address, SocketPath, UpstreamTls
from mesh.envoy.contract import Listener, cluster_name
from mesh.envoy.routes import seconds

CONNECT_TIMEOUT_S = 1.0
HEALTH_INTERVAL_S = 0.5
HEALTH_INTERVAL_DOWN_S = 0.2
HEALTH_TIMEOUT_S = 1.0
UNHEALTHY_AFTER = 2

CONNECTIONS_MAX = 1_024
REQUESTS_MAX = 25_000
"""Also of those that wait: all of them at once, when a gateway is back and its connection not yet."""
EDGE_READS_MAX = 2_048
"""Unary calls of clients to aggregate, and to notify, at once: reads of Redis, and reads that wait for a
position."""
RETRY_BUDGET_PERCENT = 20.0
RETRIES_AT_LEAST = 32
BUFFER_BYTES = 256 * 1024
# Of a connection to a gateway, which brings frames of thousands of viewers: each that was read and not yet
# written takes 4 KiB in Envoy, so with 256 KiB of them at once 1.5 KiB more for each of 5,000 viewers.
GATEWAY_BUFFER_BYTES = 64 * 1024
EJECTION_S = 2.0
PING = {"interval": "1.5s", "timeout": "2s"}
PING_LONE = {"interval": "10s", "timeout": "10s"}

# Thousands of viewers share one connection to a gateway, and what Envoy has received for one that does not
# read counts against its stream's window and the connection's. The latter is wide enough for all of them at
# once, so that nobody waits for another (I8); what there may be of it is bounded by the streams' own.
STREAM_WINDOW_BYTES = 65_535
CONNECTION_WINDOW_BYTES = REQUESTS_MAX * STREAM_WINDOW_BYTES
STREAMS_PER_CONNECTION_MAX = 65_536
# What may wait to be written to a service. Beyond it Envoy closes the connection, as against a flood: by its
# defaults (1,000 RST_STREAMs and the like, 10,000 frames of any kind) a thousand viewers who left in the same
# instant took all the others' streams with them.
CONTROL_FRAMES_WAITING_MAX = 2 * REQUESTS_MAX
FRAMES_WAITING_MAX = 4 * REQUESTS_MAX

assert FRAMES_WAITING_MAX >= 3 * REQUESTS_MAX, "every stream's HEADERS, DATA and RST_STREAM"
assert CONNECTION_WINDOW_BYTES <= 2**31 - 1, "as wide as HTTP/2 allows"
assert STREAMS_PER_CONNECTION_MAX >= REQUESTS_MAX
assert REQUESTS_MAX > limits.VIEWERS_MAX + limits.SENDS_PENDING_MAX - 1, "a full gateway is not cut by Envoy"


def grpc_cluster(
    listener: Listener,
    kind: str,
    service: str,
    endpoints: tuple[Address, ...],
    tls: UpstreamTls | None = None,
) -> dict[str, Any]:
    """`service` is the gRPC service whose health is asked for."""
    name = cluster_name(listener, kind)
    reads_only = listener == "edge" and kind in ("aggregate", "notify")
    requests_max = EDGE_READS_MAX if reads_only else REQUESTS_MAX
    assert endpoints, f"{kind} has no endpoint"
    return {
        **({"transport_socket": upstream_tls(tls)} if tls else {}),
        "name": name,
        "type": "STATIC",
        "connect_timeout": seconds(CONNECT_TIMEOUT_S),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 1.0},
            # Workers hear of a host that came or goes at once; by default up to a second later.
            "update_merge_window": "0s",
        },
        "per_connection_buffer_limit_bytes": GATEWAY_BUFFER_BYTES if kind == "gateway" else BUFFER_BYTES,
        "load_assignment": _assignment(name, endpoints),
        "typed_extension_protocol_options": _http2(PING if len(endpoints) > 1 else PING_LONE),
        "circuit_breakers": {
            "thresholds": [
                {
                    "priority": "DEFAULT",
                    "max_connections": CONNECTIONS_MAX,
                    "max_pending_requests": requests_max,
                    "max_requests": requests_max,
                    "track_remaining": True,
                    "retry_budget": {
                        "budget_percent": {"value": RETRY_BUDGET_PERCENT},
                        "min_retry_concurrency": RETRIES_AT_LEAST,
                    },
                }
            ]
        },
        "health_checks": [
            {
                "timeout": seconds(HEALTH_TIMEOUT_S),
                "interval": seconds(HEALTH_INTERVAL_S),
                "unhealthy_interval": seconds(HEALTH_INTERVAL_DOWN_S),
                "no_traffic_interval": seconds(HEALTH_INTERVAL_S),
                "no_traffic_healthy_interval": seconds(HEALTH_INTERVAL_S),
                "unhealthy_threshold": UNHEALTHY_AFTER,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": service},
            }
        ],
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "0.5s",
            "base_ejection_time": seconds(EJECTION_S),
            "max_ejection_time": seconds(5 * EJECTION_S),
            "max_ejection_percent": 50,
        },
    }


def otlp_cluster(endpoint: Address) -> dict[str, Any]:
    """The collector of Envoy's own spans. It may be away: spans are dropped then, nothing waits for it."""
    return {
        "name": "otlp",
        "type": "STRICT_DNS",
        "wait_for_warm_on_init": False,
        "connect_timeout": seconds(CONNECT_TIMEOUT_S),
        "load_assignment": _assignment("otlp", (endpoint,)),
        "typed_extension_protocol_options": _http2(PING_LONE),
    }


def _assignment(name: str, endpoints: tuple[Address, ...]) -> dict[str, Any]:
    return {
        "cluster_name": name,
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": socket_address(endpoint)}} for endpoint in endpoints]}
        ],
    }


def socket_address(endpoint: Address) -> dict[str, Any]:
    if isinstance(endpoint, SocketPath):
        return {"pipe": {"path": endpoint.path}}
    return {"socket_address": {"address": endpoint.host, "port_value": endpoint.port}}


def upstream_tls(tls: UpstreamTls) -> dict[str, Any]:
    """HTTP/2 is agreed on by ALPN, without which our services speak to nobody."""
    own = {
        "certificate_chain": {"filename": tls.certificate},
        "private_key": {"filename": tls.key},
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": tls.name,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                **({"tls_certificates": [own]} if tls.certificate else {}),
                "validation_context": {
                    "trusted_ca": {"filename": tls.trusted_ca},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": tls.name}}],
                },
            },
        },
    }


def _http2(keepalive: dict[str, str]) -> dict[str, Any]:
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {
                "http2_protocol_options": {
                    "max_concurrent_streams": STREAMS_PER_CONNECTION_MAX,
                    "initial_stream_window_size": STREAM_WINDOW_BYTES,
                    "initial_connection_window_size": CONNECTION_WINDOW_BYTES,
                    "connection_keepalive": keepalive,
                    "max_outbound_frames": FRAMES_WAITING_MAX,
                    "max_outbound_control_frames": CONTROL_FRAMES_WAITING_MAX,
                    # What is written out plainly is read for half: a new viewer's token alone took 35 µs.
                    "enable_huffman_encoding": False,
                }
            },
        }
    }
