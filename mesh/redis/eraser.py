"""Erasing a partition's state: for its owner, who then rebuilds it, and for operators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from grandstand.internal.v1.internal_pb2 import StoredTopic
from mesh import limits
from mesh.redis import layout, scripts
from mesh.redis.database import Database
from mesh.redis.errors import Corrupt, told_apart

_LEASE_MS = int(limits.LEASE_S * 1000)


class Eraser:
    """Of one partition. `instance`: who takes the lease; a token is for one life of it."""

    def __init__(self, database: Database, partition: int, instance: str) -> None:
        self._database = database
        self._partition = partition
        self._instance = instance
        self._lease = layout.lease_key(partition)
        self._applied = layout.applied_key(partition)
        self._stream = layout.stream_key(partition)
        self._manifest = layout.manifest_key(partition)

    async def erase(self, token: str) -> None:
        """Takes the lease from whoever has it, erases the state, and leaves both to be taken.

        Raises Fenced, Rewound if a new owner was faster (try again), RedisError.
        """
        value = self._value(token)
        await self._database.run(scripts.SEIZE, [self._lease], [value, _LEASE_MS])
        await self._erase(value, "")

    async def reset(self, token: str, stream: str, target: int) -> None:
        """Erases the state and notes the stream it will be folded from; the lease stays.

        `target`: the partition's last block; until it is folded, readers are told to wait.
        Raises Fenced, Rewound (somebody wrote meanwhile; the caller acquires again), RedisError.
        """
        await self._erase(self._value(token), f"{stream} {target}")

    async def applied(self) -> int:
        """What is folded and stored; for whoever waits for it."""
        return int(await self._database.string(self._applied) or 0)

    async def _erase(self, value: str, stream: str) -> None:
        applied = await self.applied()
        keys = [self._lease, self._applied, self._stream, self._manifest, *await self._state_keys()]
        with told_apart():
            await self._database.run(scripts.ERASE, keys, [value, applied, stream])

    async def _state_keys(self) -> list[str]:
        """Every key a state can have: those that its manifest lists, and, should that be lost or of an
        older release, those of the topics and of the parts that they have or may have had."""
        p = self._partition
        keys = [layout.topics_key(p), layout.log_key(p, "origins"), layout.log_key(p, "votes")]
        with contextlib.suppress(Corrupt):
            listed = await self._hash(self._manifest)
            names = (name.decode(errors="replace") for name in listed if not name.startswith(b"!"))
            keys += (f"{layout.tag(p)}:{name}" for name in names)
            if layout.MANIFEST_STATE in listed:
                return keys
        parts: dict[tuple[str, str], set[str]] = {}
        with contextlib.suppress(Corrupt):  # who erases may well do so because of that
            for name, value in (await self._hash(layout.topics_key(p))).items():
                game_id, _, topic = name.decode(errors="replace").partition("/")
                parts.setdefault((game_id, topic), set()).update(_parts_of(value))
        for game_id in sorted({game_id for game_id, _ in parts}):
            keys.append(layout.results_key(p, game_id))
            with contextlib.suppress(Corrupt), told_apart():
                for name in await self._database.names(layout.results_key(p, game_id)):
                    parts.setdefault((game_id, name.decode(errors="replace")), set())
        for (game_id, topic), known in parts.items():
            for part in known | {""}:
                keys += (key(p, game_id, topic, part) for key in layout.PART_KEYS)
        return keys

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        with told_apart():
            return await self._database.hash(key)

    def _value(self, token: str) -> str:
        return f"{self._instance} {token}"


def _parts_of(stored: bytes) -> Iterable[str]:
    try:
        return StoredTopic.FromString(stored).parts
    except DecodeError:
        return ()
