"""What Envoy is told: valid, as the protos say, and with bounds that hold."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grandstand.wire import bounds as wire_bounds
from mesh import limits
from mesh.envoy import clusters, routes, tokens
from mesh.envoy.bootstrap import bootstrap
from mesh.envoy.config import (
    Endpoint,
    EnvoyConfig,
    JwksFile,
    JwksUrl,
    SecretFile,
    SocketPath,
    UpstreamTls,
)
from mesh.envoy.contract import KINDS, clusters_of, rpcs, services_of
from mesh.envoy.page import FILE_BYTES_MAX, MISSING, content_type, page_files
from tests.support.certificates import Authority, Certificates
from toolbox.local import provision

KEYS = '{"keys": [{"kty": "oct", "kid": "k", "alg": "HS256", "k": "c2VjcmV0"}]}'
RETRYABLE = {
    "/grandstand.access.v1.AccessService/Revoke",
    "/grandstand.access.v1.AccessService/ListRevocations",
    "/grandstand.gateway.v1.GatewayService/IssueGuest",
    "/grandstand.gateway.v1.GatewayService/IssueOrigin",
    "/grandstand.gateway.v1.GatewayService/Send",
    "/grandstand.aggregate.v1.AggregateService/Read",
    "/grandstand.aggregate.v1.AggregateService/ReadPartitions",
    "/grandstand.aggregate.v1.AggregateService/ReadStanding",
    "/grandstand.catalog.v1.CatalogService/GetGame",
    "/grandstand.catalog.v1.CatalogService/ListGames",
    "/grandstand.catalog.v1.CatalogService/ListPolls",
    "/grandstand.catalog.v1.CatalogService/ListBoards",
}

FOR_OWNERS = (
    *("DefineGame", "EndGame", "DeleteGame", "ListGames"),
    *("OpenPoll", "ClosePoll", "OpenBoard", "CloseBoard"),
)
TAKEN_BACK = ("VoidVotes", "RemoveScore")
NOTIFY = "/grandstand.notify.v1.NotifyService"
OWN_INBOX = {
    *(f"{NOTIFY}/{call}" for call in ("ListInbox", "AcknowledgeNotices")),
    *(f"{NOTIFY}/{call}" for call in ("GetPreferences", "SetPreferences")),
}
FOR_SENDERS = {
    *(f"{NOTIFY}/{call}" for call in ("SendNotice", "CancelNotice", "ChangeSegment", "ListSegments")),
    *(f"{NOTIFY}/{call}" for call in ("ListSegmentActors", "DeleteSegment")),
}
SENDERS_STREAMS = {f"{NOTIFY}/SendNoticeToActors", f"{NOTIFY}/TailNotices"}


def test_no_listener_shares_its_port_with_another_process() -> None:
    listeners = bootstrap(config())["static_resources"]["listeners"]
    assert len(listeners) == 2
    assert all(listener["enable_reuse_port"] is False for listener in listeners)


def config(**changes: Any) -> EnvoyConfig:
    def at(port: int) -> Endpoint:
        return Endpoint("127.0.0.1", port)

    fields: dict[str, Any] = {
        "edge": at(20001),
        "mesh": at(20002),
        "admin": SocketPath("/run/envoy.sock"),
        "replicas": {
            "ingest": (at(20004), at(20005)),
            "gateway": (at(20006),),
            "aggregate": (at(20007),),
            "notify": (at(20008),),
        },
        "keys": JwksFile("/keys/jwks.json"),
        "page": (MISSING,),
        **changes,
    }
    return EnvoyConfig(**fields)


def routes_of(listener: dict[str, Any]) -> list[dict[str, Any]]:
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"]


def rpc_routes(listener: int) -> dict[str, dict[str, Any]]:
    rendered = bootstrap(config())["static_resources"]["listeners"][listener]
    return {route["match"]["path"]: route["route"] for route in routes_of(rendered) if "route" in route}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"otlp": Endpoint("127.0.0.1", 4317)},
        {"otlp": Endpoint("collector.example", 4317)},
        {"allow_origins": ("https://example.com", "https://other.example")},
        {"edge": Endpoint("0.0.0.0", 20001)},
        {"edge": Endpoint("::1", 20001)},
        {"keys": SecretFile},
        {"keys": JwksUrl("http://[::1]:8000/keys"), "issuer": "https://platform.example"},
        {"keys": JwksUrl("https://platform.example/jwks")},
        {"keys": JwksUrl("https://192.0.2.1:8443/jwks")},
        {"replicas": dict.fromkeys(KINDS, (SocketPath("/run/a socket"),))},
        {"upstream_tls": ("gateway", "ingest")},
    ],
    ids=[
        *("plain", "traced", "traced by name", "some origins", "all addresses", "IPv6"),
        *("a secret key", "keys by http", "keys by https", "keys of an address"),
        *("Unix sockets", "upstream TLS"),
    ],
)
def test_envoy_accepts_the_configuration(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a path with spaces" / "envoy.json"
    path.parent.mkdir()
    keys = path.with_name("jwks.json")
    keys.write_text(KEYS)
    source = changes.get("keys", JwksFile)
    if isinstance(source, JwksUrl):
        authority = Certificates.made(tmp_path, "platform.example").authority
        changes = changes | {"keys": replace(source, trusted_ca=str(authority))}
    else:
        changes = changes | {"keys": source(str(keys))}
    if "upstream_tls" in changes:
        mesh = Authority(tmp_path)
        own = mesh.issue("envoy")
        asked = UpstreamTls(str(own.authority), "gateway.mesh", str(own.chain), str(own.key))
        plain = UpstreamTls(str(own.authority), "ingest.mesh")
        changes = changes | {"upstream_tls": {"gateway": asked, "ingest": plain}}
    path.write_text(json.dumps(bootstrap(config(**changes))))
    validated = subprocess.run(
        [provision.envoy(), "--mode", "validate", "--log-level", "error", "-c", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert validated.returncode == 0, validated.stderr
    assert "deprecated" not in validated.stderr.lower()


FOR_OPERATORS = {f"/grandstand.operator.v1.OperatorService/{call}" for call in ("GetOverview", "ListPoints")}


def test_only_unary_calls_whose_proto_says_so_are_retried() -> None:
    retryable = RETRYABLE | OWN_INBOX | FOR_SENDERS | FOR_OPERATORS
    for listener in (0, 1):
        retried = {path for path, action in rpc_routes(listener).items() if "retry_policy" in action}
        assert retried - {routes.HEALTH_PATH, routes.MESH_HEALTH_PATH, routes.LIVE_PATH} == retryable & set(
            rpc_routes(listener)
        )


def test_publish_and_definitions_are_never_retried() -> None:
    mesh = rpc_routes(1)
    for path in (
        "/grandstand.ingest.v1.IngestService/Publish",
        *(
            f"/grandstand.catalog.v1.CatalogService/{call}"
            for call in ("OpenPoll", "ClosePoll", "DefineGame")
        ),
    ):
        assert "retry_policy" not in mesh[path]


def test_streams_have_no_timeout_and_unary_calls_no_idle_one() -> None:
    mesh = rpc_routes(1)
    for rpc in rpcs():
        action = mesh[rpc.path]
        if rpc.streams:
            assert action["timeout"] == "0s"
            idle_s = float(action["idle_timeout"].rstrip("s"))
            # A viewer's stream is kept alive by the gateway's heartbeats whoever has gone: no timer for it.
            assert wire_bounds.PUBLISH_SILENCE_S < idle_s < 90 if rpc.client_streams else idle_s == 0
        else:
            assert action["timeout"] == "10s"
            assert "idle_timeout" not in action


def test_what_changes_a_game_sends_notices_or_is_for_operators_is_not_at_the_edge() -> None:
    edge, mesh = rpc_routes(0), rpc_routes(1)
    assert set(mesh) - set(edge) == {
        "/grandstand.access.v1.AccessService/Revoke",
        "/grandstand.access.v1.AccessService/ListRevocations",
        "/grandstand.support.v1.SupportService/Explain",
        "/grandstand.aggregate.v1.AggregateService/ReadPartitions",
        *(f"/grandstand.catalog.v1.CatalogService/{call}" for call in (*FOR_OWNERS, *TAKEN_BACK)),
        *FOR_SENDERS,
        *SENDERS_STREAMS,
        *FOR_OPERATORS,
    }
    assert set(edge) <= set(mesh)


def test_a_token_is_wanted_by_who_acts_and_good_if_given_by_the_rest_of_the_edge() -> None:
    edge, mesh = (routes_of(each) for each in bootstrap(config())["static_resources"]["listeners"])
    asked = {
        route["match"]["path"]: route["typed_per_filter_config"][tokens.FILTER]["requirement_name"]
        for route in edge
        if "typed_per_filter_config" in route
    }
    wanted = {path for path, name in asked.items() if name == "required"}
    assert wanted == {
        "/grandstand.ingest.v1.IngestService/Publish",
        "/grandstand.gateway.v1.GatewayService/Send",
        "/grandstand.gateway.v1.GatewayService/IssueOrigin",
        *OWN_INBOX,
    }
    assert set(asked) == {rpc.path for rpc in rpcs() if rpc.at_edge}
    inside = {
        route["match"]["path"]: route["typed_per_filter_config"][tokens.FILTER]["requirement_name"]
        for route in mesh
        if route.get("typed_per_filter_config")
    }
    assert inside == {
        **{rpc.path: "required" for rpc in rpcs() if "CatalogService" in rpc.path or rpc.path in OWN_INBOX},
        "/grandstand.aggregate.v1.AggregateService/Read": "required",
        "/grandstand.aggregate.v1.AggregateService/ReadStanding": "required",
        **dict.fromkeys(FOR_OPERATORS, "required"),
    }


def test_a_token_is_looked_for_in_the_header_alone_and_goes_on_to_the_service() -> None:
    rendered = tokens.jwt_filter(config(issuer="https://platform.example"))["typed_config"]
    (provider,) = rendered["providers"].values()
    assert provider["from_headers"] == [{"name": "authorization", "value_prefix": "Bearer "}]
    assert provider["forward"]
    assert provider["require_expiration"]
    assert provider["audiences"] == ["grandstand"]
    assert provider["issuer"] == "https://platform.example"


def test_a_secret_key_is_read_by_envoy_and_served_to_nobody() -> None:
    rendered = bootstrap(config(keys=SecretFile("/home/keys.json")))["static_resources"]
    assert all("/home/keys.json" not in str(routes_of(each)) for each in rendered["listeners"])
    assert "keys" not in {cluster["name"] for cluster in rendered["clusters"]}


def test_every_service_is_bounded_checked_and_watched() -> None:
    rendered = {cluster["name"]: cluster for cluster in bootstrap(config())["static_resources"]["clusters"]}
    assert set(rendered) == {*clusters_of(*KINDS), "keys"}
    del rendered["keys"]
    for name, cluster in rendered.items():
        (thresholds,) = cluster["circuit_breakers"]["thresholds"]
        assert thresholds["max_requests"] >= (name in ("edge-aggregate", "edge-notify") or limits.VIEWERS_MAX)
        assert thresholds["retry_budget"]["budget_percent"]["value"] < 100
        (check,) = cluster["health_checks"]
        assert check["grpc_health_check"]["service_name"] == services_of(name.partition("-")[2])[0]
        assert float(check["interval"].rstrip("s")) == clusters.HEALTH_INTERVAL_S
        assert cluster["outlier_detection"]["split_external_local_origin_errors"]


def test_as_many_viewers_as_there_may_be_can_stall_and_take_no_window_from_others() -> None:
    rendered = {cluster["name"]: cluster for cluster in bootstrap(config())["static_resources"]["clusters"]}
    (options,) = rendered["edge-gateway"]["typed_extension_protocol_options"].values()
    http2 = options["explicit_http_config"]["http2_protocol_options"]
    at_once = limits.VIEWERS_MAX + limits.SENDS_PENDING_MAX
    assert http2["initial_connection_window_size"] >= at_once * http2["initial_stream_window_size"]
    assert http2["initial_connection_window_size"] <= 2**31 - 1
    assert http2["max_concurrent_streams"] >= at_once
    (thresholds,) = rendered["edge-gateway"]["circuit_breakers"]["thresholds"]
    assert thresholds["max_requests"] >= at_once


def test_streams_on_a_frozen_process_are_cut_sooner_where_another_can_take_them() -> None:
    rendered = {cluster["name"]: cluster for cluster in bootstrap(config())["static_resources"]["clusters"]}
    del rendered["keys"]
    ping_s = {}
    for name, cluster in rendered.items():
        (options,) = cluster["typed_extension_protocol_options"].values()
        keepalive = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
        ping_s[name] = sum(float(keepalive[part].rstrip("s")) for part in ("interval", "timeout"))
    assert ping_s["edge-ingest"] == ping_s["mesh-ingest"] < 5
    assert 5 < ping_s["edge-gateway"] == ping_s["mesh-aggregate"]


def test_the_admin_has_no_port_and_the_mesh_listener_is_on_loopback_whatever_the_edge_listens_on() -> None:
    rendered = bootstrap(config(edge=Endpoint("0.0.0.0", 8080)))
    assert rendered["admin"]["address"] == {"pipe": {"path": "/run/envoy.sock", "mode": 0o600}}
    assert rendered["static_resources"]["listeners"][1]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_the_page_is_served_file_by_file_with_its_types(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name in ("index.html", "app.js", "assets/app-1a2b.css", "favicon.svg"):
        (tmp_path / name).write_text(name)
    files = {file.path: file for file in page_files(tmp_path)}
    assert {path: file.content_type for path, file in files.items()} == {
        "/": "text/html; charset=utf-8",
        "/index.html": "text/html; charset=utf-8",
        "/app.js": "text/javascript; charset=utf-8",
        "/assets/app-1a2b.css": "text/css; charset=utf-8",
        "/favicon.svg": "image/svg+xml",
    }
    assert [path for path, file in files.items() if file.immutable] == ["/assets/app-1a2b.css"]


def test_a_page_that_is_not_built_says_so(tmp_path: Path) -> None:
    assert page_files(tmp_path) == (MISSING,)
    assert page_files(tmp_path / "missing") == (MISSING,)
    assert [file.path for file in page_files(tmp_path / "missing", "/admin/")] == ["/admin/"]


def test_a_file_too_big_to_be_served_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(ValueError, match=rf"film.mp4 has {FILE_BYTES_MAX + 1} bytes"):
        page_files(tmp_path)


def test_content_types_do_not_depend_on_the_machine() -> None:
    assert content_type("a.JS") == "text/javascript; charset=utf-8"
    assert content_type("noextension") == "application/octet-stream"
