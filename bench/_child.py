"""A process that a benchmark starts: spoken to by lines, its CPU and memory read from the kernel's books."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench._cpu import cpu_s, rss_kib
from toolbox.local import provision
from toolbox.local.errors import MeshError

HOST = "127.0.0.1"
READY = "ready"
_READY_S = 30.0
_ENDED_S = 10.0


class BenchChild:
    """Started at once; `until_ready` waits for it."""

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, *, port: int = 0, talks: bool = False
    ) -> None:
        """`port`: where it will listen, if it does. `talks`: it answers each line on its standard input by
        one, and says READY first."""
        self.port = port
        self._name = name
        self._talks = talks
        self._log = folder / f"{name}.log"
        pipe = subprocess.PIPE if talks else subprocess.DEVNULL
        checkout = provision.checkout()
        paths = [str(checkout), str(checkout / "stubs" / "python"), os.environ.get("PYTHONPATH", "")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=pipe,
                stdout=pipe if talks else log,
                stderr=log,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                text=True,
            )

    def until_ready(self) -> None:
        """Until it listens, and has said so if it talks. Raises MeshError."""
        if self._talks and (said := self.hear()) != READY:
            raise self._failure(f"said {said!r}")
        give_up_s = time.monotonic() + _READY_S
        while self.port:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1.0):
                return
            if self._process.poll() is not None:
                raise self._failure("ended")
            if time.monotonic() > give_up_s:
                raise self._failure(f"does not listen on port {self.port} after {_READY_S:g} s")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        """Of all its threads since it started."""
        return cpu_s({self._name: self.pid})[self._name]

    def rss_kib(self) -> int:
        return rss_kib(self.pid)

    def ask(self, line: str) -> str:
        """What it answers. Raises MeshError when it has ended."""
        self.tell(line)
        return self.hear()

    def tell(self, line: str) -> None:
        """What it answers is to be heard later."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def hear(self) -> str:
        """The next line it says. Raises MeshError when it has ended."""
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line.strip()
        raise self._failure("ended")

    def kill(self) -> None:
        """At once, as the kernel does when memory is short."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_ENDED_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _failure(self, what: str) -> MeshError:
        said = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return MeshError(f"{self._name} {what}: {said[-1]}")
