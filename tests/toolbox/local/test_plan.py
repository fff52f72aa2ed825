"""The mesh as data: which processes, with which arguments, in which order."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.addresses import network
from mesh.envoy.config import JwksUrl, SecretFile
from mesh.envoy.page import MISSING
from mesh.secrecy import NATS_VARIABLE, REDIS_VARIABLE
from toolbox.local import provision, store_users
from toolbox.local.home import Home
from toolbox.local.keys import TokenKeys
from toolbox.local.plan import MeshPlan, Options, PortPlan, Programs, measured_names, plan, service_names
from toolbox.local.spec import ProcessSpec, check
from toolbox.local.store_users import ADMIN
from toolbox.local.stores import nats_conf

PROGRAMS = Programs(python=Path("/py"), nats=Path("/nats"), valkey=Path("/valkey"), envoy=Path("/envoy"))
HOME = Home(Path("/a home"))


KEYS = TokenKeys(
    edge=SecretFile("/jwks.json"),
    services="/jwks.json",
    mesh_key=Path("/mesh-key.json"),
    guest_key=Path("/development-key.json"),
)


LOGINS = {user: f"secret-of-{user}" for user in store_users.RIGHTS}


def planned(options: Options, programs: Programs = PROGRAMS, keys: TokenKeys = KEYS) -> MeshPlan:
    names = service_names(options)
    ports = PortPlan(
        edge=8080,
        mesh=8081,
        nats=2,
        nats_monitor=3,
        valkey=4,
        services={name: 100 + n for n, name in enumerate(names)},
        traces_ui=5,
        otlp_grpc=6,
        otlp_http=7,
        admin={name: 200 + n for n, name in enumerate(measured_names(options))},
        metrics=8082,
    )
    return plan(options, programs, ports, HOME, Path("/checkout"), (MISSING,), keys, LOGINS, 1000, 1)


def by_name(mesh: MeshPlan) -> dict[str, ProcessSpec]:
    check(mesh.processes)
    return {process.name: process for process in mesh.processes}


def argument(process: ProcessSpec, option: str) -> str:
    return process.command[process.command.index(option) + 1]


def test_each_service_tells_of_itself_on_loopback_and_all_of_it_is_collected() -> None:
    mesh = planned(Options(gateway=2, host="0.0.0.0"))
    services = by_name(mesh)
    assert {each.instance for each in mesh.scraped} == {*service_names(Options(gateway=2)), "canary"}
    for each in mesh.scraped:
        assert argument(services[each.instance], "--admin") == f"127.0.0.1:{each.port}"
    assert mesh.addresses.metrics == "http://127.0.0.1:8082/metrics"


def test_whose_address_counts_is_told_to_every_service() -> None:
    for process in by_name(planned(Options())).values():
        assert "--exempt" not in process.command
    strict = by_name(planned(Options(trusted_hops=2, exempt=(network("10.0.0.0/8"),))))
    for name in ("ingest-1", "gateway-1", "aggregate-1"):
        assert argument(strict[name], "--trusted-hops") == "2"
        assert argument(strict[name], "--exempt") == "10.0.0.0/8"


def test_the_canary_has_a_token_and_a_login_of_its_own_and_may_be_left_out() -> None:
    canary = by_name(planned(Options()))["canary"]
    assert canary.optional
    assert argument(canary, "--token-file") == "/a home/run/canary/token"
    assert argument(canary, "--edge") == "127.0.0.1:8080"
    assert canary.environment[NATS_VARIABLE] == f"nats://canary:{LOGINS['canary']}@127.0.0.1:2"
    assert REDIS_VARIABLE not in canary.environment
    assert not {"--mesh-key", "--home", "--keys"} & set(canary.command)
    given = by_name(planned(Options(canary_token="/token", replicas=3)))["canary"]
    assert (argument(given, "--token-file"), argument(given, "--replicas")) == ("/token", "3")
    without = planned(Options(canary=False))
    assert "canary" not in by_name(without)
    assert "canary" not in {each.instance for each in without.scraped}


def test_every_service_gets_every_argument() -> None:
    for name, process in by_name(planned(Options(ingest=2, gateway=3, canary=False))).items():
        if process.command[:3] == ("/py", "-P", "-m") and name != "demo":
            assert process.command[3] == name.partition("-")[0]
            assert argument(process, "--instance") == name
            assert argument(process, "--listen") == process.address
            user = process.command[3]
            login = f"{user}:{LOGINS[user]}@"
            assert process.environment[NATS_VARIABLE] == f"nats://{login}127.0.0.1:2"
            # Ingest wants nothing of Redis, and has no user there.
            assert process.environment[REDIS_VARIABLE] == (
                f"redis://{'' if user == 'ingest' else login}127.0.0.1:4"
            )
            assert argument(process, "--mesh") == "127.0.0.1:8081"
            assert "--otlp" not in process.command
            assert argument(process, "--keys") == "/jwks.json"
            assert argument(process, "--mesh-key") == "/mesh-key.json"
            assert argument(process, "--environment") == "development"
            assert "--issuer" not in process.command
            assert "--actor-claim" not in process.command
            # Nobody else may make guests.
            assert ("--guest-key" in process.command) == (process.command[3] == "gateway")


def test_a_platforms_keys_and_issuer_are_told_to_services_and_edge_and_make_no_guests() -> None:
    url = "https://platform.example/jwks.json"
    keys = TokenKeys(JwksUrl(url, "/ca.pem"), url, Path("/mesh-key.json"), issuer="us", production=True)
    keys = replace(keys, actor_claim="email")
    mesh = planned(Options(demo=False, canary=False), keys=keys)
    for name, process in by_name(mesh).items():
        if process.command[:3] == ("/py", "-P", "-m"):
            assert argument(process, "--keys") == url, name
            assert argument(process, "--issuer") == "us"
            assert argument(process, "--actor-claim") == "email"
            assert argument(process, "--environment") == "production"
            assert "--guest-key" not in process.command
    envoy = mesh.files[HOME.run / "envoy.json"]
    assert url in envoy
    assert '"issuer": "us"' in envoy


def test_replicas_are_processes_of_their_own_behind_one_cluster() -> None:
    mesh = planned(Options(ingest=3, aggregate=2, notify=2))
    names = {f"{kind}-{n}" for kind, most in (("ingest", 3), ("notify", 2)) for n in range(1, most + 1)}
    names |= {"aggregate-1", "aggregate-2", "gateway-1"}
    assert names <= set(by_name(mesh))
    envoy = json.loads(mesh.files[HOME.run / "envoy.json"])
    clusters = {c["name"]: c["load_assignment"] for c in envoy["static_resources"]["clusters"]}
    for name, replicas in (("edge-ingest", 3), ("mesh-ingest", 3), ("edge-aggregate", 2)):
        assert len(clusters[name]["endpoints"][0]["lb_endpoints"]) == replicas


def test_the_demo_waits_for_the_whole_mesh_and_may_be_left_out() -> None:
    processes = by_name(planned(Options()))
    assert set(processes["demo"].needs) == set(processes) - {"demo", "canary", "nats", "valkey"}
    assert processes["demo"].optional
    assert "demo" not in by_name(planned(Options(demo=False)))


def test_nobody_is_stopped_before_those_who_use_it() -> None:
    stages = {name: process.stop_stage for name, process in by_name(planned(Options())).items()}
    order = ["demo", "gateway-1", "ingest-1", "aggregate-1", "envoy", "nats"]
    assert [stages[name] for name in order] == sorted({stages[name] for name in order})
    assert stages["valkey"] == stages["nats"]


def test_stores_of_somebody_else_are_used_and_not_started() -> None:
    given = ("nats://ann:secret@n:4222,nats://ann:secret@m:4222", "redis://:secret@r:6379/1?x=y")
    options = Options(nats_url=given[0], redis_url=given[1], replicas=3)
    mesh = planned(options, replace(PROGRAMS, nats=None, valkey=None))
    processes = by_name(mesh)
    assert not {"nats", "valkey"} & set(processes)
    assert processes["ingest-1"].needs == ()
    environment = processes["aggregate-1"].environment
    assert (environment[NATS_VARIABLE], environment[REDIS_VARIABLE]) == given, "with their own credentials"
    assert argument(processes["aggregate-1"], "--replicas") == "3"
    assert mesh.addresses.nats == "nats://n:4222,nats://m:4222"
    assert mesh.addresses.redis == "redis://r:6379/1"
    assert json.loads(mesh.files[HOME.store_urls])[ADMIN] == {"nats": given[0], "redis": given[1]}


def test_the_event_stream_can_be_bounded_and_one_service_have_its_own_way_to_nats() -> None:
    """What chaos wants: a stream that fills, and an ingest that can be cut off alone."""
    options = Options(ingest=2, events_bytes=2**20, nats_ways={"ingest-2": "nats://127.0.0.1:9"})
    processes = by_name(planned(options))
    own, usual = processes["ingest-2"], processes["ingest-1"]
    assert own.environment[NATS_VARIABLE] == f"nats://ingest:{LOGINS['ingest']}@127.0.0.1:9"
    assert usual.environment[NATS_VARIABLE] == f"nats://ingest:{LOGINS['ingest']}@127.0.0.1:2"
    assert (
        argument(own, "--events-bytes") == argument(processes["aggregate-1"], "--events-bytes") == "1048576"
    )
    assert "--events-bytes" not in by_name(planned(Options()))["ingest-1"].command


def test_no_secret_is_in_a_command_line_or_in_the_addresses() -> None:
    mesh = planned(Options())
    shown = [*mesh.processes, *(process.command for process in mesh.processes), mesh.addresses, mesh]
    assert [each for each in shown if "secret-of" in str(each)] == []


@pytest.mark.parametrize(
    ("options", "programs", "otlp"),
    [
        (Options(otlp="http://c.example:4317"), PROGRAMS, "http://c.example:4317"),
        (Options(), replace(PROGRAMS, traces=Path("/dashboard")), "http://127.0.0.1:6"),
    ],
    ids=["somebody else's", "our own"],
)
def test_traces_go_to_the_collector_from_services_and_envoy(
    options: Options, programs: Programs, otlp: str
) -> None:
    mesh = planned(options, programs)
    assert mesh.addresses.otlp == otlp
    assert argument(by_name(mesh)["gateway-1"], "--otlp") == otlp
    assert '"service_name": "envoy-edge"' in mesh.files[HOME.run / "envoy.json"]


def test_the_tracing_ui_may_fail_without_the_mesh() -> None:
    traced = by_name(planned(Options(), replace(PROGRAMS, traces=Path("/dashboard"))))
    assert traced["traces"].optional
    assert not any("traces" in process.needs for process in traced.values())


@pytest.mark.parametrize(
    ("host", "edge"), [("0.0.0.0", "127.0.0.1"), ("192.0.2.1", "192.0.2.1"), ("::1", "[::1]")]
)
def test_the_edge_is_told_as_it_can_be_reached(host: str, edge: str) -> None:
    assert planned(Options(host=host, demo=False)).addresses.edge == f"http://{edge}:8080"


@pytest.mark.parametrize("name", ["plain", "with spaces", 'quo"ted', "back\\slash", "höme 漢字", "$HOME %s"])
def test_nats_reads_any_home(name: str, tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text(nats_conf(Home(tmp_path / name), 20001, 20002, sync_always=False, logins=LOGINS))
    done = subprocess.run(
        [provision.nats_server(), "-t", "-c", config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nats_syncs_before_each_ack_only_when_asked() -> None:
    assert "sync_interval" not in nats_conf(HOME, 1, 2, sync_always=False)
    assert 'sync_interval: "always"' in nats_conf(HOME, 1, 2, sync_always=True)
