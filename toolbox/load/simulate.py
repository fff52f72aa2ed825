"""A crowd against a running mesh, and the proof that every acked vote was counted once.

A run opens a poll and a board of its own, sets watchers and bots on them, and closes with a reading of the
results that includes every acked position (I6): `acked == counted`, or the difference is shown. It goes
on while any service of the mesh is killed under it; streams come back by themselves.

The bots of one kind share a rate (see `voters`). What else the crowd does is `side_traffic`'s.
"""

from __future__ import annotations

import asyncio
import math
import resource
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import Random

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client import Backend, ClientError, Receipt, Token, open_channel
from grandstand.event.v1.event_pb2 import Event, Position, Score, Vote
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from toolbox.load.account import LoadPlan, LoadProgress, Summary
from toolbox.load.latencies import Latencies
from toolbox.load.pace import Pacer
from toolbox.load.side_traffic import SideTraffic
from toolbox.load.voters import BotPool, Cast, producers
from toolbox.load.watchers import Probe, SimulatedViewer, WatcherCounts

CLIENT = "grandstand-simulate"
OPTIONS = ("red", "green", "blue", "gold")
# The edge admits 100; viewers that are drained have their next stream before the last one ends.
STREAMS_PER_CONNECTION = 40
VOTERS_MAX = 256
# As many actors as a board can list, so that their points add up to all there are.
SCORERS_MAX = 100
OPENING_MAX = 32
PROBES_MAX = 4
READY_S = 30.0
# How long the end waits: for answers still owed, for the mesh to be read, for the last votes to be seen.
DRAIN_S = 30.0
PATIENCE_S = 60.0
SEEN_S = 5.0
TICK_S = 0.1


class Simulation:
    """One run. `stop` ends the sending early; the account is still closed. `token`: an owner's."""

    def __init__(
        self,
        plan: LoadPlan,
        on_progress: Callable[[LoadProgress], None] = lambda _: None,
        *,
        token: Token | None = None,
    ) -> None:
        self.stop = asyncio.Event()
        self._plan = plan
        self._token = token
        self._on_progress = on_progress
        self._random = Random(plan.seed)
        self._run = secrets.token_hex(4)
        self._poll = plan.poll_id or f"sim-{self._run}"
        self._board = f"sim-{self._run}"
        self._counts = WatcherCounts()
        self._watchers: list[SimulatedViewer] = []
        self._probes: list[Probe] = []
        self._latencies = Latencies()
        self._watching: list[asyncio.Task[None]] = []
        self._pools: list[BotPool] = []
        self._progress = LoadProgress()
        self._game = catalog.Game()
        self._side_traffic = SideTraffic(plan, self._game, self._random, self._run)

    async def run(self) -> Summary:
        """Raises ClientError when the mesh cannot be reached, or refuses the run's definitions."""
        plan = self._plan
        summary = Summary(plan.game_id, self._poll, plan.viewers, plan.rate, plan.seconds)
        cpu_before_s = _cpu_s()
        async with AsyncExitStack() as stack:
            to_mesh = await stack.enter_async_context(open_channel(plan.mesh))
            await self._define(Backend(to_mesh, token=self._token))
            connections = await self._connect(stack, plan.viewers)
            reporting = asyncio.create_task(self._report())
            try:
                await self._watch(connections)
                await self._act(connections, summary)
                await self._settle(summary)
                await self._prove(Backend(to_mesh, token=self._token, patience_s=PATIENCE_S), summary)
                await self._see_the_last()
            finally:
                for task in (*self._watching, reporting):
                    task.cancel()
                await asyncio.gather(*(pool.close() for pool in self._pools))
            for task in (*self._watching, reporting):
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
        summary.cpu_s = round(_cpu_s() - cpu_before_s, 3)
        self._conclude(summary)
        return summary

    async def _define(self, backend: Backend) -> None:
        """The game if it is new, and this run's poll and board."""
        game_id = self._plan.game_id
        try:
            self._game = (await backend.get_game(game_id)).game
        except ClientError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            pulse = catalog.Pulse(pulse_id="reactions", kinds=["clap", "fire", "heart", "laugh", "wow"])
            metric = catalog.Metric(metric_id="ack-delay", unit="ms")
            self._game = await backend.define_game(
                catalog.Game(
                    game_id=game_id,
                    title="A simulated crowd",
                    pulses=[pulse],
                    metrics=[metric],
                    audience=True,
                )
            )
        if not self._plan.poll_id:
            await backend.open_poll(poll_of(game_id, self._poll))
        await backend.open_board(
            catalog.Board(
                game_id=game_id,
                board_id=self._board,
                title=f"Simulation {self._run}",
                mode=catalog.BOARD_MODE_SUM,
                top=SCORERS_MAX,
            )
        )

    async def _connect(self, stack: AsyncExitStack, viewers: int) -> list[grpc.aio.Channel]:
        count = max(2, math.ceil(2 * viewers / STREAMS_PER_CONNECTION))
        return [
            await stack.enter_async_context(open_channel(self._plan.edge, own_connection=True))
            for _ in range(count)
        ]

    async def _watch(self, connections: list[grpc.aio.Channel]) -> None:
        """Opens the viewers, a few at a time, and waits for the first frame of each."""
        poll_topic = f"poll/{self._poll}"
        request = SubscribeRequest(game_id=self._plan.game_id, topics=[poll_topic, f"board/{self._board}"])
        count = max(1, self._plan.viewers)
        for number in range(count):
            channel = connections[number % len(connections)]
            # Probes are spread over the connections, the first viewer is always one.
            if number % max(1, count // PROBES_MAX) == 0 and len(self._probes) < PROBES_MAX:
                probe = Probe(
                    channel, request, self._counts, self._random, topic=poll_topic, latencies=self._latencies
                )
                self._probes.append(probe)
                self._watchers.append(probe)
            else:
                self._watchers.append(SimulatedViewer(channel, request, self._counts, self._random))
        ready_s = READY_S + count / 100
        try:
            async with asyncio.timeout(ready_s):
                for start in range(0, count, OPENING_MAX):
                    group = self._watchers[start : start + OPENING_MAX]
                    self._watching.extend(asyncio.create_task(watcher.run()) for watcher in group)
                    for watcher in group:
                        await watcher.ready.wait()
        except TimeoutError:
            raise ClientError(
                grpc.StatusCode.UNAVAILABLE,
                f"{self._counts.connected} of {count} viewers had a snapshot after {ready_s:.0f} s",
            ) from None
        if self._counts.failed is not None:
            raise self._counts.failed

    async def _act(self, connections: list[grpc.aio.Channel], summary: Summary) -> None:
        """Votes, scores and reactions at their rates, for the seconds planned or until stopped."""
        loop = asyncio.get_running_loop()
        plan = self._plan
        bots = max(1, min(plan.viewers, VOTERS_MAX, math.ceil(plan.rate)))
        voters = BotPool(producers(connections, bots, CLIENT, self._token), self._vote, self._note)
        scorers = BotPool(producers(connections, min(bots, SCORERS_MAX), CLIENT, self._token), self._score)
        side_traffic = self._side_traffic = SideTraffic(plan, self._game, self._random, self._run)
        side_traffic.join(connections, bots, CLIENT, self._token)
        self._pools = [voters, scorers, *side_traffic.pools.values()]
        rates = [plan.rate, plan.rate * plan.scores, *side_traffic.rates.values()]
        self._progress.stage = "sending"
        start_s = loop.time()
        until_s = start_s + (plan.seconds or math.inf)
        sending = [
            asyncio.create_task(pool.run(Pacer(rate, start_s, self._random), until_s))
            for pool, rate in zip(self._pools, rates, strict=True)
        ]
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait([*sending, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (*sending, stopping):
            task.cancel()
        await asyncio.wait([*sending, stopping])
        summary.seconds = round(loop.time() - start_s, 1)

    async def _settle(self, summary: Summary) -> None:
        self._progress.stage = "settling"
        await asyncio.gather(*(pool.drain(DRAIN_S) for pool in self._pools))
        # From here on every event is acked, or its sender was told that it is not.
        await asyncio.gather(*(pool.close() for pool in self._pools))
        voters, scorers, *_ = self._pools
        votes = voters.account
        summary.sent, summary.acked, summary.unsettled = votes.sent, votes.acked, votes.lost_sight_of
        summary.unacked, summary.unacked_reported = votes.unacked, votes.reported
        if votes.unsettled:
            summary.problems.append(f"{votes.unsettled} votes were neither acked nor reported as not acked")
        summary.shed = sum(t.account.shed for t in self._pools)
        summary.refused = dict(sum((t.account.refused for t in self._pools), Counter()))
        summary.maybe_stored = votes.maybe_stored
        summary.held_back = voters.held_back
        summary.scores_sent, summary.scores_acked = scorers.account.sent, scorers.account.acked
        summary.points_acked = scorers.account.acked_units
        for what, pool in self._side_traffic.pools.items():
            setattr(summary, f"{what}_sent", pool.account.sent)
            setattr(summary, f"{what}_acked", pool.account.acked)
        summary.problems.extend(f"a session was lost: {t.lost}" for t in self._pools if t.lost is not None)

    async def _prove(self, backend: Backend, summary: Summary) -> None:
        """Reads the results that include every acked position, and compares."""
        self._progress.stage = "counting"
        newest: dict[int, int] = {}
        voters, scorers, *_ = self._pools
        for pool in (voters, scorers):
            for partition, sequence in pool.newest.items():
                newest[partition] = max(sequence, newest.get(partition, 0))
        positions = [Position(partition=p, sequence=s) for p, s in sorted(newest.items())]
        topics = [f"poll/{self._poll}", f"board/{self._board}"]
        try:
            answer = await backend.read(self._plan.game_id, topics, positions)
        except ClientError as error:
            summary.problems.append(f"the results could not be read: {error}")
            return
        states = {state.topic: state for state in answer.topics}
        tally = states.get(topics[0], TopicState()).tally
        points = sum(entry.points for entry in states.get(topics[1], TopicState()).board.entries)
        summary.counted, summary.points_counted = tally.voters, points
        summary.lost = voters.account.lost(tally.voters)
        if not self._plan.poll_id:
            summary.doubled = voters.account.doubled(tally.voters)
            summary.unacked_counted = voters.account.counted_all_the_same(tally.voters)
        if summary.lost or summary.doubled:
            summary.problems.append(
                f"votes: {summary.acked} acked, {tally.voters} counted: "
                f"{summary.lost} lost, {summary.doubled} counted that were not sent or twice"
            )
        in_options = sum(option.votes for option in tally.options)
        if in_options != tally.voters:
            summary.problems.append(f"votes: {in_options} in the options, but {tally.voters} voters")
        lost, doubled = scorers.account.lost(points), scorers.account.doubled(points)
        if lost or doubled:
            summary.problems.append(
                f"points: {summary.points_acked} acked, {points} counted: {lost} lost, {doubled} too many"
            )
        try:
            if not self._plan.poll_id:
                await backend.close_poll(self._plan.game_id, self._poll)
            await backend.close_board(self._plan.game_id, self._board)
        except ClientError as error:
            summary.problems.append(f"the run's poll or board could not be closed: {error}")

    async def _see_the_last(self) -> None:
        """Gives the updates that carry the last votes the time to arrive."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SEEN_S
        while loop.time() < until_s and self._waiting:  # noqa: ASYNC110 - a poll of a count at the end, no hot path
            await asyncio.sleep(TICK_S)

    def _conclude(self, summary: Summary) -> None:
        counts, latencies = self._counts, self._latencies
        summary.seen = counts.frames
        summary.resumed_publish = sum(pool.resumed for pool in self._pools)
        summary.resumed_subscribe = counts.resumed
        summary.went_back = counts.went_back
        summary.measured, summary.unseen = latencies.count, self._waiting
        summary.p50_ms, summary.p90_ms, summary.p99_ms = map(latencies.percentile_ms, (50, 90, 99))
        summary.max_ms = round(latencies.max_s * 1000, 2) if latencies.count else None
        if counts.went_back:
            summary.problems.append(f"{counts.went_back} states went back in time")
        if counts.mismatches:
            summary.problems.append(f"{counts.mismatches} deltas did not fit what was shown")
        if counts.failed is not None:
            summary.problems.append(f"a viewer's stream was refused: {counts.failed}")

    @property
    def _waiting(self) -> int:
        return sum(probe.sightings.waiting for probe in self._probes)

    def _note(self, receipt: Receipt, sent_s: float) -> None:
        """Each vote is measured on one probe's screen."""
        probe = self._probes[receipt.origin_seq % len(self._probes)]
        probe.sightings.acked([(p.partition, p.sequence) for p in receipt.positions], sent_s)

    def _vote(self, bot: int, number: int) -> Cast:
        vote = Vote(poll_id=self._poll, option_ids=[self._random.choice(OPTIONS)])
        return Cast(Event(game_id=self._plan.game_id, actor_id=f"{self._run}-{number}", vote=vote))

    def _score(self, bot: int, number: int) -> Cast:
        points = self._random.randint(1, 10)
        score = Score(board_id=self._board, points=points)
        return Cast(Event(game_id=self._plan.game_id, actor_id=f"bot-{bot + 1}", score=score), points)

    async def _report(self) -> None:
        loop = asyncio.get_running_loop()
        progress = self._progress
        start_s: float | None = None
        while True:
            if start_s is None and progress.stage == "sending":
                start_s = loop.time()
            if progress.stage == "sending" and start_s is not None:
                progress.elapsed_s = loop.time() - start_s
            accounts = [pool.account for pool in self._pools]
            if accounts:
                votes = accounts[0]
                progress.sent, progress.acked, progress.refused = (
                    votes.sent,
                    votes.acked,
                    votes.refused.total(),
                )
            progress.seen, progress.connected = self._counts.frames, self._counts.connected
            progress.resumed = self._counts.resumed + sum(pool.resumed for pool in self._pools)
            if self._probes:
                latencies = self._latencies
                progress.p50_ms, progress.p99_ms = latencies.percentile_ms(50), latencies.percentile_ms(99)
            self._on_progress(progress)
            await asyncio.sleep(TICK_S)


def poll_of(game_id: str, poll_id: str) -> catalog.Poll:
    """The poll that the bots vote in; a vote is final, and they never vote twice."""
    options = [catalog.PollOption(option_id=name, label=name.title()) for name in OPTIONS]
    return catalog.Poll(game_id=game_id, poll_id=poll_id, question=f"Simulation {poll_id}", options=options)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
