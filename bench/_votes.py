"""The votes that the fold benchmark counts: a crowd of viewers, each with an origin of its own.

The same votes in two forms: blocks, as ingest writes them, and batches of protobuf events,
as clients send them and as a pipeline that folds event by event would read them. One row in
RESENT_EVERY is a resend of an earlier one, which no fold may count.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from bench._rows import Row, encode
from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Poll, PollOption
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch
from grandstand.internal.v1.internal_pb2 import Block, Control
from grandstand.wire import ids

RESENT_EVERY = 50
STAMP_NS = 1_790_000_000 * 10**9
OPTION_IDS = ("red", "blue", "green", "gold")


class Votes(NamedTuple):
    """What to fold, and what must come out."""

    opening: bytes
    """The control block that opens the polls' first."""
    blocks: list[bytes]
    batches: list[bytes]
    rows: int
    voters: int


def poll(game_id: str) -> Poll:
    options = [PollOption(option_id=each, label=each) for each in OPTION_IDS]
    return Poll(game_id=game_id, poll_id="mvp", question="Who?", options=options, stage=STAGE_OPEN)


def opening(game_id: str) -> bytes:
    """The block that opens the game's poll."""
    block = Block(control=Control(poll=poll(game_id)))
    block.stamped_at.FromNanoseconds(STAMP_NS)
    return block.SerializeToString()


def row(rng: Random, game_id: str) -> Row:
    """The one vote of a new viewer."""
    origin_id = ids.new_origin(producer=False, now_s=STAMP_NS // 10**9, entropy=rng.randbytes(12))
    choice = 1 << rng.randrange(len(OPTION_IDS))
    return Row(0, game_id, "poll/mvp", origin_id, 1, f"viewer-{rng.randrange(10**9)}", choice)


def block(rows: Sequence[Row]) -> bytes:
    return encode(rows, STAMP_NS).SerializeToString()


def crowd(blocks: int, rows_per_block: int, seed: int = 1) -> Votes:
    """All votes for one poll of one game."""
    rng = Random(seed)
    sent: list[Row] = []
    encoded: list[bytes] = []
    batches: list[bytes] = []
    for _ in range(blocks):
        rows = []
        for at in range(rows_per_block):
            resent = sent and at % RESENT_EVERY == RESENT_EVERY - 1
            rows.append(rng.choice(sent) if resent else row(rng, "game"))
        sent += rows
        encoded.append(block(rows))
        batches.append(EventBatch(events=map(_event, rows)).SerializeToString())
    voters = len({each.actor_id for each in sent})
    return Votes(opening("game"), encoded, batches, len(sent), voters)


def _event(row: Row) -> Event:
    return Event(
        origin_id=row.origin_id,
        origin_seq=row.origin_seq,
        game_id=row.game_id,
        actor_id=row.actor_id,
        vote=Vote(poll_id="mvp", option_ids=[OPTION_IDS[int(row.value).bit_length() - 1]]),
    )
