"""The catalog as every service sees it: a view in memory, kept fresh by a watch on its bucket.

`CatalogView` (mesh.catalog.view) is plain data with look-ups. `CatalogWatch` is its shell: it loads the
bucket, follows its changes in their order with none left out (mesh.jetstream.ordered_consumer), and probes
through the bucket how fresh its view is (mesh.catalog.freshness) and what the mesh's time is
(mesh.catalog.mesh_clock). It starts over after a reconnect, after a gap, and when a probe stays unanswered,
so a watch that died unnoticed is replaced within freshness.SILENCE_S, or where it probes calmly after
PROBE_CALMLY_S. It fetches one key at once when somebody asks for a thing the watch has not brought yet, so a
poll can be voted in from the moment OpenPoll has answered. A fetch may be answered by a follower that lags:
it only ever makes one entry newer, and the view's freshness is told by the watch alone.

A deleted entry is replaced by a marker, which has no value, and the view forgets it. Markers do not stay
(mesh.catalog.markers), so a watch that was away may come back to a bucket that holds neither entry nor
marker. So each key that the view holds and a new watch does not bring is asked of the stream's leader before
the view counts as fresh again, and forgotten if it is not there. If the stream is another by then, or ends
before what was seen of it, entries are lost, not deleted: nothing is forgotten.

A bucket that is recreated (its stream was deleted, or JetStream forgot it) holds nothing. Every process that
runs then and may write definitions puts back what it knows and the bucket lacks; the first to do so wins.
What was claimed only is not put back: whoever defines it tries again. Revocations of tokens lie in the same
bucket (mesh.auth.revocations) and come by the same watch.

Beside the definitions the bucket holds the key of pseudonyms (mesh.pseudonyms): whoever may write definitions
makes it when it is missing, and puts it back as it was.

Bounds: those of CatalogView, and REVOCATIONS_MAX. `_FETCHES_MAX` keys are fetched at a
time, others wait, and who waits longer than CATALOG_REFRESH_S has the watch's word,
or UNAVAILABLE if it has none. Those who ask without a
token (`refresh_shared`) have _SHARED_FETCHES_MAX of them. Probes lie under
subjects.PROBES keys of the bucket, one for each process that runs, save those that share one by chance: then
one's probe may replace the other's before it is seen, and the next one tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable

from nats.errors import Error as NatsError
from nats.js import api as js_api
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from grandstand.wire import tasks
from grandstand.wire.errors import Unavailable, shown
from mesh import limits
from mesh.auth import revocations
from mesh.auth.revocations import Revocations
from mesh.catalog.freshness import Freshness
from mesh.catalog.mesh_clock import MeshClock, boot_s
from mesh.catalog.view import KINDS, CatalogView, Definition
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.ordered_consumer import Delivered, OrderedConsumer
from mesh.pseudonyms import KEY_BYTES, PublicIds
from mesh.shared_looks import SharedLooks

log = logging.getLogger(__name__)

_FETCHES_MAX = 16
_SHARED_FETCHES_MAX = 4
# Without a leader nobody answers: then it is better asked again than waited for.
_OPEN_S = 2.0
_PURGE_LOOK_S = 1.0
_WRONG_LAST_SEQUENCE = (10071, 10164)
assert _SHARED_FETCHES_MAX < _FETCHES_MAX, "who writes the catalog always has slots"
PROBE_CALMLY_S = 5.0
"""How often a process probes that only shows what the catalog says."""

_PREFIX = f"$KV.{subjects.CATALOG_BUCKET}."


OnChange = Callable[[str, Definition | None], None]


class CatalogWatch:
    """Keeps a view fresh; `on_change(key, definition)` hears of each change after the first load; None: it
    is deleted.

    `probe_s`: how often its freshness is probed. Who goes by `freshness` or `clock` says VIEW_PROBE_S.
    `puts_back`: it writes again what the bucket has lost, and purges markers; only for who may write
    definitions.
    """

    def __init__(
        self,
        bus: Bus,
        on_change: OnChange | None = None,
        probe_s: float = PROBE_CALMLY_S,
        *,
        puts_back: bool = True,
    ) -> None:
        self.view = CatalogView()
        self.revocations = Revocations()
        self.public_id = PublicIds(lambda: self.view.pseudonym_key)
        self.freshness = Freshness()
        self.clock = MeshClock()
        self._bus = bus
        self._on_change = on_change
        self._probe_s = probe_s
        self._puts_back = puts_back
        self._bucket: KeyValue | None = None
        self._identity = ""
        self._newest = 0
        """The last sequence brought of this bucket; all before it was brought, replaced or deleted."""
        self._unseen: set[str] = set()
        """What the view holds and this watch has not brought."""
        self._wake = asyncio.Event()
        self._is_over = False
        """The watch of now is to be replaced."""
        self._loaded = asyncio.Event()
        self._anchored = asyncio.Event()
        """Set, and replaced, with each anchor."""
        self._fetch_slots = asyncio.Semaphore(_FETCHES_MAX)
        self._shared_fetches = SharedLooks(self.refresh, _SHARED_FETCHES_MAX)
        self._tasks: list[asyncio.Task[None]] = []
        self._life = uuid.uuid4().hex
        self._probe_key = subjects.probe_key(self._life)

    @property
    def bucket(self) -> KeyValue:
        assert self._bucket is not None, "start() first"
        return self._bucket

    @property
    def is_fresh(self) -> bool:
        return self.freshness.is_fresh(boot_s())

    async def start(self) -> None:
        """Returns when the bucket is loaded and the mesh's time known; waits for JetStream as long as it
        takes."""
        self._bus.on_reconnect(self._end_watch)
        self._tasks.append(asyncio.create_task(self._follow()))
        await self._loaded.wait()
        if self._puts_back:
            self._tasks.append(asyncio.create_task(self._purge_markers()))

    async def stop(self) -> None:
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._end_watch)
        await tasks.end(*self._tasks)

    async def refresh(self, key: str) -> None:
        """Fetches one key past the watch, at most CATALOG_REFRESH_S long; the view may know it then.

        A fetch that has begun is never shared: it could miss what was answered before the question. Raises
        Unavailable if there is no answer and the view does not know the key: it may be there.
        """
        try:
            async with asyncio.timeout(limits.CATALOG_REFRESH_S), self._fetch_slots:
                await self._fetch(key)
        except (NatsError, TimeoutError):
            self._must_know(key)

    async def refresh_all(self, keys: Iterable[str]) -> bool:
        """`refresh` for each; whether all were answered for, or are known."""
        failures = await asyncio.gather(*map(self.refresh, keys), return_exceptions=True)
        for failure in failures:
            if failure is not None and not isinstance(failure, Unavailable):
                raise failure
        return not any(failures)

    async def _fetch(self, key: str) -> None:
        """Raises NatsError, TimeoutError."""
        if not self.freshness.has_answer:
            # This watch has not brought all yet, so the view cannot tell what a follower says too late.
            if not await self._ask_leader(key):
                self.view.markers.drop(key)
            return
        try:
            entry = await self.bucket.get(key)
        except KeyNotFoundError as error:
            entry = error.entry
        if entry is None:
            self.view.markers.drop(key)
        else:
            self._fetched(key, entry.revision or 0, entry.value or b"")

    def _must_know(self, key: str) -> None:
        """Raises Unavailable."""
        if key not in self.view:
            raise Unavailable(
                f"the catalog did not say within {limits.CATALOG_REFRESH_S:g} s whether it has {shown(key)}; "
                "try again"
            )

    def wrote(self, key: str, revision: int, value: bytes) -> None:
        """This process has stored an entry: its view has it before the watch brings it."""
        self._take(key, revision, value, self.clock.now_s())

    async def delete(self, key: str, revision: int) -> bool:
        """Whether the entry is gone; False if `revision` is not its newest any more. Raises NatsError,
        TimeoutError."""
        if not revision or self.view.markers.revision(key) == revision:
            return True
        headers = {"KV-Operation": "DEL", "Nats-Expected-Last-Subject-Sequence": str(revision)}
        try:
            ack = await self._bus.js.publish(_PREFIX + key, b"", headers=headers)
        except APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                return False
            raise
        self._forget(key, ack.seq)
        self.view.markers.put(key, ack.seq, self.clock.now_s(), is_own=True)
        return True

    async def refresh_shared(self, key: str) -> None:
        """As `refresh`, for whoever asks without a token: those who ask for one key at the same time share
        the next fetch, and all of them have _SHARED_FETCHES_MAX slots."""
        try:
            async with asyncio.timeout(limits.CATALOG_REFRESH_S):
                await self._shared_fetches.of(key)
        except TimeoutError:
            self._must_know(key)

    async def anchored_after(self, boottime_s: float) -> None:
        """Returns when the view holds all that was stored before this moment (boot_s)."""
        while self.freshness.anchor_s <= boottime_s:
            await self._anchored.wait()

    async def until_fresh(self) -> None:
        """Returns when the view may judge what comes now."""
        while not self.is_fresh:
            await self._anchored.wait()

    def _fetched(self, key: str, revision: int, value: bytes) -> None:
        if value and revision <= self._newest and not self.view.revision(key):
            return  # by a follower that does not know yet that it is deleted
        self._take(key, revision, value, self.clock.now_s())

    def _take(self, key: str, revision: int, value: bytes, stored_s: float) -> None:
        """An entry, or without a value a marker."""
        if key.startswith(f"{revocations.KIND}."):
            self.revocations.put(key, revision, value)
            return
        if not value:
            if self._puts_back and self.view.revision(key) <= revision:
                self.view.markers.put(key, revision, stored_s, is_own=False)
            self._forget(key, revision)
            return
        was_there = key in self.view
        changed = self.view.put(key, revision, value)
        if changed is not None or (was_there and key not in self.view):
            self._tell(key, changed)

    def _forget(self, key: str, revision: int) -> None:
        if self.view.forget(key, revision):
            self._tell(key, None)

    def _tell(self, key: str, changed: Definition | None) -> None:
        if self._on_change is not None and self._loaded.is_set():
            self._on_change(key, changed)

    def _end_watch(self) -> None:
        self._is_over = True
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_OPEN_S):
                    self._bucket = await self._open()
                    identity, _ = await self._bus.stream_end(subjects.CATALOG_STREAM)
                if identity != self._identity:
                    self._identity = identity
                    self._newest = 0
                    self.view.forget_revisions()
                    self.revocations.forget_revisions()
                await self._watch()
            except (NatsError, TimeoutError) as error:
                log.info("waiting for the catalog: %s", str(error) or type(error).__name__)
                await asyncio.sleep(0.1)

    async def _open(self) -> KeyValue:
        try:
            return await self._bus.js.key_value(subjects.CATALOG_BUCKET)
        except NotFoundError:
            await self._bus.js.add_stream(
                js_api.StreamConfig(
                    name=subjects.CATALOG_STREAM,
                    subjects=[f"{_PREFIX}>"],
                    storage=js_api.StorageType.FILE,
                    discard=js_api.DiscardPolicy.NEW,
                    max_msgs_per_subject=1,
                    deny_delete=True,
                    # Not as nats-py makes a bucket: see Bus.forbid_rollups.
                    allow_rollup_hdrs=False,
                    duplicate_window=limits.DEDUPE_WINDOW_S,
                    num_replicas=self._bus.replicas,
                )
            )
            return await self._bus.js.key_value(subjects.CATALOG_BUCKET)

    async def _watch(self) -> None:
        """Takes entries and probes until the watch is over: a reconnect, a gap, a probe unanswered."""
        self._is_over = False
        self._unseen = self.view.backed()
        self.freshness.watch_began()
        consumer = OrderedConsumer(self._bus, self._delivered, self._broke)
        try:
            kinds = (f"{kind}.>" for kind in (*KINDS, revocations.KIND))
            filters = [*kinds, subjects.PSEUDONYM_KEY, self._probe_key]
            async with asyncio.timeout(_OPEN_S):
                await consumer.open(subjects.CATALOG_STREAM, [_PREFIX + each for each in filters])
            while not self._is_over:
                self._wake.clear()
                if self._unseen and self.freshness.has_answer:
                    await self._look_for_unseen()
                await self._probe()
                if self._puts_back and self.freshness.has_answer:
                    await self._put_back()
                if self._puts_back and self.freshness.is_anchored and not self.view.pseudonym_key:
                    await self._make_pseudonym_key()
                # The second one at once: only then is the view known to be whole.
                wait_s = self._probe_s if self.freshness.is_anchored else limits.VIEW_PROBE_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                if not self._is_over and self.freshness.is_silent(boot_s()):
                    log.warning("the catalog's watch brings nothing; starting another")
                    return
        finally:
            await consumer.close()

    async def _probe(self) -> None:
        """Puts a probe into the bucket. That it is stored is told by the watch alone."""
        if self._bus.client.is_connected:
            probe = json.dumps([self._life, self.freshness.sent(boot_s())]).encode()
            await self._bus.client.publish(_PREFIX + self._probe_key, probe)

    async def _look_for_unseen(self) -> None:
        """Of what this watch has not brought some was replaced meanwhile, and some deleted. Raises
        NatsError, TimeoutError."""
        unseen = sorted(self._unseen)
        gone: list[str] = []
        for at in range(0, len(unseen), _FETCHES_MAX):
            keys = unseen[at : at + _FETCHES_MAX]
            are_there = await asyncio.gather(*(self._ask_leader(key) for key in keys))
            gone += (key for key, is_there in zip(keys, are_there, strict=True) if not is_there)
        identity, end = await self._bus.stream_end(subjects.CATALOG_STREAM)
        if identity != self._identity or end < self._newest:
            log.error("the catalog's bucket has lost entries: it ends at %d, not %d", end, self._newest)
            self._identity = ""
            self._end_watch()
            return
        for key in gone:
            if key in self._unseen:
                self._forget(key, self.view.revision(key))
        self._unseen.clear()

    async def _ask_leader(self, key: str) -> bool:
        """Whether the key has an entry; the view knows it then. Raises NatsError, TimeoutError."""
        try:
            found = await self._bus.js.get_last_msg(subjects.CATALOG_STREAM, _PREFIX + key)
        except NotFoundError:
            return False
        self._take(key, found.seq or 0, found.data or b"", self.clock.now_s())
        return True

    async def _purge_markers(self) -> None:
        """Until cancelled."""
        while True:
            due = self.view.markers.due(self.clock.now_s(), _FETCHES_MAX)
            try:
                await asyncio.gather(*(self._purge_marker(key, revision) for key, revision in due))
            except (NatsError, TimeoutError) as error:
                log.info("markers of the catalog are purged later: %s", str(error) or type(error).__name__)
                due = []
            if not due:
                await asyncio.sleep(_PURGE_LOOK_S)

    async def _purge_marker(self, key: str, revision: int) -> None:
        """Raises NatsError, TimeoutError."""
        # By its sequence: an entry that was put in its place since is not touched.
        await self._bus.js.purge_stream(subjects.CATALOG_STREAM, subject=_PREFIX + key, seq=revision + 1)
        self.view.markers.drop(key, revision)

    async def _put_back(self) -> None:
        """What the bucket has lost. Raises NatsError, TimeoutError; it is then tried again."""
        lost = [*self.view.unbacked(), *self.revocations.unbacked()]
        if lost:
            log.error("the catalog's bucket has lost %d entries; they are put back", len(lost))
        for key, value in lost:
            with contextlib.suppress(KeyWrongLastSequenceError):
                await self.bucket.update(key, value, last=0)

    async def _make_pseudonym_key(self) -> None:
        """Of those who make one at once the first wins, and the watch brings its to all. Raises NatsError."""
        with contextlib.suppress(KeyWrongLastSequenceError):
            await self.bucket.update(subjects.PSEUDONYM_KEY, os.urandom(KEY_BYTES), last=0)

    def _delivered(self, message: Delivered) -> None:
        key = message.subject.removeprefix(_PREFIX)
        if key == self._probe_key:
            self._answered(message)
        else:
            self.freshness.brought(boot_s())
            self._newest = max(self._newest, message.sequence)
            self._unseen.discard(key)
            self._take(key, message.sequence, message.data, message.stored_s)

    def _answered(self, message: Delivered) -> None:
        life, number = json.loads(message.data)
        if life != self._life:
            return
        was_answered = self.freshness.has_answer
        sent_s = self.freshness.heard(number, is_whole=not self._unseen)
        if sent_s is None:
            return
        self.clock.sample(sent_s, boot_s(), message.stored_s)
        if not was_answered:
            self._wake.set()
        elif self.freshness.is_anchored and not self._unseen:
            self._loaded.set()
            self._anchored.set()
            self._anchored = asyncio.Event()

    def _broke(self, why: str) -> None:
        log.warning("the catalog's watch has a gap (%s); starting another", why)
        self._end_watch()
