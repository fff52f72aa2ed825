"""The whole configuration: listeners, clusters, the admin on its socket, and the bounds of the process."""

from __future__ import annotations

from typing import Any

from mesh.envoy.clusters import grpc_cluster, otlp_cluster
from mesh.envoy.config import EnvoyConfig
from mesh.envoy.contract import LISTENERS, services_of
from mesh.envoy.listeners import edge_listener, mesh_listener
from mesh.envoy.overload import connection_limits, overload_manager
from mesh.envoy.tokens import keys_clusters


def bootstrap(config: EnvoyConfig) -> dict[str, Any]:
    """A bootstrap in its JSON form, for `envoy -c FILE.json`."""
    clusters = [
        grpc_cluster(listener, kind, services_of(kind)[0], endpoints, config.upstream_tls.get(kind))
        for listener in LISTENERS
        for kind, endpoints in config.replicas.items()
    ]
    clusters.extend(keys_clusters(config))
    if config.otlp is not None:
        clusters.append(otlp_cluster(config.otlp))
    return {
        "node": {"id": "envoy", "cluster": "grandstand"},
        "admin": {
            "address": {"pipe": {"path": config.admin.path, "mode": 0o600}},
            "ignore_global_conn_limit": True,
        },
        "static_resources": {
            "listeners": [edge_listener(config), mesh_listener(config)],
            "clusters": clusters,
        },
        "application_log_config": {
            "log_format": {
                "json_format": {
                    "time": "%Y-%m-%dT%T.%e%z",
                    "level": "%l",
                    "logger": "%n",
                    "message": "%j",
                }
            }
        },
        "layered_runtime": {"layers": [{"name": "bounds", "static_layer": connection_limits(config)}]},
        "overload_manager": overload_manager(config),
    }
