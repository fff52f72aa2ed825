"""Redis as the store sees it: what mesh.redis.database.Database does, in memory and in virtual time.

Each script of mesh.redis.scripts is written here a second time, in Python, from what it promises; those of
notify in tests.simulation.notice_scripts.
`fault` is asked before every call:

    ""        all is well
    "before"  the call fails and had no effect
    "after"   the call took effect, and its answer is lost
    "twice"   the first answer was lost on the way and the client's library asked again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from aggregate.manifest import AT, MEMBER, STATE, TAIL_BYTES, carried, kind_of
from aggregate.partition_scripts import ACQUIRE, FILL, FLUSH, HELD, LOOK, RELEASE, RENEW, STANDING
from mesh.redis import layout, scripts
from mesh.redis.database import Argument, Script
from tests.simulation.notice_scripts import NoticeScripts

Value = bytes | dict[bytes, bytes] | dict[bytes, float]


class ModelDatabase:
    """`clock` answers the virtual time in seconds."""

    def __init__(self, clock: Callable[[], float], fault: Callable[[], str] = lambda: "") -> None:
        self._clock = clock
        self._fault = fault
        self._values: dict[str, Value] = {}
        self._expires_at: dict[str, float] = {}
        self._notices = NoticeScripts(self)
        self._scripts: dict[str, Callable[[Sequence[str], list[bytes]], Any]] = {
            ACQUIRE.sha: self._acquire,
            RENEW.sha: self._renew,
            RELEASE.sha: self._release,
            FLUSH.sha: self._flush,
            FILL.sha: self._fill,
            STANDING.sha: self._standing,
            HELD.sha: self._held,
            LOOK.sha: self._look,
            scripts.SEIZE.sha: self._seize,
            scripts.ERASE.sha: self._erase,
            scripts.READ.sha: self._read,
            **self._notices.by_sha,
        }

    # What mesh.redis.database.Database does.

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = ()) -> Any:
        encoded = [_encoded(argument) for argument in arguments]
        return self._call(lambda: self._scripts[script.sha](keys, encoded))

    async def hash(self, key: str) -> dict[bytes, bytes]:
        return self._call(lambda: dict(self._hash(key)))

    async def is_cluster(self) -> bool:
        return False

    async def string(self, key: str) -> bytes:
        return self._call(lambda: self._string(key) or b"")

    async def ranking(self, key: str) -> list[tuple[bytes, float]]:
        return self._call(lambda: list(self._hash(key).items()))

    async def fields(self, key: str, names: Sequence[str]) -> list[bytes | None]:
        return self._call(lambda: [self._hash(key).get(name.encode()) for name in names])

    async def names(self, key: str) -> list[bytes]:
        return self._call(lambda: list(self._hash(key)))

    # What happens to a Redis.

    def empty(self) -> None:
        self._values, self._expires_at = {}, {}

    def snapshot(self) -> tuple[dict[str, Value], dict[str, float]]:
        """Values are replaced, never altered."""
        return dict(self._values), dict(self._expires_at)

    def restore(self, snapshot: tuple[dict[str, Value], dict[str, float]]) -> None:
        """As it was then. Leases keep the moment at which they lapse."""
        self._values, self._expires_at = dict(snapshot[0]), dict(snapshot[1])

    def put_back(self, key: str, value: Value | None) -> None:
        """A single key is as it was; None: it is lost."""
        if value is None:
            self._delete(key)
        else:
            self._values[key] = value

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
        expires_at = self._expires_at.get(key)
        if expires_at is not None and expires_at <= self._clock():
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
            case b"SETRANGE":
                at, piece, had = int(arguments[0]), arguments[1], self._string(key) or b""
                self._values[key] = had[:at].ljust(at, b"\0") + piece + had[at + len(piece) :]
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

    def _renew(self, keys: Sequence[str], arguments: list[bytes]) -> int | bytes:
        if not self.holds(keys[0], arguments[0]):
            return 0
        self._set(keys[0], arguments[0], arguments[1])
        return self._string(keys[1]) or b"0"

    def _release(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        if not self.holds(keys[0], arguments[0]):
            return 0
        self._delete(keys[0])
        return 1

    def _flush(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        value, for_ms, before, after, state, filled, fields = arguments[:7]
        if not self.holds(keys[0], value):
            raise ResponseError("FENCED")
        applied = self._string(keys[1]) or b"0"
        if applied != after:
            if not self.stands_at(applied, before):
                raise ResponseError("REWOUND")
            listed = self._hash(keys[2])
            if listed.get(AT, b"0") != before or int(filled) not in (-1, len(listed)):
                raise ResponseError("CORRUPT manifest")
            for key in keys[3:]:
                entry = listed.get(layout.name_of(key).encode())
                if entry is None:
                    self._delete(key)
                elif not self.carries(key, int(entry.split()[0])):
                    raise ResponseError(f"CORRUPT {layout.name_of(key)}")
            last = len(arguments) - 3 * int(fields)
            self._write_all(keys, arguments[7:last], [AT, after])
            for at in range(last, len(arguments), 3):
                self._write(b"HSET", keys[int(arguments[at]) - 1], [AT, after, *arguments[at + 1 : at + 3]])
            entries: dict[bytes, bytes] = {AT: after, STATE: state}
            gone = []
            for key in keys[3:]:
                name, length = layout.name_of(key).encode(), self._length(key)
                if length:
                    entries[name] = b"%s %d" % (after, length)
                else:
                    gone.append(name)
            self._change(keys[2], entries, gone)
            self._set(keys[1], after)
        if keys[0] in self._values:
            self._set(keys[0], value, for_ms)
        return 1

    def _write_all(self, keys: Sequence[str], arguments: list[bytes], carried: Sequence[bytes] = ()) -> None:
        """`carried`: what a hash is to carry."""
        at = 0
        while at < len(arguments):
            count = int(arguments[at + 2])
            command, key = arguments[at], keys[int(arguments[at + 1]) - 1]
            given = arguments[at + 3 : at + 3 + count]
            self._write(command, key, [*carried, *given] if command == b"HSET" else given)
            at += 3 + count

    def _fill(self, keys: Sequence[str], arguments: list[bytes]) -> int:
        value, for_ms = arguments[:2]
        if not self.holds(keys[0], value):
            raise ResponseError("FENCED")
        if self._string(keys[1]) is not None:
            raise ResponseError("REWOUND")
        self._write_all(keys, arguments[2:])
        self._set(keys[0], value, for_ms)
        return 1

    def _length(self, key: str) -> int:
        return len(self._live(key) or b"")

    def _carried(self, key: str) -> bytes:
        """As the scripts read it."""
        match kind_of(layout.name_of(key)):
            case "log":
                return (self._string(key) or b"")[-TAIL_BYTES:]
            case "ranking":
                score = self._hash(key).get(MEMBER)
                return b"" if score is None else b"%.17g" % score
        found: bytes = self._hash(key).get(AT, b"")
        return found

    def _standing(self, keys: Sequence[str], arguments: list[bytes]) -> Any:
        lease, applied, stream = (self._string(key) for key in keys[:3])
        flat = [part for field in self._hash(keys[3]).items() for part in field]
        return [lease or b"", applied or b"0", stream or b"", flat]

    def _held(self, keys: Sequence[str], arguments: list[bytes]) -> Any:
        found: list[Any] = []
        for key in keys:
            try:
                found += [self._length(key), self._carried(key)]
            except ResponseError:
                found += [-1, b""]
        return found

    def _look(self, keys: Sequence[str], arguments: list[bytes]) -> Any:
        applied, stream, manifest, probe = keys[:4]
        value, for_ms, at, count = arguments
        self._set(probe, value, for_ms)
        listed = self._hash(manifest)
        broken = next((key for key in keys[4:] if self._is_broken(key, listed)), "")
        names = sorted(name for name in listed if not name.startswith(b"!"))
        to = int(at) + int(count)
        return [
            *(self._string(applied) or b"0", self._string(stream) or b"", listed.get(AT, b"0"), len(listed)),
            *(b"%d" % (to if to < len(names) else 0), names[int(at) : to]),
            layout.name_of(broken).encode(),
        ]

    def _is_broken(self, key: str, listed: dict[bytes, bytes]) -> bool:
        entry = listed.get(layout.name_of(key).encode())
        if entry is None:
            return False
        try:
            return not self.carries(key, int(entry.split()[0]))
        except ResponseError:
            return True

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
        applied, stream, listed = self._string(keys[0]) or b"0", self._string(keys[1]), self._hash(keys[2])
        answer: list[Any] = [applied, stream or b""]
        is_listed = listed.get(AT, b"0") == applied
        for name, key in zip(arguments, keys[3:], strict=True):
            entry, results = listed.get(name), self._hash(key)
            whole = b"%s %d" % (results.get(AT, b""), len(results)) == entry
            if stream is None or not is_listed or int(applied) < int(stream.rpartition(b" ")[2]):
                whole, results = False, {}
            elif entry is None:
                whole, results = True, {}
            answer += [int(whole), [part for field in results.items() for part in field]]
        return answer

    # Broken on purpose by some tests.

    def holds(self, lease: str, value: bytes) -> bool:
        """Whether the lease is there, and this writer's."""
        return self._string(lease) == value

    def carries(self, key: str, sequence: int) -> bool:
        """Whether the key is as the flush at that sequence left it."""
        return carried(layout.name_of(key), self._carried(key)) == sequence

    def stands_at(self, applied: bytes, before: bytes) -> bool:
        """Whether the stored state is the one that a flush starts from."""
        return applied == before

    def is_as_far(self, sequence: int, noted: int) -> bool:
        """Whether inboxes are as far as was noted."""
        return sequence >= noted


def _encoded(argument: Argument) -> bytes:
    if isinstance(argument, bytes):
        return argument
    return str(argument).encode()
