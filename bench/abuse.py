"""Strangers attack a whole mesh, one exploit after the other, and a witness beside them must notice nothing.

A temporary mesh, as `up` starts it, with bounds by address for this machine too. The witness is 300 viewers
and 50 voters at the edge, with newcomers and an operator among them, each group from addresses of its own.
First it is measured without an attack, then beside each for `--seconds`. The attacker is one process, one
address, and at most half a core: `attack_achieved` says what rate it reached, `attack_wanted` that of the
exploit as it was found.

For each attack, in `attacks`:

    witness_errors    anything that failed for the witness: a stream that ended, a vote that was refused or
                      not on every screen, a newcomer who was shown nothing, a poll that was not closed
    witness_p99_ms    from a vote to a viewer's screen, of all votes and viewers; at most 1.5 times its value
                      without an attack (`calm`), or 20 ms more: `witness_p99_ms_max`
    rss_growth_mib    by process, from before the attack to its largest during it
    cpu_cores         by process, the witness among them: how full the machine was
    landed            what was to be refused and was not: a score, a closed poll, a store that obeyed
    attack_outcomes   how its units ended, by gRPC status, HTTP/2 code or end of the connection

The run ends non-zero when one of them is beyond its bound. Rejected: a mesh that runs already. Its bounds by
address may exempt this machine, and it is no place for attacks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench._abuse_figures import AbuseFigures, Row, show
from bench._arguments import check_least
from bench._attack_plans import PLANS
from bench._attack_target import ASIDE, BOARD, GAME, KIND, POLL, PULSE
from bench._child import BenchChild
from bench._cpu import cpu_s, rss_kib, spent_s
from bench._mesh import BenchMesh, temporary_mesh
from bench._say import say, say_nothing
from bench._witness_inside import poll_of
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_BEST, Board, Game, Pulse
from grandstand.client import Backend, ClientError, open_channel
from toolbox.cli.console import one_line_errors
from toolbox.local.errors import MeshError

WARM_UP_S = 3.0
SETTLE_S = 6.0
"""Between two attacks: silent streams of the last one are over after 5 s."""
_LOOK_S = 0.25
_KIB_IN_MIB = 1024.0


class AbuseBench:
    """One run against one mesh."""

    def __init__(self, mesh: BenchMesh, folder: Path, asked: argparse.Namespace) -> None:
        self._mesh = mesh
        self._folder = folder
        self._asked = asked
        self._figures = AbuseFigures(asked.viewers, asked.voters, asked.seconds, os.cpu_count() or 1)

    def run(self) -> AbuseFigures:
        """Raises MeshError."""
        asyncio.run(self._define())
        with self._child("witness", "bench._witness", *self._witness_at()) as witness:
            say(f"opening: {self._asked.viewers} viewers, {self._asked.voters} voters")
            opened = json.loads(witness.ask(f"open {self._asked.viewers} {self._asked.voters}"))
            if opened["watching"] < self._asked.viewers:
                raise MeshError(f"the witness has {opened['watching']} viewers: {opened['errors']}")
            time.sleep(WARM_UP_S)
            self._figures.calm = self._calm(witness)
            for name in self._asked.only or PLANS:
                self._figures.rows[name] = self._attack(name, witness)
        return self._figures

    def _calm(self, witness: BenchChild) -> dict[str, Any]:
        witness.ask("begin")
        until_s = time.monotonic() + self._asked.seconds
        while (left_s := until_s - time.monotonic()) > 0:
            say(f"calm: no attack, {left_s:.0f} s to go")
            time.sleep(min(_LOOK_S, left_s))
        found: dict[str, Any] = json.loads(witness.ask("end"))
        return found

    def _attack(self, name: str, witness: BenchChild) -> Row:
        plan, asked = PLANS[name], self._asked
        with self._child(f"attacker-{name}", "bench._attacker", name, self._target()) as attacker:
            before = self._rss()
            most = dict(before)
            witness.ask("begin")
            used_s, begin_s = self._cpu_s(witness), time.monotonic()
            attacker.tell(str(asked.seconds))
            until_s = begin_s + asked.seconds
            while (left_s := until_s - time.monotonic()) > 0:
                for process, kib in self._rss().items():
                    most[process] = max(kib, most.get(process, kib))
                say(f"{name}: {plan.exploit}; {left_s:.0f} s to go")
                time.sleep(min(_LOOK_S, left_s))
            used_s = spent_s(used_s, self._cpu_s(witness))
            spent = time.monotonic() - begin_s
            seen = json.loads(witness.ask("end"))
            said = json.loads(attacker.hear())
        grown = {each: (most[each] - before.get(each, most[each])) / _KIB_IN_MIB for each in most}
        row = Row(
            plan.clause,
            plan.exploit,
            plan.wanted(),
            said,
            seen,
            {each: round(mib, 1) for each, mib in sorted(grown.items()) if mib >= 1.0},
            {each: round(cpu / spent, 2) for each, cpu in sorted(used_s.items())},
        )
        say(f"{name}, after it: waiting {SETTLE_S:g} s")
        time.sleep(min(SETTLE_S, asked.seconds))
        return row

    async def _define(self) -> None:
        """Raises MeshError."""
        pulse = Pulse(pulse_id=PULSE, kinds=[KIND])
        try:
            async with open_channel(self._mesh.addresses.mesh) as channel:
                backend = Backend(channel, token=self._mesh.token)
                for game_id in (GAME, ASIDE):
                    await backend.define_game(Game(game_id=game_id, title="Abuse", pulses=[pulse]))
                    await backend.open_poll(poll_of(game_id, POLL))
                board = Board(game_id=GAME, board_id=BOARD, title="Top", mode=BOARD_MODE_BEST)
                await backend.open_board(board)
        except ClientError as error:
            raise MeshError(str(error)) from None

    def _witness_at(self) -> tuple[str, ...]:
        at = self._mesh.addresses
        return at.edge, at.mesh, str(self._mesh.home)

    def _target(self) -> str:
        at = self._mesh.addresses
        found: dict[str, Any] = {
            "edge": _address(at.edge),
            "mesh": _address(at.mesh),
            "gateway": _address(self._mesh.address_of("gateway-1")),
            "nats": _address(at.nats.rpartition("//")[2]),
            "redis": _address(at.redis.rpartition("//")[2].partition("/")[0]),
            "home": str(self._mesh.home),
        }
        return json.dumps(found)

    def _rss(self) -> dict[str, int]:
        return {name: rss_kib(pid) for name, pid in self._mesh.pids().items()}

    def _cpu_s(self, witness: BenchChild) -> dict[str, float]:
        return cpu_s({**self._mesh.pids(), "witness": witness.pid})

    @contextlib.contextmanager
    def _child(self, name: str, module: str, *arguments: str) -> Iterator[BenchChild]:
        child = BenchChild(name, [sys.executable, "-m", module, *arguments], self._folder, talks=True)
        try:
            child.until_ready()
            yield child
        finally:
            child.end()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench abuse",
        description="Attacks a temporary mesh as strangers do, one exploit after the other, with at most"
        " half a core, beside a witness that must notice nothing.",
        epilog="Example: ./grandstand bench abuse --only guests --json. Attacks: " + ", ".join(PLANS),
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack (default 20)")
    parser.add_argument(
        "--only", action="append", metavar="ATTACK", help="this attack (repeatable); default all"
    )
    parser.add_argument("--viewers", type=int, default=300, help="of the witness (default 300)")
    parser.add_argument("--voters", type=int, default=50, help="of the witness (default 50)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    for name in asked.only or ():
        if name not in PLANS:
            parser.error(f"--only {name}: there is no such attack; there are {', '.join(PLANS)}")
    check_least(parser, asked, (("seconds", 1.0), ("viewers", 1), ("voters", 1)))
    return asked


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    with (
        one_line_errors(),
        tempfile.TemporaryDirectory(prefix="grandstand-abuse-") as folder,
        temporary_mesh(Path(folder) / "home", "--trusted-hops", "0") as mesh,
    ):
        figures = AbuseBench(mesh, Path(folder), asked).run()
    say_nothing()
    if asked.json:
        print(json.dumps(figures.as_json()))
    else:
        show(figures)
    if complaints := figures.complaints():
        print("\n".join(f"grandstand: {each}" for each in complaints), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
