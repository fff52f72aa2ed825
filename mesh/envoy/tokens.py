"""Tokens at the edge: the `jwt_authn` filter, and where it has its keys from.

Publish and Send want a good token, the edge's other RPCs take one or none; one that is given must be good.
On the mesh listener the calls of a game's backend want one, Read and GetGame too; what is also called with
the mesh's own tokens is left to the service.
So the requirement stands with the route, and what is no RPC (the page, /healthz, a preflight) has none. The
token goes on to the service, which checks it again (I10): it also knows roles, games, and `kid` tricks.

Where the keys come from (tried with 1.40):

- `local_jwks` is read once, when Envoy starts, although it accepts a `watched_directory`. That does for the
  development key, which is symmetric and so must not be served to anybody.
- A file of public keys is served by Envoy itself, as a direct response on the mesh listener, which does
  heed `watched_directory` (of renames into it), and is fetched from there every FILE_REFRESH_S. Rejected: a
  small HTTP server beside Envoy, one more process; and ECDS with the keys inline, which needs somebody
  to write that file from the keys.
- A URL is fetched every URL_REFRESH_S, by one thread for all workers, whatever its Cache-Control says: Envoy
  fetches nothing because a token names an unknown key, as our services do. So a key is known here soon
  after it is published, and nobody makes Envoy fetch. Its host is resolved for IPv4 and IPv6, and TLS checks
  its name.

As long as keys could never be fetched, a call with a token asks for them itself; if that fails too, the
answer is UNAVAILABLE, not UNAUTHENTICATED: the token may be good. Keys once fetched stay until others
come. Rejected: Envoy's cache of verified tokens, which goes on taking a token whose key is gone.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mesh import limits
from mesh.auth.claims import AUDIENCE
from mesh.envoy.address_rates import SAID
from mesh.envoy.clusters import CONNECT_TIMEOUT_S, socket_address
from mesh.envoy.config import Endpoint, EnvoyConfig, JwksFile, JwksUrl, SecretFile
from mesh.envoy.contract import Rpc
from mesh.envoy.routes import seconds

FILTER = "envoy.filters.http.jwt_authn"
KEYS_PATH = "/.well-known/jwks.json"
CLUSTER = "keys"
FILE_REFRESH_S = 2.0
URL_REFRESH_S = 4.0
FETCH_TIMEOUT_S = 2.0
FETCH_AGAIN_S = 0.5

assert URL_REFRESH_S + FETCH_TIMEOUT_S + limits.KEYS_FETCH_AGAIN_S <= limits.KEYS_KNOWN_WITHIN_S

_TYPES = "type.googleapis.com/envoy.extensions"
_PROVIDER = "clients"
_REQUIRED, _GIVEN_IS_GOOD = "required", "given-is-good"
_DENIED = "response.code_details.startsWith('jwt_authn_access_denied')"
_LATE = "response.code_details == 'request_overall_timeout'"
# Cheaper than an expression, and nothing else answers so here.
_STATUS_429 = {
    "status_code_filter": {
        "comparison": {"op": "EQ", "value": {"default_value": 429, "runtime_key": "edge.rate_limited_status"}}
    }
}
_WITHOUT_KEYS = "response.code_details.contains('Jwks_remote_fetch_is_failed')"


def jwt_filter(config: EnvoyConfig) -> dict[str, Any]:
    """Acts on routes that name a requirement, see `requirement`."""
    provider: dict[str, Any] = {
        "audiences": [AUDIENCE],
        # Nowhere else: by default a query parameter would do, and end in logs.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": True,
        "require_expiration": True,
        "clock_skew_seconds": round(limits.TOKEN_LEEWAY_S),
        **_keys(config),
    }
    if config.issuer:
        provider["issuer"] = config.issuer
    wanted = {"provider_name": _PROVIDER}
    return {
        "name": FILTER,
        "typed_config": {
            "@type": f"{_TYPES}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {_PROVIDER: provider},
            "bypass_cors_preflight": True,
            "requirement_map": {
                _REQUIRED: wanted,
                _GIVEN_IS_GOOD: {"requires_any": {"requirements": [wanted, {"allow_missing": {}}]}},
            },
        },
    }


def requirement(rpc: Rpc) -> dict[str, Any]:
    """What an RPC's route at the edge says to the filter."""
    return _per_route(_REQUIRED if rpc.wants_token else _GIVEN_IS_GOOD)


def requirement_inside(rpc: Rpc) -> dict[str, Any]:
    """The same on the mesh listener."""
    return _per_route(_REQUIRED) if rpc.wants_token_inside else {}


def _per_route(name: str) -> dict[str, Any]:
    of_type = f"{_TYPES}.filters.http.jwt_authn.v3.PerRouteConfig"
    return {FILTER: {"@type": of_type, "requirement_name": name}}


def denials() -> dict[str, Any]:
    """Refusals in words: of a token UNAUTHENTICATED whatever is wrong (Envoy says 403 for an audience).

    gRPC-Web has it twice, as grpc-status in the headers and as HTTP's 401: its filter leaves that as it is.
    """
    return {
        "mappers": [
            # First, as it comes in floods: the others are not looked at then.
            _mapper(_STATUS_429, 429, SAID),
            _mapper(_is(_WITHOUT_KEYS), 503, "the keys of tokens cannot be fetched just now; try again"),
            _mapper(
                _is(_DENIED),
                401,
                "%LOCAL_REPLY_BODY%; send a good token as metadata authorization: Bearer <JWT>",
            ),
            # gRPC has no code for 408; 504 is UNAVAILABLE.
            _mapper(_is(_LATE), 504, "the request was not whole in time; send it again"),
        ]
    }


def _is(expression: str) -> dict[str, Any]:
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": f"{_TYPES}.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": expression,
            },
        }
    }


def _mapper(matched: dict[str, Any], status: int, text: str) -> dict[str, Any]:
    return {
        "filter": matched,
        "status_code": status,
        "body_format_override": {"text_format_source": {"inline_string": text}},
    }


def _keys(config: EnvoyConfig) -> dict[str, Any]:
    match config.keys:
        case SecretFile(path):
            return {"local_jwks": {"filename": path}}
        case JwksFile():
            return _remote(f"http://{CLUSTER}{KEYS_PATH}", FILE_REFRESH_S)
        case JwksUrl(url):
            return _remote(url, URL_REFRESH_S)


def _remote(url: str, refresh_s: float) -> dict[str, Any]:
    return {
        "remote_jwks": {
            "http_uri": {"uri": url, "cluster": CLUSTER, "timeout": seconds(FETCH_TIMEOUT_S)},
            "cache_duration": seconds(refresh_s),
            "async_fetch": {"failed_refetch_duration": seconds(FETCH_AGAIN_S)},
        }
    }


def keys_routes(config: EnvoyConfig) -> list[dict[str, Any]]:
    """For the mesh listener: the file of public keys, as it is now."""
    if not isinstance(config.keys, JwksFile):
        return []
    path = config.keys.path
    body = {"filename": path, "watched_directory": {"path": str(Path(path).parent)}}
    return [{"match": {"path": KEYS_PATH}, "direct_response": {"status": 200, "body": body}}]


def keys_clusters(config: EnvoyConfig) -> list[dict[str, Any]]:
    """Where keys are fetched; none for a file that is read once."""
    match config.keys:
        case SecretFile():
            return []
        case JwksFile():
            return [{"type": "STATIC", **_cluster(config.mesh)}]
        case JwksUrl(url, trusted_ca):
            at = urlsplit(url)
            secure = at.scheme == "https"
            host = at.hostname or ""
            cluster = {
                "type": "LOGICAL_DNS",
                # Both families, the quicker one is taken.
                "dns_lookup_family": "ALL",
                **_cluster(Endpoint(host, at.port or (443 if secure else 80))),
            }
            return [cluster | {"transport_socket": _tls(host, trusted_ca)} if secure else cluster]


def _cluster(endpoint: Endpoint) -> dict[str, Any]:
    at = {"endpoint": {"address": socket_address(endpoint)}}
    return {
        "name": CLUSTER,
        # The mesh starts without the platform's key server; calls with a token say so.
        "wait_for_warm_on_init": False,
        "connect_timeout": seconds(CONNECT_TIMEOUT_S),
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [at]}]},
    }


def _tls(host: str, trusted_ca: str) -> dict[str, Any]:
    named = not _is_ip(host)
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host if named else "",
            "common_tls_context": {
                "validation_context": {
                    "trusted_ca": {"filename": trusted_ca},
                    "match_typed_subject_alt_names": [
                        {"san_type": "DNS" if named else "IP_ADDRESS", "matcher": {"exact": host}}
                    ],
                }
            },
        },
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
