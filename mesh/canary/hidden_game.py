"""The game and the poll that the canary votes in: defined where there is none, found again after a restart.

The poll is changeable and never closes by itself, so that a year of votes by one actor is one row; the game
is never ended for want of events. A poll that somebody closed is followed by another one. Game ids that begin
with `_` are hidden (grandstand.wire.ids). A game of that id which is not the canary's is left as it is, and
the next of GAME_IDS is tried, as when somebody has ended it: an id is free again a day after.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client.backend import Backend
from grandstand.client.errors import ClientError
from mesh.canary.votes import OPTIONS

GAME = "_canary"
GAMES = f"{GAME}*"
"""What its token opens."""
GAME_IDS = (GAME, *(f"{GAME}-{number}" for number in range(2, 9)))
POLL = "freshness"
TITLE = "Canary: measures the service level"
QUESTION = "Is this vote seen?"
_LIVES = (catalog.STAGE_UNSPECIFIED, catalog.STAGE_OPEN)


class NoPoll(Exception):
    """None can be had; says why, and the way out."""


async def keep(backend: Backend, poll_id: str) -> catalog.Poll:
    """An open poll of the canary's own. `poll_id`: of the next one, if one is to be opened. Raises NoPoll,
    ClientError."""
    for game_id in GAME_IDS:
        try:
            found = await backend.get_game(game_id)
        except ClientError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            await backend.define_game(_game(game_id))
            found = catalog.GetGameResponse()
        else:
            if found.game.title != TITLE or found.game.stage not in _LIVES:
                continue
        poll = open_poll(found)
        return poll if poll is not None else await backend.open_poll(_poll(game_id, poll_id))
    raise NoPoll(
        f"the games {GAME} to {GAME_IDS[-1]} are ended or somebody else's: delete one, or wait until an"
        " ended one is forgotten, 25 h after its end"
    )


async def find(backend: Backend, game_ids: Sequence[str]) -> catalog.Poll | None:
    """The first open poll of a canary in these games, as anybody sees it. Raises ClientError."""
    for game_id in game_ids:
        try:
            poll = open_poll(await backend.get_game(game_id))
        except ClientError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            return None
        if poll is not None:
            return poll
    return None


def open_poll(found: catalog.GetGameResponse) -> catalog.Poll | None:
    """That of a canary, in the answer of GetGame."""
    return next(
        (
            poll
            for poll in found.polls
            if poll.stage == catalog.STAGE_OPEN and poll.changeable and poll.poll_id.startswith(POLL)
        ),
        None,
    )


def _game(game_id: str) -> catalog.Game:
    game = catalog.Game(game_id=game_id, title=TITLE)
    game.idle_for.FromSeconds(0)
    return game


def _poll(game_id: str, poll_id: str) -> catalog.Poll:
    options = [catalog.PollOption(option_id=str(n), label=f"Vote {n}") for n in range(OPTIONS)]
    return catalog.Poll(
        game_id=game_id,
        poll_id=poll_id,
        question=QUESTION,
        options=options,
        changeable=True,
        # Nobody's guests.
        voters=catalog.POLL_VOTERS_PLATFORM,
    )
