"""Notices: how many are taken, how soon they are on screens, and what one to everyone costs.

A temporary mesh, or the one that runs. `--actors` browsers watch their inbox at the edge, each on a
connection of its own, in another process than this one; notices are sent on the mesh listener.

    delivered   `--rate` notices a second, each to one of the actors: from the call of SendNotice to the frame
                that shows it, on the machine's monotonic clock
    broadcast   notices to everyone, one after the other: the same, for every actor; messages on the subjects
                by which gateways hear of notices; and how much more the actors' own keys in Redis and the
                stream of what they have read hold afterwards
    rows        the baseline, in turns with it: a row in Redis and a message for each actor, written in
                pipelines (bench/_notify_rows.py)
    accepted    notices to one actor each, as fast as they are taken, `--callers` at a time; and lists of
                LISTED actors. An accepted notice is stored. By the CPU that notify took, all of its threads
    rules       what it costs to judge a result by a rule of each kind (bench/_notify_rules.py)

The run ends non-zero when a notice did not reach an actor, or reached it twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import nats
import redis

from bench._arguments import add_home, check_least
from bench._child import BenchChild
from bench._cpu import cpu_s, exact_cpu_s, spent_s
from bench._mesh import BenchMesh, measured_mesh
from bench._notify_figures import NotifyFigures, show
from bench._notify_rows import weigh
from bench._notify_rules import us_per_result
from bench._percentiles import milliseconds
from bench._say import say, say_nothing
from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.client import Backend, ClientError, Notices, open_channel
from grandstand.notify.v1.notify_pb2 import Audience, Notice
from mesh.jetstream import subjects
from mesh.redis import layout
from toolbox.cli.console import one_line_errors
from toolbox.cli.credentials import operating
from toolbox.load.pace import Pacer
from toolbox.local.errors import MeshError
from toolbox.local.running import store_urls
from toolbox.local.store_users import ADMIN

BROADCASTS = 5
LISTED = 10_000
STRANGERS = 10_000
"""Actors to whom notices are sent as fast as they are taken; none of them watches."""
WARM_UP = 20
EXPIRES_S = 600
_PATIENCE_S = 20.0
_CHANNELS = 4
_QUIET_S = 0.3
"""After a broadcast, for messages that nobody expects."""


class NotifyBench:
    """One run against one mesh."""

    def __init__(
        self, mesh: BenchMesh, asked: argparse.Namespace, viewers: BenchChild, rows: BenchChild
    ) -> None:
        self._mesh = mesh
        self._asked = asked
        self._viewers = viewers
        self._rows = rows
        self._random = Random(1)
        self._run = secrets.token_hex(4)
        self._number = 0
        self._sent_us: dict[int, int] = {}
        self._messages = 0
        self.figures = NotifyFigures(
            asked.actors, asked.rate, asked.seconds, temporary_mesh=mesh.is_temporary
        )

    async def run(self, game_id: str) -> None:
        """Raises ClientError and MeshError."""
        urls = store_urls(self._mesh.home, ADMIN)
        bus = await nats.connect(urls.nats, name="bench-notify")
        store = redis.Redis.from_url(urls.redis)
        try:
            async with contextlib.AsyncExitStack() as stack:
                token = operating(None, self._mesh.home)
                address = self._mesh.addresses.mesh
                channels = [
                    await stack.enter_async_context(open_channel(address, own_connection=True))
                    for _ in range(_CHANNELS)
                ]
                await Backend(channels[0], token=self._mesh.token).define_game(
                    Game(game_id=game_id, title="Benchmark")
                )
                say(f"opening: {self._asked.actors} actors")
                opened = json.loads(await self._ask(self._viewers, f"open {self._asked.actors}"))
                if opened["watching"] < self._asked.actors:
                    raise MeshError(f"{opened['watching']} of {self._asked.actors} watch: {opened['ended']}")
                senders = [Notices(channel, token=self._mesh.token) for channel in channels]
                await self._deliver(senders, game_id)
                await self._broadcast(Notices(channels[0], token=token), bus, store)
                await self._accept(senders, game_id)
        finally:
            store.close()
            await bus.close()

    async def _deliver(self, senders: list[Notices], game_id: str) -> None:
        for _ in range(WARM_UP):
            await self._send(senders[0], self._to_one(game_id))
        await self._seen(WARM_UP)
        figures, loop = self.figures, asyncio.get_running_loop()
        pids = self._mesh.pids()
        before = cpu_s(pids)
        pacer = Pacer(self._asked.rate, loop.time(), self._random)
        until_s = loop.time() + self._asked.seconds
        sent = 0
        async with asyncio.TaskGroup() as group:
            while (now_s := loop.time()) < until_s:
                for _ in range(pacer.due(now_s)):
                    sender = senders[sent % len(senders)]
                    group.create_task(self._send(sender, self._to_one(game_id)))
                    sent += 1
                say(f"delivered: {sent} sent, {until_s - now_s:.0f} s to go")
                await asyncio.sleep(max(0.0, min(pacer.next_s, until_s) - loop.time()))
        took_us = await self._seen(sent)
        figures.cpu_s = spent_s(before, cpu_s(pids))
        figures.delivered_p50_ms, figures.delivered_p99_ms = (milliseconds(took_us, p) for p in (50, 99))

    async def _broadcast(self, operator: Notices, bus: Any, store: Any) -> None:
        figures, asked = self.figures, self._asked
        actors = [f"viewer-{number}" for number in range(asked.actors)]
        keys = [key for actor in actors for key in (layout.inbox_key(actor), layout.reader_key(actor))]
        for subject in (subjects.CROWDS_ALL, "inbox.*"):
            await bus.subscribe(subject, cb=self._heard)
        await self._ask(self._rows, "write 1")
        took_us: list[int] = []
        broadcast: list[int] = []
        ours, theirs, rows_bytes, messages = 0.0, 0.0, 0, 0
        before = weigh(store, keys) + await _stored(bus)
        for n in range(BROADCASTS):
            say(f"broadcast: {n + 1} of {BROADCASTS}, in turns with rows")
            self._messages = 0
            with _spent(self._pids("notify", "nats", "valkey")) as spent:
                await self._send(operator, Notice(audience=Audience(everyone=True)))
                broadcast.append(self._number)
                took_us += await self._seen(asked.actors)
                await asyncio.sleep(_QUIET_S)
            ours += spent[0]
            messages += self._messages
            rows_bytes -= int(await self._ask(self._rows, "weigh"))
            pids = [*self._pids("nats", "valkey"), self._rows.pid]
            with _spent(pids) as spent:
                figures.rows_messages_per_gateway = int(await self._ask(self._rows, "write 1"))
            theirs += spent[0]
            rows_bytes += int(await self._ask(self._rows, "weigh"))
        for number in broadcast:
            await operator.cancel("", self._key(number))
        grown = weigh(store, keys) + await _stored(bus) - before
        await self._ask(self._rows, "end")
        each = asked.actors * BROADCASTS
        figures.broadcasts = BROADCASTS
        figures.broadcast_messages_per_gateway = messages / BROADCASTS
        figures.broadcast_stored_bytes_per_actor = round(grown / each, 1)
        figures.broadcast_cpu_us_per_actor = round(ours / each * 1e6, 2)
        figures.rows_stored_bytes_per_actor = round(rows_bytes / each, 1)
        figures.rows_cpu_us_per_actor = round(theirs / each * 1e6, 2)
        took_us.sort()
        figures.broadcast_p50_ms, figures.broadcast_p99_ms = (milliseconds(took_us, p) for p in (50, 99))

    async def _accept(self, senders: list[Notices], game_id: str) -> None:
        figures, loop = self.figures, asyncio.get_running_loop()
        until_s = loop.time() + self._asked.seconds

        async def call(sender: Notices) -> None:
            while loop.time() < until_s:
                stranger = f"stranger-{self._random.randrange(STRANGERS)}"
                await self._send(sender, Notice(game_id=game_id, audience=Audience(actor_id=stranger)))
                figures.accepted += 1

        say("accepted: as fast as they are taken")
        began_s = loop.time()
        with _spent(self._pids("notify")) as spent:
            async with asyncio.TaskGroup() as group:
                for n in range(self._asked.callers):
                    group.create_task(call(senders[n % len(senders)]))
            took_s = loop.time() - began_s
        figures.accepted_per_s = round(figures.accepted / took_s, 1)
        figures.accepted_per_cpu_s = round(figures.accepted / max(spent[0], 1e-9), 1)
        say("accepted: a list")
        with _spent(self._pids("notify")) as spent:
            listed = [f"stranger-{number}" for number in range(LISTED)]
            notice = Notice(game_id=game_id, key=f"{self._run}-list", code="bench", title="A list")
            await senders[0].send_to_actors(notice, listed)
        figures.listed_per_cpu_s = round(LISTED / max(spent[0], 1e-9), 1)

    def _to_one(self, game_id: str) -> Notice:
        actor = f"viewer-{self._random.randrange(self._asked.actors)}"
        return Notice(game_id=game_id, audience=Audience(actor_id=actor))

    async def _send(self, sender: Notices, notice: Notice) -> None:
        self._number += 1
        notice.key, notice.code = self._key(self._number), "bench"
        notice.expires_after.FromSeconds(EXPIRES_S)
        notice.title, notice.text = str(self._number), "x" * 64
        self._sent_us[self._number] = time.monotonic_ns() // 1000
        await sender.send(notice)

    def _key(self, number: int) -> str:
        return f"{self._run}-{number}"

    async def _seen(self, expected: int) -> list[int]:
        """How long each of the notices that were sent since the last call took, sorted, by viewer."""
        answer = json.loads(await self._ask(self._viewers, f"settle {expected} {_PATIENCE_S}"))
        if answer["ended"]:
            raise MeshError(f"streams ended: {'; '.join(answer['ended'])}")
        places = Counter((number, viewer) for number, viewer, _ in answer["seen"])
        figures = self.figures
        figures.delivered += len(places)
        figures.undelivered += expected - len(places)
        figures.doubled += places.total() - len(places)
        return sorted(us - self._sent_us[number] for number, _, us in answer["seen"])

    async def _heard(self, message: Any) -> None:
        self._messages += 1

    def _pids(self, *services: str) -> list[int]:
        found = self._mesh.pids()
        return [pid for name, pid in found.items() if name.startswith(services)]

    @staticmethod
    async def _ask(child: BenchChild, line: str) -> str:
        return await asyncio.to_thread(child.ask, line)


@contextlib.contextmanager
def _spent(pids: list[int]) -> Iterator[list[float]]:
    """The CPU seconds that these processes took in the body: one figure, there at its end."""
    found: list[float] = []
    before = sum(map(exact_cpu_s, pids))
    yield found
    found.append(sum(map(exact_cpu_s, pids)) - before)


async def _stored(bus: Any) -> int:
    """Bytes in the stream of what actors have read."""
    return int((await bus.jetstream().stream_info(subjects.READERS_STREAM)).state.bytes)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench notify",
        description="How many notices are taken, how soon they are on screens, and what one to everyone "
        "costs, beside a row for each actor. Uses the running mesh, or starts one for the run.",
        epilog="Example: ./grandstand bench notify --actors 2000 --json",
    )
    parser.add_argument("--actors", type=int, default=2_000, help="who watch their inbox (default 2000)")
    parser.add_argument("--rate", type=float, default=50.0, help="notices a second to one each (default 50)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each phase (default 10)")
    parser.add_argument("--callers", type=int, default=32, help="who send as fast as they can (default 32)")
    add_home(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    check_least(parser, asked, (("actors", 1), ("rate", 1.0), ("seconds", 1.0), ("callers", 1)))
    return asked


def measured(mesh: BenchMesh, asked: argparse.Namespace) -> NotifyFigures:
    """Raises MeshError."""
    game_id = f"bench-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="grandstand-bench-") as folder, contextlib.ExitStack() as stack:
        port = urlsplit(mesh.addresses.edge_url).port
        children = []
        for name, arguments in (
            ("_notice_viewers", (port, mesh.home, game_id)),
            ("_notify_rows", (mesh.home, asked.actors)),
        ):
            command = [sys.executable, "-m", f"bench.{name}", *map(str, arguments)]
            children.append(BenchChild(name, command, Path(folder), talks=True))
            stack.callback(children[-1].end)
            children[-1].until_ready()
        run = NotifyBench(mesh, asked, *children)
        say("rules: by themselves")
        run.figures.rules_us_per_result = us_per_result()
        try:
            asyncio.run(run.run(game_id))
        except ClientError as error:
            raise MeshError(str(error)) from None
    return run.figures


def main() -> None:
    asked = parse()
    with one_line_errors(), measured_mesh(asked.home) as mesh:
        figures = measured(mesh, asked)
    say_nothing()
    if asked.json:
        print(json.dumps(figures.as_json()))
    else:
        show(figures)
    if not figures.is_sound:
        print(
            f"grandstand: {figures.undelivered} notices did not reach an actor, {figures.doubled} came twice",
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
