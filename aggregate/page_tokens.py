"""Tokens of pages: where a list goes on. Pure.

A token holds the place after which the next page begins, when it was issued, and a keyed digest of both and
of the question it was issued to. So it opens nothing that the question does not, is of no use to another
question, and is not taken from whoever made it up. It names a place and no number, so what comes and goes
meanwhile moves nothing that stays from one page to another. Every instance takes every other's: the key is
the mesh's (mesh.pseudonyms).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import struct
from hashlib import blake2b

from grandstand.wire.errors import Invalid, Unavailable

LIFE_S = 3_600
PAGE_DEFAULT = 100
PAGE_MAX = 500
TOKEN_CHARACTERS_MAX = 512
_DIGEST_BYTES = 16
_HEAD = struct.Struct(">I")


def page_size(asked: int) -> int:
    """Raises Invalid."""
    if asked > PAGE_MAX:
        raise Invalid(f"page_size: is {asked}; at most {PAGE_MAX} is allowed, 0 means {PAGE_DEFAULT}")
    return asked or PAGE_DEFAULT


def issue(place: str, question: tuple[str | int, ...], key: bytes, now_s: float) -> str:
    """Raises Unavailable: this process does not know the key yet."""
    body = _HEAD.pack(int(now_s)) + place.encode()
    return base64.urlsafe_b64encode(_digest(body, question, key) + body).rstrip(b"=").decode()


def place_of(token: str, question: tuple[str | int, ...], key: bytes, now_s: float) -> str:
    """ "" for no token. Raises Invalid, Unavailable."""
    if not token:
        return ""
    try:
        raw = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    digest, body = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if len(token) > TOKEN_CHARACTERS_MAX or len(body) < _HEAD.size:
        raise Invalid("page_token: is not one of this service; leave it empty for the first page")
    if not hmac.compare_digest(digest, _digest(body, question, key)):
        raise Invalid(
            "page_token: was not issued for this question; ask with the same fields as for the page before, "
            "or leave it empty for the first page"
        )
    age_s = now_s - _HEAD.unpack_from(body)[0]
    if age_s > LIFE_S:
        raise Invalid(
            f"page_token: is {age_s:.0f} s old; at most {LIFE_S} s are allowed, "
            "begin again with the first page"
        )
    return body[_HEAD.size :].decode()


def _digest(body: bytes, question: tuple[str | int, ...], key: bytes) -> bytes:
    if not key:
        raise Unavailable("pages cannot be told apart yet: the mesh's key is not known here; try again")
    asked = json.dumps(question).encode()
    return blake2b(asked + b"\n" + body, digest_size=_DIGEST_BYTES, key=key, person=b"page-token").digest()
