"""Edge and mesh: what Envoy listens on, and the HTTP filters a request passes.

Order of the filters: cors, grpc_web, local_ratelimit, jwt_authn, router; on the mesh listener jwt_authn and
router. Both listeners take HTTP/1.1 and h2 on the same port (codec AUTO). Bytes that are neither get a 400
and a closed connection.

/healthz and /livez are a gateway's to answer, on both. Rejected: Envoy's health_check filter, which knows how
many hosts answer and nothing of whether a vote can be stored.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Literal

from mesh.envoy.address_rates import STALLED_S, rate_filter
from mesh.envoy.clusters import socket_address
from mesh.envoy.config import EnvoyConfig
from mesh.envoy.contract import Listener, rpcs
from mesh.envoy.edge_tls import in_tls, strict_hosts
from mesh.envoy.page import FILE_BYTES_MAX, page_route
from mesh.envoy.routes import health_route, probe_routes, rpc_route, seconds
from mesh.envoy.tokens import denials, jwt_filter, keys_routes, requirement, requirement_inside
from mesh.envoy.traces import TRACE_RESPONSE, trace_response, tracing, without_trace_context

BUFFER_BYTES = 64 * 1024
"""What Envoy holds for a connection that does not read: also what a slow viewer can cost (I8)."""
UNSENT_BYTES = 32 * 1024
"""Of a connection in the kernel, beyond what is on its way: without it a viewer that does not read is sent
2.3 MB of results first (measured), and one that reads slowly sees each as late as that takes."""
EDGE_STREAMS_MAX = 100
"""Of a connection: a browser has a few; a client that wants more opens another connection."""
MESH_STREAMS_MAX = 4_096
REQUEST_HEADERS_KIB_MAX = 32
REQUEST_HEADERS_MAX = 64
EDGE_IDLE_S = 60.0
"""Of a connection without a request, before the first and between two."""
TRUSTED_IDLE_S = 300.0
"""The same of who is known: on the mesh listener, and of proxies before the edge. These keep connections for
a minute and more, and would use one that has just been closed."""
FIRST_BYTES_WITHIN_S = 2.0
"""At the edge: with a round trip of 200 ms a first packet that is lost twice comes within it (0.6 and 1.2 s).
An attacker who opens 5,200 silent connections a second, all that half a core can, holds 10,400 of the 16,000;
with 3 s it was all of them."""
HEADERS_WITHIN_S = 10.0
REQUEST_WITHIN_S = 10.0
"""At the edge: a request is whole, or its response has begun (Publish answers a Hello)."""

ACCEPTS_PER_TURN = 1
"""Of a worker's loop, at the edge. Whoever opens 250 connections with 100 requests on each is taken in one by
one; all at once they held up the worker for a second."""
ACCEPT_QUEUE = 4_096
"""Connections that wait for it; the system's own bound (net.core.somaxconn) holds beside it."""

_LOOPBACK = ("127.0.0.0/8", "::1/128")
_TYPES = "type.googleapis.com/envoy.extensions"

_CORS_REQUEST_HEADERS = (
    "content-type",
    "x-grpc-web",
    "x-user-agent",
    "grpc-timeout",
    "grpc-encoding",
    "grpc-accept-encoding",
    "connect-protocol-version",
    "connect-timeout-ms",
    "traceparent",
    "tracestate",
    "authorization",
)
# Of a browser, and nothing to us: Envoy would keep some 350 bytes for each as long as the stream lives, and
# the gateway read it. Not `origin`: the CORS filter looks at it again when the response comes.
_REQUEST_HEADERS_REMOVED = (
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "cookie",
    "dnt",
    "pragma",
    "priority",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-gpc",
    "user-agent",
    "x-user-agent",
)
_CORS_RESPONSE_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", TRACE_RESPONSE)
SEND = "/grandstand.gateway.v1.GatewayService/Send"
_CORS_MAX_AGE_S = 7_200


def edge_listener(config: EnvoyConfig) -> dict[str, Any]:
    routes = [
        rpc_route("edge", rpc)
        | {
            "typed_per_filter_config": requirement(rpc),
            "request_headers_to_remove": list(_REQUEST_HEADERS_REMOVED),
            **({"response_headers_to_add": trace_response(config)} if rpc.path == SEND else {}),
        }
        for rpc in rpcs()
        if rpc.at_edge
    ]
    routes.extend((health_route("edge"), *probe_routes("edge")))
    routes.extend(page_route(file) for file in config.page)
    host: dict[str, Any] = {
        "name": "edge",
        "domains": ["*"],
        "routes": routes,
        "typed_per_filter_config": {"envoy.filters.http.cors": _cors_policy(config.allow_origins)},
    }
    rates = [rate_filter(config)] if config.address_rates else []
    filters = [_cors(), _grpc_web(), *rates, jwt_filter(config), _router()]
    hosts = [*strict_hosts(config.edge_tls, host), host]
    idle_s = TRUSTED_IDLE_S if config.trusted_hops or config.proxies else EDGE_IDLE_S
    manager = _manager(config, "edge", hosts, filters, EDGE_STREAMS_MAX, idle_s) | {
        # The client is outside: its address is that of the connection, or what a trusted proxy appended, and
        # it may not claim another. Ours is appended in any case.
        "use_remote_address": True,
        "xff_num_trusted_hops": config.trusted_hops,
        "local_reply_config": denials(),
        "early_header_mutation_extensions": [without_trace_context()],
        "request_timeout": seconds(REQUEST_WITHIN_S),
    }
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = "REJECT_REQUEST"
    chain = {
        **(
            {"filter_chain_match": {"source_prefix_ranges": _ranges(config.proxies)}}
            if config.proxies
            else {}
        ),
        **(in_tls(config.edge_tls) if config.edge_tls else {}),
    }
    return _listener("edge", config.edge, manager, chain) | {
        "socket_options": _unsent_bounded(),
        "max_connections_to_accept_per_socket_event": ACCEPTS_PER_TURN,
        "tcp_backlog_size": ACCEPT_QUEUE,
        # They wait for the first bytes: a connection that sends none is closed.
        "listener_filters": [_inspector("tls" if config.edge_tls else "http")],
        "listener_filters_timeout": seconds(FIRST_BYTES_WITHIN_S),
    }


def mesh_listener(config: EnvoyConfig) -> dict[str, Any]:
    host = {
        "name": "mesh",
        "domains": ["*"],
        "routes": [
            *(
                rpc_route("mesh", rpc) | {"typed_per_filter_config": requirement_inside(rpc)}
                for rpc in rpcs()
            ),
            health_route("mesh"),
            *probe_routes("mesh"),
            *keys_routes(config),
        ],
    }
    filters = [jwt_filter(config), _router()]
    manager = _manager(config, "mesh", [host], filters, MESH_STREAMS_MAX, TRUSTED_IDLE_S) | {
        "use_remote_address": True,
        "local_reply_config": denials(),
    }
    return _listener("mesh", config.mesh, manager, {}) | {
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
    }


def _listener(name: str, endpoint: Any, manager: dict[str, Any], chain: dict[str, Any]) -> dict[str, Any]:
    """`chain`: what else its filter chain has."""
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": name,
        "address": socket_address(endpoint),
        # Else a second Envoy shares the port, and each gets half of the calls. The one socket is accepted
        # from by all workers: without a balance the first to wake takes the connection.
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [{"filters": filters, **chain}],
    }


def _ranges(networks: tuple[str, ...]) -> list[dict[str, Any]]:
    found = [ipaddress.ip_network(text) for text in (*networks, *_LOOPBACK)]
    return [{"address_prefix": str(each.network_address), "prefix_len": each.prefixlen} for each in found]


def _unsent_bounded() -> list[dict[str, Any]]:
    """Connections inherit it from their listener."""
    return [
        {
            "description": "TCP_NOTSENT_LOWAT",
            "level": socket.IPPROTO_TCP,
            "name": socket.TCP_NOTSENT_LOWAT,
            "int_value": UNSENT_BYTES,
            "state": "STATE_LISTENING",
        }
    ]


def _manager(
    config: EnvoyConfig,
    name: Listener,
    virtual_hosts: list[dict[str, Any]],
    filters: list[dict[str, Any]],
    streams_max: int,
    idle_s: float,
) -> dict[str, Any]:
    manager: dict[str, Any] = {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "server_name": "grandstand",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {
            "idle_timeout": seconds(idle_s),
            "max_headers_count": REQUEST_HEADERS_MAX,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": streams_max,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1024 * 1024,
            # A peer that vanished without a word (a phone in a tunnel) is noticed.
            "connection_keepalive": {"interval": "30s", "timeout": "20s"},
        },
        "max_request_headers_kb": REQUEST_HEADERS_KIB_MAX,
        "request_headers_timeout": seconds(HEADERS_WITHIN_S),
        # Streams have an idle timeout of their own, see routes; this is for the rest.
        "stream_idle_timeout": seconds(STALLED_S),
        "delayed_close_timeout": "1s",
        "generate_request_id": False,
        "route_config": {
            "name": name,
            "max_direct_response_body_size_bytes": FILE_BYTES_MAX,
            "virtual_hosts": virtual_hosts,
            "ignore_port_in_host_matching": True,
        },
        "http_filters": filters,
        "access_log": [_failures_to_stderr()],
    }
    return manager | tracing(config, name)


def _failures_to_stderr() -> dict[str, Any]:
    """Only what Envoy itself refused or broke off; not clients that left, nor what `address_rates` refuses:
    that comes in floods, and is counted. The supervisor bounds the log."""
    return {
        "name": "failures",
        "filter": {"response_flag_filter": {"flags": ["UH", "UF", "UO", "UT", "URX", "NC", "OM", "UMSDR"]}},
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.stream.v3.StderrAccessLog",
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "level": "warning",
                    "logger": "access",
                    "message": "%PROTOCOL% %REQ(:METHOD)% %PATH(NQ)% -> %UPSTREAM_HOST% %RESPONSE_CODE%"
                    " %RESPONSE_FLAGS% grpc=%GRPC_STATUS% %DURATION% ms"
                    " %UPSTREAM_TRANSPORT_FAILURE_REASON%",
                    "trace_id": "%TRACE_ID%",
                }
            },
        },
    }


def _cors_policy(origins: tuple[str, ...]) -> dict[str, Any]:
    any_origin = "*" in origins
    return {
        "@type": f"{_TYPES}.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"safe_regex": {"regex": ".+"}}]
        if any_origin
        else [{"exact": origin} for origin in origins],
        "allow_methods": "GET, POST, OPTIONS",
        "allow_headers": ", ".join(_CORS_REQUEST_HEADERS),
        "expose_headers": ", ".join(_CORS_RESPONSE_HEADERS),
        "max_age": str(_CORS_MAX_AGE_S),
    }


def _inspector(protocol: Literal["tls", "http"]) -> dict[str, Any]:
    kind = f"{protocol.capitalize()}Inspector"
    return {
        "name": f"envoy.filters.listener.{protocol}_inspector",
        "typed_config": {"@type": f"{_TYPES}.filters.listener.{protocol}_inspector.v3.{kind}"},
    }


def _cors() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.cors",
        "typed_config": {"@type": f"{_TYPES}.filters.http.cors.v3.Cors"},
    }


def _grpc_web() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.grpc_web",
        "typed_config": {"@type": f"{_TYPES}.filters.http.grpc_web.v3.GrpcWeb"},
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": f"{_TYPES}.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
