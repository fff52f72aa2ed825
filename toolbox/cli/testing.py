"""`./grandstand test`: pytest on the checkout's tests, from any folder, beside a running mesh.

The command only prepares: it makes sure of a Chromium for the browser tests, then becomes pytest (exec, so
that signals, exit code and closing line are pytest's own). What the tests' services write stays under
`.grandstand/test` for the last three runs; a failed run ends by naming the folder, through the hook below,
which pytest loads from this module.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import typer

from toolbox.local import provision

KEPT_ENV = "PYTEST_DEBUG_TEMPROOT"
"""pytest's own variable for the folder that tmp_path and its kin live in."""

QUICK = "--quick"
WORKERS = 2

NO_RESTART = ("--max-worker-restart", "0")
"""A process that ends under a test ends the run, with the test's name: see tests/support/deadlines.py."""

DRIVER_ENV = "PLAYWRIGHT_NODEJS_PATH"
"""Playwright's own variable for the node that runs its driver."""


def register(app: typer.Typer) -> None:
    """Add the command; what follows `test` goes to pytest as it is, its --help too."""
    app.command(
        "test",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )(test)


def test(context: typer.Context) -> None:
    """Run the tests; arguments go to pytest. --quick: only those of the pure cores, in under a minute.

    Example: ./grandstand test -k "votes and not browser" -x
    """
    if context.args in (["--help"], ["-h"]):
        typer.echo(context.get_help())
        raise typer.Exit
    provision.require_checkout("test")
    if find_spec("pytest") is None:
        _fail("pytest is not installed in this Python; ./grandstand test installs it")
    root = provision.checkout()
    quick = QUICK in context.args
    if not quick:
        require_browser()
    kept = root / ".grandstand" / "test"
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _fail(f"cannot make {kept}: {error.strerror}")
    os.environ.setdefault(KEPT_ENV, str(kept))
    arguments = [from_here(argument, Path.cwd()) for argument in context.args if argument != QUICK]
    os.chdir(root)
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-p", "toolbox.cli.testing", *workers(arguments), *arguments]
    if quick:
        command += ["--hypothesis-profile", "quick", *quick_tests(root)]
    os.execv(sys.executable, command)


def quick_tests(root: Path) -> list[str]:
    """The files of tests/quick.txt."""
    lines = (root / "tests" / "quick.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def workers(arguments: Sequence[str]) -> list[str]:
    """Two processes for a run of all tests, which mostly wait; each test file stays in one. What names
    tests, or says something of processes or the debugger itself, runs as it says."""
    if any(
        not argument.startswith("-") and Path(argument.partition("::")[0]).exists() for argument in arguments
    ):
        return []
    if any(
        argument.startswith(("-n", "--numprocesses", "--dist", "--pdb", "--trace")) for argument in arguments
    ):
        return []
    return ["-n", str(WORKERS), "--dist", "loadfile", *NO_RESTART]


def from_here(argument: str, folder: Path) -> str:
    """A test's path is meant from where the user stands, and pytest runs in the checkout."""
    path, separator, within = argument.partition("::")
    if path.startswith("-") or not (folder / path).exists():
        return argument
    return f"{folder / path}{separator}{within}"


def require_browser() -> None:
    """Name a Chromium, and a node that can drive it; without them its tests skip, and under CI none runs."""
    try:
        if os.environ.get("CHROMIUM") == "":
            raise provision.ProvisionError("CHROMIUM is empty, so none is wanted")
        path = provision.chromium() or provision.install_chromium()
        os.environ.setdefault(DRIVER_ENV, str(driver_node() or provision.node()))
    except provision.ProvisionError as error:
        if os.environ.get("CI"):
            _fail(f"{error} (the browser tests may not be skipped under CI)")
        provision.to_stderr(f"the browser tests will be skipped: {error}")
        os.environ["CHROMIUM"] = ""
        return
    os.environ["CHROMIUM"] = str(path)


def driver_node() -> Path | None:
    """Playwright's own node, where it starts: it wants libatomic, which a minimal Debian does not have."""
    spec = find_spec("playwright")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "driver" / "node"
    try:
        subprocess.run(
            [program, "--version"], capture_output=True, timeout=provision.PROBE_DEADLINE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return program


def _fail(line: str) -> None:
    provision.to_stderr(line)
    raise typer.Exit(1)


def pytest_terminal_summary(terminalreporter, exitstatus: int) -> None:  # type: ignore[no-untyped-def]
    """pytest's hook: where to look after a failure."""
    root = os.environ.get(KEPT_ENV)
    if not exitstatus or not root:
        return
    for latest in sorted(Path(root).glob("pytest-of-*/pytest-current")):
        terminalreporter.write_line(f"What the tests' services logged: {latest.resolve()}")
