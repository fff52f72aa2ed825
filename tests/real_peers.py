"""Clients that others wrote, found or fetched for tests alone.

`grpc_js`: Node's gRPC client, pinned by grpc_js/package-lock.json, on the pinned node; fetched on first use
from the npm registry into `tools_dir()`. `curl`: the machine's own, which mostly speaks HTTP/2.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from mesh import provision
from mesh.provision import ProvisionError

GRPC_JS = Path(__file__).parent / "grpc_js"


class GrpcJs(NamedTuple):
    node: Path
    modules: Path
    """The folder that holds node_modules."""
    script: Path


def grpc_js() -> GrpcJs:
    """Raises ProvisionError."""
    node = provision.node()
    place = provision.tools_dir() / "grpc-js"
    if not (place / "node_modules" / "@grpc" / "grpc-js" / "package.json").is_file():
        with provision.scratch_beside(place.parent) as scratch:
            provision.to_stderr("fetching grpc-js for the tests (6 MB, once)")
            unpacked = scratch / "unpacked"
            unpacked.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(GRPC_JS / name, unpacked)
            npm = provision.npm_command(provision.to_stderr)
            command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            provision.run([*command, "--cache", scratch / "cache"], cwd=unpacked)
            provision.settle(unpacked, place)
    return GrpcJs(node, place, GRPC_JS / "client.cjs")


def curl() -> Path:
    """Raises ProvisionError when it is not there, or speaks no HTTP/2."""
    found = shutil.which("curl")
    if found is None:
        raise ProvisionError("no curl here: install it (Debian, Ubuntu: apt-get install curl)")
    says = subprocess.run(
        [found, "--version"], capture_output=True, text=True, timeout=provision.PROBE_DEADLINE_S, check=False
    ).stdout
    if "HTTP2" not in says.split():
        raise ProvisionError(
            f"{found} speaks no HTTP/2: install one that does, as Debian's and Homebrew's do"
        )
    return Path(found)
