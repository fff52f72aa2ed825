"""Actor ids: opaque text of the platform's, and the one form they take in subjects and keys. Pure.

An actor id is 1 to 128 bytes of UTF-8 without control characters (U+0000 to U+001F, U+007F to U+009F):
`auth0|5f7c`, `f:uuid:ann`, an e-mail address. Bytes are compared as they are given: no case folding, no
normalisation, and spaces at the ends count. Code passes actor ids on as they are; where one becomes a token
of a NATS subject or a part of a Redis key it is encoded, here and nowhere else.

    plain, [A-Za-z0-9_-]{1,128}   is its own encoded form, so what was stored under it stays
    any other                     "=" and the base64url of its UTF-8, unpadded: at most 172 characters

No plain id holds "=", so no two ids share an encoded form. A token of a subject may have neither a dot, a
star, a ">" nor a space; the encoded form has none.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from grandstand.wire import bounds
from grandstand.wire.errors import Invalid, shown

ENCODED_CHARACTERS_MAX = 1 + -(-4 * bounds.ACTOR_ID_BYTES_MAX // 3)

_MARK = "="
_CONTROLS = "\\x00-\\x1f\\x7f-\\x9f"
_PLAIN = re.compile(rf"[A-Za-z0-9_-]{{1,{bounds.ACTOR_ID_BYTES_MAX}}}\Z")
_TEXT = re.compile(rf"[^{_CONTROLS}\ud800-\udfff]+\Z")
# A character has at most four bytes.
_SURELY = re.compile(
    rf"(?:[ -~]{{1,{bounds.ACTOR_ID_BYTES_MAX}}}"
    rf"|[^{_CONTROLS}\ud800-\udfff]{{1,{bounds.ACTOR_ID_BYTES_MAX // 4}}})\Z"
)
_GUEST = re.compile(r"guest-[0-9a-f]{16}\Z")

is_surely_actor = _SURELY.match
"""Whether a text is an actor id, as quickly as can be told: a few that are it are left to `check_actor`."""

is_plain = _PLAIN.match
"""Whether an actor id is its own encoded form."""


def check_actor(field: str, value: str) -> str:
    """`value` if it is an actor id. Raises Invalid naming the field, the value and the bound."""
    if _SURELY.match(value):
        return value
    if not value:
        raise Invalid(f"{field}: is empty; give 1 to {bounds.ACTOR_ID_BYTES_MAX} bytes")
    if not _TEXT.match(value):
        bad = next(character for character in value if not _TEXT.match(character))
        raise Invalid(
            f"{field}: {shown(value)} has the character {bad!r}; an actor id has no control characters "
            "and no halves of surrogate pairs"
        )
    size = len(value.encode())
    if size > bounds.ACTOR_ID_BYTES_MAX:
        raise Invalid(
            f"{field}: {shown(value)} has {size} bytes of UTF-8; at most {bounds.ACTOR_ID_BYTES_MAX} are "
            "allowed; name the actor by another claim (--actor-claim) or by a hash of your own"
        )
    return value


def is_guest(actor_id: str) -> bool:
    """Whether it has the form of the ids that gateways give to guests, `guest-` and 16 hex digits."""
    return _GUEST.match(actor_id) is not None


def encode(actor_id: str) -> str:
    """The actor id as it stands in subjects and keys: at most ENCODED_CHARACTERS_MAX of [A-Za-z0-9_=-]."""
    if _PLAIN.match(actor_id):
        return actor_id
    return _MARK + urlsafe_b64encode(actor_id.encode()).rstrip(b"=").decode()


def decode(encoded: str) -> str:
    """The actor id that `encode` made this of. Raises Invalid for what it never makes."""
    actor_id = encoded
    if encoded.startswith(_MARK):
        digits = encoded[len(_MARK) :]
        try:
            actor_id = urlsafe_b64decode(digits + "=" * (-len(digits) % 4)).decode()
        except ValueError:
            actor_id = ""
    if not actor_id or encode(actor_id) != encoded:
        raise Invalid(f"{shown(encoded)} is no encoded actor id")
    return actor_id


def said(actor_id: str) -> str:
    """The actor id for a line of a log: whole, and quoted unless it is plain."""
    return actor_id if _PLAIN.match(actor_id) else repr(actor_id)
