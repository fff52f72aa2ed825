"""Whether the mesh stores votes, folds them and shows the results: what its gateways answer at the edge.

`status` says nothing of its own: it has the words of /healthz, and where nobody answers, that nobody does.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

PROMISES = ("stored", "folded", "shown")
PATIENCE_S = 3.0
SETTLED_WITHIN_S = 5.0
"""A gateway that has only just begun has to hear the others first."""
_AGAIN_S = 0.2
_ANSWER_BYTES_MAX = 64 * 1024


def read(edge_url: str) -> dict[str, Any]:
    """As /healthz has it: `ok`, and of each promise `ok`, `reason` and `since`."""
    give_up_at = time.monotonic() + SETTLED_WITHIN_S
    while True:
        found = _ask(edge_url)
        if found["ok"] or not found.get("settling") or time.monotonic() > give_up_at:
            return found
        time.sleep(_AGAIN_S)


def _ask(edge_url: str) -> dict[str, Any]:
    at = urlsplit(edge_url)
    host = at.hostname or ""
    connection: http.client.HTTPConnection
    if at.scheme == "https":
        connection = http.client.HTTPSConnection(host, at.port, timeout=PATIENCE_S, context=_anybody())
    else:
        connection = http.client.HTTPConnection(host, at.port, timeout=PATIENCE_S)
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            content = answer.read(_ANSWER_BYTES_MAX)
    except TimeoutError:
        return _unknown(f"the edge at {at.netloc} did not answer within {PATIENCE_S:g} s")
    except (OSError, http.client.HTTPException) as error:
        return _unknown(f"the edge at {at.netloc} does not answer: {str(error) or type(error).__name__}")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found: dict[str, Any] = json.loads(content)
        if isinstance(found["ok"], bool) and all(found[name]["ok"] in (True, False) for name in PROMISES):
            return found
    said = content[:200].decode(errors="replace").strip()
    return _unknown(f"no gateway answers: the edge says {answer.status} {said}")


def _anybody() -> ssl.SSLContext:
    """Whose certificate it is says nothing of whether votes are stored, and nothing secret is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _unknown(reason: str) -> dict[str, Any]:
    return {"ok": False} | {name: {"ok": False, "reason": reason, "since": None} for name in PROMISES}


def headline(state: str, health: dict[str, Any]) -> str:
    """`state` is what the supervisor says of the processes; a ready mesh that is not well is not `ready`."""
    if health["ok"] or state != "ready":
        return state
    return f"not well, votes are not {' or '.join(name for name in PROMISES if not health[name]['ok'])}"


def lines(health: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """A line for each promise, and whether it is kept."""
    for name in PROMISES:
        found = health[name]
        since = f", since {found['since']}" if found.get("since") else ""
        yield (f"{name}: yes" if found["ok"] else f"{name}: no{since}: {found['reason']}"), found["ok"]
