"""What a person sees of simulate and replay: a bar and live numbers on stderr, an account on stdout.

Where stderr is no terminal, a line is printed every few seconds instead.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from toolbox.load.account import LoadPlan, LoadProgress, Summary
from toolbox.load.replay import ReplaySummary

LINE_EVERY_S = 5.0
BAR_WIDTH = 40
STAGES = {
    "opening": "opening the crowd",
    "sending": "sending",
    "settling": "waiting for the last acks",
    "counting": "comparing with the results",
}


class _Screen:
    """A bar and a line of numbers on a terminal, now and then a line elsewhere."""

    def __init__(self, total: float | None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._total = total
        self._completed = 0.0
        self._description = ""
        self._numbers = ""
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._render, console=self._console, transient=True, refresh_per_second=8
        )
        self._said_s = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _update(self, description: str, completed: float, numbers: str) -> None:
        self._description, self._completed, self._numbers = description, completed, numbers
        now_s = time.monotonic()
        if not self._console.is_terminal and now_s - self._said_s >= LINE_EVERY_S:
            self._said_s = now_s
            print(f"{description}: {numbers}", file=sys.stderr, flush=True)

    def _render(self) -> RenderableType:
        bar = ProgressBar(self._total, self._completed, width=BAR_WIDTH, pulse=self._total is None)
        first = Table.grid(padding=(0, 1))
        first.add_row(self._spinner, bar, self._description)
        return Group(first, Text(self._numbers))


class SimulationScreen(_Screen):
    def __init__(self, plan: LoadPlan) -> None:
        super().__init__(plan.seconds or None)
        self._viewers = plan.viewers

    def show(self, now: LoadProgress) -> None:
        numbers = (
            f"{now.sent:,} sent  {now.acked:,} acked  {now.refused:,} refused  {now.seen:,} seen  "
            f"{now.connected:,}/{self._viewers:,} viewers"
        )
        if now.p50_ms is not None and now.p99_ms is not None:
            numbers += f"  to screen {now.p50_ms:.0f}/{now.p99_ms:.0f} ms"
        if now.resumed:
            numbers += f"  {now.resumed:,} resumed"
        self._update(STAGES[now.stage], now.elapsed_s, numbers)

    @staticmethod
    def conclude(summary: Summary) -> None:
        """The closing account."""
        rows = [
            ("sent", f"{summary.sent:,} votes in {summary.seconds:g} s by {summary.viewers:,} viewers' bots"),
            ("acked", f"{summary.acked:,}"),
            ("counted", "could not be read" if summary.counted is None else f"{summary.counted:,}"),
            ("refused", _by_reason(summary.refused)),
            ("seen", f"{summary.seen:,} frames by {summary.viewers:,} viewers"),
            (
                "resumed",
                f"{summary.resumed_publish:,} publishing, {summary.resumed_subscribe:,} watching streams",
            ),
            ("vote to screen", _latency(summary)),
            (
                "beside",
                f"{summary.reactions_acked:,} reactions, {summary.presences_acked:,} presences, "
                f"{summary.measures_acked:,} measures, {summary.scores_acked:,} scores"
                f" ({summary.points_acked:,} points acked, {_number(summary.points_counted)} counted)",
            ),
        ]
        if summary.unacked:
            counted = "" if summary.unacked_counted is None else f"{summary.unacked_counted:,} counted once, "
            said = f"{summary.unacked:,}: {counted}{summary.unacked_reported:,} reported as not acked"
            rows.insert(2, ("unacked", said))
        if summary.held_back:
            rows.insert(1, ("held back", f"{summary.held_back:,} votes, while the credit was used up"))
        console = Console(highlight=False)
        console.print(_grid(rows))
        if summary.ok:
            console.print(Text("acked == counted: every acked vote was counted once.", style="bold green"))
        for problem in summary.problems:
            console.print(Text(problem, style="bold red"))


class ReplayScreen(_Screen):
    def __init__(self, file: str) -> None:
        super().__init__(None)
        self._file = file

    def show(self, now: ReplaySummary, lines_total: int | None) -> None:
        self._total = lines_total or None
        numbers = (
            f"{now.lines:,} lines  {now.sent:,} sent  {now.acked:,} acked  "
            f"{now.refused.total():,} refused  {now.bad:,} bad"
        )
        self._update("replaying", now.lines, numbers)

    def complain(self, line: str) -> None:
        """A bad or refused line, above the bar."""
        if self._console.is_terminal:
            self._console.print(Text(line, style="yellow"), soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    @staticmethod
    def conclude(summary: ReplaySummary) -> None:
        """The closing account."""
        rows = [
            ("lines", f"{summary.lines:,}"),
            ("sent", f"{summary.sent:,}"),
            ("acked", f"{summary.acked:,}"),
            ("refused", _by_reason(dict(summary.refused))),
            ("bad", f"{summary.bad:,}"),
        ]
        if summary.repeated:
            rows.append(("resends", f"{summary.repeated:,} in the recording, sent once"))
        if summary.unsettled:
            rows.append(("unacked", f"{summary.unsettled:,} at the end; they may or may not count"))
        Console(highlight=False).print(_grid(rows))


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _by_reason(refused: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in sorted(refused.items())) or "0"


def _latency(summary: Summary) -> str:
    if summary.p50_ms is None:
        return "nothing was measured"
    unseen = f", {summary.unseen:,} not seen" if summary.unseen else ""
    return (
        f"p50 {summary.p50_ms:g} ms, p90 {summary.p90_ms:g} ms, p99 {summary.p99_ms:g} ms, "
        f"most {summary.max_ms:g} ms (of {summary.measured:,}{unseen})"
    )


def _number(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"
