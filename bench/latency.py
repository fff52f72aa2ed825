"""Vote to screen: how long from the send of a vote until another stream shows a count that includes it.

The whole path: publisher, Envoy, ingest, JetStream, aggregate, Redis, NATS, gateway, Envoy, viewer; on one
machine, so that the same clock reads both ends. Two phases, on a game of their own:

- idle: single votes at random distances, nothing else going on;
- load: `--viewers` watch and `--rate` votes a second arrive. The crowd runs in a process of its own, and
  the measured votes (a tenth of the rate, at most 50/s) and the viewer that sees them in this one: so the
  figures are the system's, not those of an event loop that is busy playing the crowd. What the crowd itself
  measures is reported beside it (`crowd_p50_ms`, `crowd_p99_ms`). Crowd and mesh share the machine's cores.

The floor of the same run is a unary health call through the same edge, idle and under load: no answer can
be faster. CPU is what the kernel accounts to the mesh's processes over the load window, divided by the votes
counted in it (`cpu_us_per_vote`, all processes), and by the updates delivered in it (`cpu_us_per_update`,
gateway and Envoy).

A percentile is right within 1 %. The run ends non-zero when an acked vote is not counted exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
from random import Random
from typing import Any

from bench._arguments import add_home, check_least
from bench._cpu import cpu_s, spent_s
from bench._figures import Figures, show
from bench._mesh import BenchMesh, measured_mesh
from bench._probe import VoteProbe
from bench._say import say, say_nothing
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.client import Backend, ClientError, open_channel
from grandstand.event.v1.event_pb2 import Position
from toolbox.cli.console import one_line_errors
from toolbox.load.latencies import Latencies
from toolbox.load.pace import Pacer
from toolbox.load.simulate import poll_of
from toolbox.local.errors import MeshError

PROBE_SHARE = 0.1
PROBE_RATE_MAX = 50.0
IDLE_GAP_S = (0.12, 0.3)
FLOOR_GAP_S = 0.1
WARM_UP_S = 1.5
# The crowd sends for longer than the window that is measured, on both sides.
MARGIN_S = 2.0
CROWD_READY_S = 60.0
CROWD_END_S = 120.0


class LatencyBench:
    """One run against one mesh."""

    def __init__(self, mesh: BenchMesh, asked: argparse.Namespace) -> None:
        self._mesh = mesh
        self._asked = asked
        self._random = Random(1)
        self._game_id = f"bench-{secrets.token_hex(4)}"
        self._poll_id = "latency"
        self._figures = Figures(asked.viewers, asked.rate, asked.seconds, temporary_mesh=mesh.is_temporary)

    async def run(self) -> Figures:
        """Raises ClientError and MeshError."""
        at = self._mesh.addresses
        async with open_channel(at.mesh) as channel:
            backend = Backend(channel, token=self._mesh.token)
            await backend.define_game(Game(game_id=self._game_id, title="Benchmark"))
            await backend.open_poll(poll_of(self._game_id, self._poll_id))
            voting = VoteProbe(at.edge, self._game_id, self._poll_id, self._random, self._mesh.token)
            async with voting as probe:
                await self._idle(probe)
                crowd = await self._load(probe)
                await self._count(backend, probe, crowd)
            await backend.close_poll(self._game_id, self._poll_id)
        return self._figures

    async def _idle(self, probe: VoteProbe) -> None:
        figures, votes, floor = self._figures, Latencies(), Latencies()
        loop = asyncio.get_running_loop()
        probe.measure_into(Latencies())
        for _ in range(5):
            await probe.vote_and_see()
            await probe.call(Latencies())
        probe.measure_into(votes)
        until_s = loop.time() + self._asked.idle_seconds
        while loop.time() < until_s:
            say(f"idle: {votes.count} single votes, {max(0.0, until_s - loop.time()):.0f} s to go")
            await asyncio.sleep(self._random.uniform(*IDLE_GAP_S))
            await probe.vote_and_see()
            await probe.call(floor)
        figures.idle_p50_ms, figures.idle_p99_ms = votes.percentile_ms(50), votes.percentile_ms(99)
        figures.idle_samples = votes.count
        figures.floor_p50_ms, figures.floor_p99_ms = floor.percentile_ms(50), floor.percentile_ms(99)

    async def _load(self, probe: VoteProbe) -> dict[str, Any]:
        """The crowd's own summary."""
        figures, asked = self._figures, self._asked
        loop = asyncio.get_running_loop()
        probe_rate = min(PROBE_RATE_MAX, asked.rate * PROBE_SHARE)
        crowd = await self._start_crowd(asked.rate - probe_rate)
        try:
            await self._crowd_votes(probe, crowd)
            await asyncio.sleep(WARM_UP_S)
            votes, floor = Latencies(), Latencies()
            probe.measure_into(votes)
            pids = self._mesh.pids()
            cpu_before, voters_before, frames_before = cpu_s(pids), probe.voters, probe.counts.frames
            start_s = loop.time()
            await self._probe_under_load(probe, floor, probe_rate, start_s + asked.seconds, votes)
            elapsed_s = loop.time() - start_s
            spent = spent_s(cpu_before, cpu_s(pids))
            counted = probe.voters - voters_before
            updates = (probe.counts.frames - frames_before) * (asked.viewers + 1)
            await probe.settle()
            say("load: waiting for the crowd to end")
            async with asyncio.timeout(CROWD_END_S):
                output, errors = await crowd.communicate()
        finally:
            if crowd.returncode is None:
                crowd.kill()
                await crowd.wait()
        if crowd.returncode:
            raise MeshError(
                f"the crowd failed: {(errors.decode().strip().splitlines() or ['no reason'])[-1]}"
            )
        summary: dict[str, Any] = json.loads(output.splitlines()[-1])
        figures.p50_ms, figures.p99_ms = votes.percentile_ms(50), votes.percentile_ms(99)
        figures.max_ms = round(votes.max_s * 1000, 2)
        figures.samples = votes.count
        figures.floor_load_p50_ms, figures.floor_load_p99_ms = (
            floor.percentile_ms(50),
            floor.percentile_ms(99),
        )
        figures.crowd_p50_ms, figures.crowd_p99_ms = summary["p50_ms"], summary["p99_ms"]
        figures.votes_per_s = round(counted / elapsed_s, 1)
        figures.updates_per_s = round(updates / elapsed_s, 1)
        figures.cpu_s = spent
        if counted and updates:
            delivering = sum(s for name, s in spent.items() if name.startswith(("gateway", "envoy")))
            figures.cpu_us_per_vote = round(sum(spent.values()) / counted * 1e6, 1)
            figures.cpu_us_per_update = round(delivering / updates * 1e6, 1)
        return summary

    async def _start_crowd(self, rate: float) -> asyncio.subprocess.Process:
        at, asked = self._mesh.addresses, self._asked
        seconds = asked.seconds + WARM_UP_S + 2 * MARGIN_S
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench._load", "--edge", at.edge, "--mesh", at.mesh),
            *("--game", self._game_id, "--poll", self._poll_id, "--viewers", str(asked.viewers)),
            *("--rate", str(rate), "--seconds", str(seconds), "--home", str(self._mesh.home)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _crowd_votes(self, probe: VoteProbe, crowd: asyncio.subprocess.Process) -> None:
        """Until the crowd's first votes are on screen: its viewers are open then."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + CROWD_READY_S
        while probe.voters <= probe.sent:
            say("load: opening the crowd")
            if crowd.returncode is not None:
                _, errors = await crowd.communicate()
                raise _crowd_failed(errors)
            if loop.time() > give_up_s:
                raise MeshError(f"the crowd's votes did not show within {CROWD_READY_S:g} s")
            await asyncio.sleep(0.05)

    async def _probe_under_load(
        self, probe: VoteProbe, floor: Latencies, rate: float, until_s: float, votes: Latencies
    ) -> None:
        loop = asyncio.get_running_loop()
        pacer = Pacer(rate, loop.time(), self._random)
        call_s = loop.time()
        calls: set[asyncio.Task[None]] = set()
        while (now_s := loop.time()) < until_s:
            for _ in range(pacer.due(now_s)):
                await probe.vote()
            if now_s >= call_s:
                call_s += FLOOR_GAP_S
                call = asyncio.create_task(probe.call(floor))
                calls.add(call)
                call.add_done_callback(calls.discard)
                p99 = votes.percentile_ms(99)
                say(f"load: {votes.count} votes measured, p99 {p99 or 0:g} ms, {until_s - now_s:.0f} s to go")
            await asyncio.sleep(max(0.0, min(pacer.next_s, call_s, until_s) - loop.time()))
        await asyncio.gather(*calls)

    async def _count(self, backend: Backend, probe: VoteProbe, crowd: dict[str, Any]) -> None:
        """After the crowd settled all of its own, the count includes every acked vote (I6)."""
        figures = self._figures
        positions = [Position(partition=p, sequence=s) for p, s in sorted(probe.newest.items())]
        answer = await backend.read(self._game_id, [f"poll/{self._poll_id}"], positions)
        figures.sent = probe.sent + crowd["sent"]
        figures.acked = probe.acked + crowd["acked"]
        figures.counted = answer.topics[0].tally.voters
        figures.unsettled = figures.sent - figures.acked


def _crowd_failed(errors: bytes) -> MeshError:
    return MeshError(f"the crowd failed: {(errors.decode().strip().splitlines() or ['no reason'])[-1]}")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench latency",
        description="Vote-to-screen latency through the whole path, idle and under load. "
        "Uses the running mesh, or starts one for the run.",
        epilog="Example: ./grandstand bench latency --viewers 200 --rate 500 --json",
    )
    parser.add_argument("--viewers", type=int, default=200, help="subscriptions under load (default 200)")
    parser.add_argument("--rate", type=float, default=500.0, help="votes a second under load (default 500)")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured under load (default 15)")
    parser.add_argument("--idle-seconds", type=float, default=15.0, help="measured idle (default 15)")
    add_home(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    check_least(parser, asked, (("viewers", 1), ("rate", 1.0), ("seconds", 1.0), ("idle_seconds", 1.0)))
    return asked


def main() -> None:
    asked = parse()
    with one_line_errors(), measured_mesh(asked.home) as mesh:
        try:
            figures = asyncio.run(LatencyBench(mesh, asked).run())
        except ClientError as error:
            raise MeshError(str(error)) from None
    say_nothing()
    if asked.json:
        print(json.dumps(figures.as_json()))
    else:
        show(figures)
    if not figures.is_sound:
        print(
            f"grandstand: {figures.acked} votes were acked, but {figures.counted} are counted",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
