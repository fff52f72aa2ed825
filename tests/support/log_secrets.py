"""What no log may hold: the suite searches everything that it logs when it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
_LOGIN = re.compile(r"://[^:@/\s\"]*:([^@\s\"/]{8,})@")
_VALUE = re.compile(r"\"password\": \"([^\"]{8,})\"|[>#]([^\s>#]{16,})")
_KEY_FIELDS = ("d", "k", "p", "q")


def leaks(root: Path) -> list[str]:
    """Where a log below `root` holds a token, or a password or key of its own mesh."""
    return [found for folder in sorted(root.rglob("logs")) if folder.is_dir() for found in _leaks_of(folder)]


def _leaks_of(folder: Path) -> Iterator[str]:
    secrets = set(secrets_of(folder.parent))
    for path in sorted(folder.glob("*.log*")):
        text = path.read_text(errors="replace")
        if found := TOKEN.search(text):
            yield f"{path}: a token, {found[0][:12]}…"
        for secret in secrets:
            if secret in text:
                yield f"{path}: a secret of its mesh, {secret[:4]}…"


def secrets_of(home: Path) -> Iterator[str]:
    """Passwords in the files of a run, and private keys."""
    for name in ("stores.json", "nats.conf", "valkey.conf"):
        path = home / "run" / name
        text = path.read_text() if path.is_file() else ""
        yield from _LOGIN.findall(text)
        for found in _VALUE.findall(text):
            yield from filter(None, found)
    for path in home.glob("*-key.json"):
        with contextlib.suppress(ValueError, OSError, AttributeError):  # tests write broken ones, too
            text = json.loads(path.read_text())
            for key in text.get("keys", [text]):
                yield from (str(key[field]) for field in _KEY_FIELDS if field in key)


class TokenWatch(logging.Handler):
    """Remembers who logged a token in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if TOKEN.search(record.getMessage()):
            self.found.append(f"{record.pathname}:{record.lineno} logged a token")
