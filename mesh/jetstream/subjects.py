"""NATS subjects and JetStream names, all of them.

Ids have no dots (see `ids`), so an id is always one token; an actor's is encoded (see `actors`).
"""

from __future__ import annotations

import re
import zlib
from hashlib import blake2b

from grandstand.wire import actors

EVENTS_STREAM = "EVENTS"
EVENTS_ALL = "events.*"
CATALOG_BUCKET = "catalog"
CATALOG_STREAM = f"KV_{CATALOG_BUCKET}"
TOMBSTONES_STREAM = "KV_tombstones"


def tombstone(game_id: str) -> str:
    """Where it is remembered that there was a game of this id (aggregate.tombstones)."""
    return f"$KV.tombstones.{game_id}"


def events(partition: int) -> str:
    return f"events.{partition}"


PURGED_ALL = "purged.*"


def purged(partition: int) -> str:
    """Where, in the event stream, it is said which blocks of the partition are purged (PurgeMarker)."""
    return f"purged.{partition}"


def consumer(partition: int) -> str:
    return f"aggregate-{partition}"


def votes(partition: int) -> str:
    """Where the partition's owner answers who has voted (VotedRequest)."""
    return f"votes.{partition}"


def partition_status(partition: int) -> str:
    """Where the partition's owner says how far it is (PartitionStatus)."""
    return f"partitions.{partition}"


PARTITION_STATUS_ALL = "partitions.*"
WORKERS = "workers.aggregate"
"""Where the aggregation workers tell each other that they live (WorkerBeat)."""

REFUSALS = "refusals"
"""Where it is asked of every ingest what it refused of an actor lately (RefusalsRequest)."""

HEALTH_ALL = "health.>"
HEALTH_OF_NOTIFY = "health.notify.*"


def health(service: str, instance: str) -> str:
    """Where a process says what it has proven of its dependencies (HealthReport)."""
    return f"health.{service}.{_token(instance)}"


PROBES_STREAM = "PROBES"
PROBES_ALL = "probes.>"


def probe(service: str, instance: str) -> str:
    """What a process stores in the probes' stream again and again, to prove that it can."""
    return f"probes.{service}.{_token(instance)}"


def _token(name: str) -> str:
    """Of a name that an operator chose, and that may hold anything."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_"


def message_ids(instance: str, life: str) -> str:
    """What the ids of an ingest's messages begin with, before their number; `life`: of the process."""
    return f"{_token(instance)}.{life}"


def replies(user: str) -> str:
    """Below which a user of NATS is answered; the client's usual place where there are no users."""
    return f"_INBOX.{_token(user)}" if user else "_INBOX"


CHECKPOINTS_BUCKET = "checkpoints"


def checkpoints(partition: int, stream: str) -> str:
    """What the names of a partition's checkpoints begin with; `stream` is the event stream's identity."""
    return f"{partition}/{stream}/"


def checkpoint(partition: int, stream: str, applied: int) -> str:
    """The object that is the partition's state at `applied`: later ones sort later."""
    return f"{checkpoints(partition, stream)}{applied:020d}"


INCIDENTS_STREAM = "INCIDENTS"
INCIDENTS_ALL = "incidents.*"


def incident(incident_id: str) -> str:
    """Where the canary keeps one: the newest message says how it stands."""
    return f"incidents.{incident_id}"


DEAD_LETTERS_STREAM = "DEAD_LETTERS"
DEAD_LETTERS_ALL = "deadletters.*"


def dead_letters(partition: int) -> str:
    return f"deadletters.{partition}"


def results(partition: int) -> str:
    """Where the partition's owner says what each flush changed (PartitionResults)."""
    return f"results.{partition}"


ANNOUNCEMENTS_ALL = "announcements.*"


def announcements(game_id: str) -> str:
    return f"announcements.{game_id}"


def inbox(actor_id: str) -> str:
    """Where notify says what changed in an actor's inbox (InboxChange)."""
    return f"inbox.{actors.encode(actor_id)}"


CROWDS_ALL = "crowd.>"


def crowd(name: str) -> str:
    """Where notify says what was stored for a crowd (CrowdNotice); `name` as mesh.notices.crowds has it."""
    return f"crowd.{name.replace(':', '.')}"


NOTICES_STREAM = "NOTICES"
NOTICES_ALL = "notices.>"
NOTICES_CANCELLED_ALL = "notices.cancelled.*"
NOTICES_SCHEDULED_ALL = "notices.scheduled.*"


def notice_name(game_id: str, key: str) -> str:
    """What stands in subjects for a game's notice of that key, which may hold anything: 32 hex digits."""
    return blake2b(f"{game_id}\0{key}".encode(), digest_size=16).hexdigest()


def notice_sent(name: str) -> str:
    """What was sent, at once or to be due later; of a list, its head."""
    return f"notices.sent.{name}"


def notice_part(name: str, part: int) -> str:
    """A part of a list; parts count from 0."""
    return f"notices.sent.{name}.{part}"


def notice_due(name: str, occurrence: int, part: int | None = None) -> str:
    """An occurrence that fell due; `part`: of a list."""
    return f"notices.due.{name}.{occurrence}" + ("" if part is None else f".{part}")


def notice_due_all(name: str) -> str:
    """Every occurrence that fell due, and every part of it."""
    return f"notices.due.{name}.>"


def notice_cancelled(name: str) -> str:
    return f"notices.cancelled.{name}"


def notice_scheduled(name: str) -> str:
    """What the scheduler has to send, until all of it fell due."""
    return f"notices.scheduled.{name}"


def notice_fired(game_id: str, rule_id: str, topic: str) -> str:
    """The firings of a rule on a topic; `topic`: "" for the game itself."""
    return f"notices.fired.{game_id}.{rule_id}.{topic.replace('/', '.') or 'game'}"


def notices_fired_in(game_id: str) -> str:
    """The firings of all rules of a game."""
    return f"notices.fired.{game_id}.>"


def notice_shown(name: str) -> list[str]:
    """Filters: all that a notice of that name is stored as, but for its cancellation and its schedule. One by
    one: nats-server 2.10 misses what the first matches in a consumer that has the second, too."""
    return [f"notices.sent.{name}", f"notices.sent.{name}.*", f"notices.due.{name}.>"]


READERS_STREAM = "READERS"
READERS_ALL = "readers.*"


def reader(actor_id: str) -> str:
    """What an actor has read, and wants to be told (Reader)."""
    return f"readers.{actors.encode(actor_id)}"


SEGMENTS_STREAM = "SEGMENTS"
SEGMENTS_ALL = "segments.*.*"


def segment_member(segment: str, actor_id: str) -> str:
    """Whether the actor belongs to the segment: b"1", or b"" if not."""
    return f"segments.{segment}.{actors.encode(actor_id)}"


def segment_members(segment: str) -> str:
    """All that belong to it or did."""
    return f"segments.{segment}.*"


PSEUDONYM_KEY = "secret.pseudonyms"
"""The catalog's key under which the key of pseudonyms lies (mesh.pseudonyms)."""

PROBES = 65_536
"""How many keys of the catalog's bucket probes may lie under."""


def probe_key(life: str) -> str:
    """Where a process puts its probes into the catalog's bucket; `life` tells it from others."""
    return f"probe.{zlib.crc32(life.encode()) % PROBES}"


def catalog_entries_of(game_id: str) -> list[str]:
    """The subjects of the catalog's bucket on which a game, its polls and its boards are."""
    names = (game_key(game_id), poll_key(game_id, "*"), board_key(game_id, "*"))
    return [f"$KV.{CATALOG_BUCKET}.{name}" for name in names]


def game_key(game_id: str) -> str:
    return f"game.{game_id}"


def poll_key(game_id: str, poll_id: str) -> str:
    return f"poll.{game_id}.{poll_id}"


def board_key(game_id: str, board_id: str) -> str:
    return f"board.{game_id}.{board_id}"
