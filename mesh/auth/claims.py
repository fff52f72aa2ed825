"""What a token says once its signature is good, read into an Identity (RFC 7519, section 4.1). Pure.

A good signature says who wrote the claims, not that they are sane: each is checked for its type and its
bound, and a claim of the wrong type is refused rather than taken for something near it. A role given as the
text "producer" is not the list ["producer"].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grandstand.wire import ids
from grandstand.wire.errors import Invalid, Unauthenticated, shown
from mesh import limits
from mesh.auth.identity import Games, Identity

AUDIENCE = "grandstand"
MESH_AUDIENCE = "grandstand-mesh"
AUDIENCES = frozenset({AUDIENCE, MESH_AUDIENCE})

VIEWER = "viewer"
GUEST = "guest"
PRODUCER = "producer"
OWNER = "owner"
OPERATOR = "operator"
ROLES = (VIEWER, PRODUCER, OWNER, OPERATOR)
"""Each may do what those before it may. Beside them GUEST, which is none of them."""

EXPIRES_AT_MAX_S = 253_402_300_799
"""The last second of the year 9999, the last that a protobuf Timestamp can tell."""


TOKEN_ID_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """Who bears the token, and from when it is good (Unix seconds, the leeway taken off)."""

    identity: Identity
    good_from_s: float

    def check_time(self, now_s: float) -> None:
        """Raises Unauthenticated before its time and from the second of its expiry on."""
        if now_s < self.good_from_s:
            raise Unauthenticated(
                f"token: not valid for another {self.good_from_s - now_s:.0f} s (nbf or iat); "
                "check the clock of who issued it, or wait"
            )
        if now_s >= self.identity.expires_at_s:
            raise Unauthenticated(
                f"token: expired {now_s - self.identity.expires_at_s:.0f} s ago (exp); get a new one"
            )
        # So a revocation is over at a known time: whatever it concerns has expired then.
        if self.identity.expires_at_s - (self.identity.issued_at_s or now_s) > limits.TOKEN_LIFE_MAX_S:
            raise Unauthenticated(
                f"token: lives longer than {limits.TOKEN_LIFE_MAX_S / 86_400:.0f} days (exp less iat); "
                "get one that expires sooner"
            )


def read_claims(claims: dict[str, Any], audience: str, issuer: str | None) -> CheckedToken:
    """The claims of a token whose signature is good. Raises Unauthenticated naming the claim."""
    _check_audience(claims.get("aud"), audience)
    if issuer is not None and claims.get("iss") != issuer:
        raise Unauthenticated(f"token: iss is {_said(claims.get('iss'))}; {shown(issuer)} is expected")
    expires_at_s = _second(claims, "exp")
    if expires_at_s is None:
        raise Unauthenticated("token: has no exp; get one that expires")
    issued_at_s = _second(claims, "iat") or 0.0
    good_from_s = max(_second(claims, "nbf") or 0.0, issued_at_s) - limits.TOKEN_LEEWAY_S
    roles = _texts(claims, "roles") or []
    guest = GUEST in roles
    operator = OPERATOR in roles and not guest
    owner = operator or (OWNER in roles and not guest)
    producer = owner or (PRODUCER in roles and not guest)
    games = _texts(claims, "games")
    try:
        for game_id in games or ():
            ids.check_id("token: games", game_id.removesuffix("*"))
    except Invalid as error:
        raise Unauthenticated(error.message) from None
    return CheckedToken(
        Identity(
            # What an owner or an operator does is logged under its name.
            actor_id=_actor(claims.get("sub"), producer and not owner),
            producer=producer,
            games=None if games is None else Games.of(games),
            expires_at_s=expires_at_s,
            guest=guest,
            of_mesh=audience == MESH_AUDIENCE,
            owner=owner,
            operator=operator,
            token_id=_token_id(claims.get("jti")),
            issued_at_s=issued_at_s,
        ),
        good_from_s,
    )


def _check_audience(found: Any, wanted: str) -> None:
    """`wanted` must be among them, and no other audience of ours: a token is good for one place."""
    audiences = [found] if isinstance(found, str) else found
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise Unauthenticated(f"token: aud is {_said(found)}; {wanted!r} or a list with it is expected")
    if wanted not in audiences or (AUDIENCES - {wanted}) & set(audiences):
        raise Unauthenticated(f"token: aud is {_said(audiences)}; {wanted!r} is expected, for this key")


def _actor(sub: Any, may_be_nobody: bool) -> str:
    if sub is None and may_be_nobody:
        return ""
    if not isinstance(sub, str):
        raise Unauthenticated(f"token: sub is {_said(sub)}; the actor's id is expected")
    try:
        return ids.check_id("token: sub", sub)
    except Invalid as error:
        raise Unauthenticated(error.message) from None


def _token_id(jti: Any) -> str:
    if jti is None:
        return ""
    if not isinstance(jti, str) or len(jti) > TOKEN_ID_CHARACTERS_MAX:
        raise Unauthenticated(
            f"token: jti is {_said(jti)}; a text of at most {TOKEN_ID_CHARACTERS_MAX} characters is expected"
        )
    return jti


def _second(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, section 2); None if it is not there."""
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= EXPIRES_AT_MAX_S:
        raise Unauthenticated(f"token: {name} is {_said(found)}; a number of seconds since 1970 is expected")
    return float(found)


def _texts(claims: dict[str, Any], name: str) -> list[str] | None:
    found = claims.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Unauthenticated(f"token: {name} is {_said(found)}; a list of texts is expected")
    return found


def _said(value: Any) -> str:
    return "missing" if value is None else shown(str(value))
