"""One line of the log for each change that a token allowed: what, when, who and from where.

The logger is `audit`, so that the lines can be told from others and kept longer. `when` is the time at the
beginning of the line. No line holds a token, nor what a caller wrote that is not quoted.
"""

from __future__ import annotations

import logging

from grandstand.wire import actors
from mesh.auth.access import Caller

log = logging.getLogger("audit")


def tell(what: str, said: str, by: Caller, game_id: str = "") -> None:
    """`what`: such as defined; `said`: what was; both without a line break. `game_id`: in which game."""
    identity = by.identity
    role = "operator" if identity.operator else "owner"
    log.info(
        "%s %s by %s (%s) from %s",
        *(what, said, actors.said(identity.actor_id), role, by.address),
        extra={"actor": identity.actor_id, "game": game_id},
    )
