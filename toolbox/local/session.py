"""One `up`, from the lock to the last process gone: checks first, then files, then the supervisor.

Everything that can be refused is refused before anything is started: a mesh that runs already, a disk nearly
full, a port that is taken, a program that is missing. Each is a MeshError (or a ProvisionError) of one line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mesh import limits
from mesh.envoy.page import page_files
from mesh.logs.line import message_of
from mesh.secrecy import privileged
from toolbox.local import keys as keys_of
from toolbox.local import logfile, machine, provision, redis_check, status, store_users
from toolbox.local import ports as ports_of
from toolbox.local.canary import CanaryToken
from toolbox.local.dashboard import dashboard
from toolbox.local.edge_certificate import EdgeCertificate
from toolbox.local.errors import MeshError, from_os
from toolbox.local.home import Home, Lock
from toolbox.local.keys import PlatformFile, TokenKeys
from toolbox.local.lifecycle import Policy
from toolbox.local.metrics_collector import MetricsCollector
from toolbox.local.nats_check import NatsFound, check_program, check_url
from toolbox.local.plan import (
    REPLICAS_MAX,
    MeshPlan,
    Options,
    PortPlan,
    Programs,
    measured_names,
    plan,
    service_names,
)
from toolbox.local.prometheus import prometheus
from toolbox.local.redis_check import RedisFound
from toolbox.local.status import MeshStatus
from toolbox.local.store_users import Logins
from toolbox.local.stores import LOOPBACK
from toolbox.local.supervisor import StartFailed, Supervisor

EDGE_PORT = 8080
MESH_PORT = 8081
METRICS_PORT = 8082
PROMETHEUS_PORT = 9090
TRACES_PORT = 8083
"""Or another, when it is taken; likewise METRICS_PORT and PROMETHEUS_PORT."""
DESCRIPTORS_PER_CONNECTION = 1.25
"""Viewers share upstream connections; the rest of a process' descriptors are for those and for files."""
TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class UpRequest:
    """What `up` was asked for. A mesh port of None means MESH_PORT, or any other when that is taken."""

    home: Home
    options: Options = field(default_factory=Options)
    edge_port: int = EDGE_PORT
    mesh_port: int | None = None
    traces: bool = False
    metrics: bool = False
    """Whether to start Prometheus."""


@dataclass(slots=True)
class UpObserver:
    """Who is told. All are called from the loop."""

    on_status: Callable[[MeshStatus], None] = lambda status: None
    on_line: Callable[[str, str], None] = lambda name, line: None
    on_note: Callable[[str], None] = lambda line: None
    on_tick: Callable[[], None] = lambda: None
    """Every TICK_S while the mesh starts: rich's own refreshing needs a thread, and we fork."""


def run(request: UpRequest, watcher: UpObserver) -> None:
    """Runs a mesh until SIGINT, SIGTERM or SIGHUP; a second one ends it without grace. Raises MeshError."""
    options = request.options
    for name, count in (
        ("--ingest", options.ingest),
        ("--aggregate", options.aggregate),
        ("--gateway", options.gateway),
        ("--notify", options.notify),
    ):
        if not 1 <= count <= REPLICAS_MAX:
            raise MeshError(f"{name} {count} is outside 1 to {REPLICAS_MAX}")
    if options.production and (why := privileged()):
        raise MeshError(f"--production: {why}")
    home = request.home
    home.create()
    lock = Lock(home)
    claims = ports_of.Ports()
    try:
        if lock.stale_pid is not None:
            watcher.on_note(
                f"the mesh in {home.root} (pid {lock.stale_pid}) ended without cleaning up;"
                " its pid file is cleared"
            )
        home.require_free()
        programs = _programs(request)
        nats = _check_nats(request.options, programs.nats, watcher)
        redis = _check_redis(request.options, watcher)
        ports = _ports(request, claims)
        keys, platform = keys_for(request, watcher)
        certificate = certificate_for(request, watcher)
        mesh = _plan(request, programs, ports, keys, store_users.new_logins(), certificate)
        _write_files(mesh)
        asyncio.run(_supervise(request, mesh, watcher, nats, redis, keys, platform, certificate))
    finally:
        claims.close()
        lock.release()


def _programs(request: UpRequest) -> Programs:
    """Raises provision.ProvisionError for what is missing."""
    options = request.options
    return Programs(
        python=Path(sys.executable),
        nats=None if options.nats_url else provision.nats_server(),
        valkey=None if options.redis_url else provision.valkey_server(),
        envoy=provision.envoy(),
        traces=dashboard() if request.traces else None,
        prometheus=prometheus() if request.metrics else None,
    )


def _check_nats(options: Options, program: Path | None, watcher: UpObserver) -> NatsFound:
    """Says what is wrong with its version. Raises MeshError where that is too much."""
    if program is not None:
        found = check_program(program, options.production)
    else:
        assert options.nats_url is not None, "who starts none was given one"
        found = check_url(options.nats_url, options.production)
    if found.warning:
        watcher.on_note(f"warning: {found.warning}")
    return found


def _check_redis(options: Options, watcher: UpObserver) -> RedisFound:
    """Raises MeshError for one that cannot be used."""
    if options.redis_url is None:
        return RedisFound()
    found = redis_check.check_url(options.redis_url, options.production)
    if found.warning:
        watcher.on_note(f"warning: {found.warning}")
    return found


def _ports(request: UpRequest, claims: ports_of.Ports) -> PortPlan:
    options = request.options
    _claim_port(claims, options.host, request.edge_port, "--port")
    mesh = request.mesh_port
    if mesh is not None:
        _claim_port(claims, "127.0.0.1", mesh, "--mesh-port")
    elif claims.choose("127.0.0.1", MESH_PORT):
        mesh = MESH_PORT
    try:
        return PortPlan(
            edge=request.edge_port,
            mesh=mesh or claims.take(),
            nats=claims.take(),
            nats_monitor=claims.take(),
            valkey=claims.take(),
            services={name: claims.take() for name in service_names(options)},
            traces_ui=TRACES_PORT
            if request.traces and claims.choose(LOOPBACK, TRACES_PORT)
            else claims.take(),
            otlp_grpc=claims.take(),
            otlp_http=claims.take(),
            admin={name: claims.take() for name in measured_names(options)},
            metrics=_preferred(claims, METRICS_PORT),
            prometheus=_preferred(claims, PROMETHEUS_PORT) if request.metrics else 0,
        )
    except ports_of.NoPort as error:
        raise MeshError(str(error)) from None


def _preferred(claims: ports_of.Ports, port: int) -> int:
    return port if claims.choose(LOOPBACK, port) else claims.take()


def _claim_port(claims: ports_of.Ports, host: str, port: int, option: str) -> None:
    if not 0 < port < 65_536:
        raise MeshError(f"{option} {port} is no port; give one from 1 to 65535")
    try:
        if claims.choose(host, port):
            return
    except OSError as error:
        raise MeshError(
            f"cannot listen on {host}:{port} ({error.strerror}); give another --host or {option}"
        ) from None
    holder = ports_of.holder(port)
    raise MeshError(
        f"port {port} on {host} is taken{f' by {holder}' if holder else ''};"
        f" give another one with {option}, or stop what holds it"
    )


def keys_for(request: UpRequest, watcher: UpObserver) -> tuple[TokenKeys, PlatformFile | None]:
    """The keys of this run, and the file they come from when that is to be watched. Raises MeshError."""
    options, home = request.options, request.home
    if options.keys is None:
        if options.production:
            raise MeshError(
                "--production needs --keys FILE_OR_URL: the public keys of who signs your players' tokens"
                " (docs/tokens.md)"
            )
        if options.issuer:
            raise MeshError("--issuer goes with --keys: the development key's tokens have no issuer")
        if options.actor_claim:
            raise MeshError("--actor-claim goes with --keys: the development key's tokens name it by sub")
        if not keys_of.is_loopback(options.host):
            watcher.on_note(
                f"warning: the edge listens on {options.host} and admits guests, who may vote as often as"
                " they like; with --keys it takes your platform's players instead"
            )
        return keys_of.own_keys(home), None
    if options.demo:
        raise MeshError("--demo acts with the development key, which --keys replaces; give --no-demo")
    if options.keys.startswith(("http://", "https://")):
        keys = keys_of.url_keys(home, options.keys, options.issuer, options.production)
        return replace(keys, actor_claim=options.actor_claim), None
    platform = PlatformFile(Path(options.keys).expanduser().absolute(), home.jwks, options.production)
    keys = keys_of.file_keys(home, platform, options.issuer, options.production)
    return replace(keys, actor_claim=options.actor_claim), platform


def certificate_for(request: UpRequest, watcher: UpObserver) -> EdgeCertificate | None:
    """What the edge shows; None: it speaks without TLS. Raises MeshError, also where tokens would be read by
    anybody on the way."""
    options = request.options
    if options.edge_tls is not None:
        chain, key = (Path(file).expanduser().absolute() for file in options.edge_tls)
        return EdgeCertificate(chain, key, request.home.edge_secret, production=options.production)
    if options.production and not options.proxies and not keys_of.is_loopback(options.host):
        raise MeshError(
            f"--production serves no tokens in clear on {options.host}: give --edge-tls-cert and"
            " --edge-tls-key, or say who terminates TLS before the edge: --behind-proxy CIDR"
        )
    if options.proxies and not options.trusted_hops:
        watcher.on_note(
            "warning: --behind-proxy without --trusted-hops: all clients count as one address, the proxy's"
        )
    return None


def _plan(
    request: UpRequest,
    programs: Programs,
    ports: PortPlan,
    keys: TokenKeys,
    logins: Logins,
    certificate: EdgeCertificate | None,
) -> MeshPlan:
    checkout = provision.checkout()
    try:
        page = page_files(checkout / "web" / "dist")
    except (OSError, ValueError) as error:
        raise MeshError(f"the page cannot be served: {error}") from None
    descriptors = machine.raise_descriptor_limit()
    return plan(
        request.options,
        programs,
        ports,
        request.home,
        checkout,
        page,
        keys,
        logins,
        connections_max=max(256, int((descriptors - 512) / DESCRIPTORS_PER_CONNECTION)),
        # Envoy shares the machine with the services it fronts.
        concurrency=max(1, min(8, (os.cpu_count() or 1) // 2)),
        heap_bytes_max=machine.heap_bytes_max(),
        edge_tls=certificate.tls if certificate else None,
    )


def _write_files(mesh: MeshPlan) -> None:
    for path, text in mesh.files.items():
        keys_of.write_whole(path, text)


async def _supervise(
    request: UpRequest,
    mesh: MeshPlan,
    watcher: UpObserver,
    nats: NatsFound,
    redis: RedisFound,
    keys: TokenKeys,
    platform: PlatformFile | None,
    certificate: EdgeCertificate | None,
) -> None:
    session = _Session(request, mesh, watcher, nats, redis, keys, platform, certificate)
    await session.run()


class _Session:
    """The supervisor together with its signals, its status file, and a platform's keys as they change."""

    def __init__(
        self,
        request: UpRequest,
        mesh: MeshPlan,
        watcher: UpObserver,
        nats: NatsFound,
        redis: RedisFound,
        keys: TokenKeys,
        platform: PlatformFile | None,
        certificate: EdgeCertificate | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._home = request.home
        self._nats = nats
        self._redis = redis
        self._keys = keys
        self._platform = platform
        self._certificate = certificate
        options = request.options
        has_own = options.canary and options.canary_token is None
        self._canary_token = CanaryToken(request.home) if has_own else None
        self._mesh = mesh
        self._watcher = watcher
        self._dirty = asyncio.Event()
        self._status_unwritable = False
        self._ticking = True
        try:
            self._supervisor = Supervisor(
                mesh.processes,
                request.home,
                self._dirty.set,
                watcher.on_line,
                policy,
                watcher.on_note,
            )
        except OSError as error:
            raise from_os(error, f"open the logs in {request.home.logs}") from None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup ignores the end of its terminal on purpose; SIGINT stops a mesh whatever was inherited.
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            loop.add_signal_handler(number, self._on_signal)
        # The first write tells whether the disk takes it at all.
        try:
            self._write_status()
        except OSError as error:
            raise from_os(error, f"write {self._home.status}") from None
        collector = MetricsCollector(self._mesh.scraped, self._home.envoy_admin)
        if self._mesh.metrics_port:
            try:
                await collector.start(self._mesh.metrics_port)
            except OSError as error:
                raise MeshError(str(error)) from None
        teller = asyncio.create_task(self._tell())
        looker = asyncio.create_task(self._look_at_files())
        try:
            await self._supervisor.run()
        except StartFailed as failed:
            raise self._explained(failed) from None
        finally:
            teller.cancel()
            looker.cancel()
            collector.stop()
            self._tell_once()

    def _on_signal(self) -> None:
        if self._supervisor.stopping:
            self._watcher.on_note("killing what is left")
            self._supervisor.kill()
        else:
            self._supervisor.stop()
        self._dirty.set()

    async def _look_at_files(self) -> None:
        """Hands on a platform's keys and the edge's certificate when they change. What cannot be taken is
        told."""
        watched = {
            "the keys stay as they were": self._platform,
            "the certificate stays": self._certificate,
            "the canary keeps its token": self._canary_token,
        }
        while True:
            await asyncio.sleep(limits.KEYS_FILE_LOOK_S)
            for stays, source in watched.items():
                if source is not None and source.look():
                    problem = source.problem
                    self._watcher.on_note(f"{stays}: {problem}" if problem else f"now {source.said}")
                    self._dirty.set()

    def _said_of_keys(self) -> str:
        if self._platform is None:
            return self._keys.said
        return keys_of.platform_said(self._platform.said, self._keys.issuer, self._keys.production)

    def _status(self) -> MeshStatus:
        ready = self._supervisor.ready.is_set()
        state = "stopping" if self._supervisor.stopping else "ready" if ready else "starting"
        return MeshStatus(
            pid=os.getpid(),
            home=str(self._home.root),
            state=state,
            addresses=self._mesh.addresses,
            services=self._supervisor.statuses(),
            keys=self._said_of_keys(),
            edge_tls=self._certificate.said if self._certificate else "",
            own_keys=self._keys.guest_key is not None,
            nats_version=self._nats.version,
            nats_warning=self._nats.warning,
            redis_warning=self._redis.warning,
        )

    def _write_status(self) -> MeshStatus:
        now = self._status()
        status.write(self._home.status, now)
        return now

    async def _tell(self) -> None:
        """Writes the status after each change; changes of the same turn of the loop are one."""
        while True:
            try:
                async with asyncio.timeout(TICK_S if self._ticking else None):
                    await self._dirty.wait()
            except TimeoutError:
                self._watcher.on_tick()
                continue
            self._dirty.clear()
            self._tell_once()

    def _tell_once(self) -> None:
        try:
            now = self._write_status()
            self._status_unwritable = False
        except OSError as error:
            # A running mesh goes on: its status is stale, and its user is told once.
            now = self._status()
            if not self._status_unwritable:
                self._status_unwritable = True
                self._watcher.on_note(str(from_os(error, f"write {self._home.status}")))
        self._ticking = now.state == "starting" or (now.state == "ready" and not now.settled)
        self._watcher.on_status(now)

    def _explained(self, failed: StartFailed) -> MeshError:
        log = self._home.log(failed.name)
        last = logfile.tail(log, 1)
        said = f"; it said: {message_of(last[0]).strip()[:300]}" if last else ""
        return MeshError(f"the mesh did not start: {failed.name} {failed.reason}{said} (log: {log})")
