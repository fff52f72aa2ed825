"""The catalog as every service sees it: a view in memory, kept fresh by a key-value watch.

`CatalogView` is plain data with look-ups. `CatalogWatch` is its shell: it loads the bucket,
follows its changes, starts over after a reconnect (a watch does not survive a restarted
server) or `_SILENCE_S` without a change, and fetches one key at once when somebody asks for a
thing the watch has not brought yet, so a poll can be voted in from the moment OpenPoll has answered.

Bounds: one entry for each definition in the bucket; `_FETCHES_MAX` keys are fetched at a time,
others wait, and who waits longer than CATALOG_REFRESH_S has the watch's word.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from nats.errors import Error as NatsError
from nats.js import api as js_api
from nats.js.errors import KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from mesh import limits, subjects
from mesh.bus import Bus
from mesh.errors import Unknown, shown

log = logging.getLogger(__name__)

_FETCHES_MAX = 16
_SILENCE_S = 10.0

Definition = Game | Poll | Board
_KINDS: dict[str, type[Definition]] = {"game": Game, "poll": Poll, "board": Board}


class CatalogView:
    """Games, polls and boards by their keys, each with the bucket's revision."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, Definition]] = {}
        self.changes = 0
        """Grows with each definition that comes or changes."""

    def put(self, key: str, revision: int, value: bytes) -> Definition | None:
        """Takes an entry unless a newer one is known; returns what is new."""
        known = self._found.get(key)
        kind = _KINDS.get(key.partition(".")[0])
        if kind is None or (known is not None and known[0] >= revision):
            return None
        definition = kind()
        definition.ParseFromString(value)
        self._found[key] = (revision, definition)
        self.changes += 1
        return definition

    def revision(self, key: str) -> int:
        """0 for an unknown key."""
        found = self._found.get(key)
        return 0 if found is None else found[0]

    def get(self, key: str) -> Definition | None:
        found = self._found.get(key)
        return None if found is None else found[1]

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

    def games(self) -> list[Game]:
        return [d for _, d in self._found.values() if isinstance(d, Game)]

    def polls(self) -> list[Poll]:
        return [d for _, d in self._found.values() if isinstance(d, Poll)]

    def boards(self) -> list[Board]:
        return [d for _, d in self._found.values() if isinstance(d, Board)]

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __len__(self) -> int:
        return len(self._found)


OnChange = Callable[[str, Definition], None]


class CatalogWatch:
    """Keeps a view fresh; `on_change(key, definition)` hears of each change after the first load."""

    def __init__(self, bus: Bus, on_change: OnChange | None = None) -> None:
        self.view = CatalogView()
        self._bus = bus
        self._on_change = on_change
        self._bucket: KeyValue | None = None
        self._again = asyncio.Event()
        self._loaded = asyncio.Event()
        self._fetch_slots = asyncio.Semaphore(_FETCHES_MAX)
        self._task: asyncio.Task[None] | None = None

    @property
    def bucket(self) -> KeyValue:
        assert self._bucket is not None, "start() first"
        return self._bucket

    async def start(self) -> None:
        """Returns when the bucket is loaded; waits for JetStream as long as it takes."""
        self._bus.on_reconnect(self._again.set)
        self._task = asyncio.create_task(self._follow())
        await self._loaded.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self, key: str) -> None:
        """Fetches one key past the watch, at most CATALOG_REFRESH_S long; the view may know it then.

        A fetch is never shared: one begun before the question could miss what was answered before it.
        """
        with contextlib.suppress(KeyNotFoundError, NatsError, TimeoutError):
            async with asyncio.timeout(limits.CATALOG_REFRESH_S), self._fetch_slots:
                self._take(await self.bucket.get(key))

    def _take(self, entry: KeyValue.Entry) -> None:
        if not entry.value:
            return
        changed = self.view.put(entry.key, entry.revision or 0, entry.value)
        if changed is not None and self._on_change is not None and self._loaded.is_set():
            self._on_change(entry.key, changed)

    async def _follow(self) -> None:
        while True:
            self._again.clear()
            try:
                self._bucket = await self._open()
                watcher = await self._bucket.watchall()
                try:
                    await self._read(watcher)
                finally:
                    with contextlib.suppress(NatsError, TimeoutError):
                        await watcher.stop()
            except (NatsError, TimeoutError) as error:
                log.info("waiting for the catalog: %s", error or type(error).__name__)
                await asyncio.sleep(0.1)

    async def _open(self) -> KeyValue:
        try:
            return await self._bus.js.key_value(subjects.CATALOG_BUCKET)
        except NotFoundError:
            return await self._bus.js.create_key_value(
                js_api.KeyValueConfig(
                    bucket=subjects.CATALOG_BUCKET,
                    storage=js_api.StorageType.FILE,
                    replicas=self._bus.replicas,
                )
            )

    async def _read(self, watcher: KeyValue.KeyWatcher) -> None:
        """Takes entries until a reconnect, or a long silence, asks for a new watch.

        Silence is calm, or a watch that died unnoticed: an ingest that missed a closing would
        ack votes that no fold counts (I9), so it is not left to chance which.
        """
        again = asyncio.create_task(self._again.wait())
        try:
            while not again.done():
                update = asyncio.create_task(watcher.updates(timeout=_SILENCE_S))
                await asyncio.wait({again, update}, return_when=asyncio.FIRST_COMPLETED)
                if not update.done():
                    update.cancel()
                    return
                try:
                    entry = update.result()
                except TimeoutError:  # nats.errors.TimeoutError is one
                    return
                if entry is None:
                    self._loaded.set()
                else:
                    self._take(entry)
        finally:
            again.cancel()
