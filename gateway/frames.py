"""The messages of a cohort: when one is due, and its bytes. Pure.

A tick fixes what the cohort shows: its base. The update of a tick is what changed since the base before, so
it fits exactly those who have that base: with `deltas` a topic comes as a TopicDelta if there is one (see
grandstand.wire.delta). Everybody else is sent a snapshot of the base, or, if it must be newer than the base
(a read barrier, a cursor from another gateway), of the view as it is now.

Each is encoded at most once for a tick, of parts that the view encoded once for all cohorts, put together by
the rules of protobuf's wire format (protobuf.dev/programming-guides/encoding).

What a Snapshot shows of many topics says gateway.snapshot_topics.

Bound: a state for each topic that matches, which the view holds as well, and three encoded messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.snapshot_topics import Candidate, choose
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from grandstand.gateway.v1.gateway_pb2 import (
    Drain,
    GameEnded,
    Heartbeat,
    Personal,
    Rendition,
    Snapshot,
    SubscribeResponse,
    TokenExpiring,
    Update,
)
from grandstand.wire.topics import TopicPatterns
from mesh.results_feed.shown import Shown, position
from mesh.results_feed.view import GameView
from mesh.wire_format import FIXED64, LENGTH_DELIMITED, VARINT, sized, tag, varint

_AS_OF = tag(SubscribeResponse, "as_of", LENGTH_DELIMITED)
_APPLIED = tag(SubscribeResponse, "applied", LENGTH_DELIMITED)
_SECONDS = tag(Timestamp, "seconds", VARINT)
_NANOS = tag(Timestamp, "nanos", VARINT)
_SNAPSHOT = tag(SubscribeResponse, "snapshot", LENGTH_DELIMITED)
_UPDATE = tag(SubscribeResponse, "update", LENGTH_DELIMITED)
_SNAPSHOT_TOPIC = tag(Snapshot, "topics", LENGTH_DELIMITED)
_SNAPSHOT_MORE = tag(Snapshot, "more", VARINT)
_SNAPSHOT_RATE = tag(Snapshot, "updates_per_s", FIXED64)
_UPDATE_TOPIC = tag(Update, "topics", LENGTH_DELIMITED)
_UPDATE_DELTA = tag(Update, "deltas", LENGTH_DELIMITED)
_PERSONAL = tag(SubscribeResponse, "personal", LENGTH_DELIMITED)
_PERSONAL_TOPIC = tag(Personal, "topics", LENGTH_DELIMITED)
_DOUBLE = Struct("<d")

_CHOSEN_FOR_S = 10.0
"""A Snapshot is chosen again after so long, though nothing has changed: what was sealed gets old."""


class _Matched(dict[str, bool]):
    """Whether a topic matches the patterns: each topic is matched once."""

    def __init__(self, patterns: TopicPatterns) -> None:
        self._patterns = patterns

    def __missing__(self, topic: str) -> bool:
        found = self[topic] = self._patterns.match(topic)
        return found


class Frames:
    """`now_s` is Unix time, `at_s` monotonic; both in seconds."""

    def __init__(
        self,
        view: GameView,
        patterns: TopicPatterns,
        updates_per_s: float,
        *,
        deltas: bool,
        now_s: float,
        sealed_at_s: Callable[[str], float],
    ) -> None:
        """`sealed_at_s`: when a sealed topic was sealed, Unix seconds."""
        self.updates_per_s = updates_per_s
        """May be changed at any time."""
        self._view = view
        self._patterns = patterns
        self._deltas = deltas
        self._ticked_at_s = float("-inf")
        self._version = view.version
        self._behind: list[str] = []
        """The matching topics that have changed since the base, as of version `_looked_at`."""
        self._looked_at = view.version
        self._matched = _Matched(patterns)
        self._base = {topic: view.shown(topic, now_s) for topic in view.changed(patterns, 0)}
        self._applied = _positions(view)
        """All up to there is in the base."""
        self._sealed_at_s = sealed_at_s
        self._left_out: set[str] = set()
        """Topics that some Snapshot had no room for since they were last in an Update: of these there may be
        viewers who lack the base, so they are sent whole."""
        self._snapshot: tuple[float, bytes] | None = None
        """When it was made, and its field."""
        self._newest: tuple[int, bytes] | None = None
        """The view's version that it is of, and its field."""

    def due_at_s(self) -> float | None:
        """When the next tick is due, perhaps past; None while nothing changed."""
        if not self.is_behind():
            return None
        return self._ticked_at_s + 1 / self.updates_per_s

    def is_behind(self) -> bool:
        """Whether the view shows anything that the base does not."""
        view = self._view
        version = view.version
        if version != self._looked_at:
            matched, since = self._matched, self._version
            changed = [view.newest] if version == since + 1 else view.changed_since(since)
            self._behind = [each for each in changed if matched[each]]
            self._looked_at = version
            if not self._behind:
                self._version = version  # nothing that matches has changed up to here
        return bool(self._behind)

    def shows(self, topic: str) -> bool:
        """Whether the base has it."""
        return topic in self._base

    def tick(self, at_s: float, now_s: float) -> bytes:
        """The base is what the view shows now. Returns the update: what has changed since the last tick."""
        view, base, left_out = self._view, self._base, self._left_out
        parts = list[bytes]()
        behind, self._behind = self._behind if self.is_behind() else [], []
        if len(behind) > 1:
            behind.sort()
        for topic in behind:
            shown = view.shown(topic, now_s)
            before = base.get(topic)
            base[topic] = shown
            if left_out and topic in left_out:
                left_out.discard(topic)
                before = None
            delta = shown.delta(before) if self._deltas and before is not None else None
            if delta is not None:
                parts += (_UPDATE_DELTA, varint(len(delta)), delta)
            else:
                parts += (_UPDATE_TOPIC, sized(shown.encoded))
        self._ticked_at_s = at_s
        self._version = view.version
        self._snapshot = self._newest = None
        self._applied = _positions(view)
        changes = b"".join(parts)
        return b"".join((_as_of(now_s), self._applied, _UPDATE, varint(len(changes)), changes))

    def snapshot(self, now_s: float) -> bytes:
        """The base."""
        if not self.is_behind():
            self._applied = _positions(self._view)
        if self._snapshot is None or self._snapshot[0] + _CHOSEN_FOR_S < now_s:
            self._snapshot = now_s, self._encoded(self._base, now_s)
        return b"".join((_as_of(now_s), self._applied, self._snapshot[1]))

    def newest(self, now_s: float) -> bytes:
        """A snapshot of what the view shows now."""
        version = self._view.version
        if self._newest is None or self._newest[0] != version:
            topics = self._view.changed(self._patterns, 0)
            shown = {topic: self._view.shown(topic, now_s) for topic in topics}
            self._newest = version, self._encoded(shown, now_s)
        return b"".join((_as_of(now_s), _positions(self._view), self._newest[1]))

    def renditioned(self, updates_per_s: float) -> None:
        """The rate changed: snapshots say so."""
        self.updates_per_s = updates_per_s
        self._snapshot = self._newest = None

    def _encoded(self, shown: Mapping[str, Shown], now_s: float) -> bytes:
        """A Snapshot, as far as it has room."""
        candidates = [
            Candidate(
                topic,
                len(each.encoded),
                self._view.changed_at(topic),
                self._sealed_at_s(topic) if each.stage == STAGE_SEALED else None,
            )
            for topic, each in shown.items()
        ]
        chosen = choose(candidates, self._patterns.exact, now_s)
        if len(chosen.topics) < len(shown):
            self._left_out |= shown.keys() - set(chosen.topics)
        parts = [_SNAPSHOT_TOPIC + sized(shown[topic].encoded) for topic in chosen.topics]
        parts.append(_SNAPSHOT_RATE + _DOUBLE.pack(self.updates_per_s))
        if chosen.more:
            parts.append(_SNAPSHOT_MORE + varint(1))
        return _SNAPSHOT + sized(b"".join(parts))


@lru_cache(maxsize=4)
def _as_of(now_s: float) -> bytes:
    """The field, which is the same in all that is encoded in one turn."""
    seconds, nanos = divmod(int(now_s * 1e9), 1_000_000_000)
    content = _SECONDS + varint(seconds) + (_NANOS + varint(nanos) if nanos else b"")
    return _AS_OF + sized(content)


def _positions(view: GameView) -> bytes:
    """The fields that say how far the view's partitions are known."""
    positions = view.positions()
    if len(positions) == 1:
        return _applied_field(*positions[0])
    return b"".join([_applied_field(partition, applied) for partition, applied in positions])


@lru_cache(maxsize=64)
def _applied_field(partition: int, sequence: int) -> bytes:
    """The same for all games of a partition."""
    return _APPLIED + sized(position(partition, sequence))


def personal(states: Sequence[bytes], now_s: float) -> bytes:
    """Of encoded TopicStates."""
    topics = b"".join([_PERSONAL_TOPIC + sized(state) for state in states])
    return b"".join((_as_of(now_s), _PERSONAL, sized(topics)))


def heartbeat(now_s: float) -> bytes:
    return _said(SubscribeResponse(heartbeat=Heartbeat()), now_s)


def rendition(updates_per_s: float, reason: str, now_s: float) -> bytes:
    return _said(SubscribeResponse(rendition=Rendition(updates_per_s=updates_per_s, reason=reason)), now_s)


def drain(reconnect_after_s: float, now_s: float) -> bytes:
    message = Drain()
    message.reconnect_after.FromNanoseconds(int(reconnect_after_s * 1e9))
    return _said(SubscribeResponse(drain=message), now_s)


def game_ended(ended_at: Timestamp, now_s: float) -> bytes:
    """`ended_at` is left unset if it is not known."""
    message = GameEnded()
    if ended_at.ByteSize():
        message.ended_at.CopyFrom(ended_at)
    return _said(SubscribeResponse(game_ended=message), now_s)


def token_expiring(expires_at_s: float, now_s: float) -> bytes:
    message = TokenExpiring()
    message.expires_at.FromMicroseconds(round(expires_at_s * 1e6))
    return _said(SubscribeResponse(token_expiring=message), now_s)


def _said(response: SubscribeResponse, now_s: float) -> bytes:
    response.as_of.FromNanoseconds(int(now_s * 1e9))
    return response.SerializeToString()
