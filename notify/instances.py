"""Which notify processes live, as one of them knows it from their health reports, and which of them judges a
game. Pure: `now_s` is of any clock that does not jump.

Rendezvous hashing: a process that comes or goes moves its own share of the games alone. It is an
optimisation, and may be wrong: that each firing is stored once is the stream's to see to (notify.game_rules).

One that was not heard for SILENT_S counts as dead. A process that could not hear for a while knows nothing of
the others, and counts their silence again.

Bound: one entry for each instance name that was heard lately.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

SILENT_S = 3.0
LOOK_S = 0.5
"""How often `living` is to be asked."""


class Instances:
    def __init__(self, own: str, now_s: float) -> None:
        self._own = own
        self._heard_s: dict[str, float] = {}
        self._looked_s = now_s

    def hear(self, instance: str, now_s: float) -> None:
        if instance and instance != self._own:
            self._heard_s[instance] = now_s

    def living(self, now_s: float) -> frozenset[str]:
        """With ours."""
        if now_s - self._looked_s > 2 * LOOK_S:
            self._heard_s = dict.fromkeys(self._heard_s, now_s)
        self._looked_s = now_s
        self._heard_s = {each: at for each, at in self._heard_s.items() if now_s - at <= SILENT_S}
        return frozenset((self._own, *self._heard_s))


def judge_of(game_id: str, instances: Iterable[str]) -> str:
    """Of those that live, the one that judges the game."""
    return max(instances, key=lambda each: (_weight(game_id, each), each))


def _weight(game_id: str, instance: str) -> bytes:
    return blake2b(f"{instance}|{game_id}".encode(), digest_size=8).digest()
