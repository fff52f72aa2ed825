"""Where a partition's state lies in Redis, and what is written there.

Keys of a partition share one hash tag, so a flush is atomic on a cluster too:

    {p7}:lease              "<instance> <token>" of the one writer, for LEASE_S (I3)
    {p7}:applied            the stream sequence up to which the state is folded
    {p7}:stream             "<identity> <target>": of the event stream that it is folded from, and the last
                            block of the partition when that began: before it, the state is no answer
    {p7}:probe              string, expiring: its owner proves with it, each second, that Redis takes writes
    {p7}:manifest           hash  !state -> PartitionState; <key without the tag> -> "<sequence> <length>", of
                            every key below: the flush that wrote it last, and its length (strings: bytes;
                            hashes, sets: members), what it carries included (see aggregate.manifest)
    {p7}:topics             hash  <game>/<topic> -> StoredTopic; <game>/ -> the game's own definition
    {p7}:results:<game>     hash  <topic> -> Partial; !stage -> that of a game that is closed or sealed here
    {p7}:log:origins        OriginLog: the anti-replay windows (I2)
    {p7}:log:votes          VoteLog: the votes of all open polls
    {p7}:log:<game>/<topic>:<part>    the state of another fold (see aggregate.fold)
    {p7}:hash:<game>/<topic>:<part>   a board's standings: actor -> points and what orders ties; fields
                                      that begin with "!" are no actor's (standing_field)
    {p7}:rank:<game>/<topic>:<part>   zset: the same, ranked

Beside them, of no partition:

    inbox:{<actor>}         hash  <sequence of NOTICES> -> StoredNotice: an actor's own; the id is encoded
    reader:{<actor>}        hash  reader -> Reader; sequence -> its own in READERS; segment:<name> -> the
                            sequence in SEGMENTS by which the actor belongs to it; "-" before it: no more
    crowd:{everyone}        hash  <sequence of NOTICES> -> StoredNotice; so, too,
    crowd:{game:<id>}, crowd:{segment:<name>}
    segment:{<name>}        zset of scores 0: the encoded ids of the actors that belong to it
    segments                zset of scores 0: the names of those that somebody belongs to
    notices:applied:{<n>}   hash  <stream> -> "<identity> <sequence>": how far it is in the keys above; on a
                            cluster a copy for each sixteenth of the slots, elsewhere one
    notices:lease           string, expiring: the notify process that keeps them
    notices:used            hash  <game> -> bytes of NOTICES, of games that take a lot; !round -> how often
                            that was counted

They are derived from the streams NOTICES, READERS and SEGMENTS. A notice that was taken back is StoredNotice
with nothing but `cancelled` and its times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grandstand.wire import actors

_NAME = "!name:"

MANIFEST_STATE = b"!state"
"""The field of a manifest that is no key: the PartitionState."""

GAME_STAGE = "!stage"
"""The field of a game's results that is no topic: the Stage of a game that has ended."""


class Write(NamedTuple):
    """One Redis command on one key of the partition: HSET, HDEL, ZADD, ZREM, APPEND, SET, DEL; SETRANGE
    where a checkpoint is put back."""

    command: str
    key: str
    arguments: Sequence[str | bytes]


def tag(partition: int) -> str:
    return f"{{p{partition}}}"


def lease_key(partition: int) -> str:
    return f"{tag(partition)}:lease"


def stream_key(partition: int) -> str:
    return f"{tag(partition)}:stream"


def probe_key(partition: int) -> str:
    return f"{tag(partition)}:probe"


def key_of(partition: int, name: str) -> str:
    """The key of that name, as manifests and checkpoints have it."""
    return f"{tag(partition)}:{name}"


def name_of(key: str) -> str:
    """The key without the partition's tag, as manifests and checkpoints name it."""
    return key.partition("}:")[2]


def manifest_key(partition: int) -> str:
    return f"{tag(partition)}:manifest"


def applied_key(partition: int) -> str:
    return f"{tag(partition)}:applied"


def topics_key(partition: int) -> str:
    return f"{tag(partition)}:topics"


def log_key(partition: int, name: str) -> str:
    """A log of the partition's own: `origins` or `votes`."""
    return f"{tag(partition)}:log:{name}"


def part_log_key(partition: int, game_id: str, topic: str, part: str) -> str:
    return f"{tag(partition)}:log:{game_id}/{topic}:{part}"


def part_hash_key(partition: int, game_id: str, topic: str, part: str) -> str:
    return f"{tag(partition)}:hash:{game_id}/{topic}:{part}"


def part_ranking_key(partition: int, game_id: str, topic: str, part: str) -> str:
    return f"{tag(partition)}:rank:{game_id}/{topic}:{part}"


def results_key(partition: int, game_id: str) -> str:
    return f"{tag(partition)}:results:{game_id}"


def inbox_key(actor_id: str) -> str:
    return f"inbox:{{{actors.encode(actor_id)}}}"


def reader_key(actor_id: str) -> str:
    """In one slot with the actor's inbox."""
    return f"reader:{{{actors.encode(actor_id)}}}"


def crowd_key(crowd: str) -> str:
    """Of `everyone`, `game:<id>` or `segment:<name>` (mesh.notices.crowds)."""
    return f"crowd:{{{crowd}}}"


def segment_key(name: str) -> str:
    return f"segment:{{{name}}}"


SEGMENTS = "segments"
NOTICES_APPLIED = tuple(
    f"notices:applied:{{{tag}}}" for tag in (18, 3, 61, 58, 19, 2, 60, 59, 102, 1, 63, 49, 103, 0, 62, 48)
)
"""Copies, one in each sixteenth of a cluster's slots, so that each node that loses something shows it."""
NOTICES_LEASE = "notices:lease"
NOTICES_USED = "notices:used"


def standing_field(actor_id: str) -> str:
    """An actor's field in a board's standings: the id as it is, but encoded where it could be taken for a
    mark of the state or for an encoded id."""
    return actors.encode(actor_id) if actor_id[0] in "!=" else actor_id


def name_field(actor_id: str) -> str:
    """The mark in a board's standings that holds what an actor is called."""
    return f"{_NAME}{actor_id}"


def named_actor(field: bytes) -> str | None:
    """Of whom the field holds the name; None for any other."""
    return field[len(_NAME) :].decode() if field.startswith(_NAME.encode()) else None


def standing_actor(field: bytes) -> str | None:
    """Whose field it is; None for a mark of the state."""
    if field[:1] == b"!":
        return None
    name = field.decode()
    return actors.decode(name) if name[0] == "=" else name


PART_KEYS = (part_log_key, part_hash_key, part_ranking_key)
"""What a part of a topic's state may lie under."""
