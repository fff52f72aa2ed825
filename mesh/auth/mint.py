"""Tokens made: signed claims, and new keys to sign them with. Pure: the time and the randomness are given.

What this mints, `Verifier` takes; so the claims are checked here, where the mistake is made, and not only by
whoever is shown the token.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.api_jws import PyJWS

from mesh.auth.claims import AUDIENCE, read_claims
from mesh.auth.keys import DEVELOPMENT_KID, SigningKey

ENTROPY_BYTES = 32
_JWS = PyJWS(algorithms=["EdDSA", "ES256", "RS256", "HS256"])


def token(
    key: SigningKey,
    *,
    actor_id: str,
    now_s: float,
    life_s: float,
    roles: Iterable[str] = (),
    games: Iterable[str] | None = None,
    audience: str = AUDIENCE,
    issuer: str | None = None,
    token_id: str = "",
) -> str:
    """A JWT good from `now_s` (Unix seconds) for `life_s`; `actor_id` "" only with the role producer;
    `token_id`: by which this one token can be revoked.

    Raises Unauthenticated, as it would be refused, for claims that no service takes.
    """
    claims: dict[str, Any] = {
        "aud": audience,
        "iat": int(now_s),
        "exp": int(now_s + life_s),
        "roles": list(roles),
    }
    if actor_id:
        claims["sub"] = actor_id
    if games is not None:
        claims["games"] = list(games)
    if issuer is not None:
        claims["iss"] = issuer
    if token_id:
        claims["jti"] = token_id
    read_claims(claims, audience, issuer)
    payload = json.dumps(claims, separators=(",", ":")).encode()
    headers = {"typ": "JWT"} | ({"kid": key.kid} if key.kid else {})
    return _JWS.encode(payload, key.jwk, key.algorithm, headers)


def development_jwk(entropy: bytes) -> dict[str, str]:
    """A new symmetric key for one home, under the kid that production refuses. `entropy`: 32 random bytes."""
    return {"kty": "oct", "kid": DEVELOPMENT_KID, "alg": "HS256", "k": _base64url(_enough(entropy))}


def ed25519_jwk(kid: str, entropy: bytes) -> dict[str, str]:
    """A new private key, for EdDSA. `entropy`: 32 random bytes, which are the key."""
    public = Ed25519PrivateKey.from_private_bytes(_enough(entropy)).public_key().public_bytes_raw()
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": kid,
        "alg": "EdDSA",
        "x": _base64url(public),
        "d": _base64url(entropy),
    }


def public_jwk(jwk: dict[str, str]) -> dict[str, str]:
    """The part of an Ed25519 key that a JWKS publishes."""
    return {name: value for name, value in jwk.items() if name != "d"}


def _enough(entropy: bytes) -> bytes:
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"entropy has {len(entropy)} bytes; {ENTROPY_BYTES} are needed")
    return entropy


def _base64url(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
