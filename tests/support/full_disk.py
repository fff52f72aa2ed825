"""Our own NATS and Valkey on a disk that fills, and then has no inodes left: run by
`tests.support.small_disk`, which hands over the folder of that disk.

Prints one JSON object: how long it took to heal (seconds), and how often NATS was restarted, and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from grandstand.wire.errors import Unavailable
from mesh import disk
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.jetstream.pipeline import PublishPipeline
from tests.support.small_disk import Ballast
from tests.support.supervision import Watched, supervised
from toolbox.local import provision, status
from toolbox.local.home import Home
from toolbox.local.lifecycle import Policy
from toolbox.local.plan import PortPlan, nats_process, valkey_process
from toolbox.local.ports import Ports
from toolbox.local.status import Addresses, MeshStatus
from toolbox.local.stores import nats_conf, valkey_conf

HEALED_WITHIN_S = 10.0
STREAM_BYTES = 16 * 1024 * 1024
BLOCK_BYTES = 20_000
STORES = ("nats", "valkey")


async def scenario(folder: Path) -> dict[str, object]:
    home = Home(folder / "home")
    home.create()
    with contextlib.closing(Ports()) as taken:
        ports = PortPlan(0, 0, taken.take(), taken.take(), taken.take(), {})
        (home.run / "nats.conf").write_text(nats_conf(home, ports.nats, ports.nats_monitor, False))
        (home.run / "valkey.conf").write_text(valkey_conf(home, ports.valkey))
        specs = (
            nats_process(provision.nats_server(), home, ports),
            valkey_process(provision.valkey_server(), home, ports),
        )
        async with supervised(home, *specs, policy=Policy()) as watched:
            bus = await Bus.connect(f"nats://127.0.0.1:{ports.nats}", "a test")
            await bus.ensure_events_stream(STREAM_BYTES)
            pipeline = PublishPipeline(bus, store=home.nats)
            await pipeline.start()
            try:
                return await strikes(watched, pipeline, bus, folder)
            finally:
                await pipeline.close()
                await bus.close()


async def strikes(watched: Watched, pipeline: PublishPipeline, bus: Bus, folder: Path) -> dict[str, object]:
    number = 0

    async def publish() -> str:
        """Why it is not stored, or ""."""
        nonlocal number
        number += 1
        at = asyncio.get_running_loop().time() + 1.0
        try:
            acked.append(
                await pipeline.publish(
                    subjects.events(1), os.urandom(BLOCK_BYTES), f"block-{number}", None, at
                )
            )
        except Unavailable as error:
            return error.message
        return ""

    async def until_problem(words: str) -> None:
        await watched.until(
            lambda: all(watched[name].problem.startswith(words) for name in STORES), f"both say {words!r}"
        )

    async def until_healed() -> float:
        freed_at = time.monotonic()
        while await publish():
            assert time.monotonic() < freed_at + HEALED_WITHIN_S, watched.told[-1]
        took_s = time.monotonic() - freed_at
        await watched.until(lambda: not any(watched[name].problem for name in STORES), "both work again")
        return took_s

    acked: list[int] = []
    at = folder / "home" / "run" / "status.json"
    status.write(at, told(watched))
    ballast = Ballast(folder)
    assert not await publish()
    ballast.fill()
    while not (why := await publish()):
        pass
    assert "disk full" in why, why
    await until_problem("disk full")
    assert watched["nats"].state == "ready"
    status.write(at, told(watched))
    assert status.read(at) == told(watched), "a full disk keeps no status from being told"
    assert watched["nats"].restarts == 0, "a restart would not help while the disk is full"
    ballast.free()
    healed_after_s = await until_healed()

    ballast.fill_inodes()
    await until_problem("out of inodes")
    ballast.free()
    await until_healed()

    info = await bus.js.stream_info(subjects.EVENTS_STREAM)
    assert info.state.messages >= len(acked), "I1: what was acked is there"
    assert info.state.last_seq >= max(acked)
    nats = watched["nats"]
    return {
        "healed_after_s": round(healed_after_s, 1),
        "restarts": nats.restarts,
        "restarted_at": nats.last_restart_at,
        "reason": nats.last_restart_reason,
    }


def told(watched: Watched) -> MeshStatus:
    addresses = Addresses("", "", "", "", None, None)
    return MeshStatus(1, "", "ready", addresses, watched.supervisor.statuses())


def read_only(folder: Path) -> str:
    """What is said of a file system that is mounted so: one in use cannot be remounted."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], check=True)
    return disk.problem(folder)


if __name__ == "__main__":
    assert read_only(Path(sys.argv[1]) / "read-only").startswith("read-only disk: ")
    print(json.dumps(asyncio.run(scenario(Path(sys.argv[1])))))
