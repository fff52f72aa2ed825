"""A file system of a few megabytes, without being root: a tmpfs in a user namespace of its own.

`python -m tests.support.small_disk FOLDER BYTES module arguments…` mounts it there and runs the module, which
alone sees it. The network is the one of the machine.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run_on_small_disk(folder: Path, megabytes: int, module: str, *arguments: str) -> str:
    """What the module printed. Skips where the kernel forbids user namespaces; fails if the module does."""
    mount = f"mount -t tmpfs -o size={megabytes}m,nr_inodes=200 tmpfs '{folder}'"
    namespace = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    try:
        allowed = subprocess.run([*namespace, mount], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `unshare` here, so no file system can be filled without being root")
    if allowed.returncode != 0:
        pytest.skip(
            "user namespaces are forbidden here, so no file system can be filled without being root: "
            f"{allowed.stderr.strip()}"
        )
    command = [*namespace, f'{mount} && exec "$@"', "sh", sys.executable, "-m", module, str(folder)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


class Ballast:
    """Takes what is left of a file system, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ballast"
        self._folder = folder
        self._files: list[Path] = []

    def fill(self) -> None:
        with self._file.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(64 * 1024)):
                    pass
            except OSError:
                return

    def fill_inodes(self) -> None:
        try:
            for number in range(10_000):
                file = self._folder / f"ballast-{number}"
                file.touch()
                self._files.append(file)
        except OSError:
            return

    def free(self) -> None:
        self._file.unlink(missing_ok=True)
        for file in self._files:
            file.unlink()
        self._files.clear()
