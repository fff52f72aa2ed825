"""Whom a message of NOTICES is for, and what is pushed to the gateways for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from grandstand.internal.v1.internal_pb2 import CrowdNotice, InboxChange, StoredNotice
from mesh.jetstream import subjects
from mesh.notices.crowds import actors_of, crowd_of

PUSHED_TOGETHER_MAX = 64
"""Notices in one InboxChange: far below what NATS takes in a message."""


class Delivery(NamedTuple):
    """What is to be in some inboxes, or marks there that it was taken back."""

    sequence: int
    stored: StoredNotice
    crowd: str
    actors: tuple[str, ...]


def name_of(subject: str) -> str:
    """The notice's name in the subject (mesh.jetstream.subjects.notice_name); of a firing, its game."""
    return subject.split(".", 3)[2]


def is_cancellation(subject: str) -> bool:
    return subject.startswith("notices.cancelled.")


def is_firing(subject: str) -> bool:
    return subject.startswith("notices.fired.")


def delivery(
    sequence: int, subject: str, stored: StoredNotice, *, cancelled: bool = False
) -> Delivery | None:
    """None for what is in no inbox: what is scheduled and not due, cancellations, a rule's bare state, the
    head of a list. `cancelled`: it was taken back."""
    kind = subject.split(".", 2)[1]
    if not stored.HasField("notice") or not (
        kind in ("due", "fired") or (kind == "sent" and _is_due(stored))
    ):
        return None
    crowd, actors = crowd_of(stored), actors_of(stored)
    if not crowd and not actors:
        return None
    if cancelled:
        kept = StoredNotice(cancelled=True)
    else:
        kept = StoredNotice(notice=stored.notice, occurrence=stored.occurrence)
        if crowd:
            kept.generation = stored.generation
        kept.notice.ClearField("schedule")
        if stored.HasField("firing"):
            kept.firing.CopyFrom(stored.firing)
    for name in ("sent_at", "due_at", "expires_at"):
        getattr(kept, name).CopyFrom(getattr(stored, name))
    return Delivery(sequence, kept, crowd, actors)


def expires_s(stored: StoredNotice) -> float:
    return stored.expires_at.seconds + stored.expires_at.nanos / 1e9


def pushes(deliveries: Iterable[Delivery]) -> Iterator[tuple[str, bytes]]:
    """Subjects and messages: one for each notice to a crowd; for each actor all, in their order."""
    inboxes: dict[str, list[Delivery]] = {}
    for each in deliveries:
        if each.crowd:
            message = CrowdNotice(sequence=each.sequence, stored=each.stored)
            yield subjects.crowd(each.crowd), message.SerializeToString()
        for actor_id in each.actors:
            inboxes.setdefault(actor_id, []).append(each)
    for actor_id, own in inboxes.items():
        for at in range(0, len(own), PUSHED_TOGETHER_MAX):
            yield subjects.inbox(actor_id), _change(own[at : at + PUSHED_TOGETHER_MAX]).SerializeToString()


def _change(own: Sequence[Delivery]) -> InboxChange:
    return InboxChange(sequences=[each.sequence for each in own], notices=[each.stored for each in own])


def _is_due(stored: StoredNotice) -> bool:
    due, sent = stored.due_at, stored.sent_at
    return not stored.notice.HasField("schedule") and (due.seconds, due.nanos) <= (sent.seconds, sent.nanos)
