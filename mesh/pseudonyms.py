"""Under which id others see an actor: its own where that is plain, else a pseudonym. Pure.

An actor id may be an e-mail address or another secret of the platform's, so results that anybody may watch
hold it only where it has the form in which ids were always shown: 1 to 64 of [A-Za-z0-9_-]. Any other is
shown as `player-` and 10 characters of Crockford's base 32, 50 bits of its BLAKE2b under a key of the mesh:
who lacks the key cannot find an address by trying addresses. A plain id of that very form is shown as a
pseudonym, too, so that nobody takes another's.

The key lies in the catalog's bucket (mesh.catalog.watch): the same for all instances and after a restart.
Odds that two of a million actors share a pseudonym: 1 in 2,000; two of a board's best 100: 1 in 10^11.

Bound: CACHED_MAX pseudonyms are remembered; a full cache is cleared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import blake2b

from grandstand.wire import ids

PublicId = Callable[[Iterable[str]], list[str]]
"""The ids under which others see these actors; `list` where they see their own."""

KEY_BYTES = 32
CACHED_MAX = 16_384

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 10
_PSEUDONYM = re.compile(rf"player-[{_DIGITS}]{{{_LENGTH}}}\Z")


class PublicIds:
    """Implements PublicId. `key`: the mesh's, KEY_BYTES; b"" while it is not known: then whoever needs a
    pseudonym is `player`."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key
        self._known: dict[str, str] = {}

    def __call__(self, actor_ids: Iterable[str]) -> list[str]:
        known = self._known
        return [known.get(actor_id) or self._look(actor_id) for actor_id in actor_ids]

    def _look(self, actor_id: str) -> str:
        if may_be_shown(actor_id):
            shown = actor_id
        else:
            key = self._key()
            if not key:
                return "player"
            shown = pseudonym(actor_id, key)
        if len(self._known) >= CACHED_MAX:
            self._known.clear()
        self._known[actor_id] = shown
        return shown


def may_be_shown(actor_id: str) -> bool:
    """Whether others see the id itself."""
    return ids.is_id(actor_id) is not None and _PSEUDONYM.match(actor_id) is None


def pseudonym(actor_id: str, key: bytes) -> str:
    digest = blake2b(actor_id.encode(), digest_size=8, key=key, person=b"pseudonym").digest()
    number = int.from_bytes(digest, "big")
    return "player-" + "".join(_DIGITS[number >> 5 * at & 31] for at in range(_LENGTH))


UNKEYED = PublicIds(lambda: b"")
"""Where no key is: nothing is shown that is not plain."""
