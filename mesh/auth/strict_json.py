"""JSON objects from outside, read so that nobody can mean two things by one text. Pure.

Refused beyond what JSON refuses: a member that comes twice (this parser would take the last, another the
first), NaN and Infinity, and depth or digits without end. What it costs is bounded by the length of the text,
which the caller checks first.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from grandstand.wire.errors import shown


def parse_object(text: bytes) -> dict[str, Any]:
    """The object that `text` (UTF-8) is. Raises ValueError, which says what is wrong with it."""
    try:
        found = json.loads(text.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")
    return found


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the member {shown(twice)} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"has the number {name}")
