"""What a call asks to be sent: checked, told from others by its key and digest, and with its times. Pure.

A key belongs to the notice that first takes it. What two calls ask is the same if their notices are, once
what is unset has its meaning (normal priority, 7 days); the digest says so without keeping the request.

A list is cut into parts in the order in which it comes, each with a digest of its own, which also says
whether it is the last one. So a list that is sent again is recognised part by part, and one that is longer,
shorter or another is refused at the first part that differs.

    who is named twice   counts once in a part
    bound                ACTORS_MAX names, of which a part and a message are held
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1.notify_pb2 import PRIORITY_NORMAL, Notice
from grandstand.wire import actors
from grandstand.wire.errors import AlreadyDone, Invalid, shown
from mesh.jetstream import subjects
from mesh.notices import checks, crowds
from mesh.notices.bounds import EXPIRES_AFTER_S, KEPT_AFTER_EXPIRY_S, PART_ACTORS_MAX
from notify.bounds import ACTORS_MAX, ACTORS_PER_MESSAGE_MAX
from notify.schedule import Plan, nanoseconds, plan_of, said

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Order:
    """A notice that may be sent."""

    name: str
    """What stands for game and key in subjects."""
    notice: Notice
    """With nothing left to its default."""
    digest: bytes
    plan: Plan | None
    """When it is due; None: now."""
    is_list: bool

    @property
    def subject(self) -> str:
        return subjects.notice_sent(self.name)

    def stored(self, now_ns: int, generation: int = 0) -> StoredNotice:
        """What is stored of it under its key. Of a schedule its times reach from the first occurrence to the
        end of the last one. `generation`: of the game to whose viewers it goes; else 0."""
        first_ns = self.plan.due_ns(1) if self.plan else now_ns
        last_ns = self.plan.due_ns(self.plan.times) if self.plan else now_ns
        stored = StoredNotice(notice=self.notice, digest=self.digest, generation=generation)
        stored.sent_at.FromNanoseconds(now_ns)
        stored.due_at.FromNanoseconds(first_ns)
        stored.expires_at.FromNanoseconds(last_ns + expires_after_ns(self.notice))
        return stored

    def check_same(self, before: StoredNotice, generation: int = 0) -> None:
        """That what is stored under its key is what it asks for; `generation` as for `stored`. Raises
        AlreadyDone."""
        if before.digest == self.digest and crowds.is_of(before, generation):
            return
        free_ns = nanoseconds(before.expires_at) + KEPT_AFTER_EXPIRY_S * 10**9
        raise AlreadyDone(
            f"notice.key: another notice was sent as {shown(self.notice.key)} of "
            f"{of_game(self.notice.game_id)} at {said(nanoseconds(before.sent_at))}; take another key, or "
            f"this one again after {said(free_ns)}"
        )


def order_of(notice: Notice, *, is_list: bool = False) -> Order:
    """Raises Invalid for what can be sent at no time."""
    checks.check_notice(notice)
    if not is_list:
        checks.check_audience(notice)
    elif notice.HasField("audience"):
        raise Invalid("notice.audience: is set, and the list says who it is for; leave it unset")
    whole = Notice()
    whole.CopyFrom(notice)
    whole.DiscardUnknownFields()
    whole.priority = whole.priority or PRIORITY_NORMAL
    if not whole.HasField("expires_after"):
        whole.expires_after.FromSeconds(EXPIRES_AFTER_S)
    plan = plan_of(whole.schedule) if whole.HasField("schedule") else None
    name = subjects.notice_name(whole.game_id, whole.key)
    return Order(name, whole, _digest(whole.SerializeToString(deterministic=True)), plan, is_list)


def expires_after_ns(notice: Notice) -> int:
    return notice.expires_after.seconds * 10**9 + notice.expires_after.nanos


def cancellation(notice: Notice, expires_ns: int, now_ns: int) -> StoredNotice:
    """Takes back what was sent of the notice's game under its key; for as long as that may be shown."""
    stored = StoredNotice(notice=Notice(game_id=notice.game_id, key=notice.key), cancelled=True)
    for moment, ns in ((stored.sent_at, now_ns), (stored.due_at, now_ns), (stored.expires_at, expires_ns)):
        moment.FromNanoseconds(ns)
    return stored


def of_game(game_id: str) -> str:
    """For a person."""
    return f"game {shown(game_id)}" if game_id else "no game"


class Part(NamedTuple):
    number: int
    actor_ids: list[str]
    digest: bytes

    def stored(self, head: StoredNotice) -> StoredNotice:
        """`head`: what is stored under the key; all parts have its times."""
        part = StoredNotice()
        part.CopyFrom(head)
        part.actor_ids.extend(self.actor_ids)
        part.digest = self.digest
        return part


class Parts:
    """Cuts a list. All but the last part have PART_ACTORS_MAX actors."""

    def __init__(self) -> None:
        self.named = 0
        """So far, also who was named twice."""
        self.actors = 0
        """In the parts so far."""
        self._held: dict[str, None] = {}
        self._number = 0

    def add(self, actor_ids: Iterable[str]) -> Iterator[Part]:
        """Raises Invalid."""
        for at, actor_id in enumerate(actor_ids):
            if at == ACTORS_PER_MESSAGE_MAX:
                raise Invalid(
                    f"actor_ids: has more than {ACTORS_PER_MESSAGE_MAX} in one message; send the others in "
                    "further messages"
                )
            actors.check_actor(f"actor_ids[{self.named}]", actor_id)
            self.named += 1
            if self.named > ACTORS_MAX:
                raise Invalid(
                    f"actor_ids: are more than {ACTORS_MAX}; send the others a notice with another key, or "
                    "make a segment of them"
                )
            if actor_id in self._held:
                continue
            # One is only known not to be the last when another comes.
            if len(self._held) == PART_ACTORS_MAX:
                yield self._cut(is_last=False)
            self._held[actor_id] = None

    def end(self, said: int) -> Part:
        """The last part of a list of which its sender says that this many are named. Raises Invalid: it was
        broken off, or nobody was named."""
        if not self._held:
            raise Invalid("actor_ids: are none; name at least one actor")
        if said != self.named:
            raise Invalid(
                f"actors: the last message has to say how many are named in all, which are {self.named} so "
                f"far, and says {said}; if the list was broken off, send all of it again under the same key"
            )
        return self._cut(is_last=True)

    def _cut(self, *, is_last: bool) -> Part:
        part = list(self._held)
        self._held.clear()
        self.actors += len(part)
        number, self._number = self._number, self._number + 1
        # No actor id holds a line feed.
        return Part(number, part, _digest("\n".join([str(int(is_last)), *part]).encode()))


def check_same_part(part: Part, before: StoredNotice, key: str) -> None:
    """Raises AlreadyDone."""
    if before.digest != part.digest:
        first = part.number * PART_ACTORS_MAX
        raise AlreadyDone(
            f"actor_ids: from {first} on are others than were sent under the key {shown(key)} before; send "
            "the same list in the same order, or take another key"
        )


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES, person=b"notice").digest()
