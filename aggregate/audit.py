"""One line of the log for each change of the catalog, and each revocation.

The lines are of mesh.auth.audit. A call that is repeated is answered as the first time and has a line each
time; its `opened_at` or `closes_at` shows that it changed nothing. What ends by itself is `by the mesh`, one
line from the instance that wrote it.
"""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Board, Game, Poll
from mesh.auth import Revocation
from mesh.auth.access import Caller
from mesh.auth.audit import log, tell
from mesh.auth.revocations import time_of


def called(what: str, definition: Game | Poll | Board, by: Caller) -> None:
    """`what`: defined, opened, ended, ..., or what was taken back of whom; without a line break."""
    tell(what, _said(definition), by, definition.game_id)


def revoked(revocation: Revocation, by: Caller) -> None:
    """As it is stored now."""
    tell("revoked", f"tokens: {revocation.said()}, kept until {time_of(revocation.kept_until_s)},", by)


def ended(definition: Game | Poll | Board) -> None:
    """Its stage is CLOSED or SEALED now, by the mesh's clock."""
    what = "sealed" if definition.stage == STAGE_SEALED else "ended"
    log.info("%s %s by the mesh", what, _said(definition), extra={"game": definition.game_id})


def idle(game: Game, idle_s: float) -> None:
    """It ends, for nothing happened in it for so long."""
    log.info("ended %s by the mesh: idle for %g h", _said(game), idle_s / 3600, extra={"game": game.game_id})


def forgotten(game: Game) -> None:
    log.info("forgot %s by the mesh", _said(game), extra={"game": game.game_id})


def _said(definition: Game | Poll | Board) -> str:
    """Ids have no character that would break the line."""
    if isinstance(definition, Game):
        ended = f" (ended_at {definition.ended_at.ToJsonString()})" if definition.HasField("ended_at") else ""
        return f"game {definition.game_id}{ended}"
    name = f"poll {definition.poll_id}" if isinstance(definition, Poll) else f"board {definition.board_id}"
    opened = definition.opened_at.ToJsonString() if definition.HasField("opened_at") else "never"
    closes = f", closes_at {definition.closes_at.ToJsonString()}" if definition.HasField("closes_at") else ""
    return f"{name} of game {definition.game_id} (opened_at {opened}{closes})"
