"""The whole configuration: listeners, clusters, the admin on loopback, and the bounds of the process."""

from __future__ import annotations

from typing import Any

from mesh.envoy.clusters import grpc_cluster, otlp_cluster, socket_address
from mesh.envoy.config import EnvoyConfig
from mesh.envoy.contract import services_of
from mesh.envoy.listeners import edge_listener, mesh_listener
from mesh.envoy.tokens import keys_clusters


def bootstrap(config: EnvoyConfig) -> dict[str, Any]:
    """A bootstrap in its JSON form, for `envoy -c FILE.json`."""
    clusters = [
        grpc_cluster(name, services_of(name)[0], endpoints, config.upstream_tls.get(name))
        for name, endpoints in config.replicas.items()
    ]
    clusters.extend(keys_clusters(config))
    if config.otlp is not None:
        clusters.append(otlp_cluster(config.otlp))
    return {
        "node": {"id": "envoy", "cluster": "grandstand"},
        "admin": {"address": socket_address(config.admin)},
        "static_resources": {
            "listeners": [edge_listener(config), mesh_listener(config)],
            "clusters": clusters,
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors."
                        "downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": config.connections_max,
                    },
                }
            ]
        },
    }
