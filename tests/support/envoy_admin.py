"""Asks the admin of an Envoy, on its Unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from pathlib import Path
from typing import Any


class _OnSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10.0)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(admin: Path, path: str, method: str = "GET") -> bytes:
    with contextlib.closing(_OnSocket(admin)) as connection:
        connection.request(method, path)
        return connection.getresponse().read()


def stats(admin: Path, pattern: str) -> dict[str, Any]:
    """Of counters and gauges whose name fits the regular expression."""
    found = json.loads(ask(admin, f"/stats?format=json&filter={pattern}"))["stats"]
    return {each["name"]: each["value"] for each in found if "name" in each}


def hosts(admin: Path, kind: str) -> list[dict[str, Any]]:
    """Of both listeners' clusters of a service, with their health."""
    clusters = json.loads(ask(admin, "/clusters?format=json"))["cluster_statuses"]
    return [
        host
        for cluster in clusters
        if cluster["name"].endswith(f"-{kind}")
        for host in cluster["host_statuses"]
    ]
