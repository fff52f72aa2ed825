"""A count that goes on from a checkpoint: what was purged before it is known from there. Pure.

Of events in purged blocks only what they came to is left: who has voted for what, which scores stand, which
numbers of an origin were seen; not when, nor in which block.
"""

from __future__ import annotations

from struct import iter_unpack, unpack_from

from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM, STAGE_CLOSED, Board, Game, Poll
from grandstand.internal.v1.internal_pb2 import (
    Checkpoint,
    CheckpointKey,
    OriginLog,
    PulseLog,
    StoredTopic,
    VoteLog,
    VoteRows,
)
from mesh.recount.partition import GameState, PartitionRecount, TopicState, own_topics
from mesh.recount.scope import RecountScope, TopicKey
from mesh.recount.scores import BoardCount, ScoreRow, SeasonCount
from mesh.recount.votes import PollCount, Superseded, VoteRow
from mesh.recount.windows import window_of
from mesh.redis import layout

_GUEST = 1 << 31
_SUM_HIGH = 1 << 64


def restored(scope: RecountScope, checkpoint: Checkpoint) -> PartitionRecount:
    """Raises DecodeError, struct.error, ValueError for a checkpoint that makes no sense."""
    count = PartitionRecount(scope)
    count.folded = checkpoint.applied
    count.begin_at(checkpoint.state.watermark_us, checkpoint.state.newest_stamp_us)
    keys = {key.name: key for key in checkpoint.keys}
    stored = _topics(keys.get("topics", CheckpointKey()))
    for topic_key in sorted(stored):  # a game before its topics
        _define(count, topic_key, stored[topic_key])
    if "log:origins" in keys:
        _see(count, OriginLog.FromString(keys["log:origins"].log))
    if "log:votes" in keys:
        for rows in VoteLog.FromString(keys["log:votes"].log).rows:
            take_votes(count, rows)
    for (game_id, topic), state in count.topics.items():
        if isinstance(state.count, BoardCount):
            prefix = f"hash:{game_id}/{topic}:"
            parts = {name.removeprefix(prefix): key for name, key in keys.items() if name.startswith(prefix)}
            take_scores(state.count, {part: _fields(key) for part, key in parts.items()})
        elif topic.startswith("pulse/"):
            for name, key in keys.items():
                if name.startswith(f"log:{game_id}/{topic}:"):
                    state.newest_us = PulseLog.FromString(key.log).watermark_us
    return count


def _fields(key: CheckpointKey) -> dict[bytes, bytes]:
    return dict(zip(key.fields[::2], key.fields[1::2], strict=True))


def _topics(key: CheckpointKey) -> dict[TopicKey, StoredTopic]:
    found = {}
    for field, value in _fields(key).items():
        if field.startswith(b"!"):  # when it was written
            continue
        game_id, _, topic = field.decode().partition("/")
        found[game_id, topic] = StoredTopic.FromString(value)
    return found


def _define(count: PartitionRecount, key: TopicKey, stored: StoredTopic) -> None:
    definition: Game | Poll | Board
    match stored.control.WhichOneof("definition"):
        case "game":
            definition = stored.control.game
            game = count.games.setdefault(key[0], GameState(definition.generation))
            if definition.stage >= STAGE_CLOSED:
                game.stage, game.closed_at_us = definition.stage, stored.closed_at_us
            for topic in own_topics(definition):
                count.topics[key[0], topic] = TopicState(game.generation, game.stage)
                game.own.add(topic)
            return
        case "poll":
            definition = stored.control.poll
            topic_count: PollCount | BoardCount = PollCount(definition)
        case "board":
            definition = stored.control.board
            topic_count = BoardCount(definition)
            if definition.HasField("closes_at"):
                topic_count.close_at(definition.closes_at.ToMicroseconds())
        case _:
            return
    game = count.games.setdefault(key[0], GameState(definition.generation))
    state = TopicState(game.generation, definition.stage, stored.closed_at_us, topic_count)
    count.topics[key] = state


def _see(count: PartitionRecount, log: OriginLog) -> None:
    for rows in log.rows:
        columns = (iter_unpack(width, column) for width, column in (("<Q", rows.highest), ("<Q", rows.seen)))
        for (key,), (highest,), (seen,) in zip(iter_unpack("16s", rows.viewers), *columns, strict=True):
            window = window_of(producer=False)
            window.highest, window.bits = highest, seen
            count.windows[key] = window
        for producer in rows.producers:
            window = window_of(producer=True)
            window.highest, window.bits = producer.highest, int.from_bytes(producer.seen, "little")
            count.windows[producer.origin] = window


def take_votes(count: PartitionRecount, rows: VoteRows) -> None:
    """A piece of the log of votes: its rows replace earlier ones."""
    names = [_named(name) for name in rows.topics.split("\n")]
    pasts: dict[int, Superseded] = {}
    for at, tag, seq in iter_unpack("<IQQ", rows.superseded):
        past = pasts.setdefault(at, Superseded())
        if tag:
            past.seqs[tag] = seq
        else:
            past.forgot = True
    columns = (
        iter_unpack(width, column)
        for width, column in (
            ("<I", rows.topic),
            ("16s", rows.actor),
            ("<Q", rows.options),
            ("<I", rows.weight),
            ("<Q", rows.origin_tag),
            ("<Q", rows.origin_seq),
        )
    )
    for at, ((topic,), (actor,), (options,), (weight,), (tag,), (seq,)) in enumerate(
        zip(*columns, strict=True)
    ):
        key, generation = names[topic]
        state = count.topics.get(key)
        if state is None or state.generation != generation or not isinstance(state.count, PollCount):
            continue
        had = state.count.rows.get(actor)
        past = pasts.get(at) or (Superseded() if had is None else had.past)
        is_guest = bool(weight & _GUEST)
        state.count.rows[actor] = VoteRow(options, weight & ~_GUEST, is_guest, tag, seq, past)


def _named(name: str) -> tuple[TopicKey, int]:
    """Of <game>/<topic>, or <game>/<topic>#<generation>."""
    game_id, _, rest = name.partition("/")
    topic, _, generation = rest.partition("#")
    return (game_id, topic), int(generation or 0)


def take_scores(count: BoardCount, parts: dict[str, dict[bytes, bytes]]) -> None:
    begun = [int(part) for part, fields in parts.items() if b"!begun" in fields]
    if count.has_seasons:
        count.current = max(begun, default=count.first)
        before = str(count.current - 1)
        count.sealed = b"!sealed" in parts.get(before, {})
        held = [number for number in (count.current - 1, count.current) if number >= count.first]
    else:
        held = [0]
    count.seasons = {
        number: _season(count, parts.get(str(number) if count.has_seasons else "", {})) for number in held
    }


def _season(count: BoardCount, fields: dict[bytes, bytes]) -> SeasonCount:
    season = SeasonCount()
    for field, value in fields.items():
        if (actor := layout.standing_actor(field)) is not None:
            season.rows[actor] = _score(value, is_sum=count.board.mode == BOARD_MODE_SUM)
        elif (named := layout.named_actor(field)) is not None:
            season.names[named] = value.decode()
    return season


def _score(value: bytes, *, is_sum: bool) -> ScoreRow:
    if is_sum:
        _, reached, low, high = unpack_from("<qQQq", value)
        return ScoreRow(high * _SUM_HIGH + low, reached)
    points, reached, tag, seq = unpack_from("<qQQQ", value)
    row = ScoreRow(points, reached, tag, seq)
    for past_tag, past_seq in iter_unpack("<QQ", value[32:]):
        if past_tag:
            row.past.seqs[past_tag] = past_seq
        else:
            row.past.forgot = True
    return row
