"""Who a caller is, once its token was found good: what the services ask before they act. Pure.

An end client acts as its own actor and nobody else. The role `producer` (a game server, a gateway)
may act for others and send on a producer's stream. A token may be bound to games; one that
names none is good for all.
"""

from __future__ import annotations

from dataclasses import dataclass

from grandstand.wire.errors import Forbidden, shown


@dataclass(frozen=True, slots=True)
class Identity:
    """The claims of a good token."""

    actor_id: str
    """A valid id; "" only for a producer that is nobody itself."""
    producer: bool
    games: frozenset[str] | None
    """None: all of them."""
    expires_at_s: float
    """Unix seconds."""
    guest: bool = False
    """No platform vouches for it; never a producer."""
    of_mesh: bool = False
    """A service of this mesh, by a token of the mesh's own."""

    def act_for(self, field: str, actor_id: str) -> str:
        """Who acts: `actor_id`, or for "" the token's own. Raises Forbidden for others, unless a producer."""
        if not actor_id or actor_id == self.actor_id:
            return self.actor_id
        if not self.producer:
            raise Forbidden(
                f"{field}: {shown(actor_id)} is not the token's actor {self.actor_id!r}; "
                "only a producer acts for others"
            )
        return actor_id

    def check_game(self, field: str, game_id: str) -> None:
        """Raises Forbidden for a game that the token does not open."""
        if self.games is not None and game_id not in self.games:
            raise Forbidden(
                f"{field}: {shown(game_id)} is not among the {len(self.games)} games of the token"
            )
