"""Envoy's configuration, as pure code: a frozen dataclass in, a dict out, written as JSON by the supervisor.

* `config`: what varies from mesh to mesh.
* `contract`: the RPCs and what may be retried, read from the protos themselves.
* `routes`: which RPC goes where, for how long, and whether it is retried.
* `clusters`: the services behind: circuit breakers, outlier detection, health checks.
* `page`: the page's files as direct responses.
* `tokens`: who may: jwt_authn at the edge, and its keys.
* `listeners`: edge and mesh, and their HTTP filters.
* `edge_tls`: the edge's certificate, and HSTS.
* `traces`: Envoy's spans, and what is sampled.
* `overload`: connections of each listener, and what happens when the heap is nearly full.
* `bootstrap`: all of it together, the admin and the bounds of the process.

The edge is the only public port. It speaks gRPC-Web (HTTP/1.1 and h2), native gRPC (h2) and plain HTTP for
the page, with TLS or without. The mesh listener is on loopback and carries every service, also to services:
whoever calls a service gets its circuit breakers, retries and health checks.
"""
