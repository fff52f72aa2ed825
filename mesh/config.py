"""What a service process is told on its command line; parsed once, strictly, and frozen."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Addresses are host:port, URLs have their scheme."""

    service: str
    instance: str
    listen: str
    nats: str
    redis: str
    mesh: str
    otlp: str | None


def parse(service: str, arguments: Sequence[str] | None = None) -> ServiceConfig:
    """Ends the process with a usage line when an argument is missing or malformed."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {service}", description=f"Grandstand's {service} service."
    )
    parser.add_argument("--listen", required=True, type=_address, metavar="HOST:PORT")
    parser.add_argument("--nats", required=True, metavar="URL")
    parser.add_argument("--redis", required=True, metavar="URL")
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
    found = parser.parse_args(arguments)
    return ServiceConfig(
        service=service,
        instance=found.instance,
        listen=found.listen,
        nats=found.nats,
        redis=found.redis,
        mesh=found.mesh,
        otlp=found.otlp,
    )


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"{value!r} is not HOST:PORT")
    return value
