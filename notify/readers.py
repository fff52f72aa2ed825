"""What an actor does with its own inbox: lists it, marks what it has read, says what it wants to be told.

    lists     from Redis, evaluated by mesh.notices.inbox as gateways do; refused while it is filled again
    changes   of the actor's Reader in the stream READERS, by compare-and-set: of two at once the later one
              begins with what the earlier one stored. One that changes nothing writes nothing

A change is answered when it is stored and in Redis, so what is listed next shows it. If Redis is away then,
it is shown once Redis is back.

Bounds: an inbox, as mesh.notices.bounds has it; ACKNOWLEDGED_MAX ids a call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import Reader
from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.wire import actors, ids
from grandstand.wire.errors import Invalid, Unavailable, shown
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices import checks, crowds
from mesh.notices.bounds import READ_MARKS_MAX
from mesh.notices.inbox import (
    InboxEntry,
    Marks,
    entry_of,
    marks_of,
    merged,
    notification_id,
    notification_of,
    sequence_of,
)
from mesh.notices.read_marks import acknowledged
from mesh.notices.store import NoticeStore
from mesh.notices.stored import StoredInbox
from mesh.redis.database import RedisError
from notify import cursors
from notify.bounds import ACKNOWLEDGED_MAX, CHANGES_TRIED_MAX, INBOX_PAGE_DEFAULT, INBOX_PAGE_MAX
from notify.completeness import Completeness
from notify.cursors import Cursor
from notify.stream_log import StreamLog

log = logging.getLogger(__name__)

_FULL = "the stream READERS is full: it has no room for more actors; the operator has to widen it"

Change = Callable[[Reader], Reader | None]
"""None: it changes nothing."""


class _Inbox(NamedTuple):
    stored: StoredInbox
    own: list[InboxEntry]
    crowds: list[list[InboxEntry]]
    known: int
    """All notices up to this sequence are in it."""


class ReaderApplier(Protocol):
    """The part of the keeper's Applier that is used here."""

    async def reader(self, actor_id: str, sequence: int, reader: Reader) -> None: ...


_NOTHING = Cursor(0)


class Readers:
    """`generation_of`: of a game, 0 if it is not known. `now_s`: Unix seconds. All methods raise RedisError,
    Unavailable."""

    def __init__(
        self,
        bus: Bus,
        store: NoticeStore,
        applier: ReaderApplier,
        completeness: Completeness,
        generation_of: Callable[[str], int],
        now_s: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._completeness = completeness
        self._generation_of = generation_of
        self._log = StreamLog(bus, subjects.READERS_STREAM, _FULL)
        self._store = store
        self._applier = applier
        self._now_s = now_s

    async def list_inbox(self, actor_id: str, request: pb.ListInboxRequest) -> pb.ListInboxResponse:
        """Raises Invalid."""
        if request.page_size > INBOX_PAGE_MAX:
            raise Invalid(
                f"page_size: is {request.page_size}; at most {INBOX_PAGE_MAX} is allowed, 0 means "
                f"{INBOX_PAGE_DEFAULT}"
            )
        wanted = request.page_size or INBOX_PAGE_DEFAULT
        game_id = ids.check_id("game_id", request.game_id) if request.game_id else ""
        watched = request.watched_game_id
        if watched and ids.check_id("watched_game_id", watched) and game_id:
            raise Invalid(f"watched_game_id: is {shown(watched)} beside game_id; give one of both")
        after = cursors.parsed("after", request.after) if request.after else _NOTHING
        before = sequence_of("page_token", request.page_token) if request.page_token else None
        inbox = await self._inbox(actor_id, watched or game_id)
        marks, now_s = marks_of(inbox.stored.reader), self._now_s()
        entries = merged(inbox.own, inbox.crowds, marks, now_s).entries
        if game_id:
            entries = [each for each in entries if each[0].game_id == game_id]
        unread = sum(not is_read for _, is_read in entries)
        newer = [
            each
            for each in entries
            if each[0].sequence not in after and (before is None or each[0].sequence < before)
        ]
        page = newer[:wanted]
        known = min((each - 1 for each in _held(inbox, marks, now_s)), default=inbox.known)
        cursor = cursors.cursor_of(min(known, inbox.known), (entry.sequence for entry, _ in entries))
        return pb.ListInboxResponse(
            notifications=[notification_of(entry, is_read) for entry, is_read in page],
            unread=unread,
            next_page_token=notification_id(page[-1][0].sequence) if len(newer) > wanted else "",
            cursor=cursor.encoded(),
        )

    async def acknowledge(
        self, actor_id: str, request: pb.AcknowledgeNoticesRequest, marks_max: int = READ_MARKS_MAX
    ) -> int:
        """How many are unread then. `marks_max`: of those read one by one this many are kept at most. Raises
        Invalid, Exhausted."""
        named = request.notification_ids
        if len(named) > ACKNOWLEDGED_MAX:
            raise Invalid(
                f"notification_ids: are {len(named)}; at most {ACKNOWLEDGED_MAX} are allowed in a call, or "
                "give up_to"
            )
        if not named and not request.up_to:
            raise Invalid("notification_ids, up_to: are both empty; say what was read")
        sequences = {sequence_of(f"notification_ids[{at}]", each) for at, each in enumerate(named)}
        up_to = cursors.parsed("up_to", request.up_to) if request.up_to else _NOTHING
        sequences |= up_to.beyond
        inbox = await self._inbox(actor_id)
        if max((up_to.up_to, *sequences)) > inbox.known:
            newest = await self._newest()
            if up_to.newest > newest:
                raise Invalid(
                    f"up_to: {shown(request.up_to)} lies in the future, the newest notice is "
                    f"{notification_id(newest)}; give a cursor of ListInbox"
                )
            sequences = {each for each in sequences if each <= newest}

        def read(reader: Reader) -> Reader | None:
            return acknowledged(reader, sequences, up_to.up_to, marks_max)

        reader = inbox.stored.reader
        if read(reader) is not None:
            reader = await self._change(actor_id, read)
        return merged(inbox.own, inbox.crowds, marks_of(reader), self._now_s()).unread

    async def preferences(self, actor_id: str) -> pb.Preferences:
        kept = await self._log.newest(subjects.reader(actor_id))
        return Reader.FromString(kept.data).preferences

    async def set_preferences(self, actor_id: str, preferences: pb.Preferences) -> pb.Preferences:
        """Raises Invalid, Exhausted."""
        checks.check_preferences(preferences)

        def replaced(reader: Reader) -> Reader | None:
            if reader.preferences == preferences:
                return None
            changed = Reader()
            changed.CopyFrom(reader)
            changed.preferences.CopyFrom(preferences)
            return changed

        return (await self._change(actor_id, replaced)).preferences

    async def _inbox(self, actor_id: str, game_id: str = "") -> _Inbox:
        applied = await self._store.applied()
        await self._completeness.check(applied)
        known = applied.get(subjects.NOTICES_STREAM)
        (stored,) = await self._store.load([actor_id])
        names = [crowds.EVERYONE, *map(crowds.segment, stored.segments)]
        if game_id:
            names.append(crowds.game(game_id))
        found = await self._store.load_crowds(names)
        generation = self._generation_of(game_id) if game_id else 0
        await self._completeness.check(await self._store.applied())  # it may have been lost meanwhile
        return _Inbox(
            stored,
            [entry_of(sequence, each) for sequence, each in stored.own.items()],
            [
                [
                    entry_of(sequence, each)
                    for sequence, each in crowd.items()
                    if crowds.is_of(each, generation)
                ]
                for crowd in found.values()
            ],
            known.sequence if known else 0,
        )

    async def _change(self, actor_id: str, change: Change) -> Reader:
        """The Reader then."""
        subject = subjects.reader(actor_id)
        kept = await self._log.newest(subject)
        for _ in range(CHANGES_TRIED_MAX):
            before = Reader.FromString(kept.data)
            after = change(before)
            if after is None:
                await self._apply(actor_id, kept.sequence, before)
                return before
            kept = await self._log.put(subject, after.SerializeToString(), kept.sequence)
            if kept.is_new:
                await self._apply(actor_id, kept.sequence, after)
                return after
        raise Unavailable(f"others change what {shown(actor_id)} has read at this moment; try again")

    async def _apply(self, actor_id: str, sequence: int, reader: Reader) -> None:
        if not sequence:
            return
        try:
            await self._applier.reader(actor_id, sequence, reader)
        except RedisError as error:
            log.info(
                "what %s has read is stored, and shown later: %s",
                *(actors.said(actor_id), error),
                extra={"actor": actor_id},
            )

    async def _newest(self) -> int:
        """The last sequence of NOTICES."""
        try:
            return (await self._bus.stream_end(subjects.NOTICES_STREAM))[1]
        except (NatsError, TimeoutError) as error:
            raise Unavailable(
                f"the stream NOTICES does not answer ({str(error) or type(error).__name__}); try again"
            ) from None


def _held(inbox: _Inbox, marks: Marks, now_s: float) -> list[int]:
    """What is shown later, for it fell into quiet hours."""
    quiet = marks.quiet
    if quiet is None:
        return []
    return [
        entry.sequence
        for entry in (*inbox.own, *(entry for crowd in inbox.crowds for entry in crowd))
        if not entry.is_urgent
        and now_s < entry.due_s + quiet.LONGEST_S
        and (quiet.until_s(entry.due_s) or 0.0) > now_s
    ]
