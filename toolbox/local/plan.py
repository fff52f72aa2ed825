"""The mesh itself: which processes run, with which arguments and configuration files. Pure.

    nats, valkey (and traces)  ──▶  ingest, aggregate, gateway, notify  ──▶  demo
    envoy and canary start beside them; envoy is ready when each of its clusters has a healthy host

Stopped the other way round: demo and canary, then gateways (their pending sends still find an ingest),
ingest and notify, aggregate, Envoy, the two stores, and at last the collector of the traces of all this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from mesh import limits
from mesh.addresses import Network
from mesh.envoy.bootstrap import bootstrap
from mesh.envoy.config import EdgeTls, Endpoint, EnvoyConfig, PageFile, SocketPath
from mesh.envoy.contract import KINDS, clusters_of, services_of
from mesh.secrecy import NATS_VARIABLE, REDIS_VARIABLE, without_login
from toolbox.local import exempt, prometheus, store_users
from toolbox.local.canary import canary_process
from toolbox.local.dashboard import DashboardPorts, dashboard_process
from toolbox.local.home import Home
from toolbox.local.keys import TokenKeys, key_arguments
from toolbox.local.metrics_collector import Scraped
from toolbox.local.running import reached_without_tls
from toolbox.local.spec import (
    EnvoyProbe,
    GrpcProbe,
    NatsProbe,
    ProcessSpec,
    RedisProbe,
    RunningProbe,
)
from toolbox.local.status import Addresses
from toolbox.local.store_users import ADMIN, CANARY, OPERATOR, SUPERVISOR, Logins, StoreUrls
from toolbox.local.stores import LOOPBACK, nats_conf, valkey_conf

REPLICAS_MAX = 16
TOOLS = "mesh"
"""No service: whoever else reaches the Redis of a mesh, such as `grandstand rebuild`."""
CLOCK_SHIFT = "GRANDSTAND_CLOCK_SHIFT"
SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER_ARG"
"""The share of traces that are sampled, as OpenTelemetry names it."""
SERVICE_GRACE_S = limits.DRAIN_GRACE_S + 3.0
STORE_GRACE_S = 10.0
_DEMO, _GATEWAY, _INGEST, _AGGREGATE, _ENVOY, _STORES, _TRACES = range(7)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user of `up` may choose."""

    ingest: int = 1
    aggregate: int = 1
    gateway: int = 1
    notify: int = 1
    host: str = LOOPBACK
    demo: bool = True
    otlp: str | None = None
    """Somebody else's collector, as http://host:port; None with `traces` means our own."""
    sync_always: bool = False
    allow_origins: tuple[str, ...] = ("*",)
    nats_url: str | None = None
    """Somebody else's NATS, Redis: then none is started."""
    redis_url: str | None = None
    replicas: int = 1
    """How many servers of somebody else's NATS cluster hold each stream."""
    events_bytes: int | None = None
    """The room of the event stream when it is made; None: as mesh.limits has it."""
    nats_ways: Mapping[str, str] = field(default_factory=dict)
    """By the name of a service: another URL by which this one alone reaches NATS."""
    redis_ways: Mapping[str, str] = field(default_factory=dict)
    """The same for Redis; under TOOLS the one that everybody else takes."""
    clocks: str | None = None
    """A folder with a file for each service that says how far its clock is off (see mesh.wall_clock)."""
    keys: str | None = None
    """A platform's JWKS, a file or a URL; None: the home's development key, and guests."""
    issuer: str = ""
    actor_claim: str = ""
    production: bool = False
    trusted_hops: int = 0
    """Proxies of the operator's own before the edge (mesh.addresses)."""
    exempt: tuple[Network, ...] = ()
    """Networks to which no bound by address applies."""
    edge_tls: tuple[str, str] | None = None
    """The files of the edge's certificate and its key; None: no TLS."""
    proxies: tuple[str, ...] = ()
    """The networks of who terminates TLS before the edge: nobody else may connect."""
    trace_share: float = 1.0
    log_level: str = "info"
    """Of Grandstand's own processes (mesh.logs.line.LEVELS)."""
    canary: bool = True
    canary_token: str | None = None
    """A file with a token of a platform's; None: the home's own key makes one."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What is run. `traces` is the dashboard program, when the tracing UI is wanted."""

    python: Path
    nats: Path | None
    valkey: Path | None
    envoy: Path
    traces: Path | None = None
    prometheus: Path | None = None
    """When `--metrics` is wanted."""


@dataclass(frozen=True, slots=True)
class PortPlan:
    """One port for each listener of the mesh."""

    edge: int
    mesh: int
    nats: int
    nats_monitor: int
    valkey: int
    services: Mapping[str, int]
    traces_ui: int = 0
    otlp_grpc: int = 0
    otlp_http: int = 0
    admin: Mapping[str, int] = field(default_factory=dict)
    """Of each service: where it tells of itself."""
    metrics: int = 0
    """Where all of that is collected; 0: nowhere."""
    prometheus: int = 0


@dataclass(frozen=True, slots=True)
class MeshPlan:
    processes: tuple[ProcessSpec, ...]
    addresses: Addresses
    files: Mapping[Path, str] = field(default_factory=dict, repr=False)
    """To be written before anything starts, for this user's eyes alone."""
    scraped: tuple[Scraped, ...] = ()
    metrics_port: int = 0


def service_names(options: Options) -> tuple[str, ...]:
    """The instances of Grandstand's own services."""
    return (
        *(f"ingest-{n}" for n in range(1, options.ingest + 1)),
        *(f"aggregate-{n}" for n in range(1, options.aggregate + 1)),
        *(f"gateway-{n}" for n in range(1, options.gateway + 1)),
        *(f"notify-{n}" for n in range(1, options.notify + 1)),
    )


def measured_names(options: Options) -> tuple[str, ...]:
    """The processes that have an admin port."""
    return (*service_names(options), *((CANARY,) if options.canary else ()))


def plan(
    options: Options,
    programs: Programs,
    ports: PortPlan,
    home: Home,
    checkout: Path,
    page: tuple[PageFile, ...],
    keys: TokenKeys,
    logins: Logins,
    connections_max: int,
    concurrency: int,
    heap_bytes_max: int = 2 * 1024**3,
    edge_tls: EdgeTls | None = None,
) -> MeshPlan:
    """`checkout` holds the packages of the services; `page` is what Envoy serves at "/"; `logins` are for the
    stores that are started."""
    addresses = _addresses(options, programs, ports)
    envoy_config = home.run / "envoy.json"
    processes: list[ProcessSpec] = []
    envoy = replace(
        _envoy_config(options, ports, addresses, home, page, keys),
        connections_max=connections_max,
        heap_bytes_max=heap_bytes_max,
        edge_tls=edge_tls,
    )
    files = {envoy_config: json.dumps(bootstrap(envoy), indent=1)}
    if programs.traces is not None:
        at = DashboardPorts(ports.traces_ui, ports.otlp_grpc, ports.otlp_http)
        processes.append(replace(dashboard_process(programs.traces, at, home), stop_stage=_TRACES))
    if programs.nats is not None:
        files[home.run / "nats.conf"] = nats_conf(
            home, ports.nats, ports.nats_monitor, options.sync_always, logins
        )
        processes.append(nats_process(programs.nats, home, ports, logins[SUPERVISOR]))
    if programs.valkey is not None:
        files[home.run / "valkey.conf"] = valkey_conf(home, ports.valkey, logins)
        processes.append(valkey_process(programs.valkey, home, ports, logins[SUPERVISOR]))
    processes.append(_envoy(programs.envoy, envoy_config, ports, home, concurrency))
    started = {process.name for process in processes}
    stores = tuple(name for name in ("nats", "valkey") if name in started)
    environment = {
        "PYTHONPATH": _python_path(checkout),
        "PYTHONUNBUFFERED": "1",
        SAMPLER_ARGUMENT: str(options.trace_share),
    }
    services = []
    for name in service_names(options):
        urls = _urls(name, name.partition("-")[0], options, ports, logins)
        environment_of = {**environment, NATS_VARIABLE: urls.nats, REDIS_VARIABLE: urls.redis}
        services.append(
            _service(name, programs.python, ports, addresses, stores, keys, options, environment_of, home)
        )
    people = {user: asdict(_urls(TOOLS, user, options, ports, logins)) for user in (OPERATOR, ADMIN)}
    files[home.store_urls] = json.dumps(people, indent=1) + "\n"
    processes.extend(services)
    if options.demo:
        needs = ("envoy", *(service.name for service in services))
        processes.append(_demo(programs.python, addresses, needs, environment, home, options.log_level))
    if options.canary:
        way = {NATS_VARIABLE: _urls(CANARY, CANARY, options, ports, logins).nats}
        token = options.canary_token or str(home.canary_token)
        # Where only proxies may connect, or its certificate has a name, the edge is not for this machine.
        edge = addresses.mesh if options.proxies else reached_without_tls(addresses)
        port, replicas = ports.admin[CANARY], options.replicas
        canary = canary_process(programs.python, edge, addresses.mesh, port, token, replicas)
        environment_of = {**environment, **way}
        command = (*canary.command, "--log-level", options.log_level)
        processes.append(
            replace(canary, command=command, needs=stores, environment=environment_of, cwd=home.run)
        )
    scraped = tuple(
        Scraped(name.partition("-")[0], name, ports.admin[name])
        for name in measured_names(options)
        if name in ports.admin
    )
    if programs.prometheus is not None:
        rules = checkout / prometheus.RULES
        files[prometheus.config_of(home)] = prometheus.config(scraped, ports.metrics, rules)
        processes.append(prometheus.process(programs.prometheus, ports.prometheus, home, _TRACES))
    return MeshPlan(tuple(processes), addresses, files, scraped, ports.metrics)


def _urls(name: str, user: str, options: Options, ports: PortPlan, logins: Logins) -> StoreUrls:
    """How a service, or TOOLS, reaches the stores. URLs of somebody else's keep their own credentials."""
    nats, redis = options.nats_url, options.redis_url
    if nats is None:
        way = options.nats_ways.get(name, f"nats://{LOOPBACK}:{ports.nats}")
        nats = store_users.nats_url(way, user, logins)
    if redis is None:
        way = options.redis_ways.get(
            name, options.redis_ways.get(TOOLS, f"redis://{LOOPBACK}:{ports.valkey}")
        )
        redis = store_users.redis_url(way, user, logins)
    return StoreUrls(nats, redis)


def _addresses(options: Options, programs: Programs, ports: PortPlan) -> Addresses:
    # Who listens on all addresses is reached on loopback too.
    host = LOOPBACK if options.host in ("0.0.0.0", "::", "") else options.host
    scheme = "https" if options.edge_tls else "http"
    traces = programs.traces is not None
    return Addresses(
        edge=f"{scheme}://{f'[{host}]' if ':' in host else host}:{ports.edge}",
        mesh=f"{LOOPBACK}:{ports.mesh}",
        nats=without_login(options.nats_url or f"nats://{LOOPBACK}:{ports.nats}"),
        redis=without_login(options.redis_url or f"redis://{LOOPBACK}:{ports.valkey}"),
        otlp=f"http://{LOOPBACK}:{ports.otlp_grpc}" if traces else options.otlp,
        traces_ui=f"http://{LOOPBACK}:{ports.traces_ui}" if traces else None,
        metrics=f"http://{LOOPBACK}:{ports.metrics}/metrics" if ports.metrics else None,
        prometheus=f"http://{LOOPBACK}:{ports.prometheus}" if programs.prometheus else None,
    )


def _envoy_config(
    options: Options,
    ports: PortPlan,
    addresses: Addresses,
    home: Home,
    page: tuple[PageFile, ...],
    keys: TokenKeys,
) -> EnvoyConfig:
    replicas: dict[str, tuple[Endpoint, ...]] = {}
    for name, port in ports.services.items():
        kind = name.partition("-")[0]
        if services_of(kind):
            replicas[kind] = (*replicas.get(kind, ()), Endpoint(LOOPBACK, port))
    otlp = urlsplit(addresses.otlp) if addresses.otlp else None
    return EnvoyConfig(
        edge=Endpoint(options.host, ports.edge),
        mesh=Endpoint(LOOPBACK, ports.mesh),
        admin=SocketPath(str(home.envoy_admin)),
        replicas=replicas,
        keys=keys.edge,
        issuer=keys.issuer,
        page=page,
        allow_origins=options.allow_origins,
        # Envoy's exporter speaks h2 without TLS only; to a collector with TLS the services alone report.
        otlp=Endpoint(otlp.hostname, otlp.port or 4317)
        if otlp and otlp.scheme == "http" and otlp.hostname
        else None,
        trace_share=options.trace_share,
        trusted_hops=options.trusted_hops,
        proxies=options.proxies,
        address_rates=not options.exempt,
    )


def nats_process(program: Path, home: Home, ports: PortPlan, password: str = "") -> ProcessSpec:
    """`password`: that of the supervisor's probes, where the server has users; `valkey_process` likewise."""
    return ProcessSpec(
        name="nats",
        command=(str(program), "-c", str(home.run / "nats.conf")),
        probe=NatsProbe(ports.nats, ports.nats_monitor, password),
        address=f"{LOOPBACK}:{ports.nats}",
        grace_s=STORE_GRACE_S,
        # A big stream is read back first.
        start_within_s=120.0,
        stop_stage=_STORES,
        keep_trying=True,
        store=home.nats,
    )


def valkey_process(program: Path, home: Home, ports: PortPlan, password: str = "") -> ProcessSpec:
    return ProcessSpec(
        name="valkey",
        command=(str(program), str(home.run / "valkey.conf")),
        probe=RedisProbe(ports.valkey, password),
        address=f"{LOOPBACK}:{ports.valkey}",
        grace_s=STORE_GRACE_S,
        start_within_s=120.0,
        stop_stage=_STORES,
        keep_trying=True,
        store=home.valkey,
    )


def _envoy(program: Path, config: Path, ports: PortPlan, home: Home, concurrency: int) -> ProcessSpec:
    return ProcessSpec(
        name="envoy",
        command=(
            *(str(program), "-c", str(config), "--disable-hot-restart"),
            *("--concurrency", str(concurrency), "--log-level", "warning"),
        ),
        probe=EnvoyProbe(home.envoy_admin, clusters_of(*KINDS)),
        address=f"{LOOPBACK}:{ports.edge}",
        grace_s=5.0,
        # It waits for the slowest service, which may be given two attempts.
        start_within_s=120.0,
        stop_stage=_ENVOY,
    )


_STAGES = {"gateway": _GATEWAY, "ingest": _INGEST, "notify": _INGEST, "aggregate": _AGGREGATE}
_NEEDS = {
    "ingest": ("nats", "valkey"),
    "aggregate": ("nats", "valkey"),
    "gateway": ("nats", "valkey"),
    "notify": ("nats", "valkey"),
}


def _service(
    name: str,
    python: Path,
    ports: PortPlan,
    addresses: Addresses,
    stores: tuple[str, ...],
    keys: TokenKeys,
    options: Options,
    environment: Mapping[str, str],
    home: Home,
) -> ProcessSpec:
    kind = name.partition("-")[0]
    port = ports.services[name]
    otlp = ("--otlp", addresses.otlp) if addresses.otlp else ()
    return ProcessSpec(
        name=name,
        command=(
            *(str(python), "-P", "-m", kind, "--listen", f"{LOOPBACK}:{port}", "--mesh", addresses.mesh),
            *(("--admin", f"{LOOPBACK}:{ports.admin[name]}") if name in ports.admin else ()),
            *(("--replicas", str(options.replicas)) if options.replicas > 1 else ()),
            *(("--events-bytes", str(options.events_bytes)) if options.events_bytes else ()),
            *(("--nats-store", str(home.nats)) if kind == "ingest" and "nats" in stores else ()),
            *("--instance", name, "--log-level", options.log_level, *otlp, *key_arguments(kind, keys)),
            *exempt.arguments(options.trusted_hops, options.exempt),
        ),
        probe=GrpcProbe(port, ("", *services_of(kind))),
        address=f"{LOOPBACK}:{port}",
        needs=tuple(store for store in _NEEDS[kind] if store in stores),
        environment={**environment, **({CLOCK_SHIFT: f"{options.clocks}/{name}"} if options.clocks else {})},
        cwd=home.run,
        grace_s=SERVICE_GRACE_S,
        stop_stage=_STAGES[kind],
    )


def _demo(
    python: Path,
    addresses: Addresses,
    needs: tuple[str, ...],
    environment: Mapping[str, str],
    home: Home,
    log_level: str,
) -> ProcessSpec:
    edge = reached_without_tls(addresses)
    return ProcessSpec(
        name="demo",
        command=(
            *(str(python), "-P", "-m", "toolbox.cli.demo", "--edge", edge, "--mesh", addresses.mesh),
            *("--home", str(home.root), "--log-level", log_level),
        ),
        probe=RunningProbe(),
        needs=needs,
        environment=environment,
        cwd=home.run,
        grace_s=SERVICE_GRACE_S,
        stop_stage=_DEMO,
        optional=True,
    )


def _python_path(checkout: Path) -> str:
    """The packages and the stubs, and then what the caller's own PYTHONPATH names."""
    own = (str(checkout), str(checkout / "stubs" / "python"))
    return os.pathsep.join((*own, *filter(None, [os.environ.get("PYTHONPATH")])))
