"""What a person sees while a mesh starts, and the lines its processes write afterwards.

On a terminal each process has a line with a spinner that turns into a tick and the time it took; elsewhere
one line is printed as each process becomes ready. Nothing here has a thread: who starts the mesh also forks.
"""

from __future__ import annotations

import itertools
import select
import time
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from toolbox.local import provision
from toolbox.local.status import MeshStatus, ServiceStatus

_COLOURS = ("cyan", "green", "yellow", "blue", "magenta", "bright_cyan", "bright_green", "bright_yellow")
_STATE_STYLES = {"ready": "green", "failed": "bold red", "backoff": "red", "starting": "yellow"}


class StartProgress:
    """Told of every status until the mesh has settled; then `finish`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")
        self._told: dict[str, tuple[str, str]] = {}
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()
        self._status: MeshStatus | None = None

    def update(self, status: MeshStatus) -> None:
        self._status = status
        if self._live is None:
            self._tell_changes(status)
        self.tick()

    def tick(self) -> None:
        if self._live is not None and self._status is not None:
            self._live.update(self._table(self._status), refresh=True)

    def _tell_changes(self, status: MeshStatus) -> None:
        for service in status.services:
            if service.state in ("ready", "backoff", "failed"):
                now = (service.state, service.detail)
                if self._told.get(service.name) != now:
                    self._told[service.name] = now
                    self._console.print(f"{service.name} is {_said(service)}", markup=False, highlight=False)

    def _table(self, status: MeshStatus) -> Table:
        table = Table.grid(padding=(0, 2))
        for service in status.services:
            mark: Spinner | Text = self._spinner
            if service.state == "ready":
                mark = Text("✓", style="green")
            elif service.state in ("failed", "backoff"):
                mark = Text("✗", style="red")
            table.add_row(mark, service.name, Text(_said(service), style="dim", overflow="ellipsis"))
        return table

    def finish(self) -> None:
        """Leaves the last state on the screen."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
            if self._status is not None:
                self._console.print(self._table(self._status))

    def took_s(self) -> float:
        return time.monotonic() - self._began


def _said(service: ServiceStatus) -> str:
    if service.state == "ready" and service.ready_after_s is not None and not service.restarts:
        return f"ready after {service.ready_after_s:.1f} s"
    return f"{service.state}: {service.detail}" if service.detail else service.state


def announce(console: Console, status: MeshStatus, took_s: float, detached: bool) -> None:
    """Where everything is, and how to stop it."""
    at = status.addresses
    page = urlsplit(at.edge)
    page_url = f"{page.scheme}://localhost:{page.port}" if page.hostname == "127.0.0.1" else at.edge
    rows = [("page", page_url), ("mesh", f"{at.mesh} (gRPC, all services)"), ("tokens", status.keys)]
    if status.edge_tls:
        rows.append(("TLS", status.edge_tls))
    if at.traces_ui:
        rows.append(("traces", at.traces_ui))
    if at.metrics:
        rows.append(("metrics", at.metrics))
    rows.append(("logs", str(Path(status.home) / "logs")))
    console.print(f"\n[bold green]The mesh is up[/] after {took_s:.1f} s.", highlight=False)
    for name, value in rows:
        console.print(f"  {name:7} {escape(value)}", highlight=False, soft_wrap=True)
    for service in status.services:
        if service.state in ("failed", "backoff"):
            console.print(
                f"  [red]{service.name} is {escape(_said(service))}[/] (log: {escape(service.log)})"
            )
    way = provision.as_typed("./grandstand down stops it.\n") if detached else "Ctrl-C stops it.\n"
    console.print(way, highlight=False)


def status_table(status: MeshStatus) -> Table:
    """What `status` prints."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("process", "state", "pid", "restarts", "address", ""):
        table.add_column(column)
    for service in status.services:
        table.add_row(
            service.name,
            Text(service.state, style=_STATE_STYLES.get(service.state, "")),
            str(service.pid or ""),
            str(service.restarts),
            service.address,
            Text(service.detail, style="dim"),
        )
    return table


class PrefixedLines:
    """Prints what processes write: prefixed, and on a terminal in a colour of their own.

    Who prints also supervises, and must not be held up by a terminal that takes nothing (Ctrl-S): lines that
    find no room are left out and counted. They are in the logs.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._colours: dict[str, str] = {}
        self._next = itertools.cycle(_COLOURS)
        self._left_out = 0

    def write(self, name: str, line: str) -> None:
        if not line.strip():
            return
        if not self._has_room():
            self._left_out += 1
            return
        if self._left_out:
            self._console.print(f"({self._left_out} lines left out; they are in the logs)", style="dim")
            self._left_out = 0
        if name not in self._colours:
            self._colours[name] = next(self._next)
        text = Text(f"{name:<12}│ ", style=self._colours[name])
        text.append(line, style="default")
        self._console.print(text, soft_wrap=True, highlight=False)

    def _has_room(self) -> bool:
        _, writable, _ = select.select([], [self._console.file.fileno()], [], 0)
        return bool(writable)
