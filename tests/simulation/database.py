"""Redis as the store sees it: what mesh.database.Database does, in memory and in virtual time.

Each script of mesh.scripts is written here a second time, in Python, from what it promises.
`fault` is asked before every call:

    ""        all is well
    "before"  the call fails and had no effect
    "after"   the call took effect, and its answer is lost
    "twice"   the first answer was lost on the way and the client's library asked again
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from mesh import scripts
from mesh.database import Argument, Script

Value = bytes | dict[bytes, bytes] | dict[bytes, float]


class ModelDatabase:
    """`clock` answers the virtual time in seconds."""

    def __init__(self, clock: Callable[[], float], fault: Callable[[], str] = lambda: "") -> None:
        self._clock = clock
        self._fault = fault
        self._values: dict[str, Value] = {}
        self._expires_at: dict[str, float] = {}
        self._scripts: dict[str, Callable[[Sequence[str], list[bytes]], Any]] = {
            scripts.ACQUIRE.sha: self._acquire,
            scripts.RENEW.sha: self._renew,
            scripts.RELEASE.sha: self._release,
            scripts.FLUSH.sha: self._flush,
            scripts.MARK.sha: self._mark,
            scripts.SEIZE.sha: self._seize,
            scripts.ERASE.sha: self._erase,
            scripts.READ.sha: self._read,
        }

    # What mesh.database.Database does.

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        encoded = [_encoded(argument) for argument in arguments]
        return self._call(lambda: self._scripts[script.sha](keys, encoded))

    async def hash(self, key: str) -> dict[bytes, bytes]:
        return self._call(lambda: dict(self._hash(key)))

    async def string(self, key: str) -> bytes:
        return self._call(lambda: self._string(key) or b"")

    async def fields(self, key: str, names: Sequence[str]) -> list[bytes | None]:
        return self._call(lambda: [self._hash(key).get(name.encode()) for name in names])

    async def names(self, key: str) -> list[bytes]:
        return self._call(lambda: list(self._hash(key)))

    # What happens to a Redis.

    def empty(self) -> None:
        self._values, self._expires_at = {}, {}

    def snapshot(self) -> tuple[dict[str, Value], dict[str, float]]:
        return copy.deepcopy(self._values), dict(self._expires_at)

    def restore(self, snapshot: tuple[dict[str, Value], dict[str, float]]) -> None:
        """As it was then. Leases keep the moment at which they lapse."""
        self._values, self._expires_at = copy.deepcopy(snapshot[0]), dict(snapshot[1])

    def _call(self, effect: Callable[[], Any]) -> Any:
        fault = self._fault()
        if fault == "before":
            raise RedisConnectionError("simulated: the connection was lost before the call")
        answer = effect()
        if fault == "twice":
            answer = effect()
        if fault == "after":
            raise RedisConnectionError("simulated: the answer was lost")
        return answer

    # The commands.

    def _live(self, key: str) -> Value | None:
        if self._expires_at.get(key, float("inf")) <= self._clock():
            self._delete(key)
        return self._values.get(key)

    def _delete(self, key: str) -> None:
        self._values.pop(key, None)
        self._expires_at.pop(key, None)

    def _string(self, key: str) -> bytes | None:
        found = self._live(key)
        if isinstance(found, dict):
            raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return found

    def _hash(self, key: str) -> dict[bytes, Any]:
        found = self._live(key)
        if isinstance(found, bytes):
            raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return found or {}

    def _set(self, key: str, value: bytes, for_ms: bytes | None = None) -> None:
        self._values[key] = value
        self._expires_at.pop(key, None)
        if for_ms is not None:
            self._expires_at[key] = self._clock() + int(for_ms) / 1000

    def _write(self, command: bytes, key: str, arguments: list[bytes]) -> None:
        match command:
            case b"SET":
                self._set(key, arguments[0])
            case b"APPEND":
                self._values[key] = (self._string(key) or b"") + arguments[0]
            case b"HSET":
                self._change(key, dict(zip(arguments[::2], arguments[1::2], strict=True)), ())
            case b"ZADD":
                pairs = zip(arguments[1::2], map(float, arguments[::2]), strict=True)
                self._change(key, dict(pairs), ())
            case b"HDEL" | b"ZREM":
                self._change(key, {}, arguments)
            case b"DEL" | b"UNLINK":
                self._delete(key)
            case _:
                raise ResponseError(f"the model knows no {command!r}")

    def _change(self, key: str, fields: dict[bytes, Any], gone: Sequence[bytes]) -> None:
        now = {**self._hash(key), **fields}
        for name in gone:
            now.pop(name, None)
        if now:
            self._values[key] = now
        else:
            self._delete(key)

    # The scripts.

    def _acquire(self, keys: Sequence[str], arguments: list[bytes]) -> Any:
        lease, applied, stream = keys
        instance, token, for_ms = arguments
        holder = self._string(lease)
        if holder is not None and not holder.startswith(instance):
            return holder
        self._set(lease, instance + token, for_ms)
        return [self._string(applied) or b"0", self._string(stream) or b""]

    def _renew(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        if not self.holds(keys[0], arguments[0]):
            return 0
        self._set(keys[0], arguments[0], arguments[1])
        return 1

    def _release(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        if not self.holds(keys[0], arguments[0]):
            return 0
        self._delete(keys[0])
        return 1

    def _flush(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        value, for_ms, before, after = arguments[:4]
        if not self.holds(keys[0], value):
            raise ResponseError("FENCED")
        applied = self._string(keys[1]) or b"0"
        if applied != after:
            if not self.stands_at(applied, before):
                raise ResponseError("REWOUND")
            at = 4
            while at < len(arguments):
                count = int(arguments[at + 2])
                key = keys[int(arguments[at + 1]) - 1]
                self._write(arguments[at], key, arguments[at + 3 : at + 3 + count])
                at += 3 + count
            self._set(keys[1], after)
        if keys[0] in self._values:
            self._set(keys[0], value, for_ms)
        return 1

    def _mark(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        if not self.holds(keys[0], arguments[0]):
            raise ResponseError("FENCED")
        self._set(keys[1], arguments[1])
        return 1

    def _seize(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        self._set(keys[0], arguments[0], arguments[1])
        return 1

    def _erase(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        value, applied, stream = arguments
        if not self.holds(keys[0], value):
            raise ResponseError("FENCED")
        if (self._string(keys[1]) or b"0") != applied:
            raise ResponseError("REWOUND")
        for key in keys[1:]:
            self._delete(key)
        if stream:
            self._set(keys[2], stream)
        else:
            self._delete(keys[0])
        return 1

    def _read(self, keys: Sequence[str], arguments: list[bytes]) -> Any:
        flat = [part for field in self._hash(keys[1]).items() for part in field]
        return [self._string(keys[0]) or b"0", flat]

    # Broken on purpose by some tests.

    def holds(self, lease: str, value: bytes) -> bool:
        """Whether the lease is there, and this writer's."""
        return self._string(lease) == value

    def stands_at(self, applied: bytes, before: bytes) -> bool:
        """Whether the stored state is the one that a flush starts from."""
        return applied == before


def _encoded(argument: Argument) -> bytes:
    if isinstance(argument, bytes):
        return argument
    return str(argument).encode()
