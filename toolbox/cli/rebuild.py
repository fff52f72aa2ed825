"""rebuild: erases what Redis holds of the partitions, and has it folded again from the event stream (I4).

A partition's state and lease go in one step, so whoever owns it finds itself fenced, takes the partition over
again, and begins at the first block. Viewers keep what they see: a gateway takes a partial only if it is
newer than the one it has (I5). Who asks meanwhile for a position waits for it, as always (I6).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Self

import typer

from grandstand.wire import bounds as wire_bounds
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import JsonOption
from toolbox.local.errors import MeshError
from toolbox.local.running import store_urls
from toolbox.local.store_users import OPERATOR, StoreUrls

if TYPE_CHECKING:
    from mesh.jetstream.bus import Bus
    from mesh.redis.eraser import Eraser

_CONNECTED_S = 10.0
_STANDSTILL_S = 30.0
_LOOK_S = 0.05
_ATTEMPTS_MAX = 20


def register(app: typer.Typer) -> None:
    app.command()(rebuild)


def rebuild(
    home: HomeOption = None,
    partition: Annotated[
        list[int] | None,
        typer.Option(help="Only this partition (repeatable).", show_default="all"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase the results in Redis and fold them again from the event stream.

    Example: ./grandstand rebuild --yes
    """
    wanted = sorted(set(partition or range(wire_bounds.PARTITIONS)))
    if unknown := [p for p in wanted if not 0 <= p < wire_bounds.PARTITIONS]:
        raise MeshError(f"--partition {unknown[0]} is outside 0 to {wire_bounds.PARTITIONS - 1}")
    at = store_urls(home, OPERATOR)
    if not yes:
        _confirm(wanted)
    done = asyncio.run(_rebuild(at, wanted, show=not as_json))
    if as_json:
        print(
            json.dumps({"partitions": len(wanted), "blocks": done.blocks, "seconds": round(done.took_s, 3)})
        )
    else:
        named = "1 partition" if len(wanted) == 1 else f"{len(wanted)} partitions"
        print(f"{done.blocks:,} blocks of {named} are folded again, in {done.took_s:.1f} s.")


def _confirm(wanted: Sequence[int]) -> None:
    if not sys.stdin.isatty():
        raise MeshError("rebuild erases results before it folds them again; give --yes to say that it may")
    named = (
        "all partitions"
        if len(wanted) == wire_bounds.PARTITIONS
        else f"partitions {', '.join(map(str, wanted))}"
    )
    if not typer.confirm(f"Erase the results of {named} in Redis, and fold them again from the stream?"):
        raise MeshError("nothing was erased")


@dataclass(frozen=True, slots=True)
class Goal:
    """What there is to fold of one partition."""

    blocks: int
    last: int
    """The sequence of its last block; 0 without one."""

    def folded(self, applied: int) -> float:
        """How many blocks that is, by the share of the way: only the ends are exact."""
        return self.blocks * min(1.0, applied / self.last) if self.last else 0.0


@dataclass(frozen=True, slots=True)
class Done:
    blocks: int
    took_s: float


async def _rebuild(at: StoreUrls, wanted: Sequence[int], show: bool) -> Done:
    from nats.errors import Error as NatsError

    from mesh.jetstream.bus import Bus
    from mesh.redis.database import RedisError, connect
    from mesh.redis.eraser import Eraser
    from mesh.secrecy import without_login

    database = connect(at.redis)
    bus: Bus | None = None
    try:
        async with asyncio.timeout(_CONNECTED_S):
            bus = await Bus.connect(at.nats, "rebuild")
            goals = await _goals(bus, wanted)
        blocks = sum(goal.blocks for goal in goals.values())
        began_at = time.monotonic()
        stored = {p: Eraser(database, p, "rebuild") for p in wanted}
        with Bar(blocks, show) as bar:
            for partition, each in stored.items():
                await _erase(each, partition)
            await _until_folded(stored, goals, bar)
        return Done(blocks, time.monotonic() - began_at)
    except RedisError as error:
        raise MeshError(
            f"Redis at {without_login(at.redis)} does not answer ({error}); run rebuild again"
        ) from None
    except (NatsError, TimeoutError) as error:
        where = without_login(at.nats)
        raise MeshError(f"NATS at {where} does not answer ({type(error).__name__}); try again") from None
    finally:
        await database.aclose()
        if bus is not None:
            await bus.close()


async def _goals(bus: Bus, wanted: Sequence[int]) -> dict[int, Goal]:
    """Each partition's blocks as of now. Raises NatsError, TimeoutError."""
    from nats.js.errors import NotFoundError

    from mesh.jetstream import subjects

    info = await bus.js.stream_info(subjects.EVENTS_STREAM, subjects_filter=subjects.EVENTS_ALL)
    counts = info.state.subjects or {}
    goals = {}
    for partition in wanted:
        subject = subjects.events(partition)
        last = 0
        if subject in counts:
            with contextlib.suppress(NotFoundError):
                last = (await bus.js.get_last_msg(subjects.EVENTS_STREAM, subject)).seq or 0
        goals[partition] = Goal(counts.get(subject, 0), last)
    return goals


async def _erase(stored: Eraser, partition: int) -> None:
    """Raises MeshError, RedisError."""
    from mesh.redis.errors import Fenced, Rewound

    for _ in range(_ATTEMPTS_MAX):
        try:
            return await stored.erase(uuid.uuid4().hex)
        except (Fenced, Rewound):  # a worker was faster
            await asyncio.sleep(_LOOK_S)
    raise MeshError(f"partition {partition} could not be erased: its lease was taken again and again; retry")


async def _until_folded(stored: Mapping[int, Eraser], goals: Mapping[int, Goal], bar: Bar) -> None:
    """Until each partition was seen at its goal, once: one may lose its state again while others are folded.

    Raises MeshError when nothing moves for _STANDSTILL_S."""
    moved_at, before = time.monotonic(), -1
    applied = dict.fromkeys(stored, -1)
    while behind := [p for p, goal in goals.items() if applied[p] < goal.last]:
        found = await asyncio.gather(*(stored[p].applied() for p in behind))
        applied.update(zip(behind, found, strict=True))
        bar.show(sum(goal.folded(applied[p]) for p, goal in goals.items()))
        if sum(applied.values()) != before:
            moved_at, before = time.monotonic(), sum(applied.values())
        if time.monotonic() - moved_at > _STANDSTILL_S:
            named = ", ".join(map(str, behind))
            raise MeshError(
                f"nothing was folded for {_STANDSTILL_S:g} s; partitions that are behind: {named};"
                " ./grandstand status shows whether a worker owns them"
            )
        await asyncio.sleep(_LOOK_S)


class Bar:
    """Blocks folded of all there are, on stderr; nothing where that is no terminal."""

    def __init__(self, blocks: int, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("folding"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("blocks"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (show and console.is_terminal),
        )
        self._task = self._progress.add_task("folding", total=blocks)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, blocks: float) -> None:
        self._progress.update(self._task, completed=int(blocks))
