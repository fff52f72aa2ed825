"""One run: load, strikes, healing, and the reckoning. The async shell around the pure parts.

    define ─▶ watch, read, send, close, strike ─▶ stop sending ─▶ all processes ready, every event answered
           ─▶ Read at the acked positions (I6), sealed polls, watchers up to date ─▶ compare

Every wait has a bound, and what was not reached within it is a problem in the report, beside what
was lost or doubled. What a run cannot do (define its games) raises instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.client import Backend, ClientError, open_channel
from grandstand.event.v1.event_pb2 import Position
from toolbox.chaos import checker
from toolbox.chaos import scene as scenes
from toolbox.chaos.checker import TopicKey
from toolbox.chaos.clients import ClientContext
from toolbox.chaos.closings import PlannedClose, closings
from toolbox.chaos.crew import crew
from toolbox.chaos.entries import Book, Entry
from toolbox.chaos.fault_injector import FaultInjector
from toolbox.chaos.forgetting import Forgetting
from toolbox.chaos.gray import gray_schedule
from toolbox.chaos.gray_watch import GrayWatch
from toolbox.chaos.lives import EndingGames
from toolbox.chaos.monotone import figures
from toolbox.chaos.notices import ToldNotices, told_notices, with_rules
from toolbox.chaos.readers import ResultReader, SeasonReader
from toolbox.chaos.rebuilds import Rebuilds
from toolbox.chaos.report import ChaosPlan, ChaosProgress, ChaosReport
from toolbox.chaos.room import RoomWatch
from toolbox.chaos.scene import GameScene
from toolbox.chaos.schedule import schedule
from toolbox.chaos.seasons import Seasons
from toolbox.chaos.stage import TARGETS, Mesh
from toolbox.chaos.stalls import Stalls
from toolbox.chaos.strike import Kind, Strike
from toolbox.chaos.watchers import ChaosViewer

_WATCHERS = 2
_HEAL_S = 60.0
_SETTLE_S = 60.0
_PATIENCE_S = 60.0
_BEFORE_REBUILD_S = 15.0
_TICK_S = 0.5
_CANCEL_AGAIN_S = 2.0
_POLL_S = 0.1
_MOVING = ("poll/final", "poll/multiple", "poll/weighted", "board/sum-", "pulse/")
"""Topics in which every acked event changes what is shown."""


class ChaosRun:
    """`on_progress` is called a few times a second, `on_strike` for each strike."""

    def __init__(
        self,
        plan: ChaosPlan,
        mesh: Mesh,
        on_progress: Callable[[ChaosProgress], None],
        on_strike: Callable[[Strike], None],
    ) -> None:
        self.stop = asyncio.Event()
        """Ends the load before its time; the run is reckoned all the same."""
        self._plan = plan
        self._mesh = mesh
        self._on_progress = on_progress
        self._on_strike = on_strike
        self._book = Book()
        self._acks = Stalls()
        self._screens: dict[ChaosViewer, Stalls] = {}
        self._readers: dict[str, ResultReader] = {}
        self._desk = ClientContext(self._book, self._sent, self._acked)
        strikes = gray_schedule if plan.gray else schedule
        self._strikes = strikes(plan.seed, plan.seconds, TARGETS)
        self._closings = closings(plan.seed, plan.seconds, self._strikes)
        self._seasons = Seasons()
        self._forgetting = Forgetting(plan.seed)
        self._room = RoomWatch(mesh.stores.nats)
        self._injector: FaultInjector | None = None
        self._rebuilds: Rebuilds | None = None
        self._gray: GrayWatch | None = None
        self._lives: EndingGames | None = None
        self._told: ToldNotices | None = None
        self._report = ChaosReport(plan.seed, plan.seconds)
        self._progress = ChaosProgress()
        self._ended_at = 0.0
        self._channels = contextlib.AsyncExitStack()

    async def run(self) -> ChaosReport:
        """Raises ClientError when not even the games could be defined."""
        loop = asyncio.get_running_loop()
        ticker = asyncio.create_task(self._tick())
        try:
            async with self._channels:
                backend = Backend(
                    await self._channel(self._mesh.addresses.mesh),
                    token=self._mesh.owner,
                    patience_s=_PATIENCE_S,
                )
                games = scenes.scenes(self._plan.seconds, self._plan.events_per_s, self._closings)
                if self._plan.gray and self._plan.seed % 2:
                    # The Redis that no supervisor restarts: a former master lives on from now on.
                    self._progress.stage = "failing over"
                    await self._mesh.standby.fail_over(_HEAL_S)
                self._progress.stage = "opening games"
                await self._open(backend, games)
                self._told = await told_notices(
                    self._plan.seed, self._mesh, games, backend, self._channel, _PATIENCE_S
                )
                edge = urlsplit(self._mesh.addresses.edge_url).netloc
                self._gray = GrayWatch(edge, self._book, [game.game_id for game in games])
                await self._inject(games)
                audience: list[ChaosViewer | ResultReader | SeasonReader | RoomWatch | GrayWatch] = [
                    *await self._watchers(games),
                    *await self._readers_of(games),
                    *[
                        SeasonReader(
                            await self._channel(self._mesh.addresses.edge), game.game_id, self._seasons.note
                        )
                        for game in games
                    ],
                    self._room,
                    self._gray,
                ]
                watching = [asyncio.create_task(each.run()) for each in audience]
                try:
                    self._progress.stage = "under load"
                    await self._under_load(backend, games)
                    await self._settle(backend, games)
                    self._report.settled_after_s = round(loop.time() - self._ended_at, 3)
                finally:
                    await self._end(watching)
        finally:
            ticker.cancel()
        self._conclude()
        return self._report

    async def _channel(self, target: str) -> grpc.aio.Channel:
        return await self._channels.enter_async_context(open_channel(target, own_connection=True))

    async def _connect(self, ingest: str) -> grpc.aio.Channel:
        """A client's connection: to the edge, or to an ingest by name. The latter has no keepalive, by which
        it would leave an ingest that is frozen."""
        if not ingest:
            return await self._channel(self._mesh.addresses.edge)
        options = [("grpc.max_reconnect_backoff_ms", 1_000), ("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.insecure_channel(self._mesh.address(ingest), options=options)
        return await self._channels.enter_async_context(channel)

    async def _open(self, backend: Backend, games: list[GameScene]) -> None:
        for game in games:
            await backend.define_game(game.game())
            for poll in game.polls():
                await backend.open_poll(poll)
            for board in game.boards(time.time()):
                await backend.open_board(board)
            # Which name polls that have to be open.
            await backend.define_game(with_rules(game))

    async def _inject(self, games: list[GameScene]) -> None:
        """Whoever strikes, with connections of its own."""
        backend = Backend(
            await self._channel(self._mesh.addresses.mesh),
            token=self._mesh.owner,
            patience_s=_BEFORE_REBUILD_S,
        )
        self._rebuilds = Rebuilds(
            self._plan.seed,
            self._mesh,
            self._book,
            [game.game_id for game in games],
            await self._channel(self._mesh.addresses.edge),
            lambda game_id: self._read(backend, game_id),
        )
        assert self._gray is not None
        gray = self._gray

        def fell(strike: Strike) -> None:
            gray.began()
            self._on_strike(strike)

        self._injector = FaultInjector(self._mesh, fell, gray.ended, self._rebuilds.run, self._forgetting)

    async def _watchers(self, games: list[GameScene]) -> list[ChaosViewer]:
        assert self._gray is not None
        for game in games:
            for n in range(_WATCHERS):
                stalls = Stalls()
                channel = await self._channel(self._mesh.addresses.edge)
                name = f"watcher {n + 1}"
                watcher = ChaosViewer(channel, game.game_id, name, self._moved, self._seasons.note)
                self._screens[watcher] = stalls
                self._gray.watch(watcher)
        return list(self._screens)

    async def _readers_of(self, games: list[GameScene]) -> list[ResultReader]:
        for game in games:
            channel = await self._channel(self._mesh.addresses.edge)
            self._readers[game.game_id] = ResultReader(channel, game.game_id)
        return list(self._readers.values())

    def _moved(self, watcher: ChaosViewer) -> None:
        assert self._gray is not None
        self._screens[watcher].paid(asyncio.get_running_loop().time(), still_owed=False)
        self._gray.moved(watcher)

    def _sent(self, entry: Entry) -> None:
        assert self._gray is not None
        self._acks.owed(asyncio.get_running_loop().time())
        self._gray.sent(entry)

    def _acked(self, entry: Entry, positions: Sequence[Position]) -> None:
        now_s = asyncio.get_running_loop().time()
        self._acks.paid(now_s, still_owed=self._book.outstanding > 0)
        moves_screens = entry.topic.startswith(_MOVING)
        assert self._gray is not None
        self._gray.acked(entry, moves_screens=moves_screens)
        if moves_screens:
            for watcher, stalls in self._screens.items():
                if watcher.game_id == entry.game_id:
                    stalls.owed(now_s)
        if entry.topic.startswith("board/sum-"):
            self._readers[entry.game_id].acked(entry, positions)

    async def _under_load(self, backend: Backend, games: list[GameScene]) -> None:
        """Until the time is up (or `stop`), everything is healed, and every event answered."""
        clients = [
            asyncio.create_task(client.run(self.stop))
            for game in games
            for client in await crew(
                self._plan,
                game,
                self._desk,
                asyncio.get_running_loop().time(),
                self._connect,
                [name for name in TARGETS if name.startswith("ingest-")],
                self._mesh.token,
            )
        ]
        self._lives = EndingGames(
            self._plan.seed, backend, await self._channel(self._mesh.addresses.edge), self._mesh.token
        )
        clients.append(asyncio.create_task(self._lives.run(self.stop)))
        assert self._told is not None
        clients.append(asyncio.create_task(self._told.run(self.stop)))
        assert self._injector is not None
        striking = asyncio.create_task(self._injector.run(self._strikes))
        closing = asyncio.create_task(self._close(backend, games))
        try:
            await asyncio.wait_for(self.stop.wait(), self._plan.seconds)
            striking.cancel()
        except TimeoutError:
            self.stop.set()
        self._ended_at = asyncio.get_running_loop().time()
        self._progress.stage = "healing"
        try:
            await _done(_HEAL_S, striking)
            await self._until(lambda: not self._mesh.away(), _HEAL_S)
            for name in self._mesh.away():
                self._report.problems.append(f"{name} did not come back within {_HEAL_S:g} s")
            self._progress.stage = "waiting for the last acks"
            await _done(_SETTLE_S, closing, *clients)
        finally:
            await self._end([striking, closing, *clients])
        if self._book.outstanding:
            self._report.problems.append(
                f"{self._book.outstanding} events were not answered within {_SETTLE_S:g} s"
            )

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Cancels them, again if one lost it (asyncio.wait_for may); what one failed with is a problem."""
        pending = set(tasks)
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):
                self._report.problems.append(f"a task of the run failed: {type(end).__name__}: {end}")

    async def _close(self, backend: Backend, games: list[GameScene]) -> None:
        """Those that close by hand, each at its moment, while votes come in; at the end what is left."""
        begun_at = asyncio.get_running_loop().time()

        async def close(game_id: str, closing: PlannedClose) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(begun_at + closing.at_s):
                    await self.stop.wait()
            await backend.close_poll(game_id, closing.poll_id)

        async with asyncio.TaskGroup() as group:
            for game in games:
                for closing in game.closings:
                    if closing.by_hand:
                        group.create_task(close(game.game_id, closing))

    async def _settle(self, backend: Backend, games: list[GameScene]) -> None:
        """Reads everything, and compares."""
        self._progress.stage = "reading the results"
        closed = [(g.game_id, f"poll/{closing.poll_id}") for g in games for closing in g.closings]
        states: dict[TopicKey, TopicState] = {}
        give_up_at = asyncio.get_running_loop().time() + _SETTLE_S
        try:
            while True:
                for game in games:
                    states.update(await self._read(backend, game.game_id))
                unsealed = checker.unsealed(states, closed)
                if not unsealed or asyncio.get_running_loop().time() > give_up_at:
                    break
                await asyncio.sleep(_POLL_S)
        except ClientError as error:
            self._report.problems.append(f"the results could not be read at the acked positions: {error}")
            return
        self._report.problems += [f"{game} {topic}: was not sealed" for game, topic in unsealed]
        self._report.sealed = len(closed) - len(unsealed)
        for (game_id, _), state in states.items():
            self._seasons.note(game_id, state, last=True)
        sums = dict(self._seasons.sums())
        unseen = {key: missing for key in sums if (missing := self._seasons.unseen(key))}
        self._report.seasons, self._report.seasons_unseen = self._seasons.seen(), sum(unseen.values())
        found = checker.compare(self._book.entries, {**states, **sums}, unseen)
        self._report.counted, self._report.lost = found.counted, found.lost
        self._report.doubled, self._report.uncertain = found.doubled, found.uncertain
        for finding in found.findings:
            shown = "; ".join(finding.notes[:3]) + ("; …" if len(finding.notes) > 3 else "")
            self._report.problems.append(f"{finding.where}: {shown}")
        assert self._lives is not None
        left = await self._lives.left(self._mesh)
        self._report.games_left = len(left)
        self._report.problems += [f"{place} still names a game that is forgotten" for place in left]
        assert self._told is not None
        self._progress.stage = "reading the inboxes"
        await self._told.settle(states)
        self._progress.stage = "waiting for the watchers"
        await self._until(lambda: not self._behind(states), _SETTLE_S)
        self._report.problems += [f"{who} does not show the result" for who in self._behind(states)]

    async def _read(self, backend: Backend, game_id: str) -> dict[TopicKey, TopicState]:
        positions = [Position(partition=p, sequence=s) for p, s in sorted(self._book.positions.items())]
        response = await backend.read(game_id, ["*"], positions)
        return {(game_id, state.topic): state for state in response.topics}

    def _behind(self, states: dict[TopicKey, TopicState]) -> list[str]:
        """Which watchers do not show what was read."""
        return [
            f"{watcher.name} of {watcher.game_id}"
            for watcher in self._screens
            if any(
                topic not in watcher.shown or list(figures(watcher.shown[topic])) != list(figures(state))
                for (game_id, topic), state in states.items()
                if game_id == watcher.game_id
            )
        ]

    def _conclude(self) -> None:
        report, injector, rebuilds = self._report, self._injector, self._rebuilds
        assert injector is not None
        assert rebuilds is not None
        report.sent, report.acked = len(self._book.entries), self._book.acked
        report.unacked = report.sent - report.acked
        report.refused = dict(self._book.refusals)
        report.shed = dict(self._book.shed)
        report.kills = injector.strikes[Kind.KILL]
        report.strikes = {kind.value: injector.strikes[kind] for kind in Kind}
        report.missed = injector.missed
        report.strikes_skipped, report.skipped = len(injector.skipped), injector.skipped
        report.problems += injector.skipped
        assert self._gray is not None
        self._gray.conclude(report)
        report.forgotten = dict(self._forgetting.forgotten)
        assert self._lives is not None
        lives = self._lives.report
        report.games_ended, report.games_unseen = lives.ended, lives.unseen
        report.games_forgotten, report.taken_back = lives.forgotten, lives.taken_back
        report.lost, report.doubled = report.lost + lives.lost, report.doubled + lives.doubled
        report.problems += lives.notes
        assert self._told is not None
        book = self._told.book
        report.notices_due, report.notices_seen = book.due_count, book.seen_count
        report.notices_doubled = book.doubled_count
        report.problems += self._told.problems
        report.checkpoints, report.purges = self._room.checkpoints, self._room.purges
        report.rebuilds, report.first_views = rebuilds.done, rebuilds.first_views
        report.first_views_unanswered = rebuilds.unanswered
        report.fractions_shown = rebuilds.fractions
        report.problems += rebuilds.notes + self._seasons.notes
        report.crashes = {
            name: restarts - injector.ended[name]
            for name, restarts in self._mesh.restarts().items()
            if restarts > injector.ended[name]
        }
        report.longest_stall_ms = round(self._acks.longest_s * 1e3, 1)
        report.longest_blind_ms = round(max(s.longest_s for s in self._screens.values()) * 1e3, 1)
        report.went_back = sum(watcher.went_back for watcher in self._screens)
        report.resumed = sum(watcher.resumed for watcher in self._screens)
        report.reads = sum(reader.answered for reader in self._readers.values())
        report.reads_unanswered = sum(reader.unanswered for reader in self._readers.values())
        for reader in self._readers.values():
            report.problems += reader.notes
        for watcher in self._screens:
            report.problems += watcher.notes
            if watcher.went_back > watcher.setbacks:
                report.problems.append(f"{watcher.name} of {watcher.game_id}: an older cursor came")
        report.problems += [
            f"{count} events were refused wrongly: {what}"
            for what, count in report.refused.items()
            if not what.startswith(f"FAILED_PRECONDITION {scenes.CLOSING_TOPICS}")
        ]
        report.problems += [
            f"{count} events of {topic} were shed, which never are (I7)"
            for topic, count in report.shed.items()
            if topic.startswith(("poll/", "board/", "custom/"))
        ]

    async def _until(self, condition: Callable[[], bool], within_s: float) -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + within_s
        while not condition():
            if loop.time() > give_up_at:
                return
            await asyncio.sleep(_POLL_S)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        while True:
            now = self._progress
            now.elapsed_s = loop.time() - begun_at
            now.sent, now.acked = len(self._book.entries), self._book.acked
            now.outstanding = self._book.outstanding
            now.strikes = sum(self._injector.strikes.values()) if self._injector else 0
            now.stalled_s = self._acks.look(loop.time())
            now.away = self._mesh.away()
            self._on_progress(now)
            await asyncio.sleep(_TICK_S)


async def _done(within_s: float, *tasks: asyncio.Task[None]) -> bool:
    """Whether all tasks end within that time."""
    _, pending = await asyncio.wait(tasks, timeout=within_s)
    return not pending
