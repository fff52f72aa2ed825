"""Whose inboxes are held, and which are to be loaded next. Pure: `now_s`, monotonic seconds, comes in.

An inbox is held while it is watched and INBOX_LINGER_S longer, so that who comes back finds it as it was
left. A new one is loaded first; after that all are loaded again in turn, the one loaded longest ago first,
none more often than every ANTI_ENTROPY_S: that heals what was lost on the way. One that is wanted, because
somebody waits for more than it has, is loaded before its turn. Crowds are held by a plan of their own, by
their names.

Bounds: at most `lingering_max` that nobody watches, of which the one left longest ago goes first; watched are
as many as the gateway has viewers. A batch has at most `new_max` new ones, as many wanted ones and
`again_max` others, and batches begin at least `batch_s` apart.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from gateway import bounds


class InboxBatch(NamedTuple):
    """Actors whose inboxes are to be loaded, for the first time and once more."""

    new: list[str]
    again: list[str]


@dataclass(slots=True)
class _PlannedInbox:
    watches: int = 0
    loaded_at_s: float = float("-inf")


class InboxPlan:
    def __init__(
        self,
        lingering_max: int = bounds.INBOXES_LINGERING_MAX,
        batch_s: float = bounds.INBOX_BATCH_S,
        new_max: int = bounds.INBOX_BATCH_NEW_MAX,
        again_max: int = int(bounds.INBOX_RELOADS_PER_S * bounds.INBOX_BATCH_S),
    ) -> None:
        self._lingering_max = lingering_max
        self._batch_s = batch_s
        self._new_max = new_max
        self._again_max = again_max
        self._new: OrderedDict[str, _PlannedInbox] = OrderedDict()
        self._loaded: OrderedDict[str, _PlannedInbox] = OrderedDict()
        self._lingering: OrderedDict[str, float] = OrderedDict()
        self._wanted: OrderedDict[str, float] = OrderedDict()
        """When each is due."""
        self._batch_at_s = float("-inf")

    def __len__(self) -> int:
        """How many are held."""
        return len(self._new) + len(self._loaded)

    def watch(self, actor_id: str) -> None:
        """Once more; `unwatch` as often."""
        held = self._held(actor_id)
        if held is None:
            held = self._new[actor_id] = _PlannedInbox()
        held.watches += 1
        self._lingering.pop(actor_id, None)

    def unwatch(self, actor_id: str, now_s: float) -> None:
        held = self._held(actor_id)
        assert held is not None
        held.watches -= 1
        if held.watches == 0:
            self._lingering[actor_id] = now_s

    def want(self, actor_id: str) -> None:
        """It is loaded before its turn, but INBOX_WANTED_S after it was loaded last at the earliest. Nothing
        comes of it where a load is to come anyway."""
        held = self._loaded.get(actor_id)
        if held is not None and actor_id not in self._wanted:
            self._wanted[actor_id] = held.loaded_at_s + bounds.INBOX_WANTED_S

    def let_go(self, now_s: float) -> list[str]:
        """Those held no longer."""
        gone = []
        while self._lingering:
            actor_id, since_s = next(iter(self._lingering.items()))
            if now_s < since_s + bounds.INBOX_LINGER_S and len(self._lingering) <= self._lingering_max:
                break
            del self._lingering[actor_id]
            self._new.pop(actor_id, None)
            self._loaded.pop(actor_id, None)
            self._wanted.pop(actor_id, None)
            gone.append(actor_id)
        return gone

    def take(self, now_s: float) -> InboxBatch:
        """What is to be loaded now."""
        batch = InboxBatch([], [])
        if now_s < self._batch_at_s + self._batch_s:
            return batch
        while self._loaded and len(batch.again) < self._again_max:
            actor_id, held = next(iter(self._loaded.items()))
            if now_s < held.loaded_at_s + bounds.ANTI_ENTROPY_S:
                break
            batch.again.append(self._load_again(actor_id, now_s))
        for _ in range(min(self._new_max, len(self._wanted))):
            actor_id, at_s = next(iter(self._wanted.items()))
            if now_s < at_s:
                break
            batch.again.append(self._load_again(actor_id, now_s))
        while self._new and len(batch.new) < self._new_max:
            actor_id, held = self._new.popitem(last=False)
            held.loaded_at_s = now_s
            self._loaded[actor_id] = held
            batch.new.append(actor_id)
        if batch.new or batch.again:
            self._batch_at_s = now_s
        return batch

    def next_at_s(self) -> float | None:
        """When `take` or `let_go` may have something, perhaps past; None: when something happens before."""
        at_s = []
        if self._new:
            at_s.append(self._batch_at_s + self._batch_s)
        for held in self._loaded.values():  # the one loaded longest ago
            at_s.append(max(held.loaded_at_s + bounds.ANTI_ENTROPY_S, self._batch_at_s + self._batch_s))
            break
        for since_s in self._lingering.values():
            at_s.append(since_s + bounds.INBOX_LINGER_S)
            break
        for wanted_at_s in self._wanted.values():
            at_s.append(max(wanted_at_s, self._batch_at_s + self._batch_s))
            break
        if len(self._lingering) > self._lingering_max:
            at_s.append(float("-inf"))
        return min(at_s, default=None)

    def _load_again(self, actor_id: str, now_s: float) -> str:
        self._loaded[actor_id].loaded_at_s = now_s
        self._loaded.move_to_end(actor_id)
        self._wanted.pop(actor_id, None)
        return actor_id

    def _held(self, actor_id: str) -> _PlannedInbox | None:
        return self._new.get(actor_id) or self._loaded.get(actor_id)
