"""up, down, status: a mesh on this machine."""

from __future__ import annotations

import ipaddress
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mesh import disk, limits
from mesh.addresses import TRUSTED_HOPS_MAX, Network, network
from mesh.secrecy import NATS_VARIABLE, REDIS_VARIABLE, has_secret
from toolbox.cli.console import say
from toolbox.cli.home import HomeOption
from toolbox.local import health
from toolbox.local.errors import MeshError
from toolbox.local.home import Home, clear_stale, tenant
from toolbox.local.running import home_of, running_status
from toolbox.local.status import MeshStatus

DOWN_WITHIN_S = 60.0
"""Every grace of every stage, added up, is less."""
KILLED_WITHIN_S = 10.0
NOT_WELL = 3
"""How `status` ends when a promise of the mesh is broken."""
EVENTS_BYTES_MIN = 1024 * 1024
PRODUCTION_TRACE_SHARE = 0.01


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=False)(up)
    app.command()(down)
    app.command()(status)


def up(
    home: HomeOption = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return when the mesh is ready; grandstand down stops it."),
    ] = False,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="Run a demo game with a small crowd.",
            show_default="demo; no-demo with --keys",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where the edge listens; 0.0.0.0 opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The edge's port: the page and the public API.")] = 8080,
    mesh_port: Annotated[
        int | None,
        typer.Option(show_default="8081 or a free one", help="Port of the mesh listener, on loopback."),
    ] = None,
    ingest: Annotated[int, typer.Option(help="How many replicas of ingest.")] = 1,
    aggregate: Annotated[int, typer.Option(help="How many workers fold: they share the partitions.")] = 1,
    gateway: Annotated[int, typer.Option(help="How many replicas of the gateway.")] = 1,
    notify: Annotated[int, typer.Option(help="How many replicas of notify.")] = 1,
    keys: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_URL",
            show_default="a development key, and guests",
            help="Take the tokens of your platform: its public keys, as a JWKS. Changes are followed.",
        ),
    ] = None,
    issuer: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="With --keys: only tokens whose iss is this.", show_default="any"),
    ] = None,
    actor_claim: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --keys: the claim of your tokens that names the actor.",
            show_default="sub",
        ),
    ] = None,
    production: Annotated[
        bool,
        typer.Option(
            "--production",
            help="Refuse root, keys that are for development, and a NATS that is not supported; no guests.",
        ),
    ] = False,
    trusted_hops: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=TRUSTED_HOPS_MAX,
            show_default="0",
            help="How many proxies of your own stand before the edge, each of which appends its client to"
            " x-forwarded-for. Bounds by address then count the clients, and this machine's, too.",
        ),
    ] = None,
    exempt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            show_default="this machine; none with --production or --trusted-hops",
            help="No bound by address applies to this network (repeatable).",
        ),
    ] = None,
    edge_tls_cert: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default="no TLS",
            help="The edge speaks TLS with this certificate chain (PEM). Renewed files are taken.",
        ),
    ] = None,
    edge_tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", show_default="none", help="Its key (PEM).")
    ] = None,
    behind_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            show_default="none",
            help="Who terminates TLS before the edge (repeatable): only these and loopback may connect.",
        ),
    ] = None,
    traces: Annotated[
        bool, typer.Option("--traces", help="Start a tracing UI and send traces to it.")
    ] = False,
    otlp: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default="$OTEL_EXPORTER_OTLP_ENDPOINT",
            help="Send traces to this collector (OTLP over gRPC), such as http://127.0.0.1:4317.",
        ),
    ] = None,
    sync: Annotated[
        str,
        typer.Option(
            metavar="interval|always",
            help="When NATS syncs to the disk: every two minutes, or before each ack (always)."
            " A killed process loses nothing either way; always survives a power cut, at a price.",
        ),
    ] = "interval",
    nats: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar=NATS_VARIABLE,
            show_envvar=True,
            help="Use this NATS (with JetStream), or these servers of a cluster, with commas between.",
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option(metavar="1|3|5", help="With a NATS cluster: how many servers hold each stream.")
    ] = 1,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar=REDIS_VARIABLE,
            show_envvar=True,
            help="Use this Redis, the cluster this is a node of, or the master of Sentinels; start none.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="A web origin that may call the edge (repeatable).", show_default="all"),
    ] = None,
    logs: Annotated[
        bool, typer.Option("--logs/--no-logs", help="Print what the processes log (not with --detach).")
    ] = True,
    events_bytes: Annotated[
        int | None, typer.Option(hidden=True, min=EVENTS_BYTES_MIN, help="The room of the event stream.")
    ] = None,
    nats_way: Annotated[
        list[str] | None,
        typer.Option(hidden=True, metavar="NAME=URL", help="How one service reaches NATS (repeatable)."),
    ] = None,
    redis_way: Annotated[
        list[str] | None,
        typer.Option(hidden=True, metavar="NAME=URL", help="How one service reaches Redis (repeatable)."),
    ] = None,
    clocks: Annotated[
        Path | None, typer.Option(hidden=True, help="A folder of files that say how far clocks are off.")
    ] = None,
    report_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    end_with_parent: Annotated[bool, typer.Option("--end-with-parent", hidden=True)] = False,
) -> None:
    """Start the mesh: NATS, Valkey, Envoy and all services.

    Example: ./grandstand up --ingest 2 --traces
    """
    from toolbox.cli import starting
    from toolbox.local.child import end_with_parent_process
    from toolbox.local.plan import Options
    from toolbox.local.session import UpRequest

    for option, url, variable in (("--nats", nats, NATS_VARIABLE), ("--redis", redis, REDIS_VARIABLE)):
        _check_seen(option, url, variable, production)
    if sync not in ("interval", "always"):
        raise MeshError(f"--sync {sync!r} is neither interval nor always")
    if traces and otlp:
        raise MeshError("--traces and --otlp exclude each other: traces go to one place")
    if not traces:
        otlp = otlp or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
    if otlp and not otlp.startswith(("http://", "https://")):
        raise MeshError(f"--otlp {otlp!r} is no URL such as http://127.0.0.1:4317")
    if replicas not in (1, 3, 5) or (replicas > 1 and nats is None):
        raise MeshError(f"--replicas {replicas}: 1, or 3 or 5 with --nats URL,URL,URL of a NATS cluster")
    if (edge_tls_cert is None) != (edge_tls_key is None):
        raise MeshError("--edge-tls-cert and --edge-tls-key go together: give both, or neither")
    if edge_tls_cert and behind_proxy:
        raise MeshError("--behind-proxy says that a proxy terminates TLS; --edge-tls-cert that the edge does")
    request = UpRequest(
        home=home_of(home),
        options=Options(
            ingest=ingest,
            aggregate=aggregate,
            gateway=gateway,
            notify=notify,
            host=host,
            demo=keys is None if demo is None else demo,
            otlp=otlp,
            sync_always=sync == "always",
            allow_origins=tuple(allow_origin or ("*",)),
            nats_url=nats,
            replicas=replicas,
            events_bytes=events_bytes,
            nats_ways=dict(_named("--nats-way", way) for way in nats_way or ()),
            redis_ways=dict(_named("--redis-way", way) for way in redis_way or ()),
            clocks=str(clocks.absolute()) if clocks else None,
            redis_url=redis,
            keys=keys,
            issuer=issuer or "",
            actor_claim=actor_claim or "",
            production=production,
            trusted_hops=trusted_hops or 0,
            exempt=exempt_networks(exempt, is_strict=production or trusted_hops is not None),
            trace_share=_trace_share(production=production),
            edge_tls=(edge_tls_cert, edge_tls_key) if edge_tls_cert and edge_tls_key else None,
            proxies=tuple(_network("--behind-proxy", text) for text in behind_proxy or ()),
        ),
        edge_port=port,
        mesh_port=mesh_port,
        traces=traces,
    )
    if end_with_parent:
        end_with_parent_process(signal.SIGTERM)
    if report_fd is not None:
        starting.in_background(request, report_fd)
    elif detach:
        starting.detached(
            request, [argument for argument in sys.argv[1:] if argument not in ("--detach", "-d")]
        )
    else:
        starting.in_foreground(request, logs)


def exempt_networks(networks: list[str] | None, *, is_strict: bool) -> tuple[Network, ...]:
    """By default this machine's; `is_strict`: none."""
    from toolbox.local.exempt import own_networks

    if networks is None:
        return () if is_strict else own_networks()
    try:
        return tuple(network(each) for each in networks)
    except ValueError as error:
        raise MeshError(f"--exempt: {error}") from None


def _check_seen(option: str, url: str | None, variable: str, production: bool) -> None:
    """Whether a password was typed where everybody on the machine can read it. Raises MeshError."""
    if url is None or not has_secret(url) or not any(url in argument for argument in sys.argv[1:]):
        return
    why = f"everybody on this machine can read the password in {option}; set {variable} instead"
    if production:
        raise MeshError(f"--production: {why}")
    say(f"warning: {why}")


def _named(option: str, way: str) -> tuple[str, str]:
    name, equals, url = way.partition("=")
    if not (name and equals and url):
        raise MeshError(f"{option} {way!r} is not NAME=URL, such as ingest-1=nats://127.0.0.1:4222")
    return name, url


def _trace_share(*, production: bool) -> float:
    """What is sampled of the traces that begin at the edge."""
    from toolbox.local.plan import SAMPLER_ARGUMENT

    text = os.environ.get(SAMPLER_ARGUMENT)
    if text is None:
        return PRODUCTION_TRACE_SHARE if production else 1.0
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise MeshError(f"{SAMPLER_ARGUMENT}={text!r} in the environment is no share from 0 to 1")
    return share


def _network(option: str, text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise MeshError(f"{option} {text!r} is no network such as 10.0.0.0/8: {error}") from None


def down(home: HomeOption = None) -> None:
    """Stop the mesh: everything drains, and no process is left.

    Example: ./grandstand down
    """
    place = home_of(home)
    found = tenant(place)
    if found is None:
        raise MeshError(f"no mesh is running in {place.root}")
    if not found.running:
        clear_stale(place)
        raise MeshError(
            f"no mesh is running in {place.root}: the last one (pid {found.pid}) ended without cleaning up;"
            " its pid file is cleared"
        )
    if found.pid == 0:
        raise MeshError(f"the mesh in {place.root} is just starting; try again in a moment")
    _end(found.pid, place.root)
    print("The mesh is down.")


def _end(pid: int, root: Path) -> None:
    """SIGTERM, and SIGKILL when that is not heard; the kernel takes the children along."""
    try:
        # Held before the signal: the number cannot be given to somebody else meanwhile.
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise MeshError(f"the mesh in {root} (pid {pid}) belongs to another user") from None
    if _ended_within(DOWN_WITHIN_S, pid, handle, root):
        return
    os.kill(pid, signal.SIGKILL)
    if not _ended_within(KILLED_WITHIN_S, pid, handle, root):
        raise MeshError(f"the mesh in {root} (pid {pid}) cannot be killed")
    raise MeshError(f"the mesh in {root} (pid {pid}) did not end within {DOWN_WITHIN_S:g} s and was killed")


def _ended_within(within_s: float, pid: int, handle: int | None, root: Path) -> bool:
    """Waits for the process, or where there are no handles for the lock it holds to its last breath."""
    if handle is not None:
        return bool(select.select([handle], [], [], within_s)[0])
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = tenant(Home(root))
        if found is None or not found.running or found.pid not in (0, pid):
            return True
        time.sleep(0.05)
    return False


def status(
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show whether votes are stored, folded and shown, the processes of the mesh, and where it is reached.

    Ends with 0 if all three are so, with 3 if one is not, with 1 if no mesh runs here.

    Example: ./grandstand status --json
    """
    now = running_status(home)
    found = health.read(now.addresses.edge)
    if as_json:
        print(json.dumps({**now.as_json(), "health": found, "disk_problem": disk.problem(Path(now.home))}))
    else:
        _print_status(now, found)
    if not found["ok"]:
        raise typer.Exit(NOT_WELL)


def _print_status(now: MeshStatus, found: dict[str, Any]) -> None:
    from rich.console import Console

    from toolbox.cli.progress import status_table

    console = Console(highlight=False)
    at = now.addresses
    headline = health.headline(now.headline, found)
    console.print(f"{headline}: {at.edge} (mesh {at.mesh}, pid {now.pid})", soft_wrap=True)
    for line, is_well in health.lines(found):
        console.print(line, soft_wrap=True, markup=False, style="" if is_well else "red")
    if at.traces_ui:
        console.print(f"traces: {at.traces_ui}", soft_wrap=True)
    if at.metrics:
        console.print(f"metrics: {at.metrics}", soft_wrap=True)
    console.print(f"tokens: {now.keys}", soft_wrap=True, markup=False)
    if now.edge_tls:
        console.print(f"edge TLS: {now.edge_tls}", soft_wrap=True, markup=False)
    for warning in filter(None, (now.nats_warning, now.redis_warning)):
        console.print(f"warning: {warning}", soft_wrap=True, markup=False, style="yellow")
    if now_full := disk.problem(Path(now.home)):
        console.print(now_full, soft_wrap=True, markup=False, style="red")
    if now.state == "ready":
        from toolbox.cli.rpc import default_actor
        from toolbox.local import partitions
        from toolbox.local.development import operator_token

        token = operator_token(Path(now.home), default_actor())
        if folding := partitions.read_if_it_answers(at.mesh, token):
            console.print(partitions.summary(folding), soft_wrap=True)
        days = limits.IDLE_FOR_DEFAULT_S / 86_400
        console.print(
            f"games: one in which nothing happens for {days:g} days is ended (game define --idle)",
            soft_wrap=True,
        )
    console.print(status_table(now))
