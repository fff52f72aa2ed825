"""Tokens for those whom no platform vouches for: a new actor for everybody who asks. Pure.

A guest's token is shown to our own verifier before it is given away: one that would be refused is not issued,
and the guest's first Send finds it verified already.

Bounds: GUESTS_PER_S with bursts of GUESTS_BURST, for this gateway as a whole (RESOURCE_EXHAUSTED beyond).
Rejected: a bucket for each address, which behind a proxy is everybody's; how much one address may ask for is
the edge's to say.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway import bounds
from grandstand.wire.errors import Exhausted, NotNow, Unauthenticated, shown
from mesh.auth import VIEWER, SigningKey, Verifies, mint

ENTROPY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Guest:
    """`expires_at_s` in Unix seconds."""

    token: str
    actor_id: str
    expires_at_s: float


class Guests:
    """Issues guests, if there is a key for them."""

    def __init__(self, key: SigningKey | None, verifier: Verifies, issuer: str | None = None) -> None:
        self._key = key
        self._verifier = verifier
        self._issuer = issuer
        self._room = float(bounds.GUESTS_BURST)
        self._asked_at_s = 0.0

    def issue(self, now_s: float, entropy: bytes) -> Guest:
        """A new guest. `entropy`: 8 random bytes; `now_s`: Unix seconds.

        Raises NotNow where guests are not admitted, Exhausted when too many come at once.
        """
        if self._key is None:
            raise NotNow("guests are not admitted here; sign in with the platform and use its token")
        self._make_room(now_s)
        actor_id = f"guest-{entropy.hex()}"
        token = mint.token(
            self._key,
            actor_id=actor_id,
            now_s=now_s,
            life_s=bounds.GUEST_TOKEN_LIFE_S,
            roles=[VIEWER],
            issuer=self._issuer,
        )
        try:
            identity = self._verifier.verify(f"Bearer {token}", now_s)
        except Unauthenticated:
            raise NotNow(
                f"guests are not admitted: their key {shown(self._key.kid)} is not among those tokens are "
                "checked with; the operator must add its public part to --keys"
            ) from None
        return Guest(token, actor_id, identity.expires_at_s)

    def _make_room(self, now_s: float) -> None:
        gone_s = max(0.0, now_s - self._asked_at_s)
        self._asked_at_s = now_s
        self._room = min(float(bounds.GUESTS_BURST), self._room + gone_s * bounds.GUESTS_PER_S)
        if self._room < 1:
            raise Exhausted(
                f"more than {bounds.GUESTS_PER_S:g} guests a second come to this gateway; wait a second",
                retry_after_s=1.0,
            )
        self._room -= 1
