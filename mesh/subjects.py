"""NATS subjects and JetStream names, all of them.

Ids have no dots (see `ids`), so an id is always one token.
"""

from __future__ import annotations

EVENTS_STREAM = "EVENTS"
EVENTS_ALL = "events.*"
CATALOG_BUCKET = "catalog"


def events(partition: int) -> str:
    return f"events.{partition}"


def consumer(partition: int) -> str:
    return f"aggregate-{partition}"


def results(game_id: str, topic: str, partition: int) -> str:
    kind, _, name = topic.partition("/")
    return f"results.{game_id}.{kind}.{name}.{partition}"


def results_of_game(game_id: str) -> str:
    return f"results.{game_id}.>"


def announcements(game_id: str) -> str:
    return f"announcements.{game_id}"


def game_key(game_id: str) -> str:
    return f"game.{game_id}"


def poll_key(game_id: str, poll_id: str) -> str:
    return f"poll.{game_id}.{poll_id}"


def board_key(game_id: str, board_id: str) -> str:
    return f"board.{game_id}.{board_id}"
