"""The anti-replay windows of all origins of a partition (I2), and their log.

Viewers are many and their windows are 64 wide: one u64 each, in columns, so that a block is
admitted in a few numpy steps. Producers are few and their windows wide: a ReplayWindow each.

Bounds: an origin is forgotten ORIGIN_WINDOW_LIFE_S after its issue, by the stream's own time
(`forget`); ingest admits none that old. What they take is bounded by aggregate.origin_retention.
Events of origins issued before `from_s` are not admitted: their windows have left, so a resend
cannot be told from an event that is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct, pack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregate.keyindex import I64, U64, KeyIndex, grown, joined_keys, key_columns
from aggregate.window import Mask, ReplayWindow
from grandstand.internal.v1.internal_pb2 import OriginLog, OriginRows, ProducerWindow
from grandstand.wire import bounds as wire_bounds
from mesh.wire_format import LENGTH_DELIMITED, VARINT, sized, tag, varint

_ONE = np.uint64(1)
_63 = np.uint64(63)
_64 = np.uint64(64)

_KEY = Struct("<QQ")
_ROWS = tag(OriginLog, "rows", LENGTH_DELIMITED)
_PRODUCERS = tag(OriginRows, "producers", LENGTH_DELIMITED)
_ORIGIN, _SEEN = (tag(ProducerWindow, name, LENGTH_DELIMITED) for name in ("origin", "seen"))
_HIGHEST = tag(ProducerWindow, "highest", VARINT)
_64_BITS = (1 << 64) - 1

# What a row takes in the log, and about what a producer's window does.
_ROW_BYTES = 32
_PRODUCER_BYTES = 40 + wire_bounds.PRODUCER_WINDOW // 8

assert wire_bounds.VIEWER_WINDOW == 64, "a viewer's window is one u64"


class Admitted(NamedTuple):
    """The result of `OriginWindows.admit`, by row."""

    new: Mask
    """To be folded: it was not seen before."""
    before: U64
    """The highest number of its origin before this block."""


class OriginWindows:
    def __init__(self, log: bytes = b"", salt: int = 0, from_s: int = 0) -> None:
        """`log`: what `encode` and later `delta`s said, joined. Raises DecodeError."""
        self.from_s = from_s
        self.turned_away = 0
        """Rows that were not admitted because their origins were issued before `from_s`."""
        self._salt = salt
        self._clear()
        for rows in OriginLog.FromString(log).rows:
            self._load(rows)

    def _clear(self) -> None:
        self._viewers = KeyIndex(self._salt)
        self._highest: U64 = np.zeros(0, dtype=np.uint64)
        self._seen: U64 = np.zeros(0, dtype=np.uint64)
        self._mark: I64 = np.zeros(0, dtype=np.int64)
        self._producers: dict[bytes, ReplayWindow] = {}
        self._touched: list[I64] = []
        self._pieces: list[bytes] = []
        """Of the log: the viewers of small blocks since the last delta; rows of `_touched` come after."""
        self._producers_touched: set[bytes] = set()
        self._view()

    def _view(self) -> None:
        self._one_highest, self._one_seen = self._highest.data, self._seen.data

    def __len__(self) -> int:
        return len(self._viewers) + len(self._producers)

    @property
    def encoded_bytes(self) -> int:
        """About how long `encode` is."""
        return _ROW_BYTES * len(self._viewers) + _PRODUCER_BYTES * len(self._producers)

    def admit(self, viewers: bytes, producers: bytes, origin: I64, sequence: U64) -> Admitted:
        """Which rows are new: those are taken as seen from now on.

        `viewers` and `producers` are dictionaries of 16-byte keys, `origin` points into the one
        followed by the other. Rows of one origin are judged in their order.
        """
        if self.from_s:
            has_left = issued_at_s(viewers + producers)[origin] < self.from_s
            if has_left.any():
                self.turned_away += int(has_left.sum())
                return self.admit_some(viewers, producers, origin, sequence, ~has_left)
        viewer_count = len(viewers) // 16
        if not producers:
            return self._admit_viewers(viewers, origin, sequence)
        admitted: Mask = np.zeros(len(origin), dtype=np.bool_)
        before: U64 = np.zeros(len(origin), dtype=np.uint64)
        of_viewers = origin < viewer_count
        if of_viewers.any():
            admitted[of_viewers], before[of_viewers] = self._admit_viewers(
                viewers, origin[of_viewers], sequence[of_viewers]
            )
        of_producers = np.flatnonzero(~of_viewers)
        order = np.argsort(origin[of_producers], kind="stable")
        rows = of_producers[order]
        names = origin[rows]
        for run in np.split(rows, np.flatnonzero(names[1:] != names[:-1]) + 1):
            if not len(run):
                continue
            window = self._window(producers, int(origin[run[0]]) - viewer_count)
            before[run] = window.highest
            admitted[run] = window.admit_all(sequence[run])
        return Admitted(admitted, before)

    def admit_some(
        self, viewers: bytes, producers: bytes, origin: I64, sequence: U64, wanted: Mask
    ) -> Admitted:
        """As `admit`, of the rows that are `wanted`: the others are not new, and leave nothing behind."""
        admitted = Admitted(np.zeros(len(origin), dtype=np.bool_), np.zeros(len(origin), dtype=np.uint64))
        if wanted.any():
            origin, count = origin[wanted], len(viewers) // 16
            is_used = np.zeros(count + len(producers) // 16, dtype=np.bool_)
            is_used[origin] = True
            is_used[count:] = True
            viewers = np.frombuffer(viewers, dtype="V16")[is_used[:count]].tobytes()
            origin = (np.cumsum(is_used) - 1)[origin]
            admitted.new[wanted], admitted.before[wanted] = self.admit(
                viewers, producers, origin, sequence[wanted]
            )
        return admitted

    def _admit_viewers(self, keys: bytes, origin: I64, sequence: U64) -> Admitted:
        row = self._rows(keys)[origin]
        place = np.arange(len(row))
        self._mark[row[::-1]] = place[::-1]
        first = self._mark[row] == place
        self._touched.append(row)
        before = self._highest[row]
        if first.all():
            return Admitted(self._admit_once(row, sequence, before), before)
        admitted: Mask = np.zeros(len(row), dtype=np.bool_)
        admitted[first] = self._admit_once(row[first], sequence[first], before[first])
        for at in np.flatnonzero(~first).tolist():
            admitted[at] = self._admit_one(int(row[at]), int(sequence[at]))
        return Admitted(admitted, before)

    def _rows(self, keys: bytes) -> I64:
        rows = self._viewers.rows(*key_columns(keys))
        self._grow()
        return rows

    def _grow(self) -> None:
        capacity = self._viewers.capacity
        if len(self._highest) < capacity:
            self._highest = grown(self._highest, capacity)
            self._seen = grown(self._seen, capacity)
            self._mark = grown(self._mark, capacity)
            self._view()

    def admit_few(
        self, viewers: bytes, producers: bytes, origin: Sequence[int], sequence: Sequence[int]
    ) -> tuple[list[bool], list[int]]:
        """As `admit`, row by row in plain Python; none of the origins `has_left`."""
        index, count = self._viewers, len(viewers) // 16
        windows = {at: self._window(producers, at - count) for at in set(origin) if at >= count}
        if not count and len(windows) == 1:
            (window,) = windows.values()
            before = [window.highest] * len(sequence)
            return window.admit_few(sequence), before
        index.reserve(count)
        self._grow()
        rows = [index.row_of(*key) for key in _KEY.iter_unpack(viewers)]
        highest, seen = self._one_highest, self._one_seen
        known = [highest[row] for row in rows]
        before = [known[at] if at < count else windows[at].highest for at in origin]
        admitted: list[bool] = []
        for at, number in zip(origin, sequence, strict=True):
            if at >= count:
                admitted.append(windows[at].admit(number))
                continue
            row = rows[at]
            behind = highest[row] - number
            if behind < 0:
                seen[row] = ((seen[row] << -behind) | 1) & _64_BITS if behind > -64 else 1
                highest[row] = number
            elif behind < 64 and number > 0 and not seen[row] >> behind & 1:
                seen[row] |= 1 << behind
            else:
                admitted.append(False)
                continue
            admitted.append(True)
        column = f"<{count}Q"
        now = OriginRows(
            viewers=viewers,
            highest=pack(column, *[highest[row] for row in rows]),
            seen=pack(column, *[seen[row] for row in rows]),
        )
        self._pieces.append(OriginLog(rows=[now]).SerializeToString())
        return admitted, before

    def has_left(self, keys: bytes) -> bool:
        """Whether any of them was issued before `from_s`."""
        return any(int.from_bytes(keys[at : at + 4], "big") < self.from_s for at in range(0, len(keys), 16))

    def _window(self, producers: bytes, at: int) -> ReplayWindow:
        """Of a producer whose events are to be admitted now."""
        key = producers[16 * at : 16 * at + 16]
        self._producers_touched.add(key)
        window = self._producers.get(key)
        if window is None:
            window = self._producers[key] = ReplayWindow(wire_bounds.PRODUCER_WINDOW)
        return window

    def _admit_once(self, row: I64, sequence: U64, highest: U64) -> Mask:
        """For rows of different origins, and the highest number of each."""
        seen = self._seen[row]
        ahead = sequence > highest
        if ahead.all():
            shift = sequence - highest
            self._seen[row] = np.where(shift < _64, seen << np.minimum(shift, _63), 0) | _ONE
            self._highest[row] = sequence
            return ahead
        shift = np.where(ahead, sequence - highest, 0)
        behind = np.where(ahead, 0, highest - sequence)
        bit = _ONE << np.minimum(behind, _63)
        inside = ~ahead & (behind < _64) & ((seen & bit) == 0) & (sequence > 0)
        moved = np.where(shift < _64, seen << np.minimum(shift, _63), 0) | _ONE
        self._seen[row] = np.where(ahead, moved, np.where(inside, seen | bit, seen))
        self._highest[row] = np.maximum(highest, sequence)
        admitted: Mask = ahead | inside
        return admitted

    def _admit_one(self, row: int, sequence: int) -> bool:
        window = ReplayWindow(64, int(self._highest[row]), int(self._seen[row]))
        if not window.admit(sequence):
            return False
        self._highest[row], self._seen[row] = window.highest, window.seen
        return True

    def give_back(self, viewers: bytes, producers: bytes, origin: I64, sequence: U64) -> None:
        """Takes rows that `admit` said are new as not seen, so that they are admitted again while their
        origins' windows hold them. Columns as there."""
        keys, viewer_count = viewers + producers, len(viewers) // 16
        for at, number in zip(origin.tolist(), sequence.tolist(), strict=True):
            key = keys[16 * at : 16 * at + 16]
            if at >= viewer_count:
                self._producers[key].give_back(number)
                self._producers_touched.add(key)
                continue
            row = self._rows(key)
            window = ReplayWindow(64, int(self._highest[row[0]]), int(self._seen[row[0]]))
            window.give_back(number)
            self._seen[row] = window.seen
            self._touched.append(row)

    def seen(self, producer: Mask, keys: bytes, sequence: U64) -> Mask:
        """Which numbers would not be admitted now; takes nothing as seen. `producer`, keys of
        16 bytes and `sequence` have one entry for each."""
        found: Mask = np.zeros(len(producer), dtype=np.bool_)
        row = self._viewers.find(*key_columns(keys))
        for at in np.flatnonzero(producer | (row >= 0)).tolist():
            if producer[at]:
                window = self._producers.get(keys[16 * at : 16 * at + 16])
            else:
                window = ReplayWindow(64, int(self._highest[row[at]]), int(self._seen[row[at]]))
            found[at] = window is not None and window.has_seen(int(sequence[at]))
        return found

    def forget(self, issued_before_s: int) -> bool:
        """Drops the origins issued before; True if there were any: then the log must be compacted."""
        low, high = self._viewers.low, self._viewers.high
        kept = _issued_at_s(low) >= issued_before_s
        producers = {
            key: window
            for key, window in self._producers.items()
            if int.from_bytes(key[:4], "big") >= issued_before_s
        }
        if kept.all() and len(producers) == len(self._producers):
            return False
        count = len(self._viewers)
        highest, seen = self._highest[:count][kept], self._seen[:count][kept]
        low, high = low[kept], high[kept]
        self._clear()
        self._producers = producers
        rows = self._rows(joined_keys(low, high))
        self._highest[rows], self._seen[rows] = highest, seen
        return True

    def second_that_keeps(self, bytes_max: int) -> int:
        """The least second for which the origins issued from it on take at most so much (`encoded_bytes`);
        0 if all do."""
        producers = np.array([int.from_bytes(key[:4], "big") for key in self._producers], dtype=np.uint32)
        issued = np.concatenate((_issued_at_s(self._viewers.low), producers))
        taken = np.full(len(issued), _ROW_BYTES)
        taken[len(self._viewers) :] = _PRODUCER_BYTES
        newest_first = np.argsort(issued)[::-1]
        fit = int(np.searchsorted(np.cumsum(taken[newest_first]), bytes_max, side="right"))
        return 0 if fit == len(issued) else int(issued[newest_first[fit]]) + 1

    def delta(self) -> bytes:
        """The windows that changed since the last delta, as a piece of log; b"" if none did."""
        pieces, producers = self._pieces, sorted(self._producers_touched)
        if self._touched:
            pieces.append(self._encode(np.unique(np.concatenate(self._touched)), producers))
        elif producers:
            pieces.append(_ROWS + sized(self._producer_windows(producers)))
        self._untouch()
        return b"".join(pieces)

    def _untouch(self) -> None:
        self._touched, self._pieces, self._producers_touched = [], [], set()

    def encode(self) -> bytes:
        """All windows; counts as a delta taken."""
        self._untouch()
        return self._encode(np.arange(len(self._viewers)), sorted(self._producers))

    def _encode(self, rows: I64, producers: list[bytes]) -> bytes:
        encoded = OriginRows(
            viewers=joined_keys(self._viewers.low[rows], self._viewers.high[rows]),
            highest=self._highest[rows].astype("<u8", copy=False).tobytes(),
            seen=self._seen[rows].astype("<u8", copy=False).tobytes(),
        )
        return _ROWS + sized(encoded.SerializeToString() + self._producer_windows(producers))

    def _producer_windows(self, producers: Iterable[bytes]) -> bytes:
        """The field `producers` of an OriginRows, as protobuf would write it: with each flush of a partition
        in which a game server votes."""
        found = []
        for key in producers:
            window = self._producers[key]
            seen = window.seen.to_bytes((window.seen.bit_length() + 7) // 8, "little")
            content = (_ORIGIN, sized(key), _HIGHEST, varint(window.highest), _SEEN, sized(seen))
            found.append(_PRODUCERS + sized(b"".join(content)))
        return b"".join(found)

    def _load(self, encoded: OriginRows) -> None:
        rows = self._rows(encoded.viewers)
        self._highest[rows] = np.frombuffer(encoded.highest, dtype="<u8")
        self._seen[rows] = np.frombuffer(encoded.seen, dtype="<u8")
        for producer in encoded.producers:
            self._producers[producer.origin] = ReplayWindow(
                wire_bounds.PRODUCER_WINDOW, producer.highest, int.from_bytes(producer.seen, "little")
            )


def issued_at_s(keys: bytes) -> I64:
    """When the origins with these keys were issued, Unix seconds."""
    return _issued_at_s(key_columns(keys)[0]).astype(np.int64)


def _issued_at_s(low: U64) -> NDArray[np.uint32]:
    # The first four bytes of a key are the second of its issue, big-endian.
    return (low & np.uint64(0xFFFFFFFF)).astype(np.uint32).byteswap()
