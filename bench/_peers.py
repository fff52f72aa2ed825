"""Where the fan-out benchmark has its peers from: Nchan from Debian, Socket.IO from the npm registry.

Fetched on first use into `tools_dir()`, for the benchmark alone: nothing of it is on the path of the product.
Each finder raises ProvisionError with one line when its peer cannot be had; the run goes on without it.

Nchan comes as the distribution's two packages, unpacked and not installed, by an apt of our own (as the
`grandstand` script fetches pip). Its module has one folder of Debian's compiled in, where nginx, run
by anybody but the system, may not write: the same bytes are made to name a folder below the one it is
started in. Nothing else of it is touched.

Socket.IO is pinned with all it needs by socket_io/package-lock.json, and runs on the pinned node.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from toolbox.local import debian_packages, provision
from toolbox.local.provision import ProvisionError, Say

NGINX_PACKAGES = ("nginx", "libnginx-mod-nchan")
_BODIES = b"/var/lib/nginx/body"
_OWN_BODIES = b"nchan-client-bodies"
VERSION = "version"
SOCKET_IO = Path(__file__).parent / "socket_io"

assert len(_BODIES) == len(_OWN_BODIES)


class Nchan(NamedTuple):
    program: Path
    module: Path
    version: str


class SocketIo(NamedTuple):
    node: Path
    modules: Path
    """The folder that holds node_modules."""
    version: str


def nchan(say: Say = provision.to_stderr) -> Nchan:
    """nginx and its Nchan module, of this distribution: fetched on first use, 10 MB with apt's lists."""
    place = provision.tools_dir() / "nchan"
    found = Nchan(
        place / "usr" / "sbin" / "nginx",
        place / "usr" / "lib" / "nginx" / "modules" / "ngx_nchan_module.so",
        "",
    )
    if not found.program.is_file():
        _fetch_nchan(place, say)
    nginx = _answer([found.program, "-v"]).rpartition("/")[2]
    return found._replace(version=f"{(place / VERSION).read_text()} (nginx {nginx})")


def socket_io(say: Say = provision.to_stderr) -> SocketIo:
    """Fetched on first use from the npm registry, 2 MB (and node, 61 MB)."""
    node = provision.node(say)
    place = provision.tools_dir() / "socket-io"
    proof = place / "node_modules" / "socket.io" / "package.json"
    if not proof.is_file():
        with provision.scratch_beside(place.parent) as scratch:
            say("fetching Socket.IO (2 MB, once)")
            unpacked = scratch / "unpacked"
            unpacked.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOCKET_IO / name, unpacked)
            command = [*provision.npm_command(say), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            provision.run([*command, "--cache", scratch / "cache"], cwd=unpacked)
            provision.settle(unpacked, place)
    return SocketIo(node, place, _answer([node, "-p", f"require({str(proof)!r}).version"]))


def _fetch_nchan(place: Path, say: Say) -> None:
    with debian_packages.unpacked(place, NGINX_PACKAGES, "nginx with Nchan", say) as unpacked:
        module = unpacked / "usr" / "lib" / "nginx" / "modules" / "ngx_nchan_module.so"
        try:
            code = module.read_bytes()
        except OSError as error:
            raise ProvisionError(f"no Nchan in {', '.join(NGINX_PACKAGES)}: {error.strerror}") from None
        module.write_bytes(code.replace(_BODIES, _OWN_BODIES))
        (archive,) = unpacked.parent.glob(f"{NGINX_PACKAGES[1]}_*.deb")
        (unpacked / VERSION).write_text(archive.name.split("_")[1].rpartition("%3a")[2])


def _answer(command: list[str | Path]) -> str:
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=provision.PROBE_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvisionError(f"{command[0]} does not run: {error}") from None
    if done.returncode:
        raise ProvisionError(f"{command[0]} does not run: {(done.stdout.strip() or 'no reason')[-200:]}")
    return done.stdout.strip()
