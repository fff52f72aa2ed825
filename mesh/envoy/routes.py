"""Which RPC goes where, for how long, and whether it is retried.

Every RPC has an exact route of its own; what is not named is not reachable. Streams have no timeout and no
maximal life. One that its client writes to has an idle timeout, a few times its heartbeat: a half-open stream
ends here too, if neither of its ends noticed. A viewer's has none: the gateway's heartbeats would keep it
alive whoever has gone, a gateway that hangs is found by HTTP/2 pings, and setting the timer again for every
frame was a tenth of what Envoy does for it (1.6 µs of 16, 5,000 viewers). Unary calls get `UNARY_TIMEOUT_S`,
longer than ingest's publish deadline and a read barrier: who gave up, and why, is said by the service.

Retries act on what happens before a response: a connection that fails, a stream that is refused or reset, a
gRPC UNAVAILABLE in the response headers. A stream is opened again, and resumed, by its client: for a retry
Envoy would hold on to the request as long as the stream lives, and with it to the 16 KiB that it was read
into (4.4 KiB of them resident with 5,000 viewers, which else cost 43).
"""

from __future__ import annotations

from typing import Any

from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.envoy.contract import Listener, Rpc, cluster_name

PUBLISH_IDLE_S = 60.0
UNARY_TIMEOUT_S = 10.0
RETRIES_MAX = 4
RETRY_BACKOFF_FIRST_S = 0.025
RETRY_BACKOFF_MAX_S = 0.5

assert PUBLISH_IDLE_S > 2 * wire_bounds.PUBLISH_SILENCE_S, "its ends notice first, and say so"
assert UNARY_TIMEOUT_S > 1.5 * limits.PUBLISH_DEADLINE_S, "ingest answers first"
assert UNARY_TIMEOUT_S > 1.5 * limits.BARRIER_S, "the barrier answers first"

MESH_HEALTH_PATH = "/healthz"
LIVE_PATH = "/livez"
HEALTH_PATH = "/grpc.health.v1.Health/Check"


def seconds(value: float) -> str:
    """A protobuf Duration in JSON."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"


def rpc_route(listener: Listener, rpc: Rpc) -> dict[str, Any]:
    action: dict[str, Any] = {"cluster": cluster_name(listener, rpc.kind)}
    if rpc.streams:
        idle_s = PUBLISH_IDLE_S if rpc.client_streams else 0.0
        action |= {"timeout": "0s", "idle_timeout": seconds(idle_s)}
    else:
        action |= {"timeout": seconds(UNARY_TIMEOUT_S)}
    if rpc.retryable and not rpc.streams:
        action["retry_policy"] = _RETRY_POLICY
    return {"match": {"path": rpc.path}, "route": action, "decorator": {"operation": rpc.path.lstrip("/")}}


def health_route(listener: Listener) -> dict[str, Any]:
    """gRPC health of the mesh as a client sees it: the gateway's."""
    return {"match": {"path": HEALTH_PATH}, "route": _probe_action(listener)}


def probe_routes(listener: Listener) -> list[dict[str, Any]]:
    """What plain HTTP may ask a gateway: how the mesh is, and whether the gateway itself lives. Without a
    gateway that can be reached Envoy answers 503."""
    return [
        {
            "match": {
                "path": path,
                "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}],
            },
            "route": _probe_action(listener),
        }
        for path in (MESH_HEALTH_PATH, LIVE_PATH)
    ]


def _probe_action(listener: Listener) -> dict[str, Any]:
    return {"cluster": cluster_name(listener, "gateway"), "timeout": "2s", "retry_policy": _RETRY_POLICY}


_RETRY_POLICY: dict[str, Any] = {
    "retry_on": "connect-failure,refused-stream,reset,unavailable",
    "num_retries": RETRIES_MAX,
    "retry_back_off": {
        "base_interval": seconds(RETRY_BACKOFF_FIRST_S),
        "max_interval": seconds(RETRY_BACKOFF_MAX_S),
    },
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    # With one replica the previous host is the only one, and is tried again.
    "host_selection_retry_max_attempts": 3,
}
