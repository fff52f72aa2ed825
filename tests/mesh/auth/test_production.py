"""Production refuses keys that are for development: at the start, in one line, and in a rotation, too.

The services are real processes; one that is refused asks nothing of NATS or Redis first.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from mesh.auth import mint
from mesh.jetstream.bus import Bus
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, Process, Stores, listens, stores
from tests.support.tokens import jwks, private_jwk
from tests.support.unprivileged import unprivileged
from toolbox.local.development import ensure_development_key, ensure_mesh_key

SERVICES = ("ingest", "gateway")
NOWHERE = f"{HOST}:1"


def process(
    service: str, folder: Path, *arguments: str | Path, listen: str = NOWHERE, found: Stores | None = None
) -> Process:
    command: list[str | Path] = [
        *unprivileged(arguments),
        *(sys.executable, "-m", service, "--instance", f"{service}-1", "--listen", listen, "--mesh", NOWHERE),
        *("--nats", found.nats_url if found else f"nats://{NOWHERE}"),
        *("--redis", found.redis_url if found else f"redis://{NOWHERE}"),
    ]
    return Process(service, [*command, *arguments], folder)


def refusal(service: str, folder: Path, *arguments: str | Path) -> str:
    """The one line that the process ended with, exit code 1."""
    started = process(service, folder, *arguments)
    started.log.unlink(missing_ok=True)
    started.start()
    try:
        wait_for(lambda: not started.running, f"{service} ends")
        assert started.stop() == 1, started.said()
        said = [line["message"] for line in started.lines() if line["level"] != "info"]
        assert len(said) == 1, said
        return said[0]
    finally:
        started.end()


@pytest.fixture
def mesh_key(tmp_path: Path) -> Path:
    return ensure_mesh_key(tmp_path)


@pytest.mark.parametrize("service", SERVICES)
def test_production_does_not_start_with_the_development_key(
    service: str, tmp_path: Path, mesh_key: Path
) -> None:
    keys = ensure_development_key(tmp_path)
    said = refusal(service, tmp_path, "--environment", "production", "--keys", keys, "--mesh-key", mesh_key)
    assert said.startswith(f"{service}-1: {keys}: key 'grandstand-development' is the development key")
    assert "use keys of your platform's own for EdDSA, ES256 or RS256" in said


@pytest.mark.parametrize("service", SERVICES)
def test_production_does_not_start_with_any_symmetric_key(
    service: str, tmp_path: Path, mesh_key: Path
) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(private_jwk("EdDSA", "a"), private_jwk("HS256", "b")))
    said = refusal(service, tmp_path, "--environment", "production", "--keys", keys, "--mesh-key", mesh_key)
    assert f"{keys}: key 'b' is symmetric (HS256), and this is production" in said


def test_production_does_not_start_with_a_development_key_for_guests(tmp_path: Path, mesh_key: Path) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(private_jwk("EdDSA")))
    guest = ensure_development_key(tmp_path)
    said = refusal(
        "gateway",
        tmp_path,
        *("--environment", "production", "--keys", keys, "--mesh-key", mesh_key, "--guest-key", guest),
    )
    assert f"{guest}: key 'grandstand-development' is the development key" in said


@pytest.mark.parametrize(("service", "environment"), [("ingest", "production"), ("gateway", "development")])
def test_no_service_starts_without_usable_keys(
    service: str, environment: str, tmp_path: Path, mesh_key: Path
) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(private_jwk("EdDSA")))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    broken.chmod(0o600)
    absent = tmp_path / "absent.json"
    given = ("--environment", environment)
    assert "--keys FILE_OR_URL is missing" in refusal(service, tmp_path, *given, "--mesh-key", mesh_key)
    assert "--mesh-key FILE is missing" in refusal(service, tmp_path, *given, "--keys", keys)
    for bad, why in ((broken, f"{broken}: the document is not JSON"), (absent, "absent.json")):
        assert why in refusal(service, tmp_path, *given, "--keys", bad, "--mesh-key", mesh_key)
        assert why in refusal(service, tmp_path, *given, "--keys", keys, "--mesh-key", bad)


async def make_events_stream(nats_url: str) -> None:
    """As aggregate does, which is not there: ingest waits for it."""
    bus = await Bus.connect(nats_url, "test")
    await bus.ensure_events_stream()
    await bus.close()


def test_a_rotation_that_brings_the_development_key_to_production_is_refused(tmp_path: Path) -> None:
    """In a process that serves: it logs an error, and goes on with the keys it had."""
    with stores(tmp_path / "stores") as found:
        keys = tmp_path / "jwks.json"
        keys.write_bytes(jwks(private_jwk("EdDSA", "platform")))
        port = found.ports.take()
        ingest = process(
            "ingest",
            tmp_path,
            *("--environment", "production", "--keys", keys, "--mesh-key", ensure_mesh_key(tmp_path)),
            listen=f"{HOST}:{port}",
            found=found,
        )
        found.processes.append(ingest)
        asyncio.run(make_events_stream(found.nats_url))
        ingest.start()
        wait_for(lambda: listens(port), "ingest serves")
        document = {"keys": [mint.development_jwk(bytes(32))]}
        beside = tmp_path / "beside.json"
        beside.write_text(json.dumps(document))
        beside.replace(keys)
        wait_for(lambda: "the old keys stay" in ingest.said(), "the rotation is refused")
        assert "is the development key, and this is production" in ingest.said()
        assert ingest.running
        keys.write_bytes(jwks(private_jwk("ES256", "platform-2")))
        wait_for(lambda: "platform-2 (ES256)" in ingest.said(), "a good rotation is taken")
