"""Is this token good, and whose is it: every service asks before it does anything else (I10). Pure.

The order: the token's length, its shape, its header, the key by its kid, the signature, the claims. Nothing
of a later step is looked at before the earlier ones hold, and nothing in the token chooses more than which of
our keys to try: the algorithm is the key's (RFC 8725, section 3.1), and headers that point to keys elsewhere
or that change what a header means (jku, x5u, jwk, x5c, crit) are refused rather than ignored.

Two circles of trust never mix: clients' keys make good tokens for the audience `grandstand`, the mesh's own
make good tokens for `grandstand-mesh`. How the kid begins says whose key it is (no key of clients can be
named like the mesh's), and a token is good for its circle's audience only.

Verifying costs 30 (HS256) to 100 µs (EdDSA), a remembered token 1 µs. So what was found good is remembered
until it expires or a rotation brings another ring: TOKENS_REMEMBERED_MAX tokens, the long ones by their
digest, the least recently used forgotten first. Failures are not remembered: a token that was too early gets
good, and one whose key was unknown too.

Rejected: PyJWT's own checks of claims and key sets. They read the clock, go by `alg` and `kid` of the token
in places, and their messages do not say what to do.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from jwt import PyJWTError
from jwt.api_jws import PyJWS
from jwt.utils import base64url_decode

from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import Unauthenticated, Unavailable, shown
from mesh import limits
from mesh.auth.claims import ACTOR_CLAIM, AUDIENCE, CheckedToken, read_claims
from mesh.auth.identity import Identity
from mesh.auth.keys import GUEST_KID, MESH_KID, KeyRing, VerifyKey
from mesh.auth.strict_json import parse_object
from mesh.http2.call import RequestMetadata

_SCHEME = "Bearer "
_TOKEN = re.compile(r"[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\Z")
_REFUSED_HEADERS = ("crit", "jku", "jwk", "x5c", "x5u")
_WAY_OUT = "send metadata authorization: Bearer <JWT>"
_JWS = PyJWS(algorithms=["EdDSA", "ES256", "RS256", "HS256"])


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose tokens are good, and for what."""

    keys: Callable[[], KeyRing]
    """The ring as it is now; the same object for as long as nothing changed."""
    audience: str = AUDIENCE
    issuer: str | None = None
    """What `iss` must be; None: anything."""
    actor_claim: str = ACTOR_CLAIM
    """Which claim names the actor."""
    unknown_kid: Callable[[], None] | None = None
    """Told when a token names a key that is not in the ring: it may have been published just now."""


class Verifies(Protocol):
    def verify(self, authorization: str | None, now_s: float) -> Identity:
        """As Verifier.verify."""
        ...


class Verifier:
    """Takes tokens of clients, and of the mesh if it is given the mesh's keys."""

    def __init__(
        self,
        clients: Trust,
        mesh: Trust | None = None,
        remembered_max: int = limits.TOKENS_REMEMBERED_MAX,
    ) -> None:
        self._clients = clients
        self._mesh = mesh
        self._remembered_max = remembered_max
        self._remembered: OrderedDict[str, CheckedToken] = OrderedDict()
        self._rings: tuple[KeyRing | None, KeyRing | None] = (None, None)

    def verify(self, authorization: str | None, now_s: float) -> Identity:
        """Whose token `authorization` ("Bearer <JWT>") carries; `now_s` Unix seconds.

        Raises Unauthenticated, which names what is wrong and the way out; Unavailable while no keys
        could be had yet.
        """
        rings = (self._clients.keys(), self._mesh.keys() if self._mesh else None)
        if rings != self._rings:
            self._rings = rings
            self._remembered.clear()
        key = authorization or ""
        if len(key) > limits.TOKEN_KEPT_CHARACTERS_MAX:
            key = blake2b(key.encode(errors="surrogatepass"), digest_size=32).hexdigest()
        reading = self._remembered.get(key)
        if reading is None:
            reading = self._read(_bearer(authorization))
            reading.check_time(now_s)
            self._remember(key, reading)
        else:
            reading.check_time(now_s)
            self._remembered.move_to_end(key)
        return reading.identity

    @property
    def remembered(self) -> int:
        """How many tokens are remembered, at most `remembered_max`."""
        return len(self._remembered)

    def _remember(self, key: str, reading: CheckedToken) -> None:
        self._remembered[key] = reading
        if len(self._remembered) > self._remembered_max:
            self._remembered.popitem(last=False)

    def _read(self, token: str) -> CheckedToken:
        trust, key = self._key(_header(token))
        try:
            signed = _JWS.decode_complete(token, key.jwk, algorithms=[key.algorithm])
        except (PyJWTError, ValueError):
            raise Unauthenticated(
                f"token: its signature is not good for {key.algorithm} with key {shown(key.kid)}; get another"
            ) from None
        try:
            claims = parse_object(signed["payload"])
        except ValueError as error:
            raise Unauthenticated(f"token: the payload {error}") from None
        checked = read_claims(claims, trust.audience, trust.issuer, trust.actor_claim)
        if key.kid.startswith(GUEST_KID) and not checked.identity.guest:
            raise Unauthenticated(
                f"token: key {shown(key.kid)} is for guests alone, and the token's roles name no guest; "
                "sign it with another key"
            )
        return checked

    def _key(self, header: dict[str, Any]) -> tuple[Trust, VerifyKey]:
        """The key that the header names, and whose it is."""
        for name in _REFUSED_HEADERS:
            if name in header:
                raise Unauthenticated(f"token: the header {name!r} is not taken; keys come from our own JWKS")
        trust, ring = self._clients, self._clients.keys()
        kid = header.get("kid")
        if "kid" not in header:
            key = ring.only()
            if key is None and ring.keys:
                raise Unauthenticated(
                    f"token: has no kid, and there are {len(ring.keys)} keys; name the one that signed it"
                )
        elif not isinstance(kid, str):
            raise Unauthenticated(f"token: kid is {shown(str(kid))}, which is no text")
        else:
            if self._mesh and kid.startswith(MESH_KID):
                trust, ring = self._mesh, self._mesh.keys()
            key = ring.keys.get(kid)
        if key is None:
            if trust.unknown_kid:
                trust.unknown_kid()
            if not ring.keys:
                raise Unavailable("the keys that tokens are checked with cannot be had yet; try again")
            raise Unauthenticated(
                f"token: kid {shown(str(kid))} is not among the {len(ring.keys)} keys; get a new token, "
                f"or if its key was published just now, try again in {limits.KEYS_FETCH_AGAIN_S:g} s"
            )
        if header.get("alg") != key.algorithm:
            raise Unauthenticated(
                f"token: alg is {shown(str(header.get('alg')))}; key {shown(key.kid)} is for {key.algorithm}"
            )
        return trust, key


def authorization_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """The `authorization` of a call's metadata; None if there is none. Raises Unauthenticated for several."""
    found: Sequence[str | bytes]
    if isinstance(metadata, RequestMetadata):
        found = metadata.authorizations
    else:
        found = [value for name, value in metadata or () if name == "authorization"]
    if len(found) > 1:
        raise Unauthenticated(f"token: {len(found)} authorization metadata; {_WAY_OUT} once")
    if not found:
        return None
    return found[0] if isinstance(found[0], str) else found[0].decode("latin-1")


def _bearer(authorization: str | None) -> str:
    if authorization is None:
        raise Unauthenticated(f"token: there is none; {_WAY_OUT}")
    if len(authorization) > wire_bounds.TOKEN_BYTES_MAX + len(_SCHEME):
        raise Unauthenticated(
            f"token: has {len(authorization)} bytes; at most {wire_bounds.TOKEN_BYTES_MAX} are taken"
        )
    if not authorization.startswith(_SCHEME):
        raise Unauthenticated(f"token: authorization does not begin with 'Bearer '; {_WAY_OUT}")
    token = authorization.removeprefix(_SCHEME)
    if not _TOKEN.match(token):
        raise Unauthenticated("token: is not a JWT, three parts of base64url with a point between; get one")
    return token


def _header(token: str) -> dict[str, Any]:
    try:
        header = base64url_decode(token.partition(".")[0])
    except ValueError:
        raise Unauthenticated("token: the header is not base64url") from None
    try:
        return parse_object(header)
    except ValueError as error:
        raise Unauthenticated(f"token: the header {error}") from None
