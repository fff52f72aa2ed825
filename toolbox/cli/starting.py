"""The three ways `up` runs a mesh: in the foreground, detached, and as the background half of detached.

A detached start is a second `python -m toolbox.cli up` in a session of its own, which reports over a pipe, a
JSON object a line: {"status"}, {"note"} or {"error"}. The command draws the same progress from those as it
would in the foreground, and returns when the mesh has settled; then the pipe is closed. Ctrl-C before that
ends the start.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

from mesh.secrecy import NATS_VARIABLE, REDIS_VARIABLE
from toolbox.cli import console as cli_console
from toolbox.cli.progress import PrefixedLines, StartProgress, announce
from toolbox.local import session
from toolbox.local.errors import MeshError, from_os
from toolbox.local.plan import Options
from toolbox.local.process_log import SUPERVISOR, ProcessLog
from toolbox.local.provision import ProvisionError
from toolbox.local.session import UpObserver, UpRequest
from toolbox.local.status import MeshStatus, from_json

REPORTS_BYTES = 64 * 1024


def in_foreground(request: UpRequest, logs: bool) -> None:
    console = Console(highlight=False)
    with _Start(console, detached=False) as start:
        lines = PrefixedLines(console)

        def on_line(name: str, line: str) -> None:
            if logs and start.settled:
                lines.write(name, line)

        session.run(
            request,
            UpObserver(
                on_status=start.on_status, on_line=on_line, on_note=cli_console.say, on_tick=start.on_tick
            ),
        )
    console.print("The mesh is down.")


class _Start:
    """Draws the progress until the mesh has settled, then tells where everything is."""

    def __init__(self, console: Console, detached: bool) -> None:
        self._console = console
        self._detached = detached
        self._progress: StartProgress | None = StartProgress(console)
        self.settled = False
        self._stopping = False

    def __enter__(self) -> _Start:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_progress()

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._progress.finish()
            self._progress = None

    def on_tick(self) -> None:
        if self._progress is not None:
            self._progress.tick()

    def on_status(self, status: MeshStatus) -> None:
        if status.state == "stopping":
            self._end_progress()
            if not self._stopping:
                self._stopping = True
                self._console.print("Stopping; again to stop without grace.")
            return
        if self._progress is None:
            return
        self._progress.update(status)
        if status.settled:
            took_s = self._progress.took_s()
            self._end_progress()
            announce(self._console, status, took_s, self._detached)
            self.settled = True


def detached(request: UpRequest, arguments: list[str]) -> None:
    """Starts the other half, and follows it until the mesh has settled. Raises MeshError."""
    request.home.create()
    read_end, write_end = os.pipe()
    log = request.home.log(SUPERVISOR)
    try:
        # It appends, as the log of the background half does, which holds the rest.
        with log.open("ab") as output:
            background = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "toolbox.cli", *without_urls(arguments)),
                    *("--report-fd", str(write_end)),
                ],
                env=os.environ | _urls(request.options),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(write_end,),
                start_new_session=True,
            )
    except OSError as error:
        raise from_os(error, f"start the mesh with its log in {log}") from None
    finally:
        os.close(write_end)
    console = Console(highlight=False)
    with (
        _Start(console, detached=True) as start,
        os.fdopen(read_end, "rb", buffering=REPORTS_BYTES) as reports,
    ):
        try:
            for report in reports:
                _follow(json.loads(report), start)
                if start.settled:
                    return
        except KeyboardInterrupt:
            start.__exit__()
            background.send_signal(signal.SIGTERM)
            background.wait()
            raise
    raise MeshError(f"the mesh ended while it started (exit code {background.wait()}); its log is {log}")


def without_urls(arguments: list[str]) -> list[str]:
    """Those of NATS and Redis may hold a password: they go by the environment."""
    kept, words = [], iter(arguments)
    for word in words:
        if word in ("--nats", "--redis"):
            next(words, None)
        elif not word.startswith(("--nats=", "--redis=")):
            kept.append(word)
    return kept


def _urls(options: Options) -> dict[str, str]:
    found = {NATS_VARIABLE: options.nats_url, REDIS_VARIABLE: options.redis_url}
    return {variable: url for variable, url in found.items() if url}


def _follow(report: dict[str, Any], start: _Start) -> None:
    if "error" in report:
        raise MeshError(report["error"])
    if "note" in report:
        cli_console.say(report["note"])
    if "status" in report:
        start.on_status(from_json(report["status"]))


def in_background(request: UpRequest, report_fd: int) -> None:
    """The other half: runs the mesh, and reports until it has settled."""
    report, close = _reporter(report_fd)
    log: ProcessLog | None = None

    def on_status(status: MeshStatus) -> None:
        report({"status": status.as_json()})
        if status.settled:
            close()

    def tell(line: str, level: str) -> None:
        """Into the log, where it is found when nobody reads reports any more."""
        if log is not None:
            log.say(line, level)
        else:
            cli_console.say(line)

    def on_note(line: str) -> None:
        report({"note": line})
        tell(line, "warning" if line.startswith("warning:") else "info")

    try:
        request.home.create()
        with contextlib.suppress(OSError):
            log = ProcessLog(SUPERVISOR, request.home.log(SUPERVISOR))
        session.run(request, UpObserver(on_status=on_status, on_note=on_note))
    except (MeshError, ProvisionError) as error:
        report({"error": str(error)})
        tell(str(error), "error")
        sys.exit(cli_console.EXIT_FAILED)
    finally:
        close()


def _reporter(report_fd: int) -> tuple[Callable[[dict[str, Any]], None], Callable[[], None]]:
    """(report, close); both do nothing once closed, or once nobody reads."""
    os.set_inheritable(report_fd, False)
    pipe = os.fdopen(report_fd, "wb", buffering=0)

    def report(value: dict[str, Any]) -> None:
        if not pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(json.dumps(value).encode() + b"\n")

    return report, pipe.close
