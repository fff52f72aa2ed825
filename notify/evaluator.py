"""Judges the rules of games by their results, and fires.

The games that have rules are shared by the notify processes that live (notify.instances). What a process
hears of its games' results is what gateways hear (mesh.results_feed), and it judges each topic that a rule is
about, some BATCH_S after it changed: many changes of a topic cost one look. What is found is published by
FIRING_MAX workers.

    taken ──▶ the last firings, then the results are loaded ──▶ judged with every change ──▶ dropped
                                                                    └──sealed, and all is told──▶ finished

A firing that was refused, or is not known to be stored, is settled by the last message of its subject. One
that waits for the stream for longer than STALE_S is judged again. So is everything, by results loaded again,
after the process was suspended: what it holds may be of long ago.

Bounds: the catalog's games that have rules, and their topics. A game without rules costs nothing; one that is
sealed and told costs an entry.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, STAGE_UNSPECIFIED, Board, Game, Poll
from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.wire import ids, tasks
from grandstand.wire.errors import GrandstandError, Unavailable, Unknown
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.spreads import Spreads
from mesh.catalog.view import Definition
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.redis.database import RedisError
from mesh.redis.results import ResultStore
from mesh.redis.share import folded_anew
from mesh.results_feed.result_feeds import ResultFeeds
from mesh.results_feed.view import GameView
from notify import bounds
from notify.firings import decoded, last_firings
from notify.game_rules import Firing, GameRules
from notify.instances import LOOK_S, Instances, judge_of
from notify.quotas import Quotas
from notify.sending import NOTICES_FULL
from notify.stream_log import StreamLog

log = logging.getLogger(__name__)


class _Judged:
    """A game that this process judges."""

    __slots__ = ("is_final", "is_ready", "looks", "rules", "view")

    def __init__(self, rules: GameRules, view: GameView) -> None:
        self.rules = rules
        self.view = view
        self.is_ready = False
        """Its last firings and its results are known."""
        self.is_final = False
        """Its results were loaded since it was sealed."""
        self.looks: dict[str, float] = {}
        """When to look at a topic though nothing comes."""


class Evaluator:
    """`now`: Unix seconds of the mesh's clock."""

    def __init__(
        self,
        bus: Bus,
        results: ResultStore,
        catalog: CatalogWatch,
        instance: str,
        quotas: Quotas,
        now: Callable[[], float],
    ) -> None:
        self._quotas = quotas
        self._bus = bus
        self._catalog = catalog
        self._instance = instance
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._spreads = Spreads(catalog.view)
        self._log = StreamLog(bus, subjects.NOTICES_STREAM, NOTICES_FULL)
        self._results = ResultFeeds(
            bus,
            results,
            on_changed=self._changed,
            on_progress=lambda partition: None,
            on_forgotten=self._forgotten,
        )
        self._instances = Instances(instance, boot_s())
        self._living = frozenset((instance,))
        self._is_open = False
        self.fired = 0
        """Firings that this process has stored."""
        self._with_rules: set[str] = set()
        self._finished: dict[str, int] = {}
        """Games that are sealed and told, and their generations."""
        self._games: dict[str, _Judged] = {}
        self._to_load: dict[str, None] = {}
        self._has_work = asyncio.Event()
        self._dirty: dict[str, dict[str, None]] = {}
        """Topics to judge by game, in the order of their changes."""
        self._flushing: asyncio.TimerHandle | None = None
        self._firings: asyncio.Queue[tuple[str, _Judged, Firing, float]] = asyncio.Queue()
        """Bounded by the slots of the games: each has one at most."""
        self._looks: list[tuple[float, str, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = math.inf
        self._awake_s = boot_s()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Judges while the body runs; the catalog has been loaded."""
        subscription = await self._bus.client.subscribe(subjects.HEALTH_OF_NOTIFY, cb=self._hear_report)
        for game in self._catalog.view.games():
            self._note(game)
        running = [asyncio.create_task(each) for each in (self._look_on(), self._load_on())]
        running += [asyncio.create_task(self._fire_on()) for _ in range(bounds.FIRING_MAX)]
        try:
            yield
        finally:
            await tasks.end(*running)
            for timer in (self._flushing, self._timer):
                if timer is not None:
                    timer.cancel()
            await self._results.stop()
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    def judges(self, game_id: str) -> bool:
        """Whether the game is this process's to judge."""
        return judge_of(game_id, self._living) == self._instance

    @property
    def games(self) -> int:
        """How many it judges now."""
        return len(self._games)

    # The catalog.

    def changed(self, key: str, definition: Definition | None) -> None:
        """The catalog's entry `key` is `definition` now; None: it is gone."""
        kind, _, name = key.partition(".")
        game_id, _, topic = name.partition(".")
        if kind == "game":
            if isinstance(definition, Game):
                self._note(definition)
                self._consider(game_id)
            else:
                self._with_rules.discard(game_id)
                self._finished.pop(game_id, None)
                self._drop(game_id)
        elif game_id in self._games:
            self._follow(game_id)
            self._touch(game_id, (f"{kind}/{topic}",))

    def _note(self, game: Game) -> None:
        if any(not rule.paused for rule in game.rules):
            self._with_rules.add(game.game_id)
        else:
            self._with_rules.discard(game.game_id)

    def _consider(self, game_id: str) -> None:
        """Takes the game, or drops it, or goes on with its newest definition."""
        game = self._catalog.view.get(subjects.game_key(game_id))
        known = self._games.get(game_id)
        if known is not None and isinstance(game, Game) and known.rules.game.generation != game.generation:
            self._drop(game_id)
            known = None
        if (
            not self._is_open
            or not isinstance(game, Game)
            or game_id not in self._with_rules
            or self._finished.get(game_id) == game.generation
            or not self.judges(game_id)
        ):
            self._drop(game_id)
            return
        if known is None:
            view = GameView(list)
            rules = GameRules(game, view, self._definitions_of(game), self._catalog.public_id)
            self._games[game_id] = _Judged(rules, view)
            self._load(game_id)
            return
        known.rules.redefine(game)
        if game.stage == STAGE_SEALED and not known.is_final:
            known.is_ready = False
        if known.is_ready:
            self._follow(game_id)
            self._touch_all(game_id, known)
        else:
            self._load(game_id)

    def _definitions_of(self, game: Game) -> Callable[[str], Poll | Board | None]:
        view, game_id, generation = self._catalog.view, game.game_id, game.generation

        def define(topic: str) -> Poll | Board | None:
            kind, _, name = topic.partition("/")
            found = view.get(f"{kind}.{game_id}.{name}")
            if not isinstance(found, Poll | Board) or found.stage == STAGE_UNSPECIFIED:
                return None
            return None if 0 < found.generation < generation else found

        return define

    def _drop(self, game_id: str) -> None:
        if self._games.pop(game_id, None) is not None:
            self._results.unwatch(game_id)
        self._to_load.pop(game_id, None)
        self._dirty.pop(game_id, None)

    def _forgotten(self, game_id: str) -> None:
        """A partition holds it no more, perhaps because the game lives on in fewer."""
        self._drop(game_id)
        self._loop.call_later(bounds.LOAD_AGAIN_S, self._consider, game_id)

    # Who judges what.

    async def _hear_report(self, message: Msg) -> None:
        self._instances.hear(message.subject.rpartition(".")[2], boot_s())

    async def _look_on(self) -> None:
        await asyncio.sleep(bounds.HEARING_S)
        self._is_open = True
        living: frozenset[str] = frozenset()
        while True:
            self._stay_awake()
            self._living = self._instances.living(boot_s())
            if self._living != living:
                living = self._living
                log.info("rules are judged by %s", ", ".join(sorted(living)))
                for game_id in sorted(self._with_rules | self._games.keys()):
                    if (game_id in self._games) != self.judges(game_id):
                        self._consider(game_id)
            await asyncio.sleep(LOOK_S)

    def _stay_awake(self) -> None:
        """After a while in which this process did nothing, what it holds is of long ago."""
        now_s = boot_s()
        if now_s - self._awake_s > bounds.SUSPENDED_S:
            log.warning("suspended for %.1f s: all rules begin again", now_s - self._awake_s)
            for game_id, judged in self._games.items():
                judged.rules.began_anew()
                judged.is_ready = False
                self._load(game_id)
        self._awake_s = now_s

    # Loading.

    def _load(self, game_id: str) -> None:
        self._to_load[game_id] = None
        self._has_work.set()

    async def _load_on(self) -> None:
        while True:
            await self._has_work.wait()
            batch = list(self._to_load)[: bounds.LOAD_GAMES_MAX]
            for game_id in batch:
                del self._to_load[game_id]
            if not batch:
                self._has_work.clear()
                continue
            loaded = {each: self._games[each] for each in batch if each in self._games}

            def adopt(sequence: int, stored: StoredNotice, loaded: Mapping[str, _Judged] = loaded) -> None:
                judged = loaded.get(stored.firing.game_id)
                if judged is not None:
                    judged.rules.adopt(sequence, stored)

            try:
                if loaded:
                    await last_firings(self._bus, list(loaded), adopt)
            except (NatsError, TimeoutError) as error:
                self._load_later(loaded, error)
                await asyncio.sleep(bounds.LOAD_AGAIN_S * random.uniform(0.5, 1.5))
                continue
            await asyncio.gather(*(self._load_results(*each) for each in loaded.items()))

    async def _load_results(self, game_id: str, judged: _Judged) -> None:
        """One that cannot be loaded holds no other up."""
        is_final = judged.rules.game.stage == STAGE_SEALED
        try:
            if self._games.get(game_id) is judged:
                self._follow(game_id)
                await self._results.load(game_id)
        except (NatsError, RedisError, TimeoutError, Unknown) as error:
            self._load_later({game_id: judged}, error)
            return
        if self._games.get(game_id) is not judged or game_id in self._to_load:
            return
        if (partition := judged.view.unloaded()) is not None:
            self._load_later({game_id: judged}, Unavailable(folded_anew(partition)))
            return
        judged.is_ready = True
        judged.is_final = is_final
        self._touch_all(game_id, judged)

    def _load_later(self, games: Mapping[str, _Judged], error: Exception) -> None:
        why = str(error) or type(error).__name__
        log.info("rules of %d games wait, %s for one: %s", len(games), next(iter(games)), why)

        def load() -> None:
            for game_id, judged in games.items():
                if self._games.get(game_id) is judged:
                    self._load(game_id)

        self._loop.call_later(bounds.LOAD_AGAIN_S * random.uniform(0.5, 1.5), load)

    def _follow(self, game_id: str) -> None:
        """All partitions that the game folds in, as the catalog has it now. Raises Unknown."""
        judged = self._games[game_id]
        partitions = frozenset(ids.partitions_of(game_id, self._spreads.of(game_id)))
        if not partitions <= judged.view.partitions:
            judged.view.fold_in(partitions)
            self._results.watch(game_id, judged.view, partitions)
            if judged.is_ready:
                self._load(game_id)

    # Judging.

    def _changed(self, topics: Mapping[str, Sequence[str]], cause: str) -> None:
        for game_id, changed in topics.items():
            self._touch(game_id, changed)

    def _touch(self, game_id: str, topics: Iterable[str]) -> None:
        judged = self._games.get(game_id)
        if judged is None or not judged.is_ready:
            return  # all of it is judged once it is
        concerned = [topic for topic in topics if judged.rules.concerns(topic)]
        if concerned:
            self._dirty.setdefault(game_id, {}).update(dict.fromkeys(concerned))
            self._flush_soon()

    def _touch_all(self, game_id: str, judged: _Judged) -> None:
        polls, boards = self._catalog.view.opened(game_id)
        opened = [f"{key.partition('.')[0]}/{key.rpartition('.')[2]}" for key in (*polls, *boards)]
        self._dirty.setdefault(game_id, {}).update(dict.fromkeys(judged.rules.topics(opened)))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = self._loop.call_later(bounds.BATCH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        self._stay_awake()
        dirty, self._dirty = self._dirty, {}
        now_s = self._now()
        for game_id, topics in dirty.items():
            judged = self._games.get(game_id)
            if judged is None or not judged.is_ready:
                continue
            for topic in topics:
                self._judge(game_id, judged, topic, now_s)
            if judged.is_final and not judged.looks and not judged.rules.is_firing:
                self._finished[game_id] = judged.rules.game.generation
                self._drop(game_id)

    def _judge(self, game_id: str, judged: _Judged, topic: str, now_s: float) -> None:
        try:
            firings, look_at_s = judged.rules.judge(topic, now_s)
        except Exception:
            # Results that make no sense, or a fault of ours: the rules of others go on.
            log.exception("game %s: rules on %r cannot be judged", game_id, topic, extra={"game": game_id})
            return
        for firing in firings:
            self._firings.put_nowait((game_id, judged, firing, boot_s()))
        if look_at_s is None:
            judged.looks.pop(topic, None)
            return
        known_s = judged.looks.get(topic)
        if known_s is None or known_s <= now_s or look_at_s < known_s:
            judged.looks[topic] = look_at_s
            heapq.heappush(self._looks, (look_at_s, game_id, topic))
            self._set_timer(now_s)

    def _set_timer(self, now_s: float) -> None:
        if self._looks and self._looks[0][0] < self._timer_at_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at_s = self._looks[0][0]
            self._timer = self._loop.call_later(max(0.0, self._timer_at_s - now_s), self._look)

    def _look(self) -> None:
        """At the topics whose time has come."""
        self._timer, self._timer_at_s = None, math.inf
        now_s = self._now()
        while self._looks and self._looks[0][0] <= now_s:
            at_s, game_id, topic = heapq.heappop(self._looks)
            judged = self._games.get(game_id)
            if judged is not None and judged.looks.get(topic) == at_s:
                self._touch(game_id, (topic,))
        self._set_timer(now_s)

    # Firing.

    async def _fire_on(self) -> None:
        while True:
            game_id, judged, firing, at_s = await self._firings.get()
            try:
                await self._fire(judged, firing, at_s)
            except GrandstandError as error:
                rule_id = firing.stored.firing.rule_id
                log.warning(
                    "game %s: rule %s waits for the stream: %s",
                    *(game_id, rule_id, error.message),
                    extra={"game": game_id},
                )
                judged.rules.failed(firing)
                await asyncio.sleep(bounds.FIRE_AGAIN_S * random.uniform(0.5, 1.5))
            if self._games.get(game_id) is judged:
                self._touch(game_id, (firing.stored.firing.topic,))

    async def _fire(self, judged: _Judged, firing: Firing, at_s: float) -> None:
        """Raises Exhausted, Unavailable: it is not known whether it is stored."""
        if boot_s() - at_s > bounds.STALE_S:
            judged.rules.failed(firing)
            return
        game_id = firing.stored.firing.game_id
        self._quotas.check("firing", game_id)
        kept = await self._log.put(firing.subject, firing.stored.SerializeToString(), firing.sequence)
        if kept.is_new:
            self.fired += 1
            self._quotas.add(game_id, firing.subject, firing.stored)
            judged.rules.stored(firing, kept.sequence)
        elif not kept.sequence:
            judged.rules.lost(firing)
        elif (last := decoded(firing.subject, kept.sequence, kept.data)) is not None:
            judged.rules.adopt(kept.sequence, last)
        else:
            judged.rules.lost(firing)
