"""Crowds: everyone, the viewers of a game, a segment. One stored record reaches all of them. Pure.

A crowd's name is `everyone`, `game:<id>` or `segment:<name>`; ids and names have no colon.
"""

from __future__ import annotations

from grandstand.internal.v1.internal_pb2 import StoredNotice

EVERYONE = "everyone"


def game(game_id: str) -> str:
    return f"game:{game_id}"


def segment(name: str) -> str:
    return f"segment:{name}"


def is_of(stored: StoredNotice, generation: int) -> bool:
    """Not to the viewers of an earlier game of the same id. `generation`: that of the game; 0: not known."""
    return not 0 < stored.generation < generation


def crowd_of(stored: StoredNotice) -> str:
    """The crowd that it is for; "": for no crowd."""
    audience = stored.notice.audience
    match audience.WhichOneof("to"):
        case "everyone":
            return EVERYONE
        case "viewers":
            return game(stored.notice.game_id)
        case "segment":
            return segment(audience.segment)
    return ""


def actors_of(stored: StoredNotice) -> tuple[str, ...]:
    """The actors that it is for by name."""
    if stored.actor_ids:
        return tuple(stored.actor_ids)
    audience = stored.notice.audience
    return (audience.actor_id,) if audience.WhichOneof("to") == "actor_id" else ()
