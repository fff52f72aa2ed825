"""What a history plays in: two games, some of all the topics there can be, and what actors do there."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_SUM,
    STAGE_OPEN,
    Board,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
)
from grandstand.event.v1.event_pb2 import (
    PRESENCE_STATE_HERE,
    Event,
    Measure,
    Presence,
    Reaction,
    Score,
    Vote,
)
from tests.simulation.world import World

OPTIONS = "abcd"
KINDS = ("fire", "clap")


def games(random: Random) -> list[Game]:
    return [
        Game(
            game_id=f"{name}{random.randrange(100)}",
            title=name,
            spread=spread,
            pulses=[Pulse(pulse_id="cheer", kinds=KINDS)],
            metrics=[Metric(metric_id="delay", unit="ms")],
            audience=True,
        )
        for name, spread in (("hot", 2), ("calm", 1))
    ]


def topics(world: World, games: Sequence[Game]) -> list[Poll | Board]:
    """Some of all that there can be, and always a poll that closes."""
    found: list[Poll | Board] = []
    for game in games:
        found += [
            Poll(poll_id="final"),
            Poll(poll_id="changeable", changeable=True, choices_max=2),
            Board(board_id="sum", mode=BOARD_MODE_SUM),
            Board(board_id="best", mode=BOARD_MODE_BEST),
            Board(board_id="last", mode=BOARD_MODE_LAST),
        ]
        for topic in found[-5:]:
            topic.game_id = game.game_id
    chosen = world.random.sample(found, 4)
    chosen.append(Poll(poll_id="closing", game_id=games[0].game_id))
    for topic in chosen:
        topic.stage = STAGE_OPEN
        topic.opened_at.FromNanoseconds(int(world.now_s * 1e9))
        if isinstance(topic, Poll):
            topic.question = "Who?"
            topic.options.extend(PollOption(option_id=o, label=o) for o in OPTIONS)
        else:
            topic.title, topic.top = "Top", 100
    return chosen


def event(random: Random, actor_id: str, choices: Sequence[Poll | Board | Game]) -> Event:
    """Something that the actor does in one of these; a game stands for its pulse, metric and audience."""
    topic = random.choice(choices)
    event = Event(game_id=topic.game_id, actor_id=actor_id)
    if isinstance(topic, Poll):
        many = random.randint(1, max(1, topic.choices_max))
        event.vote.CopyFrom(Vote(poll_id=topic.poll_id, option_ids=random.sample(OPTIONS, many)))
    elif isinstance(topic, Board):
        event.score.CopyFrom(Score(board_id=topic.board_id, points=random.randint(1, 50)))
    else:
        bodies = [Event(reaction=Reaction(pulse_id="cheer", kind=random.choice(KINDS), count=2))]
        bodies.append(Event(measure=Measure(metric_id="delay", value=random.randint(0, 400) / 4)))
        bodies.append(Event(presence=Presence(state=PRESENCE_STATE_HERE)))
        event.MergeFrom(random.choice(bodies))
    return event
