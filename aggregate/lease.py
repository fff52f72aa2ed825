"""The lease of one ownership, kept: renewed by each flush, and by itself when there is none (I3)."""

from __future__ import annotations

import asyncio

from aggregate.partition_store import PartitionStore
from mesh import limits
from mesh.redis.errors import Fenced, Rewound


class Lease:
    """`asked_at` is the loop's time when the lease, or its renewal, was asked for: Redis counts from
    later on, so what has lapsed here may be held there for a moment more, never the other way."""

    def __init__(self, stored: PartitionStore, token: str, asked_at: float) -> None:
        self.token = token
        self.applied = 0
        """Up to where this writer knows the state to be stored."""
        self._stored = stored
        self._renewed_at = asked_at

    @property
    def lapsed(self) -> bool:
        return asyncio.get_running_loop().time() - self._renewed_at >= limits.LEASE_S

    def renewed(self, asked_at: float) -> None:
        self._renewed_at = max(self._renewed_at, asked_at)

    async def keep(self) -> None:
        """Renews it every LEASE_RENEW_S that no flush does. Raises Fenced, Rewound, RedisError.

        A Redis that went back by moments, and so still holds the lease, is found out by the next
        flush; but nothing may come to be flushed, so it is looked for here as well.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._renewed_at + limits.LEASE_RENEW_S - loop.time()))
            asked_at, applied = loop.time(), self.applied
            if asked_at - self._renewed_at < limits.LEASE_RENEW_S:
                continue
            renewed = await self._stored.renew(self.token)
            if renewed is None:
                raise Fenced("the lease is lost")
            if renewed.applied < applied:
                raise Rewound(f"the stored state went back from {applied}")
            self.renewed(asked_at)
