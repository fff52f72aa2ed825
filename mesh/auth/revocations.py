"""What is revoked: which good tokens are not taken any more. Pure.

A revocation concerns the tokens of an actor or of everybody that were issued before a time, or the one token
of an id. It is kept until the last of them must have expired: no token lives longer than TOKEN_LIFE_MAX_S.
A token without `iat` counts as older than any, one of the mesh itself is not concerned: its key is on this
mesh's own machines, and its life is short.

Revocations lie in the catalog's bucket, each in a numbered slot, so that every process has them before it
serves, hears of new ones in their order, and knows when its watch has died (mesh.catalog.watch). A slot whose
revocation is over, or says no more than one of everybody's tokens does, is free for another.

Bound: REVOCATIONS_MAX slots. On overflow a revocation is refused (Exhausted): to forget an older one would
make tokens good again. The way out that is always there: revoke everything issued before now, which frees the
other slots.

Rejected: a list in one entry (rewritten whole, and of at most a message); an entry by what it revokes, as
entries of a bucket that denies deletion stay for ever; telling services by core NATS, which loses messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from grandstand.access.v1.access_pb2 import Revocation as StoredRevocation
from grandstand.wire.errors import Exhausted
from mesh import limits
from mesh.auth.identity import Identity

KIND = "revoked"
"""What the keys of slots begin with: `revoked.17`."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Times in Unix seconds. Of `actor_id`, of `token_id`, or of everybody if both are ""."""

    actor_id: str
    token_id: str
    issued_before_s: float
    """Of a token's id not looked at."""
    kept_until_s: float
    revoked_at_s: float

    def covers(self, identity: Identity, now_s: float) -> bool:
        """Whether a token of this identity, a client's, is revoked now."""
        if now_s >= self.kept_until_s:
            return False
        if self.token_id:
            return identity.token_id == self.token_id
        return identity.issued_at_s < self.issued_before_s and self.actor_id in ("", identity.actor_id)

    def merged(self, other: Revocation) -> Revocation:
        """Covers what either covers, and perhaps more: both are of one actor, of one token or of all."""
        return replace(
            self,
            issued_before_s=max(self.issued_before_s, other.issued_before_s),
            kept_until_s=max(self.kept_until_s, other.kept_until_s),
        )

    def said(self) -> str:
        """For a person, and for the audit log: whole, in one line."""
        if self.token_id:
            return f"the one with jti {self.token_id!r}"
        whose = f"all of actor {self.actor_id!r}" if self.actor_id else "all"
        return f"{whose} issued before {time_of(self.issued_before_s)}"

    def encoded(self) -> StoredRevocation:
        stored = StoredRevocation()
        if self.token_id:
            stored.token_id = self.token_id
        elif self.actor_id:
            stored.actor_id = self.actor_id
        else:
            stored.all = True
        if not self.token_id:
            set_time(stored.issued_before, self.issued_before_s)
        set_time(stored.kept_until, self.kept_until_s)
        set_time(stored.revoked_at, self.revoked_at_s)
        return stored

    @classmethod
    def decoded(cls, value: bytes) -> Revocation:
        stored = StoredRevocation.FromString(value)
        return cls(
            stored.actor_id,
            stored.token_id,
            seconds_of(stored.issued_before),
            seconds_of(stored.kept_until),
            seconds_of(stored.revoked_at),
        )


_BySlot = dict[int, Revocation]


class Revocations:
    """All that a process knows of."""

    def __init__(self, slots_max: int = limits.REVOCATIONS_MAX) -> None:
        self.changes = 0
        """Grows with each revocation that comes or changes."""
        self._slots_max = slots_max
        self._slots: dict[int, Revocation] = {}
        self._revisions: dict[int, int] = {}
        # By actor, token id and "", then by slot: several if several processes stored one at the same time.
        self._of_actors: dict[str, _BySlot] = {}
        self._of_tokens: dict[str, _BySlot] = {}
        self._of_all: dict[str, _BySlot] = {}

    @property
    def count(self) -> int:
        """How many slots are used."""
        return len(self._slots)

    def covering(self, identity: Identity, now_s: float) -> Revocation | None:
        """What revokes a token of this identity; None: nothing. `now_s`: Unix seconds."""
        actor_id, token_id = identity.actor_id, identity.token_id
        of_actors, of_tokens = self._of_actors, self._of_tokens
        if not (self._of_all or actor_id in of_actors or token_id in of_tokens) or identity.of_mesh:
            return None
        for found in (self._of_all.get(""), of_actors.get(actor_id), of_tokens.get(token_id)):
            for revocation in found.values() if found else ():
                if revocation.covers(identity, now_s):
                    return revocation
        return None

    def held(self, after: int, now_s: float) -> list[tuple[int, Revocation]]:
        """What is revoked now, by slot, of the slots after this one."""
        found = [
            (slot, held) for slot, held in self._slots.items() if slot > after and now_s < held.kept_until_s
        ]
        return sorted(found, key=lambda each: each[0])

    def place(self, asked: Revocation, now_s: float) -> tuple[int, Revocation]:
        """Into which slot to write what, so that `asked` holds. Raises Exhausted."""
        table, name = self._table(asked)
        for slot, known in table.get(name, {}).items():
            return slot, asked.merged(known)
        of_all = [*self._of_all.get("", {}).values(), *([asked] if table is self._of_all else [])]
        for slot in range(self._slots_max):
            held = self._slots.get(slot)
            if held is None or _is_needless(held, of_all, now_s):
                return slot, asked
        soonest_s = min(held.kept_until_s for held in self._slots.values())
        raise Exhausted(
            f"{self._slots_max} revocations are kept, the most there may be, and the first is over at "
            f"{time_of(soonest_s)}; revoke all tokens issued before now, which makes room, or retire a key"
        )

    def revision(self, slot: int) -> int:
        """Of its entry in the bucket; 0 if there is none."""
        return self._revisions.get(slot, 0)

    def put(self, key: str, revision: int, value: bytes) -> bool:
        """Takes an entry of the bucket unless a newer one is known; whether it says anything new."""
        slot = int(key.removeprefix(f"{KIND}."))
        if self.revision(slot) >= revision:
            return False
        self._revisions[slot] = revision
        revocation = Revocation.decoded(value)
        held = self._slots.get(slot)
        if held == revocation:
            return False
        if held is not None:
            table, name = self._table(held)
            del table[name][slot]
            if not table[name]:
                del table[name]
        self._slots[slot] = revocation
        table, name = self._table(revocation)
        table.setdefault(name, {})[slot] = revocation
        self.changes += 1
        return True

    def forget_revisions(self) -> None:
        """The bucket was recreated and counts from one: revocations are kept until it brings others."""
        self._revisions.clear()

    def unbacked(self) -> list[tuple[str, bytes]]:
        """Keys and values of what no entry of the bucket stands behind."""
        return [
            (key_of(slot), held.encoded().SerializeToString())
            for slot, held in self._slots.items()
            if slot not in self._revisions
        ]

    def _table(self, revocation: Revocation) -> tuple[dict[str, _BySlot], str]:
        """Where those of the same actor, of the same token or of all are, and under which name."""
        if revocation.token_id:
            return self._of_tokens, revocation.token_id
        if revocation.actor_id:
            return self._of_actors, revocation.actor_id
        return self._of_all, ""


def _is_needless(held: Revocation, of_all: Iterable[Revocation], now_s: float) -> bool:
    """It is over, or everything it can concern is revoked for as long by one of everybody's tokens."""
    if now_s >= held.kept_until_s:
        return True
    # The token of an id was issued before that was revoked, by a clock that may be ahead.
    before_s = held.revoked_at_s + limits.TOKEN_LEEWAY_S if held.token_id else held.issued_before_s
    return any(
        before_s <= found.issued_before_s and held.kept_until_s <= found.kept_until_s
        for found in of_all
        if found is not held
    )


def key_of(slot: int) -> str:
    """In the catalog's bucket."""
    return f"{KIND}.{slot}"


def time_of(unix_s: float) -> str:
    """For a person, to the second."""
    return datetime.fromtimestamp(int(unix_s), UTC).isoformat().replace("+00:00", "Z")


def seconds_of(time: Timestamp) -> float:
    """Unix seconds, exact to the microsecond."""
    return time.seconds + time.nanos / 1e9


def set_time(time: Timestamp, unix_s: float) -> None:
    time.FromMicroseconds(round(unix_s * 1e6))
