"""Names and identities: which strings are allowed, who an origin is, where an event folds.

An **origin id** is `v` (viewer) or `p` (producer), 8 hex digits of the second of issue, 10 of
randomness, and 14 of a tag that the server makes and checks (mesh.auth.origins): 33 characters. The
kind says how wide its anti-replay window is, the time of issue how long it may live, and the tag
whose it is (I2), so all travel with the identity and no service has to remember whom it issued.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NewType

from grandstand.wire import bounds
from grandstand.wire.errors import Invalid, OriginRefused, shown

OriginId = NewType("OriginId", str)

_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{bounds.ID_CHARACTERS_MAX}}}\Z")
_ID_CHARACTERS = re.compile(r"[A-Za-z0-9_-]*\Z")
_ORIGIN = re.compile(r"([vp])([0-9a-f]{8})[0-9a-f]{24}\Z")
_TOPIC = re.compile(
    rf"(poll|board|pulse|metric|custom)/([A-Za-z0-9_-]{{1,{bounds.ID_CHARACTERS_MAX}}})\Z|(audience)\Z"
)


is_id = _ID.match
"""Whether a text is a valid id, as quickly as can be told."""


def is_hidden(game_id: str) -> bool:
    """Whether it is left out where games are listed, unless it is asked for: its id begins with `_`."""
    return game_id.startswith("_")


def check_id(field: str, value: str) -> str:
    """`value` if it is a valid id. Raises Invalid naming the field, the value and the bound."""
    if _ID.match(value):
        return value
    if not value:
        raise Invalid(f"{field}: is empty; give 1 to {bounds.ID_CHARACTERS_MAX} characters")
    if len(value) > bounds.ID_CHARACTERS_MAX:
        raise Invalid(
            f"{field}: {shown(value)} has {len(value)} characters; "
            f"at most {bounds.ID_CHARACTERS_MAX} are allowed"
        )
    bad = next(c for c in value if not _ID_CHARACTERS.match(c))
    raise Invalid(f"{field}: {shown(value)} has the character {bad!r}; allowed are A-Z a-z 0-9 _ -")


def check_text(field: str, value: str) -> str:
    """`value` if it is 1 to 200 printable characters. Raises Invalid."""
    if not value.strip():
        raise Invalid(f"{field}: is empty; give 1 to {bounds.TEXT_CHARACTERS_MAX} characters")
    if len(value) > bounds.TEXT_CHARACTERS_MAX:
        raise Invalid(
            f"{field}: {shown(value)} has {len(value)} characters; "
            f"at most {bounds.TEXT_CHARACTERS_MAX} are allowed"
        )
    if not value.isprintable():
        raise Invalid(f"{field}: {shown(value)} has a character that does not print")
    return value


TOPIC_FORMS = "poll/<id>, board/<id>, pulse/<id>, audience, metric/<id>, custom/<id>"


@dataclass(frozen=True, slots=True)
class TopicName:
    """A result viewers can watch, `<kind>/<name>`, or `audience`, which has no name."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" if self.name else self.kind


def parse_topic(value: str) -> TopicName:
    """Raises Invalid for anything that is not one of TOPIC_FORMS."""
    if found := _TOPIC.match(value):
        return TopicName(found[1] or found[3], found[2] or "")
    raise Invalid(f"topic: {shown(value)} is none of {TOPIC_FORMS}")


def new_origin(*, producer: bool, now_s: float, entropy: bytes) -> OriginId:
    """An origin id. `entropy`: the 12 bytes that stand for randomness and tag; `now_s`: Unix seconds."""
    if len(entropy) != 12:
        raise ValueError(f"entropy has {len(entropy)} bytes; 12 are needed")
    return OriginId(f"{'p' if producer else 'v'}{int(now_s) & 0xFFFFFFFF:08x}{entropy.hex()}")


def origin_issued_at_s(origin_id: str) -> int:
    """Unix seconds of issue of a well-formed origin id."""
    return int(origin_id[1:9], 16)


def origin_window(origin_id: str) -> int:
    """How many sequence numbers the anti-replay window of this origin remembers (I2)."""
    return bounds.PRODUCER_WINDOW if origin_id[:1] == "p" else bounds.VIEWER_WINDOW


def origin_credit(origin_id: str) -> int:
    """How many sequence numbers of this origin may be unacked at once (I2)."""
    return bounds.PRODUCER_CREDIT if origin_id[:1] == "p" else bounds.VIEWER_CREDIT


def origin_key(origin_id: str) -> bytes:
    """The 16 bytes of a well-formed origin id without its kind: time of issue, randomness and tag."""
    return bytes.fromhex(origin_id[1:])


def origin_of(key: bytes, *, producer: bool) -> OriginId:
    """The origin id with this key."""
    return OriginId(f"{'p' if producer else 'v'}{key.hex()}")


def actor_key(actor_id: str) -> bytes:
    """16 bytes that stand for an actor wherever its name is not shown: BLAKE2b-128 of the name.

    Two actors of one key would be one voter: at a billion actors the odds are 1 in 10^21,
    and 64 bits of work are needed to make such a pair on purpose.
    """
    return blake2b(actor_id.encode(), digest_size=16).digest()


def actor_keys(actor_ids: Iterable[str]) -> list[bytes]:
    """As `actor_key`, of many at once."""
    return [blake2b(actor_id.encode(), digest_size=16).digest() for actor_id in actor_ids]


def topic_key(game_id: str, topic: str) -> bytes:
    """16 bytes that stand for a topic, as `actor_key` for an actor."""
    return blake2b(f"{game_id}/{topic}".encode(), digest_size=16, person=b"topic").digest()


def check_origin(field: str, value: str, now_s: float) -> OriginId:
    """`value` if it has the form of an origin that still lives; its tag is not looked at. Raises Invalid for
    another form, OriginRefused for another time."""
    if not _ORIGIN.match(value):
        raise Invalid(f"{field}: {shown(value)} is not an origin id; leave it empty to be issued one")
    age_s = now_s - origin_issued_at_s(value)
    if age_s > bounds.ORIGIN_AGE_MAX_S:
        raise OriginRefused(
            f"{field}: {value} is {age_s / 3600:.1f} h old; "
            f"an origin lives {bounds.ORIGIN_AGE_MAX_S // 3600} h, ask for a new one"
        )
    if age_s < -bounds.ORIGIN_CLOCK_SKEW_MAX_S:
        raise OriginRefused(f"{field}: {value} is issued {-age_s:.0f} s in the future; ask for a new one")
    return OriginId(value)


def stable_hash(value: str) -> int:
    """A hash that is the same in every process and release (CRC-32): it places state."""
    return zlib.crc32(value.encode())


def partition_of(game_id: str, actor_id: str, spread: int, partitions: int = bounds.PARTITIONS) -> int:
    """Where the actor's events in this game fold. A game's partitions are consecutive from its hash."""
    share = stable_hash(actor_id) % spread if spread > 1 else 0
    return (stable_hash(game_id) + share) % partitions


def partitions_of(game_id: str, spread: int, partitions: int = bounds.PARTITIONS) -> list[int]:
    """All partitions of a game, `spread` of them (at least one)."""
    first = stable_hash(game_id)
    return [(first + i) % partitions for i in range(max(1, spread))]
