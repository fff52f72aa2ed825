"""The lines of a recording: one event each, with the moment it was sent. Pure.

A recording is JSON lines, UTF-8, optionally gzipped. Each line is an object:

    {"at": "2026-11-20T19:00:00.250Z", "event": {"gameId": "demo", "actorId": "ana",
                                                 "vote": {"pollId": "mvp", "optionIds": ["nova"]}}}

`event` is a grandstand.event.v1.Event in proto JSON form (field names in either spelling); it names its
actor. `at` is an RFC 3339 timestamp or a number of seconds from the start, one of the two throughout a file;
a line without it belongs to the moment of the line before. Blank lines are skipped.

An event may carry the identity it had (`originSeq`, `originId`): a line whose identity came before in
the file is a resend, and is not sent twice. The identity itself is not replayed: origins are issued by the
server and live a day, so each replay sends under an origin of its own.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf import json_format

from grandstand.event.v1.event_pb2 import Event

LINE_BYTES_MAX = 64 * 1024
ORIGINS_MAX = 100_000
# As wide as the widest anti-replay window of the mesh itself.
WINDOW = 4_096


class BadLineError(ValueError):
    """A line that holds no event; the message says why and what is expected."""


@dataclass(frozen=True, slots=True)
class Line:
    """`at_s` counts from the recording's first moment; None where the line names no moment."""

    at_s: float | None
    event: Event


class RecordingReader:
    """Turns lines into events, in order; keeps what the form of `at` and resends depend on."""

    def __init__(self, game_id: str = "") -> None:
        """`game_id` replaces the game of every event; empty keeps it."""
        self._game_id = game_id
        self._first_at: float | None = None
        self._are_timestamps: bool | None = None
        self._origins: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def read(self, raw: bytes) -> Line | None:
        """The line's event, without an identity; None for a resend. Raises BadLineError."""
        if len(raw) > LINE_BYTES_MAX:
            raise BadLineError(f"more than {LINE_BYTES_MAX} bytes, the longest line allowed")
        try:
            # Decoded here, because json would take other encodings, too.
            value = json.loads(raw.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise BadLineError(f"not UTF-8 at byte {error.start + 1}") from None
        except json.JSONDecodeError as error:
            raise BadLineError(f"not JSON: {error.msg} at column {error.colno}") from None
        except RecursionError:
            raise BadLineError("not JSON of an event: nested too deeply") from None
        if not isinstance(value, dict) or "event" not in value:
            raise BadLineError('no "event"; expected {"at": ..., "event": {...}}')
        if unknown := sorted(value.keys() - {"at", "event"}):
            raise BadLineError(f'{_cut(unknown[0])} is not known; expected only "at" and "event"')
        at_s = self._at_s(value.get("at"))
        event = _event(value["event"])
        if self._game_id:
            event.game_id = self._game_id
        if not event.game_id:
            raise BadLineError("event.gameId: is empty; name the game, or give one for all with --game")
        if not event.actor_id:
            raise BadLineError("event.actorId: is empty; a recorded event names who acted")
        if event.WhichOneof("body") is None:
            raise BadLineError("event: has no body; give a vote, a score, a reaction, ...")
        if event.origin_seq and self._came_before(event.origin_id, event.origin_seq):
            return None
        event.ClearField("origin_id")
        event.ClearField("origin_seq")
        return Line(at_s, event)

    def _at_s(self, at: object) -> float | None:
        """Seconds since the first moment of the file."""
        if at is None:
            return None
        if isinstance(at, str):
            try:
                moment = datetime.fromisoformat(at)
            except ValueError:
                raise BadLineError(f"at: {_cut(at)} is no RFC 3339 timestamp") from None
            if moment.tzinfo is None:
                raise BadLineError(f"at: {_cut(at)} names no time zone; end it with Z")
            found = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
        elif isinstance(at, int | float) and not isinstance(at, bool) and 0 <= at < 1e9:
            found = float(at)
        else:
            raise BadLineError(f"at: {_cut(at)} is neither a timestamp nor seconds from the start, 0 or more")
        is_timestamp = isinstance(at, str)
        if self._are_timestamps is None:
            self._are_timestamps = is_timestamp
            self._first_at = found if is_timestamp else 0.0
        elif self._are_timestamps != is_timestamp:
            used, given = ("timestamps", "a number") if self._are_timestamps else ("seconds", "a timestamp")
            raise BadLineError(f"at: {_cut(at)} is {given}, but the file began with {used}; keep to one form")
        return found - (self._first_at or 0.0)

    def _came_before(self, origin_id: str, origin_seq: int) -> bool:
        """Notes the identity; true for one noted before, or too old to tell (as RFC 6479)."""
        highest, seen = self._origins.get(origin_id, (0, 0))
        if origin_seq > highest:
            shift = min(origin_seq - highest, WINDOW)
            seen = (seen << shift | 1) & ((1 << WINDOW) - 1)
            highest = origin_seq
        else:
            behind = highest - origin_seq
            if behind >= WINDOW or seen >> behind & 1:
                return True
            seen |= 1 << behind
        self._origins[origin_id] = (highest, seen)
        self._origins.move_to_end(origin_id)
        if len(self._origins) > ORIGINS_MAX:
            self._origins.popitem(last=False)
        return False


def _event(value: object) -> Event:
    if not isinstance(value, dict):
        raise BadLineError(f"event: {_cut(value)} is no object")
    try:
        return json_format.ParseDict(value, Event(), max_recursion_depth=8)
    except json_format.ParseError as error:
        raise BadLineError(f"event: {error}".replace("\n", " ")[:300]) from None


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
