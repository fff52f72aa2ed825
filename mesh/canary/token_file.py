"""The canary's token: a file that whoever issues tokens replaces in time, read again at each use.

Whether it has expired is read in the token itself, unverified: only to tell a canary that was given no fresh
token from a mesh that takes none.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from pathlib import Path


class NoToken(Exception):
    """Says why."""


class TokenFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str:
        """Raises NoToken."""
        try:
            return self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NoToken(f"cannot read the token in {self._path}: {error}") from None

    def problem(self, now_s: float) -> str:
        """Why nothing can be sent with it; "" if it is good as far as it says. `now_s`: Unix seconds."""
        try:
            token = self()
        except NoToken as error:
            return str(error)
        left_s = expires_at_s(token) - now_s
        return "" if left_s > 0 else f"the token in {self._path} expired {-left_s:.0f} s ago"


def expires_at_s(token: str) -> float:
    """Unix seconds; infinity for what does not say."""
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return math.inf
