"""What Envoy counts of what it refused, whatever else it counts."""

from __future__ import annotations

from toolbox.local.edge_refusals import EdgeRefusals, parse

SAID = """\
# TYPE envoy_http_jwt_authn_denied counter
envoy_http_jwt_authn_denied{envoy_http_conn_manager_prefix="edge"} 1203
envoy_http_jwt_authn_denied{envoy_http_conn_manager_prefix="mesh"} 9
envoy_http_local_rate_limit_enabled{envoy_local_http_ratelimit_prefix="address"} 300
envoy_http_local_rate_limit_rate_limited{envoy_local_http_ratelimit_prefix="address"} 77
"""


def test_the_edges_own_refusals_are_told_and_the_mesh_listeners_are_not_among_them() -> None:
    assert parse(SAID) == EdgeRefusals(1_203, 77)
    assert "1,203 calls for their token and 77 for the rate" in str(parse(SAID))
    assert parse("") == EdgeRefusals(0, 0)
