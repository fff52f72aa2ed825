"""Which keys make a token good: a key ring, parsed from a JWKS or a single JWK (RFC 7517, 7518, 8037). Pure.

A key stands for exactly one algorithm, decided here from the key alone: OKP Ed25519 for EdDSA, EC P-256 for
ES256, RSA of at least 2,048 bits for RS256, oct of at least 32 bytes for HS256. What a token says of its
algorithm is compared with that and decides nothing, so no token can be read by another algorithm than its
key's.

A platform's JWKS holds keys for other uses and other algorithms too. Those are passed over, as RFC 7517
(section 5) advises, and named in `passed_over`; a document that leaves no key is refused. A key of ours that
is malformed, weak, secret where it is public, or named like another one spoils the whole document: the
operator meant it, and a part of it taken silently would be found out by users.

Symmetric keys, and the key `up` makes, are for development. `check_environment` refuses them in production.

Bounds: KEYS_DOCUMENT_BYTES_MAX, KEYS_MAX keys, RSA of at most 8,192 bits (what a signature costs).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from jwt import PyJWK, PyJWTError
from jwt.utils import base64url_decode

from grandstand.wire.errors import shown
from mesh import limits
from mesh.auth.strict_json import parse_object

Environment = Literal["development", "production"]

DEVELOPMENT_KID = "grandstand-development"
MESH_KID = "grandstand-mesh"
"""The kid of a mesh key, or how it begins; no key of clients may be named so."""

GUEST_KID = "grandstand-guests"
"""The kid of a guest key, or how it begins: a token that it signs must be a guest's."""

SYMMETRIC_BYTES_MIN = 32
RSA_BITS_MIN = 2_048
RSA_BITS_MAX = 8_192
RSA_EXPONENT_BITS_MAX = 33

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")
_ALGORITHMS = {"OKP": "EdDSA", "EC": "ES256", "RSA": "RS256", "oct": "HS256"}
_CURVES = {"OKP": "Ed25519", "EC": "P-256"}
_PUBLIC = {"OKP": ("x",), "EC": ("x", "y"), "RSA": ("n", "e"), "oct": ("k",)}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


class BadKeys(ValueError):
    """A key or a document of keys that is not taken; the message names the value and the way out."""


@dataclass(frozen=True, slots=True, eq=False)
class VerifyKey:
    """A key that makes tokens good."""

    kid: str
    algorithm: str
    jwk: PyJWK
    """Bound to `algorithm`; the public part alone, unless symmetric."""

    def __repr__(self) -> str:
        return f"VerifyKey({self.kid!r}, {self.algorithm})"


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A key that signs tokens, and its public part."""

    jwk: PyJWK
    public: VerifyKey

    @property
    def kid(self) -> str:
        return self.public.kid

    @property
    def algorithm(self) -> str:
        return self.public.algorithm

    def __repr__(self) -> str:
        return f"SigningKey({self.kid!r}, {self.algorithm})"


@dataclass(frozen=True, slots=True, eq=False)
class KeyRing:
    """Keys by kid. Two rings are the same only if they are the same object: a rotation makes a new one."""

    keys: Mapping[str, VerifyKey]
    passed_over: tuple[str, ...] = ()
    """What was in the document and is none of ours, each with the reason."""

    def only(self) -> VerifyKey | None:
        """The one key there is; None if there are more or none."""
        return next(iter(self.keys.values())) if len(self.keys) == 1 else None


NO_KEYS = KeyRing(MappingProxyType({}))
"""Before any keys could be had."""


def parse_ring(document: bytes) -> KeyRing:
    """The keys of clients' tokens, from a JWKS or a JWK of public (or symmetric) keys. Raises BadKeys."""
    keys: dict[str, VerifyKey] = {}
    passed_over: list[str] = []
    for at, jwk in _jwks(document):
        if reason := _not_ours(jwk):
            passed_over.append(f"{at} {reason}")
            continue
        if jwk["kty"] != "oct" and (secret := sorted(_PRIVATE & jwk.keys())):
            raise BadKeys(
                f"{at} holds a private key (member {secret[0]!r}), which has no place among the keys that "
                "tokens are checked with; give its public part, and call it compromised if others saw this"
            )
        key = _verify_key(at, jwk)
        if key.kid.startswith(MESH_KID):
            raise BadKeys(f"{at}: begins with {MESH_KID!r}, as the mesh's own keys do; name it otherwise")
        _add(keys, at, key)
    return _ring(keys, passed_over)


def parse_signing_keys(document: bytes) -> tuple[SigningKey, ...]:
    """The private keys of a JWK or JWKS; the first one signs, all are good. Raises BadKeys."""
    public: dict[str, VerifyKey] = {}
    found: list[SigningKey] = []
    passed_over: list[str] = []
    for at, jwk in _jwks(document):
        if reason := _not_ours(jwk):
            passed_over.append(f"{at} {reason}")
            continue
        if jwk["kty"] != "oct" and "d" not in jwk:
            raise BadKeys(f"{at} is a public key; signing takes the private one (member 'd')")
        key = _verify_key(at, jwk)
        _add(public, at, key)
        found.append(SigningKey(_load(at, jwk, key.algorithm), key))
    _ring(public, passed_over)
    return tuple(found)


def parse_mesh_keys(document: bytes) -> tuple[SigningKey, ...]:
    """The private keys of the mesh's own tokens; the first one signs, all are good. Raises BadKeys."""
    keys = parse_signing_keys(document)
    for key in keys:
        if key.algorithm == "HS256" or not key.kid.startswith(MESH_KID):
            raise BadKeys(
                f"key {shown(key.kid)} for {key.algorithm} is no key of the mesh's; "
                f"it takes a private key for EdDSA, ES256 or RS256, its kid beginning with {MESH_KID!r}"
            )
    return keys


def ring_of(keys: tuple[SigningKey, ...]) -> KeyRing:
    """The ring that makes good what `keys` sign."""
    return KeyRing(MappingProxyType({key.kid: key.public for key in keys}))


def check_environment(environment: Environment, keys: KeyRing | tuple[SigningKey, ...]) -> None:
    """Raises BadKeys in production for the development key, and for any symmetric key."""
    if environment != "production":
        return
    ring = keys if isinstance(keys, KeyRing) else ring_of(keys)
    for key in ring.keys.values():
        if key.kid == DEVELOPMENT_KID or key.algorithm == "HS256":
            kind = "the development key" if key.kid == DEVELOPMENT_KID else "symmetric (HS256)"
            raise BadKeys(
                f"key {shown(key.kid)} is {kind}, and this is production; "
                "use keys of your platform's own for EdDSA, ES256 or RS256, or --environment development"
            )


def _jwks(document: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The JWKs of a document, each with how to name it in a message."""
    if len(document) > limits.KEYS_DOCUMENT_BYTES_MAX:
        raise BadKeys(
            f"the document has more than the {limits.KEYS_DOCUMENT_BYTES_MAX} bytes that keys may take"
        )
    try:
        found = parse_object(document)
    except ValueError as error:
        raise BadKeys(f"the document {error}; a JWKS or a JWK is expected") from None
    if "keys" not in found:
        if "kty" not in found:
            raise BadKeys("the document has neither 'keys' nor 'kty'; a JWKS or a JWK is expected")
        return [(_named("the key", found), found)]
    jwks = found["keys"]
    if not isinstance(jwks, list):
        raise BadKeys("'keys' is not a list; a JWKS or a JWK is expected")
    if len(jwks) > limits.KEYS_MAX:
        raise BadKeys(f"there are {len(jwks)} keys; at most {limits.KEYS_MAX} are allowed, retire old ones")
    for index, jwk in enumerate(jwks):
        if not isinstance(jwk, dict):
            raise BadKeys(f"keys[{index}] is not a JSON object; each key is a JWK")
    return [(_named(f"keys[{index}]", jwk), jwk) for index, jwk in enumerate(jwks)]


def _named(at: str, jwk: dict[str, Any]) -> str:
    kid = jwk.get("kid")
    return f"{at} (kid {shown(kid)})" if isinstance(kid, str) else at


def _not_ours(jwk: dict[str, Any]) -> str:
    """Why a key is for something else; "" if it is for us."""
    kty, use, operations = jwk.get("kty"), jwk.get("use", "sig"), jwk.get("key_ops")
    if not isinstance(kty, str) or kty not in _ALGORITHMS:
        return f"has kty {shown(str(kty))}; {', '.join(_ALGORITHMS)} are known"
    if use != "sig":
        return f"has use {shown(str(use))}; only 'sig' signs"
    if isinstance(operations, list) and not {"sign", "verify"} & {str(one) for one in operations}:
        return "has key_ops without 'verify'"
    if kty in _CURVES and jwk.get("crv") != _CURVES[kty]:
        return f"has crv {shown(str(jwk.get('crv')))}; {_CURVES[kty]} is taken"
    if jwk.get("alg", _ALGORITHMS[kty]) != _ALGORITHMS[kty]:
        return f"has alg {shown(str(jwk['alg']))}; a key like this is taken for {_ALGORITHMS[kty]}"
    return ""


def _verify_key(at: str, jwk: dict[str, Any]) -> VerifyKey:
    kty = jwk["kty"]
    kid = jwk.get("kid", "")
    if not isinstance(kid, str) or len(kid) > limits.TOKEN_KID_CHARACTERS_MAX or not kid.isprintable():
        raise BadKeys(
            f"{at}: kid is not a text of at most {limits.TOKEN_KID_CHARACTERS_MAX} printable characters"
        )
    for name in _PUBLIC[kty]:
        value = jwk.get(name)
        if not isinstance(value, str) or not _BASE64URL.match(value) or len(value) % 4 == 1:
            raise BadKeys(f"{at}: {name} is not base64url without padding")
    if kty == "oct":
        size = len(base64url_decode(jwk["k"]))
        if size < SYMMETRIC_BYTES_MIN:
            raise BadKeys(f"{at}: k has {size} bytes; at least {SYMMETRIC_BYTES_MIN} random ones are needed")
    elif kty == "RSA":
        bits, exponent_bits = _bits(jwk["n"]), _bits(jwk["e"])
        if not RSA_BITS_MIN <= bits <= RSA_BITS_MAX:
            raise BadKeys(f"{at}: is RSA of {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are allowed")
        if exponent_bits > RSA_EXPONENT_BITS_MAX:
            raise BadKeys(f"{at}: e has {exponent_bits} bits; the usual one is 65537 (AQAB)")
    algorithm = _ALGORITHMS[kty]
    public = {name: jwk[name] for name in ("kty", "crv", *_PUBLIC[kty]) if name in jwk}
    return VerifyKey(kid, algorithm, _load(at, public, algorithm))


def _load(at: str, jwk: dict[str, Any], algorithm: str) -> PyJWK:
    try:
        return PyJWK(jwk, algorithm)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, OverflowError):
        # Without its words: they may quote the key.
        raise BadKeys(f"{at}: is not a valid {jwk['kty']} key") from None


def _bits(value: str) -> int:
    return int.from_bytes(base64url_decode(value), "big").bit_length()


def _add(keys: dict[str, VerifyKey], at: str, key: VerifyKey) -> None:
    if key.kid in keys:
        raise BadKeys(f"{at}: another key has the same kid; each needs its own")
    keys[key.kid] = key


def _ring(keys: dict[str, VerifyKey], passed_over: list[str]) -> KeyRing:
    if not keys:
        why = f": {passed_over[0]}" if passed_over else ""
        raise BadKeys(f"there is no key for EdDSA, ES256, RS256 or HS256 in the document{why}")
    if "" in keys and len(keys) > 1:
        raise BadKeys(f"one of {len(keys)} keys has no kid; only a key that is alone needs none")
    return KeyRing(MappingProxyType(keys), tuple(passed_over))
