"""What keeps secrets from others on the same machine: who may read a key file, and URLs without passwords."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

NATS_VARIABLE = "GRANDSTAND_NATS"
REDIS_VARIABLE = "GRANDSTAND_REDIS"
"""Environment variables in the place of --nats and --redis: who else runs programs on the machine sees the
arguments of all processes, but not their environment."""


def privileged() -> str:
    """Why production does not run as this user, for a person; empty if it may."""
    if os.geteuid() != 0:
        return ""
    return (
        "production does not run as root: who breaks into it would own the machine;"
        " run it as a user of its own"
    )


def exposed(path: Path) -> str:
    """Why a private key in that file is no secret, for a person; empty if it is one, or is not there. A group
    may read it: so an orchestrator hands keys to a user who is not their owner."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    if not mode & 0o007:
        return ""
    return f"every user of this machine may use the key in {path} (mode {mode:04o}); chmod 600 it"


def has_secret(url: str) -> bool:
    """It carries credentials, or may do so."""
    return "@" in url or "password" in url


def without_login(url: str) -> str:
    """The URL, or several with commas between, without user, password and query: to be shown."""
    return ",".join(map(_without_login, re.split(r",(?=[a-z+]+://)", url)))


def _without_login(url: str) -> str:
    scheme, separator, rest = url.rpartition("://") if url.count("://") == 1 else ("", "", url)
    place, _, query = rest.partition("?")
    if "@" in query and "@" not in place:
        return f"{scheme}{separator}…"  # a password that is not percent-encoded, perhaps
    return f"{scheme}{separator}{place.rpartition('@')[2]}"
