"""What a person sees of a run of chaos, on stderr: a live line on a terminal, plain lines elsewhere.

rich's own refreshing needs a thread; here every progress redraws by itself.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from toolbox.chaos.report import ChaosPlan, ChaosProgress, ChaosReport
from toolbox.chaos.strike import Kind, Strike

_PLAIN_EVERY_S = 5.0
_WORDS = {
    Kind.KILL: "killed",
    Kind.PAUSE: "stopped",
    Kind.RESTART: "restarted",
    Kind.EMPTY: "emptied",
    Kind.FREEZE: "frozen",
    Kind.CUT: "cut off from NATS",
    Kind.REBUILD: "rebuilt",
    Kind.FORGET: "deleted",
    Kind.DISK: "has a full disk",
    Kind.HANG: "stopped",
    Kind.SLOW: "answers slowly",
    Kind.LOSE: "lost keys",
    Kind.FAILOVER: "failed over",
    Kind.DROP: "unheard",
    Kind.CLOCK: "has a wrong clock",
}


_DIRECTIONS = {"up": "does not reach", "down": "hears nothing from", "both": "is cut off from"}


def said(strike: Strike) -> str:
    """In words, for a person."""
    how = strike.how.partition(" ")
    match strike.kind:
        case Kind.SLOW:
            what = f"answers {strike.amount:.1f} s late"
        case Kind.DROP:
            what = f"{_DIRECTIONS[how[2]]} {how[0]}"
        case Kind.CLOCK:
            what = f"has a clock {strike.amount:+.1f} s off ({strike.how})"
        case kind:
            what = _WORDS[kind]
    return f"{strike.target} {what}" + (f" for {strike.for_s:.1f} s" if strike.for_s else "")


class ChaosScreen:
    """Use as `with ChaosScreen(plan) as screen`."""

    def __init__(self, plan: ChaosPlan) -> None:
        self._plan = plan
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._elapsed_s = 0.0
        self._plain_at_s = 0.0
        self._stage = ""

    def __enter__(self) -> ChaosScreen:
        if self._console.is_terminal:
            self._live = Live("", console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self.show(ChaosProgress())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, now: ChaosProgress) -> None:
        self._elapsed_s = now.elapsed_s
        line = (
            f"{now.stage}, seed {self._plan.seed}: {now.elapsed_s:.0f} s of {self._plan.seconds:g} s,"
            f" {now.strikes} strikes, {now.acked:,} of {now.sent:,} acked"
        )
        if now.stalled_s > 1:
            line += f", no ack for {now.stalled_s:.1f} s"
        if now.away:
            line += f" ({', '.join(now.away)} away)"
        if self._live is not None:
            self._live.update(Text(line), refresh=True)
        elif now.stage != self._stage or now.elapsed_s >= self._plain_at_s:
            self._plain_at_s = now.elapsed_s + _PLAIN_EVERY_S
            self._console.print(line, soft_wrap=True)
        self._stage = now.stage

    def strike(self, strike: Strike) -> None:
        self._console.print(f"{self._elapsed_s:6.1f} s  {said(strike)}")

    @staticmethod
    def conclude(report: ChaosReport) -> None:
        """The figures, for a person, on stdout."""
        table = Table(box=None, show_header=False)
        struck = ", ".join(f"{count} {_WORDS[Kind(kind)]}" for kind, count in report.strikes.items())
        for name, value in (
            ("acked", f"{report.acked:,} of {report.sent:,} sent"),
            ("counted", f"{report.counted:,}"),
            ("lost, doubled", f"{report.lost}, {report.doubled} ({report.uncertain} uncertain)"),
            ("strikes", struck),
            ("silently wrong, skipped", f"{report.silently_wrong}, {report.strikes_skipped}"),
            ("longest wedge", f"{report.longest_wedge_s:.1f} s beyond the end of its cause"),
            ("longest without an ack", f"{report.longest_stall_ms:,.0f} ms"),
            ("longest without news", f"{report.longest_blind_ms:,.0f} ms"),
            ("went back", str(report.went_back)),
            ("polls sealed, seasons seen", f"{report.sealed}, {report.seasons}"),
            (
                "notices due, seen, doubled",
                f"{report.notices_due}, {report.notices_seen}, {report.notices_doubled}",
            ),
            ("checkpoints, purges", f"{report.checkpoints}, {report.purges}"),
            ("first views, of a fraction", f"{report.first_views}, {report.fractions_shown}"),
        ):
            table.add_row(name, value)
        Console(highlight=False).print(table)
