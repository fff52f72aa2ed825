"""The dashboard program inside the tracing UI, which is one file that unpacks itself: 150 MB into 300.

The dashboard is run directly afterwards: its launcher would look for updates on the network at each start,
and keep the dashboard as a grandchild that no supervisor can tie to its own life.

It is unpacked once, beside its place, and renamed into it when it is whole: two meshes may start at once, and
a full disk may end it half-way.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from toolbox.local import provision
from toolbox.local.errors import MeshError, from_os
from toolbox.local.home import Home
from toolbox.local.spec import HttpProbe, ProcessSpec
from toolbox.local.stores import LOOPBACK

UNPACK_WITHIN_S = 300.0

_DOTNET = {
    # Runs without libicu; the dashboard asks for cultures by name, so they must be made up.
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
    "DOTNET_SYSTEM_GLOBALIZATION_PREDEFINED_CULTURES_ONLY": "false",
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
    "DOTNET_NOLOGO": "1",
    # Else a killed dashboard leaves its debugger's sockets in the temporary folder.
    "DOTNET_EnableDiagnostics": "0",
}


def dashboard() -> Path:
    """Raises MeshError or provision.ProvisionError with one line."""
    launcher = provision.aspire()
    place = launcher.parent / "unpacked"
    if (found := _program_in(place)) is None:
        try:
            with tempfile.TemporaryDirectory(prefix="unpacking-", dir=launcher.parent) as scratch:
                whole = _unpack(launcher, Path(scratch))
                _rename(whole, place)
        except OSError as error:
            raise from_os(error, f"unpack the tracing UI into {place}") from None
        found = _program_in(place)
    if found is None:
        raise MeshError(f"the tracing UI in {place} holds no dashboard; delete that folder and try again")
    return found


def _program_in(place: Path) -> Path | None:
    return next(place.glob("versions/*/managed/aspire-managed"), None)


def _unpack(launcher: Path, scratch: Path) -> Path:
    """The launcher unpacks into the folder above its own, and finds its work good only there (told another
    place by --install-path it calls it back): so a link to it is run in the scratch folder."""
    whole = scratch / "unpacked"
    for folder in (whole / "bin", scratch / "home"):
        folder.mkdir(parents=True)
    linked = whole / "bin" / launcher.name
    os.link(launcher, linked)
    environment = {
        **os.environ,
        "HOME": str(scratch / "home"),
        "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
        "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
        # Its search for updates would unpack everything a second time.
        "features__updateNotificationsEnabled": "false",
    }
    command = [str(linked), "setup", "--non-interactive", "--nologo"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=UNPACK_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MeshError(f"{launcher} did not unpack itself within {UNPACK_WITHIN_S:g} s") from None
    if done.returncode != 0 or _program_in(whole) is None:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise MeshError(f"{launcher} did not unpack itself; it said: {said[0]}")
    linked.unlink()
    return whole


def _rename(whole: Path, place: Path) -> None:
    try:
        whole.rename(place)
    except OSError:
        # Another mesh was first, and what it left is the same.
        if _program_in(place) is None:
            raise


@dataclass(frozen=True, slots=True)
class DashboardPorts:
    ui: int
    otlp_grpc: int
    otlp_http: int


def dashboard_process(program: Path, ports: DashboardPorts, home: Home) -> ProcessSpec:
    """Aspire's dashboard: its API answers /api/telemetry/traces. On loopback and without a login."""
    return ProcessSpec(
        name="traces",
        command=(
            *(str(program), "dashboard"),
            f"--ASPNETCORE_URLS=http://{LOOPBACK}:{ports.ui}",
            f"--ASPIRE_DASHBOARD_OTLP_ENDPOINT_URL=http://{LOOPBACK}:{ports.otlp_grpc}",
            f"--ASPIRE_DASHBOARD_OTLP_HTTP_ENDPOINT_URL=http://{LOOPBACK}:{ports.otlp_http}",
            "--ASPIRE_DASHBOARD_UNSECURED_ALLOW_ANONYMOUS=true",
            "--ASPIRE_DASHBOARD_API_ENABLED=true",
        ),
        probe=HttpProbe(ports.ui, "/api/telemetry/traces"),
        address=f"{LOOPBACK}:{ports.ui}",
        environment={**_DOTNET, "HOME": str(home.root / "traces")},
        cwd=home.run,
        grace_s=5.0,
        optional=True,
    )
