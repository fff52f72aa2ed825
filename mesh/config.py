"""What a service process is told on its command line; parsed once, strictly, and frozen."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mesh import addresses, wall_clock
from mesh.auth.keys import Environment
from mesh.http2.sockets import is_unix, unix_path
from mesh.http2.tls import TlsFiles
from mesh.redis import address as redis_address
from mesh.secrecy import NATS_VARIABLE, REDIS_VARIABLE, exposed, has_secret, privileged

FORGET_VARIABLE = "GRANDSTAND_FORGET_AFTER_S"
ENVIRONMENTS: tuple[Environment, ...] = ("development", "production")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Addresses are host:port, `listen` also unix:/path; URLs have their scheme."""

    service: str
    instance: str
    listen: str
    nats: str = field(repr=False)
    """This and `redis` may hold a password."""
    redis: str = field(repr=False)
    mesh: str
    otlp: str | None
    replicas: int = 1
    """How many servers of a NATS cluster shall hold each stream that this process makes."""
    events_bytes: int | None = None
    """The room of the event stream when this process makes it; None: as mesh.limits has it."""
    nats_store: Path | None = None
    """Where the event log's files are, if they are on this machine."""
    environment: Environment = "development"
    keys: str | None = None
    """The keys of clients' tokens: a file or an http(s) URL of a JWKS."""
    issuer: str | None = None
    """What the `iss` of clients' tokens must be; None: anything."""
    actor_claim: str = "sub"
    """The claim of clients' tokens that names the actor."""
    mesh_key: Path | None = None
    """The private key of the tokens that services show each other."""
    guest_key: Path | None = None
    """The private key of guests' tokens; None: no guests."""
    admit_actor: tuple[float, float] | None = None
    """Events a second and at once that ingest takes of an actor; None: as mesh.limits has it."""
    admit_game: tuple[float, float] | None = None
    admit_instance: tuple[float, float] | None = None
    admit_producer: tuple[float, float] | None = None
    streams_actor: int | None = None
    """How many Publish streams an ingest takes of one actor, producer, address; None: as ingest.bounds has
    it."""
    streams_producer: int | None = None
    streams_address: int | None = None
    trusted_hops: int = 0
    """Proxies of the operator's own before Envoy (mesh.addresses)."""
    exempt: tuple[addresses.Network, ...] = ()
    """Networks to which no bound by address applies."""
    forget_after_s: float | None = None
    """For tests: how long after its end a game is forgotten; None: as its definition says."""
    tls: TlsFiles | None = None
    """What `listen` shows, and whose clients it takes; None: no TLS."""
    admin: str | None = None
    """Where /metrics, /livez and /readyz are served, as `listen`; None: nowhere."""


def parser_of(service: str) -> argparse.ArgumentParser:
    """The options of a service's command line, which are the same for all."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {service}", description=f"Grandstand's {service} service."
    )
    parser.add_argument(
        "--listen",
        required=True,
        type=_listen,
        metavar="ADDRESS",
        help="HOST:PORT, or unix:/PATH for an Envoy on this machine",
    )
    parser.add_argument(
        "--admin",
        type=_listen,
        metavar="ADDRESS",
        help="where to serve /metrics, /livez and /readyz by plain HTTP to whoever reaches it: HOST:PORT, or"
        " unix:/PATH; nowhere without it",
    )
    parser.add_argument("--tls-cert", type=_file, metavar="FILE", help="the server's certificate chain, PEM")
    parser.add_argument("--tls-key", type=_file, metavar="FILE", help="its key, PEM, without a password")
    parser.add_argument(
        "--tls-client-ca",
        type=_file,
        metavar="FILE",
        help="authorities, PEM: a client must show a certificate of one of them",
    )
    for option, variable, several in (
        ("--nats", NATS_VARIABLE, "one, or several with commas between"),
        ("--redis", REDIS_VARIABLE, "see mesh.redis.address"),
    ):
        parser.add_argument(
            option,
            metavar="URL",
            default=os.environ.get(variable) or None,
            required=not os.environ.get(variable),
            help=f"{several}; ${variable} in its place keeps a password out of the arguments",
        )
    parser.add_argument(
        "--replicas",
        type=int,
        choices=(1, 3, 5),
        default=1,
        help="how many servers of the NATS cluster hold each stream that this process makes",
    )
    parser.add_argument(
        "--events-bytes",
        type=int,
        metavar="BYTES",
        help="the room of the event stream, when this process makes it",
    )
    parser.add_argument(
        "--nats-store",
        type=Path,
        metavar="DIRECTORY",
        help="ingest: the event log's directory, if it is on this machine; senders are told of a full disk",
    )
    parser.add_argument(
        "--mesh",
        required=True,
        type=_address,
        metavar="HOST:PORT",
        help="Envoy's mesh listener: how services are called",
    )
    parser.add_argument("--instance", required=True, help="this process among its kind, such as ingest-1")
    parser.add_argument(
        "--otlp", metavar="URL", help="where to export traces (OTLP over gRPC); none without it"
    )
    parser.add_argument(
        "--environment",
        choices=ENVIRONMENTS,
        default="development",
        help="production refuses symmetric keys and the development key",
    )
    parser.add_argument(
        "--keys", type=_keys, metavar="FILE_OR_URL", help="the JWKS that clients' tokens are checked with"
    )
    parser.add_argument("--issuer", type=_text, metavar="TEXT", help="what iss of clients' tokens must be")
    parser.add_argument(
        "--actor-claim",
        type=_text,
        metavar="NAME",
        default="sub",
        help="which claim of clients' tokens names the actor; one of the token's own, not one inside another",
    )
    parser.add_argument(
        "--mesh-key",
        type=_file,
        metavar="FILE",
        help="a private JWK: signs the tokens that services show each other",
    )
    parser.add_argument(
        "--guest-key",
        type=_file,
        metavar="FILE",
        help="a private JWK: signs the tokens of guests; none are admitted without it",
    )
    for whose in ("actor", "game", "instance", "producer"):
        parser.add_argument(
            f"--admit-{whose}",
            type=_rate,
            metavar="RATE:BURST",
            help=f"ingest: events a second, and at once, of one {whose}",
        )
    for whose in ("actor", "producer", "address"):
        parser.add_argument(
            f"--streams-{whose}", type=_count, metavar="N", help=f"ingest: Publish streams of one {whose}"
        )
    parser.add_argument(
        "--trusted-hops",
        type=int,
        choices=range(addresses.TRUSTED_HOPS_MAX + 1),
        default=0,
        metavar="N",
        help="how many proxies of your own stand before Envoy, each of which appends to x-forwarded-for",
    )
    parser.add_argument(
        "--exempt",
        type=_network,
        action="append",
        default=[],
        metavar="CIDR",
        help="no bound by address applies to this network (repeatable)",
    )
    return parser


def parse(service: str, arguments: Sequence[str] | None = None) -> ServiceConfig:
    """Ends the process with a usage line when an argument is missing or malformed."""
    parser = parser_of(service)
    found = parser.parse_args(arguments)
    if found.environment == "production" and os.environ.get(wall_clock.SHIFT_VARIABLE):
        parser.error(
            f"the environment sets {wall_clock.SHIFT_VARIABLE}, which shifts this process's clock for tests;"
            " unset it in production"
        )
    forget_after_s = _forget_after_s(parser, production=found.environment == "production")
    if found.environment == "production" and found.keys and _is_overheard(found.keys):
        parser.error(
            f"argument --keys: {found.keys!r} comes over plain http, where anybody on the way can put in keys"
            " of their own; production takes https, or a file"
        )
    if found.environment == "production":
        _check_secrets(parser, found)
    if (found.tls_cert is None) != (found.tls_key is None):
        parser.error("--tls-cert and --tls-key go together: give both, or neither")
    if found.tls_client_ca is not None and found.tls_cert is None:
        parser.error("argument --tls-client-ca: there is no TLS without --tls-cert and --tls-key")
    try:
        redis_address.parse(found.redis)
    except redis_address.BadAddress as error:
        parser.error(f"argument --redis: {error}")
    return ServiceConfig(
        service=service,
        instance=found.instance,
        listen=found.listen,
        admin=found.admin,
        nats=found.nats,
        redis=found.redis,
        mesh=found.mesh,
        otlp=found.otlp,
        replicas=found.replicas,
        events_bytes=found.events_bytes,
        nats_store=found.nats_store,
        environment=found.environment,
        keys=found.keys,
        issuer=found.issuer,
        actor_claim=found.actor_claim,
        mesh_key=found.mesh_key,
        guest_key=found.guest_key,
        admit_actor=found.admit_actor,
        admit_game=found.admit_game,
        admit_instance=found.admit_instance,
        admit_producer=found.admit_producer,
        streams_actor=found.streams_actor,
        streams_producer=found.streams_producer,
        streams_address=found.streams_address,
        trusted_hops=found.trusted_hops,
        exempt=tuple(found.exempt),
        forget_after_s=forget_after_s,
        tls=TlsFiles(found.tls_cert, found.tls_key, found.tls_client_ca) if found.tls_cert else None,
    )


def _forget_after_s(parser: argparse.ArgumentParser, *, production: bool) -> float | None:
    """Ends the process with a usage line for what is no number of seconds, and in production."""
    given = os.environ.get(FORGET_VARIABLE)
    if not given:
        return None
    if production:
        parser.error(
            f"the environment sets {FORGET_VARIABLE}, which forgets games early for tests: events of an old"
            " origin could reach a new game; unset it in production"
        )
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        parser.error(f"{FORGET_VARIABLE}: {given!r} is no number of seconds from 0 to 999999999")
    return float(given)


def _check_secrets(parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
    """Ends the process where production would run with more rights than it needs, or with a secret that
    others can read."""
    for option, variable in (("nats", NATS_VARIABLE), ("redis", REDIS_VARIABLE)):
        given = getattr(found, option)
        if given != os.environ.get(variable) and has_secret(given):
            parser.error(
                f"argument --{option}: everybody on this machine can read the password in it;"
                f" production takes it from the environment, as {variable}"
            )
    for name in ("mesh_key", "guest_key", "tls_key"):
        path = getattr(found, name)
        if path is not None and (why := exposed(path)):
            parser.error(f"argument --{name.replace('_', '-')}: {why}")
    if why := privileged():
        parser.error(why)


def is_url(keys: str) -> bool:
    """Whether --keys names a URL, not a file."""
    return "://" in keys


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{value!r} is not HOST:PORT")
    return value


def _listen(value: str) -> str:
    if not is_unix(value):
        return _address(value)
    try:
        unix_path(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return value


def _network(value: str) -> addresses.Network:
    try:
        return addresses.network(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= len(value) <= 9 and int(value)):
        raise argparse.ArgumentTypeError(f"{value!r} is no number from 1 to 999999999")
    return int(value)


def _rate(value: str) -> tuple[float, float]:
    rate, _, burst = value.partition(":")
    with contextlib.suppress(ValueError):
        found = float(rate), float(burst)
        if 0 < found[0] < math.inf and 1 <= found[1] < math.inf:
            return found
    raise argparse.ArgumentTypeError(
        f"{value!r} is not RATE:BURST, events a second (more than 0) and at once (1 or more)"
    )


def _keys(value: str) -> str:
    if not is_url(value):
        return _text(value)
    at = urlsplit(value)
    if at.scheme not in ("http", "https") or not at.hostname or at.username is not None:
        raise argparse.ArgumentTypeError(
            f"{at.scheme}://{at.hostname or ''} is neither a file nor a URL like https://HOST/PATH"
        )
    return value


def _is_overheard(keys: str) -> bool:
    at = urlsplit(keys)
    return is_url(keys) and at.scheme == "http" and at.hostname not in _LOOPBACK


def _text(value: str) -> str:
    if not value:
        raise argparse.ArgumentTypeError("is empty; leave it out, or give a value")
    return value


def _file(value: str) -> Path:
    return Path(_text(value))
