"""What a history plays in: games, some of all the topics there can be, and what actors do there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_BEST,
    BOARD_MODE_LAST,
    BOARD_MODE_LOWEST,
    BOARD_MODE_SUM,
    WRITERS_ACTORS,
    Board,
    CustomTopic,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
)
from grandstand.event.v1.event_pb2 import (
    PRESENCE_STATE_HERE,
    Custom,
    Event,
    Measure,
    Presence,
    Reaction,
    Score,
    Vote,
)
from grandstand.fold import CustomEvent
from grandstand.wire import bounds as wire_bounds
from mesh import limits

OPTIONS = "abcd"
KINDS = ("fire", "clap")
SEASON_S = limits.SEASON_MIN_S
_NEAR_BOUND = wire_bounds.POINTS_MAX - 100


class Heard:
    """A custom fold: its configuration, and all that it ever heard. The definition it was made by
    can be seen in what it shows."""

    def __init__(self, config: bytes, state: bytes) -> None:
        self._config = config
        self._payloads: list[str] = json.loads(state or b"[]")

    def fold(self, events: Sequence[CustomEvent]) -> None:
        self._payloads += [f"{event.actor_id} {event.payload.decode()}" for event in events]

    def state(self) -> bytes:
        return json.dumps(self._payloads).encode()

    def value(self) -> bytes:
        return json.dumps([self._config.decode(), self._payloads]).encode()

    @staticmethod
    def merge(values: Sequence[bytes]) -> bytes:
        return max(values)


def games(random: Random) -> list[Game]:
    """The first and the last have no topics of their own at first: their spread may still change."""
    found = [
        Game(
            game_id=f"{name}{random.randrange(100)}",
            title=name,
            spread=spread,
            pulses=[Pulse(pulse_id="cheer", kinds=KINDS)],
            metrics=[Metric(metric_id="delay", unit="ms", writers=WRITERS_ACTORS)],
            audience=True,
        )
        for name, spread in (("hot", 2), ("calm", 1))
    ]
    found.append(Game(game_id=f"grown{random.randrange(100)}", title="grown", spread=1))
    return found


def brief(random: Random) -> Game:
    """A game that ends, and whose id returns."""
    return Game(
        game_id=f"brief{random.randrange(100)}",
        title="brief",
        spread=random.choice((1, 2)),
        pulses=[Pulse(pulse_id="cheer", kinds=KINDS)],
        metrics=[Metric(metric_id="delay", unit="ms", writers=WRITERS_ACTORS)],
    )


def topics_of_brief(game: Game) -> list[Poll | Board]:
    found: list[Poll | Board] = [
        Poll(poll_id="again", game_id=game.game_id),
        Board(board_id="again", game_id=game.game_id, mode=BOARD_MODE_SUM),
    ]
    for topic in found:
        dress(topic)
    return found


def with_custom(game: Game, config: str) -> Game:
    """The game with a custom topic more."""
    wanted = Game()
    wanted.CopyFrom(game)
    wanted.customs.append(
        CustomTopic(custom_id="heard", fold="heard", config=config.encode(), writers=WRITERS_ACTORS)
    )
    return wanted


def spread_over(game: Game, spread: int) -> Game:
    wanted = Game()
    wanted.CopyFrom(game)
    wanted.spread = spread
    return wanted


def topics(random: Random, games: Sequence[Game], *, closings: int, seasons: bool) -> list[Poll | Board]:
    """Some of all that there can be; polls and boards named `closing…` are to be closed by hand."""
    found: list[Poll | Board] = []
    for game in games[:2]:
        made: list[Poll | Board] = [
            Poll(poll_id="final"),
            Poll(poll_id="changeable", changeable=True, choices_max=2),
            Board(board_id="sum", mode=BOARD_MODE_SUM),
            Board(board_id="best", mode=BOARD_MODE_BEST),
            Board(board_id="lowest", mode=BOARD_MODE_LOWEST),
            Board(board_id="last", mode=BOARD_MODE_LAST),
        ]
        for topic in made:
            topic.game_id = game.game_id
        found += made
    chosen = random.sample(found, 4)
    for n in range(closings):
        of = random.choice(games[:2]).game_id
        if random.random() < 0.7:
            chosen.append(Poll(poll_id=f"closing{n}", game_id=of, changeable=random.random() < 0.5))
        else:
            chosen.append(Board(board_id=f"closing{n}", game_id=of, mode=BOARD_MODE_SUM))
    if seasons:
        board = Board(board_id="season", game_id=games[0].game_id, mode=BOARD_MODE_SUM)
        board.season.every.FromNanoseconds(int(SEASON_S * 1e9))
        chosen.append(board)
    for topic in chosen:
        dress(topic)
    return chosen


def dress(topic: Poll | Board) -> None:
    if isinstance(topic, Poll):
        topic.question = "Who?"
        topic.options.extend(PollOption(option_id=o, label=o) for o in OPTIONS)
    else:
        topic.title, topic.top, topic.writers = "Top", 100, WRITERS_ACTORS


def first_poll(game: Game) -> Poll:
    """The first topic of a game whose spread changes meanwhile."""
    poll = Poll(poll_id="first", game_id=game.game_id)
    dress(poll)
    return poll


def is_same(topic: Poll | Board, choice: Poll | Board | Game) -> bool:
    """Whether the choice stands for a topic of that name, in an earlier game too."""
    return (
        isinstance(choice, type(topic))
        and choice.game_id == topic.game_id
        and name_of(choice) == name_of(topic)
    )


def name_of(topic: Poll | Board) -> str:
    return topic.poll_id if isinstance(topic, Poll) else topic.board_id


def event(
    random: Random, actor_id: str, choices: Sequence[Poll | Board | Game], *, is_producer: bool
) -> Event:
    """Something that the actor does in one of these, or that a producer says of it; a game stands for what it
    has of its own."""
    topic = random.choice(choices)
    event = Event(game_id=topic.game_id, actor_id=actor_id)
    if isinstance(topic, Poll):
        many = random.randint(1, max(1, topic.choices_max))
        event.vote.CopyFrom(Vote(poll_id=topic.poll_id, option_ids=random.sample(OPTIONS, many)))
    elif isinstance(topic, Board):
        event.score.CopyFrom(Score(board_id=topic.board_id, points=_points(random, topic)))
    else:
        bodies = []
        if topic.pulses:
            bodies.append(Event(reaction=Reaction(pulse_id="cheer", kind=random.choice(KINDS), count=2)))
        if topic.metrics:
            bodies.append(Event(measure=Measure(metric_id="delay", value=random.randint(0, 400) / 4)))
        if topic.audience and is_producer:
            bodies.append(Event(presence=Presence(state=PRESENCE_STATE_HERE)))
        if topic.customs:
            bodies.append(Event(custom=Custom(custom_id="heard", payload=b"%d" % random.randrange(100))))
        event.MergeFrom(random.choice(bodies))
    return event


def _points(random: Random, board: Board) -> int:
    """Often the same as somebody else's; in sums now and then near what a client can show."""
    if board.mode == BOARD_MODE_SUM and random.random() < 0.4:
        return random.choice((_NEAR_BOUND, _NEAR_BOUND, -_NEAR_BOUND, 1000, -1000))
    return random.choice((1, 5, 10, random.randint(1, 50)))
