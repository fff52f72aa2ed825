"""What a service does about tokens that end before their calls: the thin shell of mesh.auth.

`checking` refuses new calls, `keep_ending` ends open streams (mesh.auth.token_streams).

A revocation ends streams within LOOK_S of its arrival, and tokens end as exactly. Of many that end in one
look, ENDED_IN_A_TURN are ended in a turn of the event loop: others are served in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mesh.auth import Identity, Revocations, TokenStreams, Verifies
from mesh.auth.token_streams import revoked
from mesh.catalog.watch import CatalogWatch
from mesh.health.clock_watch import ClockWatch

LOOK_S = 0.25
ENDED_IN_A_TURN = 100


def checking(verifier: Verifies, clock: ClockWatch, catalog: CatalogWatch) -> Verifies:
    """Takes the tokens that `verifier` takes by a clock that is right, but for those that are revoked, as far
    as the catalog's watch has brought it."""
    return Unrevoked(clock.checking(verifier), catalog.revocations)


class Unrevoked:
    def __init__(self, verifier: Verifies, revocations: Revocations) -> None:
        self._verifier = verifier
        self._revocations = revocations

    def verify(self, authorization: str | None, now_s: float) -> Identity:
        """As Verifier.verify; also raises Unauthenticated for a token that is revoked."""
        identity = self._verifier.verify(authorization, now_s)
        if (revocation := self._revocations.covering(identity, now_s)) is not None:
            raise revoked(revocation)
        return identity


async def keep_ending(streams: TokenStreams[Any], now: Callable[[], float]) -> None:
    """Until cancelled. `now`: Unix seconds."""
    while True:
        await asyncio.sleep(LOOK_S)
        for number, (stream, error) in enumerate(streams.look(now()), 1):
            stream.end(error)
            if number % ENDED_IN_A_TURN == 0:
                await asyncio.sleep(0)
