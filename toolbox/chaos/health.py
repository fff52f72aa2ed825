"""Asks a mesh at its edge whether it is well: GET /healthz."""

from __future__ import annotations

import contextlib
import http.client
import json

_WITHIN_S = 2.0
_BYTES_MAX = 64 * 1024


def ask(edge: str) -> bool | None:
    """Whether votes can be stored, folded and shown, as `edge` (host:port) says; None if it does not say
    within `_WITHIN_S`. Blocks."""
    connection = http.client.HTTPConnection(edge, timeout=_WITHIN_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/healthz")
            return said(connection.getresponse().read(_BYTES_MAX))
        except (OSError, http.client.HTTPException):
            return None


def said(body: bytes) -> bool | None:
    """What the body of an answer says. The status alone says nothing: an older gateway's is always 200."""
    with contextlib.suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict) and isinstance(found.get("ok"), bool):
            return bool(found["ok"])
    return None
