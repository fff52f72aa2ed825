"""Rules, runbook and dashboards belong together, and to the metrics there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grandstand.wire import bounds as wire_bounds
from mesh.metrics.declarations import TABLE, MetricType
from tests.support.prometheus import RULES, alerts, dashboard_queries, promtool, shortened
from toolbox.doctor import findings
from toolbox.local.provision import checkout
from tools import dashboards

UNIT_TESTS = sorted(RULES.parent.glob("*_test.yml"))
ALERTS = alerts()


def test_promtool_takes_the_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"\[\d+[mhd]\]|(for:|offset) \d+[mh]", shortened()), (
        "the shortened ones have none of the windows"
    )


def test_the_unit_tests_of_the_rules_pass() -> None:
    done = promtool("test", "rules", *UNIT_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_unit_tested_both_ways_and_has_its_entry(alert: str) -> None:
    tested = "".join(path.read_text() for path in UNIT_TESTS)
    name = f"alertname: Grandstand{alert}"
    assert re.search(rf"{name}\n\s+exp_alerts:\n\s+- ", tested), "it is seen firing"
    assert f"{name}, exp_alerts: []" in tested, "it is seen silent"
    severity = re.search(r"severity: (page|ticket)", ALERTS[alert])
    assert severity
    entry = f"## Grandstand{alert}\n\n**{severity[1]}.** "
    assert entry in (checkout() / "docs" / "runbook.md").read_text()


def test_the_runbook_has_no_entry_without_an_alert() -> None:
    entries = re.findall(
        r"^## Grandstand(\w+)$", (checkout() / "docs" / "runbook.md").read_text(), re.MULTILINE
    )
    assert entries == list(ALERTS), "in the order of the rules"


@pytest.mark.parametrize(
    ("alert", "bound"),
    [
        ("DependencySlow", f"> {findings.SLOW_S:g}"),
        ("FoldingLags", f"> {findings.LAG_S:g}"),
        ("PartitionsUnowned", f"< {wire_bounds.PARTITIONS}"),
        ("DiskFilling", f"< {findings.DISK_FREE:g}"),
        ("EventLogNearlyFull", f"> {findings.USED:g}"),
        ("FilesUsedUp", f"> {findings.USED:g}"),
        ("CertificateExpiring", f"< {findings.CERTIFICATE_DAYS:g}"),
        ("ClockOff", f"> {findings.CLOCK_S:g}"),
        ("Overloaded", f">= {findings.OVERLOAD_LEVEL:g}"),
        ("Overloaded", f"> {findings.PRESSURE:g}"),
    ],
)
def test_doctor_and_the_rules_have_the_same_bounds(alert: str, bound: str) -> None:
    assert re.search(rf"{re.escape(bound)}(?![\d.])", ALERTS[alert])


def test_rules_and_dashboards_name_metrics_that_are_declared() -> None:
    known = {each.exposed for each in TABLE}
    for each in TABLE:
        if each.kind is MetricType.HISTOGRAM:
            known |= {f"{each.name}_{part}" for part in ("bucket", "sum", "count")}
    for text in (RULES.read_text(), *dashboard_queries()):
        named = set(re.findall(r"(?:grandstand|process)_[a-z0-9_]+", text))
        assert named <= known, named - known


def test_the_dashboards_are_what_their_tables_say() -> None:
    assert list(dashboards.drift(checkout())) == []


def test_a_dashboard_that_was_edited_by_hand_is_named(tmp_path: Path) -> None:
    (tmp_path / dashboards.FOLDER).mkdir(parents=True)
    (tmp_path / dashboards.FOLDER / "mine.json").write_text("{}")
    complaints = "\n".join(dashboards.drift(tmp_path))
    assert "overview.json: not what tools.dashboards makes; run python -m tools.dashboards" in complaints
    assert "mine.json: not made by tools.dashboards" in complaints
