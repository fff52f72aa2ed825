"""Thousands of viewers lose their streams in the same instant, and come back: how soon, and at whose cost.

Real processes on this machine, as in `bench fanout`. A poll changes `--rate` times a second all the while.
Those who come back do as the product's clients do: a wait of exponential backoff with full jitter, a new
connection, and the cursor of what they were shown last, so that nobody is shown an older state (I5).

    cut       the connections of `--viewers` viewers are reset at their own end, all at once; `--bystanders`
              others keep theirs
    killed    as many viewers on two gateways, of which one is killed: its streams end, those of the other
              are the bystanders; those who come back are the other's, too

    recovered_s        from the cut until the last of them was shown a state again. It was no older than what
                       it had seen, and all were shown the newest in the end: else the run fails
    redis_reads        reads of results in that time, by all gateways and for all viewers, those included that
                       each gateway does every second anyway: counted by Valkey
    max_frame_gap_ms   the longest that a viewer whose stream was not cut was shown nothing. At 10 frames/s
                       it is 100 ms when nothing happens
    back_gap_ms        the same of those who came back, from the first frame of their new stream on

The keys above are of `cut`; those of `killed` stand in an object of that name.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any, NamedTuple

from redis import Redis
from rich.console import Console
from rich.table import Table

from bench._arguments import check_least
from bench._bed import GAME, bed
from bench._child import BenchChild
from bench._fanout_bed import FanBed
from bench._say import say, say_nothing
from toolbox.cli.console import one_line_errors

_BEFORE_S = 1.0
"""Of frames before the storm, for there to be a gap between."""
_AFTER_S = 1.0
_PATIENCE_S = 60.0
_TORN_S = 10.0
_OUTRUN_S = 3.0


class Storm(NamedTuple):
    """What became of one."""

    lost: int
    """Viewers whose streams were cut."""
    recovered_s: float
    redis_reads: int
    max_frame_gap_ms: float
    back_gap_ms: float
    conflated: int
    """Numbers that a viewer was not shown on a stream that it had: a newer one took their place (I8)."""
    unsound: str
    ended: str
    """Why streams were ended by the other side; "" when none was."""

    def as_json(self) -> dict[str, Any]:
        return {
            "recovered_s": round(self.recovered_s, 2),
            "redis_reads": self.redis_reads,
            "max_frame_gap_ms": round(self.max_frame_gap_ms, 1),
            "back_gap_ms": round(self.back_gap_ms, 1),
            "viewers_lost": self.lost,
            "conflated": self.conflated,
            "ended": self.ended,
        }


class StormBench:
    """One run."""

    def __init__(self, fan: FanBed, asked: argparse.Namespace) -> None:
        self._fan = fan
        self._asked = asked

    def cut(self) -> Storm:
        gateway = self._fan.gateway("gateway-1")
        return self._storm("cut", [gateway], self._asked.viewers + self._asked.bystanders)

    def killed(self) -> Storm:
        gateways = [self._fan.gateway("gateway-2"), self._fan.gateway("gateway-3")]
        return self._storm("killed", gateways, self._asked.viewers)

    def _storm(self, name: str, gateways: list[BenchChild], count: int) -> Storm:
        """Raises MeshError."""
        asked = self._asked
        envoy = self._fan.envoy(f"envoy-{name}", *gateways)
        publisher = self._fan.publisher(name, game_id=GAME)
        viewers = self._fan.viewers(name, "grpc-web", envoy.port)
        first = int(publisher.ask("1 10").split()[0])
        say(f"{name}, opening: {count} viewers")
        viewers.ask(f"open {count}")
        viewers.ask("begin")
        say(f"{name}, the storm: {asked.rate:g} frames/s")
        publisher.tell(f"{round(asked.rate * asked.seconds)} {asked.rate}")
        began_s = time.monotonic()
        time.sleep(_BEFORE_S)
        reads = self._reads()
        if name == "cut":
            left = json.loads(viewers.ask(f"return {asked.viewers}"))["watching"]
        else:
            viewers.ask("return 0")
            gateways[0].kill()
            left = json.loads(viewers.ask(f"torn {_TORN_S}"))["watching"]
        back = json.loads(viewers.ask(f"whole {_PATIENCE_S}"))
        reads = self._reads() - reads
        if time.monotonic() > began_s + asked.seconds - _AFTER_S:
            print(
                f"{name}: it took longer than --seconds; the gaps are of less than all of it", file=sys.stderr
            )
        last = int(publisher.hear().split()[0])
        found = json.loads(viewers.ask(f"settle {last} {_OUTRUN_S}"))
        assert last > first, "there were frames"
        unsound = _unsound(found, count, count - left)
        if not unsound and name == "cut" and found["ended"]:
            unsound = f"{sum(found['ended'].values())} viewers lost streams that nobody cut"
        for child in (viewers, publisher, envoy, *gateways):
            child.end()
        return Storm(
            lost=found["returns"],
            recovered_s=back["took_s"],
            redis_reads=reads,
            max_frame_gap_ms=found["gap_ms"],
            back_gap_ms=found["returned_gap_ms"],
            conflated=found["skipped"],
            unsound=unsound,
            ended="; ".join(f"{why} ({times})" for why, times in found["ended"].items()),
        )

    def _reads(self) -> int:
        """Reads of results since Valkey started: every one is a HGETALL, and the publisher does none."""
        with Redis.from_url(self._fan.redis_url) as redis:
            return int(redis.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0))


def _unsound(found: dict[str, Any], count: int, lost: int) -> str:
    if found["watching"] < count:
        return f"{count - found['watching']} of {count} viewers did not come back within {_PATIENCE_S:g} s"
    if found["backwards"]:
        return f"{found['backwards']} times a viewer was shown an older state than before"
    if found["behind"]:
        return f"{found['behind']} viewers were not shown the newest state in the end"
    if found["returns"] < lost or not lost:
        return f"{lost} viewers lost their streams, and {found['returns']} came back"
    return ""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./grandstand bench storm",
        description="Thousands of viewers cut off at once: how soon they watch again, what that costs Redis, "
        "and what those see who were not cut off.",
        epilog="Example: ./grandstand bench storm --viewers 5000 --json",
    )
    parser.add_argument("--viewers", type=int, default=5_000, help="cut off at once (default 5,000)")
    parser.add_argument("--bystanders", type=int, default=500, help="who are not (default 500)")
    parser.add_argument("--rate", type=float, default=10.0, help="frames/s to each viewer (default 10)")
    parser.add_argument("--seconds", type=float, default=12.0, help="of frames, for each storm (default 12)")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args(arguments)
    least_s = _BEFORE_S + _AFTER_S + 1.0
    check_least(parser, asked, (("viewers", 2), ("bystanders", 1), ("rate", 1.0), ("seconds", least_s)))
    if asked.rate > 20:
        parser.error(f"--rate {asked.rate:g}: no viewer is sent more than 20 frames a second")
    return asked


def measure(asked: argparse.Namespace) -> tuple[Storm, Storm]:
    """Raises MeshError."""
    with bed(1) as ground:
        bench = StormBench(FanBed(ground), asked)
        return bench.cut(), bench.killed()


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    with one_line_errors():
        cut, killed = measure(asked)
    say_nothing()
    unsound = cut.unsound or killed.unsound
    if asked.json:
        about = {
            "viewers": asked.viewers,
            "bystanders": asked.bystanders,
            "rate_per_s": asked.rate,
            "cores": os.cpu_count() or 1,
            "ok": not unsound,
        }
        print(json.dumps({**cut.as_json(), "killed": killed.as_json(), **about}))
    else:
        _show(cut, killed)
    if unsound:
        print(f"grandstand: {unsound}", file=sys.stderr)
        sys.exit(1)


def _show(cut: Storm, killed: Storm) -> None:
    table = Table(box=None, header_style="dim")
    for column in ("", "viewers", "all back", "reads of Redis", "longest gap: not cut", "cut"):
        table.add_column(column, justify="right" if column else "left")
    for name, storm in (("connections cut", cut), ("one of two gateways killed", killed)):
        table.add_row(
            name,
            f"{storm.lost:,}",
            f"{storm.recovered_s:.2f} s",
            f"{storm.redis_reads:,}",
            f"{storm.max_frame_gap_ms:.0f} ms",
            f"{storm.back_gap_ms:.0f} ms",
        )
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
