"""Who a caller is, once its token was found good: what the services ask before they act. Pure.

An end client acts as its own actor and nobody else. The role `producer` (a game server, a gateway)
may act for others and send on a producer's stream. An `owner` may also define, open and close. An `operator`
may do everything. A token may be bound to games; one that names none is good for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from grandstand.wire.errors import Forbidden, shown


@dataclass(frozen=True, slots=True)
class Games:
    """The claim `games`: `game_id in games` tells whether the token opens a game."""

    ids: frozenset[str]
    prefixes: tuple[str, ...] = ()
    """Each opens all games whose ids begin with it; the claim writes it with a star, such as `arena-*`."""

    @classmethod
    def of(cls, claim: Iterable[str]) -> Games:
        entries = list(claim)
        return cls(
            frozenset(entry for entry in entries if not entry.endswith("*")),
            tuple(sorted(entry[:-1] for entry in entries if entry.endswith("*"))),
        )

    def claim(self) -> list[str]:
        """What `of` was given, sorted."""
        return sorted([*self.ids, *(f"{prefix}*" for prefix in self.prefixes)])

    def __contains__(self, game_id: object) -> bool:
        return isinstance(game_id, str) and (game_id in self.ids or game_id.startswith(self.prefixes))


@dataclass(frozen=True, slots=True)
class Identity:
    """The claims of a good token."""

    actor_id: str
    """As grandstand.wire.actors has it; "" only for a producer that is nobody itself."""
    producer: bool
    """It may act for others; also of an owner and an operator."""
    games: Games | None
    """None: all of them."""
    expires_at_s: float
    """Unix seconds."""
    guest: bool = False
    """No platform vouches for it; never a producer."""
    of_mesh: bool = False
    """A service of this mesh, by a token of the mesh's own."""
    owner: bool = False
    """It may define, open and close; also of an operator."""
    operator: bool = False
    token_id: str = ""
    """The claim `jti`; "" without one."""
    issued_at_s: float = 0.0
    """The claim `iat`, Unix seconds; 0 without one: a token that does not say when is older than any."""
    name: str = ""
    """What others see of the actor; "" where the token does not say it."""

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
            raise Forbidden(f"{field}: {shown(game_id)} is not among the games of the token")
