"""The catalog as every service sees it: a view in memory, kept fresh by a watch on its bucket.

`CatalogView` is plain data with look-ups. `CatalogWatch` is its shell: it loads the bucket,
follows its changes in their order with none left out (mesh.jetstream.ordered_consumer), and probes through
the bucket how fresh its view is (mesh.catalog.freshness) and what the mesh's time is
(mesh.catalog.mesh_clock). It starts over after a reconnect, after a gap, and when a probe stays unanswered,
so a watch that died unnoticed is replaced within freshness.SILENCE_S, or where it probes calmly after
PROBE_CALMLY_S. It fetches one key at once when somebody asks for a thing the watch has not brought yet, so a
poll can be voted in from the moment OpenPoll has answered. A fetch may be answered by a follower that lags:
it only ever makes one entry newer, and the view's freshness is told by the watch alone.

A bucket that is made anew (its stream was deleted, or JetStream forgot it) holds nothing. Every process that
runs then and may write definitions puts back what it knows and the bucket lacks; the first to do so wins.
What was claimed only is not put back: whoever defines it tries again. Revocations of tokens lie in the same
bucket (mesh.auth.revocations) and come by the same watch.

Bounds: one entry for each definition in the bucket, and REVOCATIONS_MAX. `_FETCHES_MAX` keys are fetched at a
time, others wait, and who waits longer than CATALOG_REFRESH_S has the watch's word. Those who ask without a
token (`refresh_shared`) have _SHARED_FETCHES_MAX of them. Probes lie under
subjects.PROBES keys of the bucket, one for each process that runs, save those that share one by chance: then
one's probe may replace the other's before it is seen, and the next one tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import Callable

from nats.errors import Error as NatsError
from nats.js import api as js_api
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.wire.errors import Unknown, shown
from mesh import limits
from mesh.auth import revocations
from mesh.auth.revocations import Revocations
from mesh.catalog.freshness import Freshness
from mesh.catalog.mesh_clock import MeshClock, boot_s
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.ordered_consumer import Delivered, OrderedConsumer
from mesh.shared_looks import SharedLooks

log = logging.getLogger(__name__)

_FETCHES_MAX = 16
_SHARED_FETCHES_MAX = 4
# Without a leader nobody answers: then it is better asked again than waited for.
_OPEN_S = 2.0
assert _SHARED_FETCHES_MAX < _FETCHES_MAX, "who writes the catalog always has slots"
PROBE_CALMLY_S = 5.0
"""How often a process probes that only shows what the catalog says."""

Definition = Game | Poll | Board
_KINDS: dict[str, type[Definition]] = {"game": Game, "poll": Poll, "board": Board}
_PREFIX = f"$KV.{subjects.CATALOG_BUCKET}."


class CatalogView:
    """Games, polls and boards by their keys, each with the bucket's revision.

    A game's entry may hold a definition that somebody has claimed the game for and that does not hold
    yet (Game.pending): only `pending` tells it. A game that is nothing but claimed is unknown.
    """

    def __init__(self) -> None:
        self._found: dict[str, Definition] = {}
        self._revisions: dict[str, int] = {}
        self._pending: dict[str, Game] = {}
        self._topics: dict[str, dict[str, Poll | Board]] = {}
        """By game and key."""
        self._opened: dict[str, tuple[list[Poll], list[Board]]] = {}
        self.changes = 0
        """Grows with each definition that comes or changes."""

    def put(self, key: str, revision: int, value: bytes) -> Definition | None:
        """Takes an entry unless a newer one is known; returns what is new."""
        kind = _KINDS.get(key.partition(".")[0])
        if kind is None or self.revision(key) >= revision:
            return None
        definition = kind()
        definition.ParseFromString(value)
        self._revisions[key] = revision
        self._pending.pop(key, None)
        if isinstance(definition, Game) and definition.HasField("pending"):
            pending = Game()
            pending.CopyFrom(definition.pending)
            self._pending[key] = pending
            definition.ClearField("pending")
            if not definition.spread:
                return None
        if self._found.get(key) == definition:
            return None
        self._found[key] = definition
        if not isinstance(definition, Game):
            self._topics.setdefault(definition.game_id, {})[key] = definition
            self._opened.pop(definition.game_id, None)
        self.changes += 1
        return definition

    def forget_revisions(self) -> None:
        """The bucket was made anew and counts from one: entries are kept until it brings others."""
        self._revisions.clear()

    def unbacked(self) -> list[tuple[str, bytes]]:
        """Keys and values of what no entry of the bucket stands behind."""
        return [
            (key, found.SerializeToString())
            for key, found in self._found.items()
            if key not in self._revisions
        ]

    def revision(self, key: str) -> int:
        """0 for an unknown key."""
        return self._revisions.get(key, 0)

    def pending(self, key: str) -> Game | None:
        """The definition that the game is claimed for, until it holds."""
        return self._pending.get(key)

    def get(self, key: str) -> Definition | None:
        return self._found.get(key)

    def game(self, game_id: str) -> Game:
        """Raises Unknown."""
        found = self.get(subjects.game_key(game_id))
        if not isinstance(found, Game):
            raise Unknown(f"game {shown(game_id)} is not known; define it with CatalogService.DefineGame")
        return found

    def poll(self, game_id: str, poll_id: str) -> Poll:
        """Raises Unknown."""
        found = self.get(subjects.poll_key(game_id, poll_id))
        if not isinstance(found, Poll):
            raise Unknown(f"poll {shown(poll_id)} is not known in game {shown(game_id)}")
        return found

    def board(self, game_id: str, board_id: str) -> Board:
        """Raises Unknown."""
        found = self.get(subjects.board_key(game_id, board_id))
        if not isinstance(found, Board):
            raise Unknown(f"board {shown(board_id)} is not known in game {shown(game_id)}")
        return found

    def opened(self, game_id: str) -> tuple[list[Poll], list[Board]]:
        """The game's polls and boards that were ever opened, newest first; sorted once for each change of
        them. The lists are the view's own."""
        found = self._opened.get(game_id)
        if found is None:
            topics = [topic for topic in self._topics.get(game_id, {}).values() if topic.stage]
            topics.sort(key=lambda topic: topic.opened_at.ToNanoseconds(), reverse=True)
            found = (
                [topic for topic in topics if isinstance(topic, Poll)],
                [topic for topic in topics if isinstance(topic, Board)],
            )
            if game_id in self._topics:
                self._opened[game_id] = found
        return found

    def games(self) -> list[Game]:
        return [d for d in self._found.values() if isinstance(d, Game)]

    def polls(self) -> list[Poll]:
        return [d for d in self._found.values() if isinstance(d, Poll)]

    def boards(self) -> list[Board]:
        return [d for d in self._found.values() if isinstance(d, Board)]

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __len__(self) -> int:
        return len(self._found)


OnChange = Callable[[str, Definition], None]


class CatalogWatch:
    """Keeps a view fresh; `on_change(key, definition)` hears of each change after the first load.

    `probe_s`: how often its freshness is probed. Who goes by `freshness` or `clock` says VIEW_PROBE_S.
    `puts_back`: it writes again what the bucket has lost; only for who may write definitions.
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
        self.freshness = Freshness()
        self.clock = MeshClock()
        self._bus = bus
        self._on_change = on_change
        self._probe_s = probe_s
        self._puts_back = puts_back
        self._bucket: KeyValue | None = None
        self._identity = ""
        self._wake = asyncio.Event()
        self._is_over = False
        """The watch of now is to be replaced."""
        self._loaded = asyncio.Event()
        self._anchored = asyncio.Event()
        """Set, and replaced, with each anchor."""
        self._fetch_slots = asyncio.Semaphore(_FETCHES_MAX)
        self._shared_fetches = SharedLooks(self.refresh, _SHARED_FETCHES_MAX)
        self._task: asyncio.Task[None] | None = None
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
        self._task = asyncio.create_task(self._follow())
        await self._loaded.wait()

    async def stop(self) -> None:
        with contextlib.suppress(ValueError):
            self._bus.off_reconnect(self._end_watch)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self, key: str) -> None:
        """Fetches one key past the watch, at most CATALOG_REFRESH_S long; the view may know it then.

        A fetch that has begun is never shared: it could miss what was answered before the question.
        """
        with contextlib.suppress(KeyNotFoundError, NatsError, TimeoutError):
            async with asyncio.timeout(limits.CATALOG_REFRESH_S), self._fetch_slots:
                entry = await self.bucket.get(key)
                self._take(entry.key, entry.revision or 0, entry.value or b"")

    async def refresh_shared(self, key: str) -> None:
        """As `refresh`, for whoever asks without a token: those who ask for one key at the same time share
        the next fetch, and all of them have _SHARED_FETCHES_MAX slots."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.CATALOG_REFRESH_S):
                await self._shared_fetches.of(key)

    async def anchored_after(self, boottime_s: float) -> None:
        """Returns when the view holds all that was stored before this moment (boot_s)."""
        while self.freshness.anchor_s <= boottime_s:
            await self._anchored.wait()

    async def until_fresh(self) -> None:
        """Returns when the view may judge what comes now."""
        while not self.is_fresh:
            await self._anchored.wait()

    def _take(self, key: str, revision: int, value: bytes) -> None:
        if not value:
            return
        if key.startswith(f"{revocations.KIND}."):
            self.revocations.put(key, revision, value)
            return
        changed = self.view.put(key, revision, value)
        if changed is not None and self._on_change is not None and self._loaded.is_set():
            self._on_change(key, changed)

    def _end_watch(self) -> None:
        self._is_over = True
        self._wake.set()

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_OPEN_S):
                    self._bucket = await self._open()
                    identity = await self._bus.stream_identity(subjects.CATALOG_STREAM)
                if identity != self._identity:
                    self._identity = identity
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
        self.freshness.watch_began()
        consumer = OrderedConsumer(self._bus, self._delivered, self._broke)
        try:
            filters = [*(f"{kind}.>" for kind in (*_KINDS, revocations.KIND)), self._probe_key]
            async with asyncio.timeout(_OPEN_S):
                await consumer.open(subjects.CATALOG_STREAM, [_PREFIX + each for each in filters])
            while not self._is_over:
                self._wake.clear()
                await self._probe()
                if self._puts_back and self.freshness.has_answer:
                    await self._put_back()
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

    async def _put_back(self) -> None:
        """What the bucket has lost. Raises NatsError, TimeoutError; it is then tried again."""
        lost = [*self.view.unbacked(), *self.revocations.unbacked()]
        if lost:
            log.error("the catalog's bucket has lost %d entries; they are put back", len(lost))
        for key, value in lost:
            with contextlib.suppress(KeyWrongLastSequenceError):
                await self.bucket.update(key, value, last=0)

    def _delivered(self, message: Delivered) -> None:
        key = message.subject.removeprefix(_PREFIX)
        if key == self._probe_key:
            self._answered(message)
        else:
            self._take(key, message.sequence, message.data)

    def _answered(self, message: Delivered) -> None:
        life, number = json.loads(message.data)
        if life != self._life:
            return
        was_answered = self.freshness.has_answer
        sent_s = self.freshness.heard(number)
        if sent_s is None:
            return
        self.clock.sample(sent_s, boot_s(), message.stored_s)
        if not was_answered:
            self._wake.set()
        elif self.freshness.is_anchored:
            self._loaded.set()
            self._anchored.set()
            self._anchored = asyncio.Event()

    def _broke(self, why: str) -> None:
        log.warning("the catalog's watch has a gap (%s); starting another", why)
        self._end_watch()
