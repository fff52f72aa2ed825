"""The command line as a user runs it, against a test's mesh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.unprivileged import unprivileged
from toolbox.local.provision import checkout

WITHIN_S = 90.0


def command(home: Path, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """`./grandstand ARGUMENTS` with this home; its output is captured."""
    return subprocess.run(
        [*unprivileged(arguments), sys.executable, "-m", "toolbox.cli", *arguments],
        env={**os.environ, "GRANDSTAND_HOME": str(home), "COLUMNS": "160"},
        cwd=checkout(),
        input=stdin or b"",
        capture_output=True,
        timeout=WITHIN_S,
        check=False,
    )


def succeeded(home: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """What a command that must not fail prints."""
    done = command(home, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def failed(home: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """The one line with which a command that must fail ends."""
    done = command(home, *arguments, stdin=stdin)
    assert done.returncode != 0, done.stdout.decode()
    said = done.stderr.decode()
    assert "Traceback" not in said, said
    return said.strip().splitlines()[-1]
