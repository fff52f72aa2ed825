"""The standings of one season of a board: one score an actor, combined by the board's mode.

- BEST and LOWEST keep the better score, and of equal scores the one that was reached first. The result does
  not depend on the order of the blocks.
- SUM adds up exactly; what is shown and ranked is clamped to ±2^53, the range in which every client
  represents whole numbers exactly. The sum counts as reached when its latest addend was, so the order does
  not matter here either. (With clamping after each score, +2^53, +1000, -1000 would end below its start.)
- LAST takes the score that comes later in the stream, but within one origin the greater sequence number
  wins: an older score of an origin never replaces a newer one, even if another origin's score came in
  between. Repeating a score does not change when it was reached.

Equal scores have a total order. The score that was reached first leads: by the stamp of its block (when
ingest received the block's first event, not clamped), then by its place in its section of the block, then
by the lesser actor id, for two ingests with the same microsecond. Stamps of different ingests are as
accurate as their clocks.

A standing is kept as the 32 bytes that are stored: `<qQ` points as shown and ranked, reached; then
16 bytes by mode. SUM: the exact sum, an i128. Others: `<QQ` origin_tag, origin_seq; with LAST followed
by whose score it replaced (aggregate.superseded), 16 bytes for each origin and none for who only ever
had one. That is half the memory of a tuple, and encoding is free. The ranking holds `-points` (LOWEST:
`points`) with the member `<reached, 16 hex digits><actor_id>`: ZRANGE from 0 is best first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from struct import Struct

import numpy as np

from aggregate import superseded
from aggregate.fold import Change, DeleteFields, Rank, SetFields, Unrank
from aggregate.leaders import Key, Leaders
from aggregate.rows import Rows
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    BoardMode,
)
from grandstand.internal.v1.internal_pb2 import SeasonShare
from grandstand.wire import bounds as wire_bounds

_STANDING = Struct("<qQQQ")
_SUM = Struct("<qQQq")
_PLACE = Struct("<qQ")
_pack = _STANDING.pack
_unpack: Callable[[bytes], tuple[int, int, int, int]] = _STANDING.unpack_from
_LOW = 2**64 - 1
_place: Callable[[bytes], tuple[int, int]] = _PLACE.unpack_from


class Standings:
    """`part` names the season's part of the stored state."""

    def __init__(self, part: str, mode: BoardMode, top: int, stored: Mapping[str, bytes] | None = None):
        self.part = part
        self._mode = mode
        self._sign = 1 if mode == BOARD_MODE_LOWEST else -1
        self._standings: dict[str, bytes] = dict(stored or {})
        # What each actor changed since the last delta had when it was made.
        self._before: dict[str, bytes | None] = {}
        self._leaders = Leaders(top, self._smallest)

    def __len__(self) -> int:
        return len(self._standings)

    def fold(self, rows: Rows) -> bool:
        """True if a standing changed. Not only the best: what is shown goes with what is stored, and
        tells by its sequence up to where scores are in (I6)."""
        is_sum = self._mode == BOARD_MODE_SUM
        combine = self._combine
        standings, before_of, sign = self._standings, self._before, self._sign
        move = self._leaders.move
        changed = False
        columns = (
            rows.actors(),
            _within(rows.points()),
            rows.reached.tolist(),
            rows.origin_tag.tolist(),
            rows.origin_seq.tolist(),
        )
        for at, (actor, points, reached, tag, seq) in enumerate(zip(*columns, strict=True)):
            before = standings.get(actor)
            if before is None:
                standing = _pack_sum(points, reached) if is_sum else _pack(points, reached, tag, seq)
                move(None, (sign * points, reached, actor))
            else:
                combined = combine(before, points, reached, tag, seq, rows, at)
                if combined is None or combined == before:
                    continue
                standing = combined
                old, new = _place(before), _place(standing)
                if old != new:
                    move((sign * old[0], old[1], actor), (sign * new[0], new[1], actor))
            standings[actor] = standing
            before_of.setdefault(actor, before)
            changed = True
        return changed

    def remove(self, actor: str) -> bool:
        """Takes the actor's standing away, whose next score is its first; False if it has none."""
        before = self._standings.pop(actor, None)
        if before is None:
            return False
        points, reached = _place(before)
        self._leaders.move((self._sign * points, reached, actor), None)
        self._before.setdefault(actor, before)
        return True

    def _combine(
        self, before: bytes, points: int, reached: int, tag: int, seq: int, rows: Rows, at: int
    ) -> bytes | None:
        """The actor's standing after another score, row `at`; None if nothing of it changes."""
        had, had_reached, last_tag, last_seq = _unpack(before)
        if self._mode == BOARD_MODE_SUM:
            exact = had if -wire_bounds.POINTS_MAX < had < wire_bounds.POINTS_MAX else _exact(before)
            return _pack_sum(exact + points, max(had_reached, reached))
        if self._mode == BOARD_MODE_LAST:
            past = self._past(before, (last_tag, last_seq), (tag, seq), rows, at)
            if past is None:
                return None
            return _pack(points, had_reached if points == had else reached, tag, seq) + past
        better = self._sign * (points - had)
        if better > 0 or (better == 0 and reached >= had_reached):
            return None
        return _pack(points, reached, tag, seq)

    @staticmethod
    def _past(
        before: bytes, had: tuple[int, int], comes: tuple[int, int], rows: Rows, at: int
    ) -> bytes | None:
        """Of mode LAST: whom the new score has replaced; None if it must not replace the one before."""
        past = before[_STANDING.size :]
        if had[0] != comes[0]:
            return superseded.replaced(past, had, comes, partial(rows.is_behind, at))
        return None if had[1] > comes[1] else past

    def share(self, number: int, *, sealed: bool) -> SeasonShare:
        best = self._leaders.best()
        return SeasonShare(
            number=number,
            actor_ids=[actor for _, _, actor in best],
            points=[self._sign * score for score, _, _ in best],
            reached=[reached for _, reached, _ in best],
            actors=len(self._standings),
            sealed=sealed,
        )

    def delta(self) -> list[Change]:
        """What changed since the last delta, one entry an actor; this takes it away."""
        before, self._before = self._before, {}
        fields: list[str | bytes] = []
        deleted: list[str] = []
        unranked: list[str] = []
        ranked: list[str | bytes] = []
        for actor, old in before.items():
            standing = self._standings.get(actor)
            if standing == old:
                continue
            if standing is None:
                assert old is not None
                deleted.append(actor)
                unranked.append(member_of(_place(old)[1], actor))
                continue
            fields += (actor, standing)
            points, reached = _place(standing)
            if old is not None:
                was = _place(old)
                if was == (points, reached):
                    continue
                if was[1] != reached:
                    unranked.append(member_of(was[1], actor))
            ranked += (str(self._sign * points), member_of(reached, actor))
        return self._changes(fields, deleted, unranked, ranked)

    def encode(self) -> list[Change]:
        fields: list[str | bytes] = []
        ranked: list[str | bytes] = []
        for actor, standing in self._standings.items():
            fields += (actor, standing)
            points, reached = _place(standing)
            ranked += (str(self._sign * points), member_of(reached, actor))
        return self._changes(fields, [], [], ranked)

    def _changes(
        self,
        fields: list[str | bytes],
        deleted: list[str],
        unranked: list[str],
        ranked: list[str | bytes],
    ) -> list[Change]:
        changes: list[Change] = []
        if fields:
            changes.append(SetFields(self.part, fields))
        if deleted:
            changes.append(DeleteFields(self.part, deleted))
        if unranked:
            changes.append(Unrank(self.part, unranked))
        if ranked:
            changes.append(Rank(self.part, ranked))
        return changes

    def _smallest(self, count: int) -> list[Key]:
        """The `count` smallest keys of all, by numpy: a million standings in some 0.1 s."""
        actors = list(self._standings)
        places = b"".join([standing[: _PLACE.size] for standing in self._standings.values()])
        packed = np.frombuffer(places, dtype=[("points", "<i8"), ("reached", "<u8")])
        score, reached = self._sign * packed["points"], packed["reached"]
        chosen = np.arange(len(actors))
        if len(actors) > count:
            # By score alone, then of those with the last score the first: a storm of equal scores is common.
            last = np.partition(score, count - 1)[count - 1]
            sooner, tied = np.flatnonzero(score < last), np.flatnonzero(score == last)
            missing = count - len(sooner)
            if len(tied) > missing:
                latest = np.partition(reached[tied], missing - 1)[missing - 1]
                tied = tied[reached[tied] <= latest]
            chosen = np.concatenate((sooner, tied))
        keys = sorted((int(score[i]), int(reached[i]), actors[i]) for i in chosen.tolist())
        return keys[:count]


def member_of(reached: int, actor_id: str) -> str:
    """The ranking's member: of equal scores, members are in the order of the board."""
    return f"{reached:016x}{actor_id}"


def _pack_sum(total: int, reached: int) -> bytes:
    bound = wire_bounds.POINTS_MAX
    shown = total if -bound <= total <= bound else bound if total > 0 else -bound
    return _SUM.pack(shown, reached, total & _LOW, total >> 64)


def _exact(standing: bytes) -> int:
    _, _, low, high = _SUM.unpack(standing)
    return int(high << 64 | low)


def _within(points: list[int]) -> list[int]:
    """Points within ±2^53. Ingest admits no others; a fold does not fail over them."""
    bound = wire_bounds.POINTS_MAX
    if points and (max(points) > bound or min(points) < -bound):
        return [max(-bound, min(bound, each)) for each in points]
    return points


def stored_standings(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, bytes]:
    """A part's hash, read back; fields that are no actor's are left out."""
    return {name.decode(): value for name, value in fields if not name.startswith(b"!")}
