"""The dashboards of Grafana in deploy/observability/grafana, made from the tables of tools.boards.

    python -m tools.dashboards generate    writes them
    python -m tools.dashboards check       fails where the files are not what this makes

A test asks a real Prometheus every query of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableRefresh,
)

from tools.boards import BOARDS, GrafanaBoard, Panel

FOLDER = Path("deploy") / "observability" / "grafana"
GENERATE = "python -m tools.dashboards generate"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH, _HEIGHT = 8, 7


def made() -> dict[str, str]:
    """File names and what they hold."""
    return {f"{board.name}.json": _text(board) for board in BOARDS}


def drift(root: Path) -> Iterator[str]:
    """What is not as it is made; nothing if all is in order."""
    wanted, folder = made(), root / FOLDER
    for name, text in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_text() != text:
            yield f"{FOLDER / name}: not what tools.dashboards makes; run {GENERATE}"
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            yield f"{FOLDER / path.name}: not made by tools.dashboards"


def _text(board: GrafanaBoard) -> str:
    built = (
        dashboard.Dashboard(board.title)
        .uid(f"grandstand-{board.name}")
        .tags(["grandstand"])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, query in board.variables:
        built = built.with_variable(
            dashboard.QueryVariable(name)
            .datasource(_SOURCE)
            .query(query)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    for title, panels in board.rows:
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(built.build()) + "\n"


def _panel(panel: Panel) -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .axis_soft_min(0)
        .span(_WIDTH)
        .height(_HEIGHT)
        .fill_opacity(10)
        .legend(legend)
    )
    for expr, legend_format in panel.queries:
        built = built.with_target(
            prometheus.Dataquery().expr(expr).legend_format(legend_format).datasource(_SOURCE)
        )
    return built


def main(arguments: list[str]) -> int:
    root = Path(__file__).resolve().parent.parent
    match arguments:
        case ["generate"]:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
            for name, text in made().items():
                (root / FOLDER / name).write_text(text)
            return 0
        case ["check"]:
            complaints = list(drift(root))
            print(*complaints, sep="\n", end="\n" if complaints else "")
            return 1 if complaints else 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
