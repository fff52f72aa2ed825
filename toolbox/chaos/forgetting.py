"""Single keys of Redis that are lost, while everything beside them stands.

Each strike deletes one key of each kind it can, no two of them of one partition, and begins with the kinds
that the last one had no partition left for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from random import Random

from redis.asyncio import Redis

_KEY = re.compile(r"\{p(\d+)\}:(.+)")
_LEASE = "lease"
"""Lapses by itself all the time; is lost on its own account while its owner lives."""


def kind_of(key: str) -> tuple[int, str] | None:
    """The partition and the kind of a key (see mesh.redis.layout); None for what is of no partition."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    name, colon, rest = found[2].partition(":")
    if name == "log":
        return int(found[1]), f"log:{rest}" if "/" not in rest else "log:<topic>"
    return int(found[1]), f"{name}:<{'game' if name == 'results' else 'topic'}>" if colon else name


class Forgetting:
    """Of one run."""

    def __init__(self, seed: int) -> None:
        self.forgotten: Counter[str] = Counter()
        """By the kind of key."""
        self._random = Random(f"forget {seed}")

    def choose(self, keys: Iterable[str], *, leases: bool = False) -> dict[int, tuple[str, str]]:
        """By partition, the key to delete and its kind: at most one of each kind. Pure."""
        by_kind: dict[str, list[tuple[int, str]]] = {}
        for key in sorted(keys):
            found = kind_of(key)
            if found is not None and (leases or found[1] != _LEASE):
                by_kind.setdefault(found[1], []).append((found[0], key))
        kinds = list(by_kind)
        self._random.shuffle(kinds)
        chosen: dict[int, tuple[str, str]] = {}
        for kind in sorted(kinds, key=lambda kind: (self.forgotten[kind], len(by_kind[kind]))):
            free = [(partition, key) for partition, key in by_kind[kind] if partition not in chosen]
            if free:
                partition, key = self._random.choice(free)
                chosen[partition] = key, kind
        return chosen

    async def delete(self, redis: Redis, chosen: dict[int, tuple[str, str]]) -> None:
        """Raises RedisError."""
        for key, kind in chosen.values():
            await redis.delete(key)
            self.forgotten[kind] += 1
