"""The version of the NATS that a mesh runs on: of our own nats-server, or of each server that --nats names.

A version that cannot work is refused. One that is not supported is warned about, and refused with
--production (`toolbox.local.nats_version`). It is asked for once, at the start.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolbox.local import provision
from toolbox.local.errors import MeshError, tls_or_socket_reason
from toolbox.local.nats_version import NatsVersion, objection, parse

if TYPE_CHECKING:
    from nats.aio.client import Client

ANSWER_WITHIN_S = 2.5


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
    if not servers:
        raise MeshError(f"--nats {urls!r} names no server; give a URL such as nats://host:4222")
    answers = await asyncio.gather(*(_version(server) for server in servers))
    found = [
        (answer, server)
        for answer, server in zip(answers, servers, strict=True)
        if isinstance(answer, NatsVersion)
    ]
    if not found:
        raise MeshError("; ".join(str(answer) for answer in answers))
    version, server = min(found)
    why = objection(version, f"NATS at {_shown(server)}", "upgrade it, or name another by --nats")
    return _judged(version, why, production)


def _judged(version: NatsVersion, why: str, production: bool) -> NatsFound:
    if why and production:
        raise MeshError(f"--production: {why}")
    if why and not version.works:
        raise MeshError(why)
    return NatsFound(str(version), why)


async def _version(server: str) -> NatsVersion | str:
    """Or, for a person, why it cannot be used."""
    # Late: a mesh that starts its own nats-server needs no client.
    from nats.errors import Error as NatsError

    from mesh.jetstream.client import NatsClient, inbox_prefix

    where = f"NATS at {_shown(server)}"
    client = NatsClient()
    connecting = True

    async def on_error(error: Exception) -> None:
        if connecting:  # nats-py would go on trying
            raise error

    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await client.connect(
                [server], error_cb=on_error, allow_reconnect=False, inbox_prefix=inbox_prefix(server)
            )
            connecting = False
            said = str(client.connected_server_version)
            if server.startswith("tls://") and not client._server_info.get("tls_required"):
                return f"{where}: it does not ask for TLS, so nothing would be encrypted; give nats://"
            if not await _has_jetstream(client):
                return f"{where}: it has no JetStream; start it with JetStream enabled"
    except (NatsError, OSError, TimeoutError, ValueError) as error:
        return f"{where}: {_reason(error)}"
    finally:
        with contextlib.suppress(NatsError, OSError):
            await client.close()
    return parse(said) or f"{where}: {said!r} is no version of nats-server"


async def _has_jetstream(client: Client) -> bool:
    """False only if that is certain: without a leader, or the right to ask, nothing is answered."""
    from nats.errors import Error as NatsError
    from nats.js.errors import ServiceUnavailableError

    try:
        await client.jetstream(timeout=1.0).account_info()
    except ServiceUnavailableError:
        return False
    except (NatsError, TimeoutError):
        pass
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return (
            f"nothing that speaks NATS answered within {ANSWER_WITHIN_S:g} s; look whether the host and the"
            " port are those of NATS"
        )
    if isinstance(error, OSError):
        return tls_or_socket_reason(error)
    text = str(error).removeprefix("nats: ").strip("'")
    if "Authorization Violation" in text:
        return "it refuses the user or the password (Authorization Violation); see the URL's user:password@"
    if "INFO message" in text or "json" in text:
        return "what answers there is not NATS"
    return text


def _shown(server: str) -> str:
    """Without the credentials it may carry."""
    return server.rpartition("@")[2]
