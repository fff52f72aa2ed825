"""A real Prometheus: asked by its API, and by promtool. It is fetched as `up --metrics` fetches it."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from toolbox.local import prometheus, provision

RULES = provision.checkout() / prometheus.RULES
DASHBOARDS = provision.checkout() / "deploy" / "observability" / "grafana"
WINDOW_S = 5
"""Of the shortened rules: several scrapes of one a second."""
FOR_S = 1


class PrometheusApi:
    """`url`: as `status` names it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series that it has now. Raises AssertionError with what Prometheus says of it."""
        found: list[dict[str, Any]] = self._get("query", query=expr)["result"]
        return found

    def firing(self) -> set[tuple[str, ...]]:
        """The alerts that fire: the name, and what they are about."""
        return {
            (
                alert["labels"]["alertname"].removeprefix("Grandstand"),
                *(alert["labels"][key] for key in ("instance", "dependency") if key in alert["labels"]),
            )
            for alert in self._get("alerts")["alerts"]
            if alert["state"] == "firing"
        }

    def targets(self) -> dict[str, str]:
        """The health of what is scraped, by instance."""
        active = self._get("targets")["activeTargets"]
        return {each["labels"]["instance"]: each["health"] for each in active}

    def rule_names(self) -> set[str]:
        """Of the rules that were evaluated and are well."""
        return {
            rule["name"]
            for group in self._get("rules")["groups"]
            for rule in group["rules"]
            if rule["health"] == "ok"
        }

    def _get(self, what: str, **arguments: str) -> dict[str, Any]:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                found: dict[str, Any] = json.loads(answer.read())["data"]
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = prometheus.prometheus().with_name("promtool")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def alerts() -> dict[str, str]:
    """The names of all alerts, without Grandstand, and the text of each."""
    found = re.split(r"^      - alert: Grandstand", RULES.read_text(), flags=re.MULTILINE)[1:]
    return {each.partition("\n")[0]: each for each in found}


def shortened() -> str:
    """The rules with every window WINDOW_S, and FOR_S instead of longer waits."""
    text = re.sub(r"\bfor: \w+", f"for: {FOR_S}s", RULES.read_text())
    text = re.sub(r"\binterval: \w+", "interval: 1s", text)
    text = re.sub(r"\boffset \w+", f"offset {WINDOW_S}s", text)
    return re.sub(r"\[\w+\]", f"[{WINDOW_S}s]", text)


def dashboard_queries() -> list[str]:
    """Every query of every dashboard, as Grafana would send it for the demo game."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            found += [target["expr"] for target in panel.get("targets", ())]
    return [each.replace("$__rate_interval", f"{WINDOW_S}s").replace("$game", "demo") for each in found]
