"""An Overview in a terminal."""

from __future__ import annotations

from rich import box
from rich.columns import Columns
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from grandstand.operator.v1 import operator_pb2 as pb
from toolbox.cli.printable import printable

PROCESSES_SHOWN_MAX = 24
_NAME_MAX = 40
_REASON_MAX = 70
_STATES = {
    pb.PROCESS_STATE_WELL: ("well", "green"),
    pb.PROCESS_STATE_FAILING: ("failing", "bold red"),
    pb.PROCESS_STATE_SILENT: ("silent", "yellow"),
}
_RATES = ("received", "stored", "folded", "frames", "refused", "shed", "conflated", "viewers_refused")
_WORDS = ("process", "state", "hottest games")
_SLOW_S = 0.3
"""What the objective allows."""


def overview_screen(view: pb.Overview, problem: str = "") -> RenderableType:
    """`problem`: why it is not of now."""
    parts: list[RenderableType] = [_head(view)]
    if problem:
        parts.append(Text(printable(problem), style="bold red"))
    parts += [_promises(view), _numbers(view), _freshness(view), Text()]
    parts.append(Columns([_processes(view.processes), _games(view)], padding=(0, 4)))
    if view.processes_known > PROCESSES_SHOWN_MAX:
        parts.append(Text(f"{view.processes_known:,} processes; --json has up to 500", style="dim"))
    return Group(*parts)


def _head(view: pb.Overview) -> Text:
    return Text.assemble(("Grandstand", "bold"), f"  {view.at.ToDatetime():%H:%M:%S} UTC")


def _promises(view: pb.Overview) -> Text:
    line = Text()
    for each in view.promises:
        line.append(f"{each.name} " if each.ok else f"not {each.name} ", "green" if each.ok else "bold red")
    for each in view.promises:
        if not each.ok:
            line.append(f"\n{each.name}: {printable(each.reason)}", "red")
    return line


def _numbers(view: pb.Overview) -> Table:
    table = Table.grid(padding=(0, 3))
    told = [(f"{name.replace('_', ' ')}/s", _optional(view.rates, name)) for name in _RATES]
    told += [
        ("lag", _optional(view, "lag_seconds", " s")),
        ("blocks behind", _optional(view, "lag_blocks")),
        ("viewers", _optional(view, "viewers")),
        ("streams", _optional(view, "streams")),
        ("overload", _optional(view, "overload_level", " of 10")),
        ("pressure", _optional(view, "pressure_ratio")),
    ]
    for at in range(0, len(told), 4):
        table.add_row(*(Text.assemble((f"{name} ", "dim"), value) for name, value in told[at : at + 4]))
    return table


def _freshness(view: pb.Overview) -> Text:
    if not view.HasField("freshness"):
        return Text("freshness: no canary", style="dim")
    found = view.freshness
    line = Text.assemble(("freshness ", "dim"))
    if found.HasField("p99_seconds"):
        style = "red" if found.p99_seconds > _SLOW_S else ""
        line.append(f"p50 {found.p50_seconds * 1e3:,.0f} ms  p99 {found.p99_seconds * 1e3:,.0f} ms", style)
    else:
        line.append("no vote of the canary was seen in the last minute", "red")
    line.append(f"  ({found.seen:,.0f} seen")
    for count, what in ((found.unseen, "unseen"), (found.not_acked, "not acked")):
        if count:
            line.append(f", {count:,.0f} {what}", "red")
    line.append(f")   incidents {found.incidents:,.0f}")
    if found.incident_open:
        line.append("  an incident is open", "bold red")
    return line


def _processes(processes: object) -> Table:
    table = _table("process", "state", "CPU", "memory")
    shown = sorted(processes, key=lambda each: each.state == pb.PROCESS_STATE_WELL)  # type: ignore[call-overload]
    for each in shown[:PROCESSES_SHOWN_MAX]:
        word, style = _STATES.get(each.state, ("?", ""))
        reason = printable(each.reason, _REASON_MAX)
        table.add_row(
            Text(printable(each.instance, _NAME_MAX)),
            Text(f"{word}: {reason}" if reason else word, style=style),
            Text(f"{each.cpu_ratio:.0%}" if each.HasField("cpu_ratio") else "–"),
            Text(f"{each.memory_bytes / 2**20:,.0f} MiB" if each.HasField("memory_bytes") else "–"),
        )
    return table


def _games(view: pb.Overview) -> RenderableType:
    if not view.hottest:
        return Text("no game has events or viewers", style="dim")
    table = _table("hottest games", "events/s", "viewers")
    for each in view.hottest:
        name = Text(printable(each.game_id, _NAME_MAX))
        if each.title:
            name.append(f"  {printable(each.title, _NAME_MAX)}", "dim")
        table.add_row(name, _optional(each, "events_per_second"), _optional(each, "viewers"))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for at, column in enumerate(columns):
        justify: JustifyMethod = "left" if column in _WORDS else "right"
        table.add_column(column, justify=justify, no_wrap=at == 0)
    return table


def _optional(message: pb.Overview | pb.MeshRates | pb.GameOverview, field: str, unit: str = "") -> str:
    """A dash for what nobody tells."""
    if not message.HasField(field):
        return "–"
    value: float = getattr(message, field)
    return (f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2g}") + unit
