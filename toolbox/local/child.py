"""One operating system process: a session and process group of its own, one pipe for both its outputs.

On Linux the kernel kills the child when the thread that forked it dies (PR_SET_PDEATHSIG), so a supervisor
killed by SIGKILL leaves nothing behind; that holds only when the child is started by a thread that lives as
long as the supervisor, which is the main thread, and `start` insists. Elsewhere a SIGKILLed supervisor leaves
its children; all other ways of ending are covered by the groups.

SIGKILL and not SIGTERM as that signal: nobody is left to see that the child really ends, and every process
of the mesh must survive a SIGKILL anyway (I1, I4).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from toolbox.local.spec import ProcessSpec

READ_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_UTC = {"TZ": "UTC"}
"""The zone of all logs, also of programs that write local time."""


def _leash() -> Callable[[], None]:
    """What the child does between fork and exec. Prepared here: after the fork nothing may be imported."""
    supervisor = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def bind() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # It may have died before the kernel was told.
        if os.getppid() != supervisor:
            os._exit(1)

    return bind


def end_with_parent_process(number: signal.Signals) -> None:
    """Has the kernel send `number` to this process when its parent dies, where the kernel can (Linux).

    For a mesh that belongs to a test run: whatever ends the run ends the mesh.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


class Child:
    """A started process. `output` is its pipe, to be read without blocking until it answers b""."""

    def __init__(self, spec: ProcessSpec) -> None:
        """Raises OSError when the program cannot be run."""
        assert threading.current_thread() is threading.main_thread(), "the leash is tied to the thread"
        self.output, write_end = os.pipe()
        os.set_blocking(self.output, False)
        try:
            self._process = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                cwd=spec.cwd,
                env={**os.environ, **_UTC, **spec.environment},
                start_new_session=True,
                preexec_fn=_leash(),
            )
        except subprocess.SubprocessError as error:
            os.close(self.output)
            raise OSError(f"could not be prepared: {error}") from None
        except BaseException:
            os.close(self.output)
            raise
        finally:
            os.close(write_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> str | None:
        """How it ended, for a person; None while it runs. What it left of its group is killed."""
        code = self._process.poll()
        if code is None:
            return None
        self.kill_group(signal.SIGKILL)
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def terminate(self) -> None:
        """Asks it to end. A stopped process (SIGSTOP) is woken, or it would not hear."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        self.kill_group(signal.SIGCONT)

    def kill(self) -> None:
        self.kill_group(signal.SIGKILL)

    def kill_group(self, number: signal.Signals) -> None:
        # macOS answers EPERM for a group of which only a zombie is left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def is_out_of_files(self) -> bool:
        """It has as many files and connections open as it may; False where that is not known."""
        process = Path(f"/proc/{self.pid}")
        with contextlib.suppress(OSError, ValueError, StopIteration):
            limits = (process / "limits").read_text().splitlines()
            soft = next(line for line in limits if line.startswith("Max open files")).split()[3]
            return sum(1 for _ in (process / "fd").iterdir()) >= int(soft)
        return False

    def read(self) -> bytes | None:
        """The next piece of output; b"" at its end, None when there is none yet."""
        try:
            return os.read(self.output, READ_BYTES)
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self.output)

    def wait(self, timeout_s: float) -> None:
        """Blocks until it is gone; for the last resort of a supervisor that is itself ending."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
