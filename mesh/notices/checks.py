"""Whether a notice, preferences or a segment's name may be taken. Pure; all raise Invalid, which names the
field, its value and the bound. What they find well is bounded: a stored notice too."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from grandstand.notify.v1.notify_pb2 import Notice, Preferences, Priority
from grandstand.wire import actors, ids
from grandstand.wire.errors import Invalid, shown
from mesh.notices import bounds, quiet_hours

_CODE = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,64}(?<!\.)\Z")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Controls, separators of lines, and what turns the direction of what follows; joiners and marks that scripts
and emoji need are not."""

assert bounds.CODE_CHARACTERS_MAX == 64


def check_notice(notice: Notice) -> None:
    """All of it but its audience and its schedule, which need to know who sends and when it is."""
    _check_line("notice.key", notice.key, bounds.KEY_CHARACTERS_MAX)
    if notice.game_id:
        ids.check_id("notice.game_id", notice.game_id)
    check_code("notice.code", notice.code)
    if not notice.title.strip():
        raise Invalid(f"notice.title: is empty; give 1 to {bounds.TITLE_CHARACTERS_MAX} characters")
    _check_shown("notice.title", notice.title, bounds.TITLE_CHARACTERS_MAX)
    _check_shown("notice.text", notice.text, bounds.TEXT_CHARACTERS_MAX, "\n")
    if notice.data:
        _check_data("notice.data", notice.data)
    size = sum(len(part.encode()) for part in (notice.title, notice.text, notice.data))
    if size > bounds.SAID_BYTES_MAX:
        raise Invalid(
            f"notice: title, text and data have {size} bytes of UTF-8 together; at most "
            f"{bounds.SAID_BYTES_MAX} are allowed"
        )
    if notice.priority not in Priority.values():
        raise Invalid(f"notice.priority: {notice.priority} is unknown; 1 is normal, 2 urgent")
    if notice.HasField("expires_after"):
        after = notice.expires_after
        after_s = after.seconds + after.nanos / 1e9
        if not bounds.EXPIRES_AFTER_MIN_S <= after_s <= bounds.EXPIRES_AFTER_MAX_S:
            raise Invalid(
                f"notice.expires_after: {after_s:g} s; {bounds.EXPIRES_AFTER_MIN_S} to "
                f"{bounds.EXPIRES_AFTER_MAX_S} s (90 days) are allowed, unset means 7 days"
            )
    if notice.collapse_key:
        _check_line("notice.collapse_key", notice.collapse_key, bounds.COLLAPSE_KEY_CHARACTERS_MAX)


def check_audience(notice: Notice) -> None:
    """That one is set, and well-formed. Who may send to it is the caller's to know."""
    audience = notice.audience
    match audience.WhichOneof("to"):
        case "actor_id":
            actors.check_actor("notice.audience.actor_id", audience.actor_id)
        case "segment":
            ids.check_id("notice.audience.segment", audience.segment)
        case "viewers":
            if not audience.viewers:
                raise Invalid("notice.audience.viewers: is false; set it to true, or name another audience")
            if not notice.game_id:
                raise Invalid("notice.game_id: is empty; viewers are those of a game, name it")
        case "everyone":
            if not audience.everyone:
                raise Invalid("notice.audience.everyone: is false; set it to true, or name another audience")
        case _:
            raise Invalid("notice.audience: is not set; name an actor, a segment, viewers or everyone")


def check_preferences(preferences: Preferences) -> None:
    if len(preferences.mutes) > bounds.MUTES_MAX:
        raise Invalid(
            f"preferences.mutes: {len(preferences.mutes)} are given; at most {bounds.MUTES_MAX} are allowed"
        )
    for at, mute in enumerate(preferences.mutes):
        if not mute.game_id and not mute.code:
            raise Invalid(f"preferences.mutes[{at}]: is empty; give a game_id, a code, or both")
        if mute.game_id:
            ids.check_id(f"preferences.mutes[{at}].game_id", mute.game_id)
        if mute.code:
            check_code(f"preferences.mutes[{at}].code", mute.code)
    if preferences.HasField("quiet_hours"):
        quiet_hours.checked(preferences.quiet_hours)


def check_code(field: str, code: str) -> None:
    if not _CODE.match(code):
        raise Invalid(
            f"{field}: {shown(code)} is no code; those have 1 to {bounds.CODE_CHARACTERS_MAX} of "
            "A-Z a-z 0-9 _ . - and no dot at either end"
        )


def _check_line(field: str, value: str, most: int) -> None:
    if not value:
        raise Invalid(f"{field}: is empty; give 1 to {most} characters")
    _check_length(field, value, most)
    if not value.isprintable():
        raise Invalid(f"{field}: {shown(value)} has a character that does not print")


def _check_shown(field: str, value: str, most: int, allowed: str = "") -> None:
    _check_length(field, value, most)
    for bad in _HIDDEN.findall(value):
        if bad not in allowed:
            raise Invalid(
                f"{field}: {shown(value)} has the character {bad!r}; no controls are allowed"
                + (" but line feeds" if allowed else "")
            )


def _check_length(field: str, value: str, most: int) -> None:
    if len(value) > most:
        raise Invalid(f"{field}: {shown(value)} has {len(value)} characters; at most {most} are allowed")


def _check_data(field: str, data: str) -> None:
    size = len(data.encode())
    if size > bounds.DATA_BYTES_MAX:
        raise Invalid(f"{field}: has {size} bytes of UTF-8; at most {bounds.DATA_BYTES_MAX} are allowed")
    try:
        json.loads(data, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Invalid(
            f"{field}: {shown(data)} is not JSON: {error.msg} at character {error.pos}; give a JSON value, "
            "or nothing"
        ) from None
    except RecursionError:
        raise Invalid(f"{field}: {shown(data)} is nested too deeply") from None
    except ValueError as error:
        raise Invalid(f"{field}: {shown(data)} is not JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"it has the number {name}")
