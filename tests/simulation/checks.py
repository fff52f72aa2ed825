"""What must hold at the end of a history:

- every acked event is in the stream at the position it was acked with or before (I1), and counted once
  (I2), in one partition; unless its only copy was lost in a power cut, which is forgiven;
- what was refused for certain is not in the stream; a vote refused as a second one is one;
- a void or a removal that was answered took effect;
- what Redis holds is the naive count of the whole stream, and is sealed where a seal was said (I9);
  and no topic stands there at an earlier sequence than a viewer may have seen it at (I5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Board, Poll
from grandstand.internal.v1.internal_pb2 import PartitionState
from grandstand.wire import ids
from grandstand.wire.errors import AlreadyDone
from mesh.jetstream import subjects
from mesh.redis import layout
from mesh.redis.results import ResultStore
from mesh.redis.share import Share
from tests.simulation.bucket import ModelBucket
from tests.simulation.clients import Fate, Sent
from tests.simulation.naive import Standings, figures_of
from tests.simulation.oracle import Identity

if TYPE_CHECKING:
    from tests.simulation.history import History

Result = TypeVar("Result")


def at_once(step: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that waits for nothing."""
    try:
        step.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    raise AssertionError("the model waits for nothing")


def share(history: History, game_id: str, partition: int) -> Share:
    database: Any = history.mesh.redis.primary
    return at_once(ResultStore(database)._read_share(game_id, partition))


def applied(history: History, partition: int) -> int:
    found = share(history, "any", partition)
    return found.applied if found.whole else -1


def is_of_lost(history: History, partition: int) -> bool:
    """Whether what Redis holds was folded up to a block that this stream has lost with its tail: nobody has
    owned the partition since for long enough to find it."""
    database = history.mesh.redis.primary
    stream, _, _ = (database._string(layout.stream_key(partition)) or b"").decode().rpartition(" ")
    if stream != history.mesh.stream.identity:
        return False
    manifest = database._hash(layout.manifest_key(partition))
    bound = PartitionState.FromString(manifest.get(layout.MANIFEST_STATE, b"")).bound
    return bound.sequence > 0 and not any(
        message.sequence == bound.sequence
        and hashlib.blake2b(message.data, digest_size=16).digest() == bound.digest
        for message in history.line
        if message.partition == partition
    )


def is_sealed(bucket: ModelBucket, topic: Poll | Board) -> bool:
    if isinstance(topic, Poll):
        key = subjects.poll_key(topic.game_id, topic.poll_id)
        return Poll.FromString(bucket.get(key).value).stage == STAGE_SEALED
    key = subjects.board_key(topic.game_id, topic.board_id)
    return Board.FromString(bucket.get(key).value).stage == STAGE_SEALED


def check(history: History) -> None:
    history.catch_up()
    for game_id in {game_id for naive in history.naive.values() for game_id, _ in naive.topics}:
        for partition in history.partitions:
            _check_share(history, game_id, partition)
    _check_seals(history)
    _check_corrections(history)
    counted: dict[Identity, int] = {}
    for partition, naive in history.naive.items():
        for identity, at in naive.counted.items():
            assert identity not in counted, f"{identity} counts in {partition} and elsewhere (I2)"
            counted[identity] = at
    _check_places(history)
    stored = {identity for naive in history.naive.values() for identity in naive.stored}
    for client in history.clients:
        for sent in client.sent:
            _check_sent(history, sent, counted, stored)
    told, stream = history.mesh.told, history.mesh.stream
    told.blocks = len(history.line)
    told.resent = sum(len(message.rows) for message in history.line) - len(stored)
    told.full = stream.refused
    told.early_controls = sum(naive.early for naive in history.naive.values())
    for naive in history.naive.values():
        for topic in naive.topics.values():
            told.seals += topic.stage == STAGE_SEALED
            if isinstance(topic.naive, Standings):
                told.seasons += topic.naive.turned


def _check_places(history: History) -> None:
    """What an actor says in a poll or on a board folds in one partition, whoever sends it."""
    places: dict[tuple[str, str, str], int] = {}
    for message in history.line:
        for row in message.rows:
            if row.topic.startswith(("poll/", "board/")):
                place = places.setdefault((row.game_id, row.topic, row.actor_id), message.partition)
                assert place == message.partition, (
                    f"{row.actor_id} in {row.game_id} {row.topic} is in partitions {place} and "
                    f"{message.partition} (I2)"
                )


def _check_share(history: History, game_id: str, partition: int) -> None:
    """What Redis holds is what the whole stream says."""
    found = share(history, game_id, partition)
    assert found.whole, f"the share of {game_id} in partition {partition} is not whole"
    for (of_game, topic), naive in history.naive[partition].topics.items():
        if of_game != game_id:
            continue
        if naive.is_gone:
            assert topic not in found.partials, f"{game_id} {topic} is forgotten, and still in Redis"
            continue
        assert topic in found.partials, f"{game_id} {topic} of partition {partition} is not in Redis"
        partial = found.partials[topic]
        history.check_partial(partial, partial.sequence)
        published = history.published.get((partition, game_id, topic), 0)
        assert partial.sequence >= published, (
            f"{game_id} {topic} of partition {partition}: a viewer has seen {published}, and who "
            f"reads Redis is shown {partial.sequence} (I5)"
        )
        last, figures = naive.at(1 << 62), figures_of(partial)
        assert figures == last, f"{game_id} {topic}: Redis holds {figures}, the stream says {last}"


def _check_seals(history: History) -> None:
    """What the catalog calls sealed is sealed in every partition of it, unless a power cut took that."""
    if history.world.losses:
        return
    for topic in history.closed:
        kind, name = ("poll", topic.poll_id) if isinstance(topic, Poll) else ("board", topic.board_id)
        for partition in ids.partitions_of(topic.game_id, topic.spread):
            naive = history.naive[partition].topics[topic.game_id, f"{kind}/{name}"]
            assert naive.stage == STAGE_SEALED, f"{kind} {name} is not sealed in partition {partition} (I9)"


def _check_corrections(history: History) -> None:
    """A void or a removal that was answered is in the stream before the seal, unless a power cut took it."""
    if history.world.losses:
        return
    for at in history.corrected:
        assert at.sequence in history.naive[at.partition].corrected, (
            f"a correction was answered at {at.sequence} of partition {at.partition} and changes nothing (I9)"
        )


def _check_sent(history: History, sent: Sent, counted: dict[Identity, int], stored: set[Identity]) -> None:
    told = history.mesh.told
    identity = (sent.origin_id, sent.origin_seq)
    is_forgiven = identity in history.forgiven
    match sent.fate:
        case Fate.ACKED:
            told.acked += 1
            if is_forgiven:
                return
            assert identity in stored, f"{identity} was acked and is not stored (I1): {sent.event}"
            assert identity in counted, f"{identity} was acked and is not counted (I2): {sent.event}"
            assert counted[identity] <= max(sent.positions.values(), default=0), (
                f"{identity} was acked at {sent.positions} and is stored at {counted[identity]} (I6)"
            )
        case Fate.REFUSED:
            told.refused += 1
            assert identity not in stored, f"{identity} was refused for certain and is stored: {sent.event}"
        case Fate.UNCERTAIN:
            told.uncertain += 1
            told.late_acks_refused += identity in stored
        case Fate.SENT:
            raise AssertionError(f"{identity} was never answered: {sent.event}")
    if sent.code == AlreadyDone.code:
        told.second_votes += 1
        if not history.world.losses:
            _check_second(history, sent, counted)


def _check_second(history: History, sent: Sent, counted: dict[Identity, int]) -> None:
    """Who was told that it has voted, has: by another event, or by a copy of this one. (An ingest that still
    asks about a later vote of the actor takes a copy of its first for a second one.)"""
    event, said = sent.event, _said(sent)
    identity = (sent.origin_id, sent.origin_seq)
    others = [
        (row.origin_id, row.origin_seq)
        for message in history.line
        for row in message.rows
        if (row.actor_id, row.game_id, row.topic) == said
    ]
    assert any(other in counted for other in others), (
        f"{identity} of {event.actor_id} was refused as a second vote and there is no first"
    )


def _said(sent: Sent) -> tuple[str, str, str]:
    """Who voted, and where."""
    event = sent.event
    return event.actor_id, event.game_id, f"poll/{event.vote.poll_id}"
