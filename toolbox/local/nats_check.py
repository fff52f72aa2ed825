"""The version of the NATS that a mesh runs on: of our own nats-server, or of each server that --nats names.

A version that cannot work is refused. One that is not supported is warned about, and refused with
--production (`toolbox.local.nats_version`). It is asked for once, at the start.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from toolbox.local import provision
from toolbox.local.errors import MeshError
from toolbox.local.nats_version import SUPPORTED, NatsVersion, objection, parse

ANSWER_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True)
class NatsFound:
    """`version` for a person, empty if unknown; `warning` is one line, or empty."""

    version: str
    warning: str


def check_program(program: Path, production: bool) -> NatsFound:
    """Our own. Raises MeshError, ProvisionError."""
    version = provision.nats_server_version(program)
    return _judged(version, objection(version, str(program), provision.NATS_WAY_OUT), production)


def check_url(urls: str, production: bool) -> NatsFound:
    """Of somebody else's, the oldest of all that answer. Raises MeshError."""
    return asyncio.run(_check_url(urls, production))


async def _check_url(urls: str, production: bool) -> NatsFound:
    servers = [each for part in urls.split(",") if (each := part.strip())]
    answers = await asyncio.gather(*(_version(server) for server in servers))
    found = [(answer, server) for answer, server in zip(answers, servers, strict=True) if answer is not None]
    if not found:
        names = ", ".join(map(_shown, servers))
        unknown = (
            f"NATS at {names} did not tell its version within {ANSWER_WITHIN_S:g} s;"
            f" supported are {SUPPORTED}"
        )
        if production:
            raise MeshError(f"{unknown}; --production needs to know it: start that NATS first")
        return NatsFound("", unknown)
    version, server = min(found)
    why = objection(version, f"NATS at {_shown(server)}", "upgrade it, or name another by --nats")
    return _judged(version, why, production)


def _judged(version: NatsVersion, why: str, production: bool) -> NatsFound:
    if why and production:
        raise MeshError(f"--production: {why}")
    if why and not version.works:
        raise MeshError(why)
    return NatsFound(str(version), why)


async def _version(server: str) -> NatsVersion | None:
    """None if it does not answer in time, or with something else."""
    # Late: a mesh that starts its own nats-server needs no client.
    from nats.aio.client import Client
    from nats.errors import Error as NatsError

    async def on_error(error: Exception) -> None: ...

    client = Client()
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await client.connect(server, error_cb=on_error, reconnect_time_wait=0.1)  # type: ignore[arg-type]
            version = parse(str(client.connected_server_version))
            await client.close()
            return version
    except (NatsError, OSError, TimeoutError, ValueError):
        return None


def _shown(server: str) -> str:
    """Without the credentials it may carry."""
    return server.rpartition("@")[2]
