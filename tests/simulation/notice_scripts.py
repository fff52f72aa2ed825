"""The scripts of notify.inbox_scripts, and those that read what they write, a second time, in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mesh.notices import store
from notify import inbox_scripts, segments

if TYPE_CHECKING:
    from tests.simulation.database import ModelDatabase

_SEGMENT = b"segment:"


class NoticeScripts:
    def __init__(self, database: ModelDatabase) -> None:
        self._of = database
        self.by_sha: dict[str, Callable[[Sequence[str], list[bytes]], Any]] = {
            inbox_scripts.PUT.sha: self._put,
            inbox_scripts.READER.sha: self._reader,
            inbox_scripts.SEGMENT.sha: self._segment,
            inbox_scripts.LISTED.sha: self._listed,
            inbox_scripts.LEASE.sha: self._lease,
            inbox_scripts.USED.sha: self._used,
            inbox_scripts.LEAVE.sha: self._leave,
            inbox_scripts.NOTE.sha: self._note,
            store._LOAD.sha: self._load,
            segments._PAGE.sha: self._page,
            segments._COUNT.sha: lambda keys, _: len(self._sorted_set(keys[0])),
        }

    def _kind(self, key: str) -> str:
        found = self._of._live(key)
        if found is None:
            return "none"
        if isinstance(found, bytes):
            return "string"
        return "zset" if any(isinstance(value, float) for value in found.values()) else "hash"

    def _fresh(self, key: str, kind: str) -> None:
        """What is of another type is recreated."""
        if self._kind(key) not in (kind, "none"):
            self._of._delete(key)

    def _left_ms(self, key: str) -> float:
        at_s = self._of._expires_at.get(key)
        if self._of._live(key) is None:
            return -2
        return -1 if at_s is None else (at_s - self._of._clock()) * 1000

    def _expire(self, key: str, for_ms: float) -> None:
        if self._of._live(key) is not None:
            self._of._expires_at[key] = self._of._clock() + for_ms / 1000

    def _hash(self, key: str) -> dict[bytes, bytes]:
        return self._of._hash(key)

    def _sorted_set(self, key: str) -> dict[bytes, float]:
        return self._of._hash(key)

    def _put(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        at, rest = 0, list(keys)
        while at < len(arguments):
            count, most, life_ms = (int(each) for each in arguments[at : at + 3])
            overwrites, given = arguments[at + 3] == b"1", int(arguments[at + 4])
            fields = arguments[at + 5 : at + 5 + 2 * given]
            for key in rest[:count]:
                pairs = dict(zip(fields[::2], fields[1::2], strict=True))
                self._put_one(key, most, life_ms, pairs, overwrites)
            rest = rest[count:]
            at += 5 + 2 * given
        return 1

    def _put_one(
        self, key: str, most: int, life_ms: int, given: dict[bytes, bytes], overwrites: bool
    ) -> None:
        self._fresh(key, "hash")
        left_ms, there = self._left_ms(key), self._hash(key)
        if not there and life_ms <= 0:
            return
        is_new = bool(given.keys() - there.keys())
        held = {**there, **given} if overwrites else {**given, **there}
        surplus = len(held) - most
        gone = sorted(held, key=int)[: max(0, surplus)] if is_new else []
        self._of._change(key, given if overwrites else held, gone)
        if life_ms > left_ms:
            self._expire(key, life_ms)

    def _reader(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        key, (sequence, reader, life_ms, anew) = keys[0], arguments
        self._fresh(key, "hash")
        at = self._hash(key).get(b"sequence", b"0")
        newer = int(at) < int(sequence) or (anew == b"1" and at != sequence)
        if newer:
            self._of._change(key, {b"sequence": sequence, b"reader": reader}, ())
        if self._left_ms(key) < int(life_ms) / 2:
            self._expire(key, int(life_ms))
        return int(newer)

    def _segment(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        key, (field, sequence, belongs, most, life_ms, older) = keys[0], arguments
        self._fresh(key, "hash")
        at = abs(int(self._hash(key).get(field, b"0")))
        if self._left_ms(key) < int(life_ms) / 2:
            self._expire(key, int(life_ms))
        if at == int(sequence):
            return 1
        if at > int(sequence) and older != b"1":
            return 0
        self._of._change(key, {field: sequence if belongs == b"1" else b"-" + sequence}, ())
        if at == 0:
            self._expire(key, int(life_ms))
            held = {name: int(n) for name, n in self._hash(key).items() if name.startswith(_SEGMENT)}
            order = sorted(held, key=lambda name: (held[name] >= 0, abs(held[name])))
            self._of._change(key, {}, order[: max(0, len(held) - int(most))])
        return 1

    def _listed(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        key, (member, belongs) = keys[0], arguments
        self._fresh(key, "zset")
        self._of._change(key, {member: 0.0} if belongs == b"1" else {}, () if belongs == b"1" else (member,))
        return len(self._sorted_set(key))

    def _used(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        number = int(self._hash(keys[0]).get(b"!round", b"0")) + 1
        self._of._delete(keys[0])
        given = zip(arguments[::2], arguments[1::2], strict=True)
        self._of._change(keys[0], {b"!round": b"%d" % number, **dict(given)}, ())
        return number

    def _lease(self, keys: Sequence[str], arguments: list[bytes]) -> bytes:
        held = self._of._string(keys[0])
        if held is not None and held != arguments[0]:
            return held
        self._of._set(keys[0], arguments[0], arguments[1])
        return arguments[0]

    def _leave(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        if self._of._string(keys[0]) == arguments[0]:
            self._of._delete(keys[0])
        return 1

    def _note(self, keys: Sequence[str], arguments: list[bytes]) -> bytes:
        there = self._hash(keys[0])
        words = [arguments[at : at + 4] for at in range(0, len(arguments), 4)]
        for name, identity, noted, _ in words:
            stream, _, sequence = there.get(name, b"").rpartition(b" ")
            if identity and not self._of.is_as_far(
                int(sequence or 0) if stream == identity else -1, int(noted)
            ):
                return name
        self._of._change(keys[0], {name: now for name, _, _, now in words if now}, ())
        return b""

    def _load(self, keys: Sequence[str], arguments: list[bytes]) -> list[list[bytes]]:
        hashes = [self._hash(key) if self._kind(key) == "hash" else {} for key in keys]
        return [[part for field in each.items() for part in field] for each in hashes]

    def _page(self, keys: Sequence[str], arguments: list[bytes]) -> list[bytes]:
        after, most = arguments
        return sorted(member for member in self._sorted_set(keys[0]) if member > after)[: int(most)]
