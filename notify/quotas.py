"""Bounds what the notices of one game take of the stream NOTICES, so that none fills it for all.

The keeper's scrub walks the stream, counts, and lists in Redis the games that take a lot; a process adds what
it stored since the round before. So it refuses too early rather than too late, by no more than what it stored
in two rounds; several processes may go beyond by what each stores in a round. Notices about no game are
operators', and have the stream's own bound.

Bounds: a listed game takes LISTED_BYTES_MIN of a stream of NOTICES_BYTES_MAX at least; what a process counts
itself is of the games that it stores for. While Redis is away, what was known of it counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.wire.errors import Exhausted, shown
from mesh.notices.bounds import GAME_BYTES_MAX
from mesh.redis import layout
from mesh.redis.database import Database, RedisError
from notify.inbox_scripts import USED

log = logging.getLogger(__name__)

LISTED_BYTES_MIN = GAME_BYTES_MAX // 4
_LOOK_S = 5.0
_ENTRY_BYTES = 64
"""Of a message, beside its subject and data."""
_ROUND = b"!round"


class UsedBytes:
    """Of one round through NOTICES."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def take(self, messages: Iterable[tuple[int, str, StoredNotice]]) -> None:
        """Sequences, subjects, and what is stored."""
        for _, subject, stored in messages:
            self._used[stored.notice.game_id or stored.firing.game_id] += bytes_of(subject, stored)

    def listed(self) -> dict[str, int]:
        """The games that take a lot."""
        return {game: used for game, used in self._used.items() if game and used >= LISTED_BYTES_MIN}


async def note(database: Database, used: Mapping[str, int]) -> None:
    """A round is over. Raises RedisError."""
    await database.run(USED, [layout.NOTICES_USED], [word for field in used.items() for word in field])


class Quotas:
    """Of one process that stores notices."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._looked_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._round = b""
        self._listed: dict[str, int] = {}
        self._before: Counter[str] = Counter()
        """What was stored in the round before."""
        self._since: Counter[str] = Counter()

    def check(self, field: str, game_id: str) -> None:
        """That the game may have more. Waits for nothing: Redis is asked meanwhile. Raises Exhausted."""
        if not game_id:
            return
        if self._loop.time() >= self._looked_s + _LOOK_S:
            self._looked_s = self._loop.time()
            self._looking = self._loop.create_task(self._look())
        used = self._listed.get(game_id, 0) + self._before[game_id] + self._since[game_id]
        if used >= GAME_BYTES_MAX:
            raise Exhausted(
                f"{field}: the notices of game {shown(game_id)} take {used >> 20} MiB of what is stored; at "
                f"most {GAME_BYTES_MAX >> 20} MiB are allowed to one game; wait until some expire, let them "
                "expire sooner, or let its rules fire less often (at_most_every)"
            )

    def add(self, game_id: str, subject: str, stored: StoredNotice) -> None:
        """It was stored by this process."""
        if game_id:
            self._since[game_id] += bytes_of(subject, stored)

    async def _look(self) -> None:
        try:
            fields = await self._database.hash(layout.NOTICES_USED)
        except RedisError as error:
            log.info("how much games take of NOTICES is not known again: %s", error)
            return
        if (number := fields.pop(_ROUND, b"")) != self._round:
            self._round, self._before, self._since = number, self._since, Counter()
        self._listed = {name.decode(errors="replace"): int(used) for name, used in fields.items()}


def bytes_of(subject: str, stored: StoredNotice) -> int:
    return _ENTRY_BYTES + len(subject) + stored.ByteSize()
