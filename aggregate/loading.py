"""Reads a partition's stored state back: at takeover, and when Redis was emptied or went back."""

from __future__ import annotations

from aggregate.board import Leaderboard, Standing
from aggregate.partition import Loaded, TopicKey, TopicState
from aggregate.pulse import Pulse
from aggregate.tally import Cast, Tally
from aggregate.window import ReplayWindow
from grandstand.internal.v1.internal_pb2 import Control, Partial
from grandstand.internal.v1.internal_pb2 import ReplayWindow as StoredWindow
from mesh import ids, store
from mesh.store import PartitionStore


async def load(stored: PartitionStore, index: int, applied: int) -> Loaded:
    """The state at `applied`. Only the one writer may load (it fenced the others off): nothing
    changes between the reads. Raises RedisError."""
    topics: dict[TopicKey, TopicState] = {}
    for name, value in (await stored.hash(store.topics_key(index))).items():
        game_id, _, topic = name.decode().partition("/")
        topics[game_id, topic] = await _topic(stored, index, game_id, topic, Control.FromString(value))
    origins = {}
    for name, value in (await stored.hash(store.origins_key(index))).items():
        origin_id, window = name.decode(), StoredWindow.FromString(value)
        origins[origin_id] = ReplayWindow(
            ids.origin_window(origin_id), window.highest, int.from_bytes(window.seen, "little")
        )
    return Loaded(applied, topics, origins)


async def _topic(
    stored: PartitionStore, index: int, game_id: str, topic: str, control: Control
) -> TopicState:
    match control.WhichOneof("definition"):
        case "poll":
            votes = await stored.hash(store.votes_key(index, game_id, topic))
            casts = ((actor.decode(), _cast(value)) for actor, value in votes.items())
            return TopicState(Tally(control.poll, casts), control, control.poll.stage)
        case "board":
            points = dict(await stored.scores(store.scores_key(index, game_id, topic)))
            reached = await stored.hash(store.reached_key(index, game_id, topic))
            standings = (
                (actor.decode(), _standing(points[actor], value)) for actor, value in reached.items()
            )
            return TopicState(Leaderboard(control.board, standings), control, control.board.stage)
        case _:
            partial = (await stored.hash(store.results_key(index, game_id))).get(topic.encode(), b"")
            return TopicState(Pulse(Partial.FromString(partial).pulse))


def _cast(value: bytes) -> Cast:
    option, origin_id, origin_seq = value.decode().split(":")
    return Cast(int(option), origin_id, int(origin_seq))


def _standing(points: float, value: bytes) -> Standing:
    reached_at_us, origin_id, origin_seq = value.decode().split(":")
    return Standing(int(points), int(reached_at_us), origin_id, int(origin_seq))
