"""Tokens for those whom no platform vouches for: a new actor for everybody who asks. Pure.

A guest's token is shown to our own verifier before it is given away: one that would be refused is not issued,
and the guest's first Send finds it verified already.

Bounds: those of gateway.guest_limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import bounds
from gateway.guest_limits import GuestLimits
from grandstand.wire.errors import NotNow, Unauthenticated, shown
from mesh.auth import GUEST, Identity, SigningKey, Verifies, mint

ENTROPY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Guest:
    """`expires_at_s` in Unix seconds."""

    token: str
    actor_id: str
    expires_at_s: float


class Guests:
    """Issues guests, if there is a key for them."""

    def __init__(
        self, key: SigningKey | None, verifier: Verifies, limits: GuestLimits, issuer: str | None = None
    ) -> None:
        self._key = key
        self._verifier = verifier
        self._limits = limits
        self._issuer = issuer
        self.asked = self.issued = 0

    def issue(
        self,
        address: int | None,
        now_s: float,
        at_s: float,
        entropy: bytes,
        bearer: Identity | None = None,
    ) -> Guest:
        """A new guest, or the next token for the guest `bearer`: it says no more than that one's,
        which may be a platform's and name games. `address`: the key of who asks (mesh.addresses); `now_s`:
        Unix seconds; `at_s`: seconds of a clock that never goes back; `entropy`: 8 random bytes.

        Raises NotNow where guests are not admitted, Exhausted when too many come at once.
        """
        self.asked += 1
        if self._key is None:
            raise NotNow("guests are not admitted here; sign in with the platform and use its token")
        self._limits.admit(address, at_s)
        renewed = bearer if bearer is not None and bearer.guest else None
        actor_id = renewed.actor_id if renewed else f"guest-{entropy.hex()}"
        token = mint.token(
            self._key,
            actor_id=actor_id,
            now_s=now_s,
            life_s=bounds.GUEST_TOKEN_LIFE_S,
            roles=[GUEST],
            games=renewed.games.claim() if renewed and renewed.games is not None else None,
            issuer=self._issuer,
            name=renewed.name if renewed else "",
        )
        try:
            identity = self._verifier.verify(f"Bearer {token}", now_s)
        except Unauthenticated:
            raise NotNow(
                f"guests are not admitted: their key {shown(self._key.kid)} is not among those tokens are "
                "checked with; the operator must add its public part to --keys"
            ) from None
        self.issued += 1
        return Guest(token, actor_id, identity.expires_at_s)
