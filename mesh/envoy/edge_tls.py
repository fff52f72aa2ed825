"""TLS at the edge: a certificate from a watched file, HTTP/1.1 and HTTP/2 by ALPN, and HSTS.

Chain and key are in one file, in the form of Envoy's secret discovery: a single rename replaces both, so
Envoy never sees the chain of one and the key of another (tried with 1.40). Certificates that the
configuration itself names are read once. Open connections keep what they agreed on.

HSTS (RFC 6797) is said to whoever came by a name of the certificate: a browser keeps it for the name, for all
ports. So never for localhost, where other servers speak without TLS, nor for an IP address, where browsers
ignore it.
"""

from __future__ import annotations

import json
from typing import Any

from mesh.envoy.config import EdgeTls
from mesh.envoy.routes import seconds

HANDSHAKE_WITHIN_S = 5.0
HSTS = "max-age=31536000"

_NAME = "edge"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def secret_text(chain: str, key: str) -> str:
    """What the file holds: both in PEM. It is as secret as the key."""
    secret = {
        "@type": f"{_TLS}.Secret",
        "name": _NAME,
        "tls_certificate": {
            "certificate_chain": {"inline_string": chain},
            "private_key": {"inline_string": key},
        },
    }
    return json.dumps({"resources": [secret]})


def in_tls(tls: EdgeTls) -> dict[str, Any]:
    """Of a filter chain."""
    source = {"resource_api_version": "V3", "path_config_source": {"path": tls.secret}}
    return {
        "transport_socket_connect_timeout": seconds(HANDSHAKE_WITHIN_S),
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TLS}.DownstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificate_sds_secret_configs": [{"name": _NAME, "sds_config": source}],
                },
            },
        },
    }


def strict_hosts(tls: EdgeTls | None, host: dict[str, Any]) -> list[dict[str, Any]]:
    """`host` as the virtual host of names with HSTS; none if there is no such name."""
    names = [name for name in (tls.names if tls else ()) if _may_be_strict(name)]
    if not names:
        return []
    header = {"key": "strict-transport-security", "value": HSTS}
    said = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return [{**host, "name": f"{host['name']}-strict", "domains": names, "response_headers_to_add": [said]}]


def _may_be_strict(name: str) -> bool:
    return name != "localhost" and not name.endswith(".localhost")
