"""Origins: to whom this mesh issued them, told without a look-up, and how many it issues (I2). Pure.

    kind           v (viewer) or p (producer)
    8 hex digits   the second of issue
    10             randomness
    14             the tag

The tag is BLAKE2b in its keyed mode (RFC 7693, sections 2.5 and 3.3; hashlib's `key`) with a digest of 7
bytes over all that stands before it, and the owner: the `sub` of the token that the origin was issued to. So
an origin is no secret. Whoever learns another's cannot resume it, because the tag does not fit its own
`sub`.

The keys are derived from the mesh's private keys (--mesh-key), which all gateways and ingests share and read
again when the file changes. The first one tags, all are taken; one stays in the file for as long as origins
of it live. While instances read a changed file at different moments, an origin of the newest key may be
foreign to some, which replace it: nothing is lost by that.

Why 56 bits: NIST SP 800-38B, appendix A.2, asks for lg(guesses / risk). At 100,000 guesses a second for the
25 h of an origin that is 2^33 of them, and a risk of 2^-23. A guess gains one origin of the guesser's own.
To resume another's takes a `sub` for which the key makes the same tag. Why 40 bits of randomness: two
origins of one owner and second would be taken for one; of 1,000 that a producer opens in one second, at odds
of 1 in 2 million.

Bounds: ORIGINS_PER_ACTOR at once and a minute, ORIGINS_PER_PRODUCER of a producer, of each instance;
ORIGIN_OWNERS_MAX owners whose bucket is not full. On overflow the one that asked longest ago is forgotten,
and has a full bucket. The mesh's own services are not bounded.

Rejected: a table of the origins that were issued, which all instances would ask, or lose; a signature, which
is longer than an origin and costs a hundred times as much; HMAC, which says the same in twice the time.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted, Forbidden, Invalid, OriginRefused, shown
from grandstand.wire.ids import OriginId
from mesh import limits
from mesh.auth.identity import Identity
from mesh.auth.keys import BadKeys, SigningKey

ENTROPY_BYTES = 5
TAG_BYTES = 7

_MINUTE_S = 60.0
_OF_TAGS = b"gs-origin-tag"
_OF_KEYS = b"gs-origin-key"

Keys = Callable[[], Sequence[bytes]]
"""The keys of the tags as they are now; the first one tags."""


def tag_key(key: SigningKey) -> bytes:
    """The key of tags that belongs to a private key of the mesh; tells nothing of that. Raises BadKeys."""
    secret = key.jwk.key
    match secret:
        case Ed25519PrivateKey():
            number = secret.private_bytes_raw()
        case EllipticCurvePrivateKey():
            number = secret.private_numbers().private_value.to_bytes((secret.key_size + 7) // 8, "big")
        case RSAPrivateKey():
            number = secret.private_numbers().d.to_bytes((secret.key_size + 7) // 8, "big")
        case _:
            raise BadKeys(f"key {shown(key.kid)} is no private key; origins' tags need one")
    return blake2b(number, digest_size=32, person=_OF_KEYS).digest()


class Origins:
    """Issues origins, and tells which may be resumed."""

    def __init__(
        self,
        keys: Keys,
        actor_max: int = limits.ORIGINS_PER_ACTOR,
        producer_max: int = limits.ORIGINS_PER_PRODUCER,
        owners_max: int = limits.ORIGIN_OWNERS_MAX,
    ) -> None:
        """`actor_max`, `producer_max`: of one, at once and a minute."""
        self.issued_from_s = 0
        """Origins issued before this second are not taken (any more); the caller sets it."""
        self._keys = keys
        self._actor_max = actor_max
        self._producer_max = producer_max
        self._owners_max = owners_max
        self._full_at_s: OrderedDict[tuple[str, bool], float] = OrderedDict()
        """When an owner's bucket is full again (the virtual scheduling of GCRA, ITU-T I.371)."""

    def __len__(self) -> int:
        """How many owners' buckets are remembered."""
        return len(self._full_at_s)

    def issue(
        self, identity: Identity, *, producer: bool, now_s: float, at_s: float, entropy: bytes
    ) -> OriginId:
        """A new origin. `now_s`: Unix seconds; `at_s`: seconds of a clock that never goes back; `entropy`:
        ENTROPY_BYTES random bytes. Raises Forbidden, Exhausted with `retry_after_s`."""
        owner = owner_of(identity)
        if not identity.of_mesh:
            self._admit(owner, at_s, by_producer=identity.producer)
        fresh = ids.new_origin(producer=producer, now_s=now_s, entropy=entropy + bytes(TAG_BYTES))
        head = fresh[: -2 * TAG_BYTES]
        return OriginId(head + _tag(self._keys()[0], head, owner).hex())

    def refusal(self, origin_id: str, identity: Identity, *, producer: bool, now_s: float) -> str:
        """Why the token's bearer may not go on with this origin, for a person; "" if it may.

        The answer is a new origin. Of what was sent under the old one nothing is known: a copy may be stored.
        """
        try:
            ids.check_origin("origin_id", origin_id, now_s)
        except (Invalid, OriginRefused) as error:
            return error.message
        if why := self.left(origin_id):
            return f"origin_id: {why}"
        if (origin_id[0] == "p") != producer:
            return f"origin_id: {origin_id} is a {'producer' if origin_id[0] == 'p' else 'viewer'}'s"
        if not self.is_of(origin_id, owner_of(identity)):
            whose = shown(identity.actor_id)
            return f"origin_id: {origin_id} was not issued to {whose} here, or its key is gone"
        return ""

    def left(self, origin_id: str) -> str:
        """Why a well-formed origin is not taken any more although it lives, for a person; "" if it is."""
        if self.issued_from_s and ids.origin_issued_at_s(origin_id) < self.issued_from_s:
            return f"{origin_id} had to make room for newer ones; ask for a new one"
        return ""

    def is_of(self, origin_id: str, owner: str) -> bool:
        """Whether a well-formed origin was issued to that one."""
        head, tag = origin_id[: -2 * TAG_BYTES], bytes.fromhex(origin_id[-2 * TAG_BYTES :])
        return any(hmac.compare_digest(_tag(key, head, owner), tag) for key in self._keys())

    def _admit(self, owner: str, at_s: float, *, by_producer: bool) -> None:
        most = self._producer_max if by_producer else self._actor_max
        each_s = _MINUTE_S / most
        known, key = self._full_at_s, (owner, by_producer)
        full_at_s = max(known.pop(key, at_s), at_s) + each_s
        over_s = full_at_s - at_s - _MINUTE_S
        if over_s > 1e-6:
            known[key] = full_at_s - each_s
            raise Exhausted(
                f"{'producer' if by_producer else 'actor'} {shown(owner)} asked for {most} origins, the most "
                f"it may in a minute; keep the one it has, or come again in {over_s:.1f} s",
                retry_after_s=over_s,
            )
        known[key] = full_at_s
        while len(known) > self._owners_max or next(iter(known.values())) <= at_s:
            known.popitem(last=False)


def owner_of(identity: Identity) -> str:
    """Whose origins a token's bearer may have. Raises Forbidden for a producer's that names nobody."""
    if not identity.actor_id and not identity.of_mesh:
        raise Forbidden(
            "token: has no sub, and an origin belongs to one; "
            "get a producer's token whose sub names your server"
        )
    return identity.actor_id


def _tag(key: bytes, head: str, owner: str) -> bytes:
    # The head's length is always the same: no two of these read alike.
    text = head.encode() + owner.encode(errors="surrogatepass")
    return blake2b(text, digest_size=TAG_BYTES, key=key, person=_OF_TAGS).digest()


assert ENTROPY_BYTES + TAG_BYTES == 12, "what an origin has beside its kind and time"
assert wire_bounds.ORIGIN_AGE_MAX_S >= 24 * _MINUTE_S
