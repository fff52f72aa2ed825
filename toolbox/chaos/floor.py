"""What whoever looks for the first time must be shown at least: all that was acked before. Pure.

A first look has no cursor and no position to wait for. While a partition is folded again it must not be shown
a fraction of the count all the same; what a run's figures are named is said in `monotone`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from toolbox.chaos import scene
from toolbox.chaos.entries import Entry, EventStatus
from toolbox.chaos.monotone import figures

Floor = Mapping[str, Mapping[str, int]]
"""By topic, the least of each figure."""


def floor(entries: Iterable[Entry], game_id: str) -> Floor:
    """From what is acked of one game. Boards with seasons have none."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    actors: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        topic = entry.topic
        if (
            entry.fate is not EventStatus.ACKED
            or entry.game_id != game_id
            or topic.startswith(scene.SEASON_TOPICS)
        ):
            continue
        figure = found[topic]
        actors[topic].add(entry.actor_id)
        match topic.partition("/")[0]:
            case "poll" if topic != f"poll/{scene.CHANGEABLE}":
                figure.update(entry.options)
            case "board" if topic == f"board/{scene.BEST}":
                figure[entry.actor_id] = max(figure[entry.actor_id], int(entry.amount))
            case "board":
                figure[entry.actor_id] += int(entry.amount)
            case "pulse":
                figure[entry.label] += int(entry.amount)
            case "metric":
                figure["count"] += 1
    for topic, acting in actors.items():
        name = {"poll": "voters", "board": "actors", "audience": "uniques"}.get(topic.partition("/")[0])
        if name is not None:
            found[topic][name] = len(acting)
    return found


def below(least: Floor, shown: Iterable[TopicState]) -> Iterator[str]:
    """The figures that are shown too small, for a person: one of each topic."""
    states = {state.topic: state for state in shown}
    for topic, figure in least.items():
        now = dict(figures(states[topic])) if topic in states else {}
        for name, value in figure.items():
            if now.get(name, 0) < value:
                yield f"{topic}: {name} is {now.get(name, 0)}, {value} were acked before"
                break
