"""NATS subjects and JetStream names, all of them.

Ids have no dots (see `ids`), so an id is always one token; an actor's is encoded (see `actors`).
"""

from __future__ import annotations

import re
import zlib

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

HEALTH_ALL = "health.>"


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
    """Where notify says how an actor's inbox is now (Inbox)."""
    return f"inbox.{actors.encode(actor_id)}"


PSEUDONYM_KEY = "secret.pseudonyms"
"""The catalog's key under which the key of pseudonyms lies (mesh.pseudonyms)."""

PROBES = 65_536
"""How many keys of the catalog's bucket probes may lie under."""


def probe_key(life: str) -> str:
    """Where a process puts its probes into the catalog's bucket; `life` tells it from others."""
    return f"probe.{zlib.crc32(life.encode()) % PROBES}"


def game_key(game_id: str) -> str:
    return f"game.{game_id}"


def poll_key(game_id: str, poll_id: str) -> str:
    return f"poll.{game_id}.{poll_id}"


def board_key(game_id: str, board_id: str) -> str:
    return f"board.{game_id}.{board_id}"
