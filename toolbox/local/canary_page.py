"""What the canary of a running mesh says, as `up` hands it on."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from toolbox.local.errors import MeshError

PATIENCE_S = 3.0
_ABSENT = 404


def read(metrics: str | None) -> dict[str, Any] | None:
    """`metrics`: where `up` collects them. None: the mesh has no canary. Raises MeshError when it does not
    answer."""
    if metrics is None:
        return None
    at = urlsplit(metrics)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/canary")
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == _ABSENT:
            return None
        found: dict[str, Any] = json.loads(content)
        return found
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MeshError(f"the canary does not answer ({str(error) or type(error).__name__})") from None
    finally:
        connection.close()


def said(metrics: str | None) -> tuple[str, bool]:
    """One line for a person, and whether all is well."""
    try:
        found = read(metrics)
    except MeshError as error:
        return str(error), False
    return line(found) if found is not None else ("canary: none runs", True)


def line(found: Mapping[str, Any]) -> tuple[str, bool]:
    """As `said`."""
    incident = found["open_incident"]
    if incident is not None:
        return f"canary: {incident_text(incident)}", False
    if not found["measuring"]:
        return f"canary: nothing is measured: {found['problem']}", False
    for alert in found["alerts"]:
        return (
            f"canary: the error budget of {alert['objective']} burns {alert['rate']:g} times too fast"
            f" (over {alert['long']} and {alert['short']})",
            False,
        )
    if not found["votes"]:
        return "canary: no vote is measured yet", True
    return (
        f"canary: a vote is on screens within {found['freshness_p50_ms']:g} ms (p50),"
        f" {found['freshness_p99_ms']:g} ms (p99) of the last {found['votes']} votes; no incident",
        True,
    )


def incident_text(incident: Mapping[str, Any]) -> str:
    """Of one that is open."""
    since = time.strftime("%H:%M:%S", time.localtime(incident["started_at_s"]))
    return (
        f"incident since {since}: {incident['without_acks_s']:g} s without acks,"
        f" {incident['without_frames_s']:g} s without frames: {incident['reason']}"
    )
