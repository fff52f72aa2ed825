"""A line of a log, in its two forms: a JSON object for programs, and words for a terminal. Pure.

    {"time": "2026-11-02T10:00:00.123Z", "level": "info", "instance": "ingest-1",
     "logger": "ingest.publisher", "message": "…",
     "trace_id": "…", "span_id": "…", "game": "…", "actor": "…", "error": "…"}

`time` is RFC 3339 in UTC. What is not known is left out. Whatever looks like a secret is taken out of every
text: no code of ours writes one, but errors of libraries quote what they were given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

TEXT_CHARACTERS_MAX = 8_000
"""Of one field; the rest is cut off."""
LEVELS = ("debug", "info", "warning", "error")
_SHOWN_LAST = ("trace_id", "span_id", "game", "actor")

_SECRETS = (
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?"), "[token]"),
    (re.compile(r"(?i)\b(bearer)\s+[\w.~+/=-]{8,}"), r"\1 [token]"),
    (re.compile(r"(\w://)[^\s/@\"']*:[^\s/@\"']*@"), r"\1[login]@"),
    (re.compile(r"(?i)\b(password|passwd|secret)(\"?\s*[=:]\s*\"?)[^\s\",;]{4,}"), r"\1\2[secret]"),
)
_MAY_HOLD_ONE = re.compile(r"(?i)eyJ|bearer|://[^\s]*@|passw|secret")


def timestamp(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_secrets(text: str) -> str:
    """Tokens, and the passwords of URLs and settings, are taken out."""
    if _MAY_HOLD_ONE.search(text):
        for pattern, instead in _SECRETS:
            text = pattern.sub(instead, text)
    return text


def json_line(fields: Mapping[str, object]) -> str:
    """One line without its end. Empty fields are left out, texts cut and cleaned."""
    kept = {name: _clean(value) for name, value in fields.items() if value not in ("", None)}
    return json.dumps(kept, ensure_ascii=False, default=str)


def _clean(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = without_secrets(value)
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[:TEXT_CHARACTERS_MAX] + "…"


def fields_of(line: str) -> dict[str, object] | None:
    """Those of a line that `json_line` wrote; None for any other."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "message" in found else None


def in_words(line: str, *, with_instance: bool = True) -> str:
    """A line for a person; one that is no JSON of ours stays as it is."""
    fields = fields_of(line)
    if fields is None:
        return line
    instance = f" {fields.get('instance', '')}" if with_instance else ""
    head = f"{fields.get('time', '')} {str(fields.get('level', 'info')).upper():<7}{instance}"
    named = f" {fields['logger']}:" if "logger" in fields else ""
    about = "".join(f" {name}={fields[name]}" for name in _SHOWN_LAST if name in fields)
    error = f"\n{fields['error']}" if "error" in fields else ""
    return f"{head}{named} {fields['message']}{about}{error}"


def message_of(line: str) -> str:
    """What it says, without when and where."""
    fields = fields_of(line)
    return line if fields is None else str(fields["message"])
