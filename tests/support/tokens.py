"""Keys of every algorithm, tokens signed with them, and tokens that no honest issuer would make."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mesh.auth import AUDIENCE, KeyRing, SigningKey, mint, parse_ring, parse_signing_keys

Jwk = dict[str, Any]
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi"})
ALGORITHMS = ("EdDSA", "ES256", "RS256", "HS256")


@functools.cache
def private_jwk(algorithm: str, kid: str = "k1", number: int = 0) -> Jwk:
    """The same one for the same arguments; another `number`, another key."""
    match algorithm:
        case "EdDSA":
            jwk: Jwk = dict(mint.ed25519_jwk(kid, hashlib.sha256(f"ed {number}".encode()).digest()))
        case "HS256":
            secret = hashlib.sha256(f"oct {number}".encode()).digest()
            jwk = mint.development_jwk(secret) | {"kid": kid}
        case "ES256":
            jwk = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1())))
        case "RS256":
            jwk = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048)))
            del jwk["key_ops"]
        case _:
            raise ValueError(algorithm)
    return jwk | {"kid": kid}


def public(jwk: Jwk) -> Jwk:
    return {name: value for name, value in jwk.items() if name not in PRIVATE_MEMBERS}


def jwks(*keys: Jwk) -> bytes:
    """The document that publishes `keys`."""
    return json.dumps({"keys": [public(key) for key in keys]}).encode()


def ring(*keys: Jwk) -> KeyRing:
    return parse_ring(jwks(*keys))


def signing(jwk: Jwk) -> SigningKey:
    return parse_signing_keys(json.dumps(jwk).encode())[0]


def claims_of(**changed: Any) -> dict[str, Any]:
    """Good claims of ann; one given as None is left out."""
    now_s = int(time.time())
    claims = {"sub": "ann", "aud": AUDIENCE, "exp": now_s + 600, "iat": now_s, "roles": ["viewer"]}
    return {name: value for name, value in (claims | changed).items() if value is not None}


def token(jwk: Jwk, headers: dict[str, Any] | None = None, **changed: Any) -> str:
    """A JWT with `claims_of(**changed)`, honestly signed with a private key; `headers` go over its own."""
    key = signing(jwk)
    return sealed(
        {"alg": key.algorithm, "kid": key.kid, "typ": "JWT"} | (headers or {}), claims_of(**changed), key
    )


def sealed(header: Any, claims: Any, key: SigningKey | bytes | None) -> str:
    """Any header and claims (bytes go as they are), signed by a key, by HMAC with bytes, or not at all."""
    signed = f"{_segment(header)}.{_segment(claims)}"
    if key is None:
        signature = b""
    elif isinstance(key, bytes):
        signature = hmac.digest(key, signed.encode(), "sha256")
    else:
        signature = key.jwk.Algorithm.sign(signed.encode(), key.jwk.key)
    return f"{signed}.{base64url(signature)}"


def bearer(jwt: str) -> str:
    return f"Bearer {jwt}"


def base64url(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _segment(value: Any) -> str:
    return base64url(value if isinstance(value, bytes) else json.dumps(value).encode())
