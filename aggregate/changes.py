"""Turns what changed in a partition into the writes of one flush."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from aggregate import bounds
from aggregate.encoded_partials import EncodedPartial
from aggregate.fold import Append, Change, DeleteFields, Drop, Rank, Replace, SetFields, Unrank
from aggregate.topic_table import Forgotten
from aggregate.topics import TopicKey
from grandstand.catalog.v1.catalog_pb2 import Stage
from grandstand.internal.v1.internal_pb2 import StoredTopic
from mesh.redis import layout
from mesh.redis.layout import Write

_WORTH_IT = 3


class Table(Protocol):
    """State that is stored as a log: OriginWindows, Tallies."""

    @property
    def encoded_bytes(self) -> int: ...
    def delta(self) -> bytes: ...
    def encode(self) -> bytes: ...


class StateLog:
    """A log in Redis: its length, and when to compact it, that is, to rewrite it from the table.

    Bound: three times what the table holds, or LOG_BYTES_MIN.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._compacts = False

    def compact(self) -> None:
        """Rewrites the log with the next flush: the table dropped rows, which appending cannot express."""
        self._compacts = True

    def write(self, key: str, table: Table) -> Write | None:
        """The write of the next flush, or None. Takes the table's delta."""
        if self._compacts or self._length > max(bounds.LOG_BYTES_MIN, _WORTH_IT * table.encoded_bytes):
            self._compacts = False
            whole = table.encode()
            self._length = len(whole)
            return Write("SET", key, (whole,))
        delta = table.delta()
        if not delta:
            return None
        self._length += len(delta)
        return Write("APPEND", key, (delta,))


class Changes:
    """Collects the writes of one partition's flush, in order."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self.writes: list[Write] = []

    def log(self, name: str, state: StateLog, table: Table) -> None:
        write = state.write(layout.log_key(self._partition, name), table)
        if write is not None:
            self.writes.append(write)

    def topic(self, key: TopicKey, stored: StoredTopic) -> None:
        name = f"{key[0]}/{key[1]}"
        self.writes.append(
            Write("HSET", layout.topics_key(self._partition), (name, stored.SerializeToString()))
        )

    def forget(self, game_id: str, gone: Forgotten) -> None:
        """Comes before what is stored of a new game of the id."""
        p = self._partition
        self._chunked("HDEL", layout.topics_key(p), [f"{game_id}/{each}" for each in sorted(gone.fields)])
        self.writes.append(Write("DEL", layout.results_key(p, game_id), ()))
        for key, part in sorted(gone.parts):
            self.writes += (Write("DEL", key_of(p, *key, part), ()) for key_of in layout.PART_KEYS)

    def ended(self, game_id: str, stage: Stage) -> None:
        """Beside the game's results, for who ends it (see aggregate.closing)."""
        results = layout.results_key(self._partition, game_id)
        self.writes.append(Write("HSET", results, (layout.GAME_STAGE, str(stage))))

    def fold(self, key: TopicKey, changes: Iterable[Change]) -> None:
        """A fold's delta."""
        p = self._partition
        for change in changes:
            log = layout.part_log_key(p, *key, change.part)
            fields = layout.part_hash_key(p, *key, change.part)
            ranking = layout.part_ranking_key(p, *key, change.part)
            match change:
                case Append():
                    self.writes.append(Write("APPEND", log, (change.log,)))
                case Replace():
                    self.writes.append(Write("SET", log, (change.log,)))
                case SetFields():
                    self._chunked("HSET", fields, change.flat)
                case DeleteFields():
                    self._chunked("HDEL", fields, change.names)
                case Rank():
                    self._chunked("ZADD", ranking, change.flat)
                case Unrank():
                    self._chunked("ZREM", ranking, change.members)
                case Drop():
                    self.writes += (Write("DEL", each, ()) for each in (log, fields, ranking))

    def results(self, partials: Iterable[EncodedPartial]) -> None:
        prefix = layout.results_key(self._partition, "")
        self.writes += [
            Write("HSET", prefix + game_id, (topic, encoded)) for game_id, topic, encoded in partials
        ]

    def _chunked(self, command: str, key: str, arguments: Sequence[str | bytes]) -> None:
        """One write for every FLUSH_ARGUMENTS_MAX arguments: Lua cannot unpack more."""
        if len(arguments) <= bounds.FLUSH_ARGUMENTS_MAX:
            self.writes.append(Write(command, key, arguments))
            return
        for at in range(0, len(arguments), bounds.FLUSH_ARGUMENTS_MAX):
            self.writes.append(Write(command, key, arguments[at : at + bounds.FLUSH_ARGUMENTS_MAX]))


assert bounds.FLUSH_ARGUMENTS_MAX % 2 == 0, "a name and its value stay together"
