"""How a service process ends when it cannot start."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from mesh.logs.line import message_of
from toolbox.local.provision import checkout

# As nats-py may on Python 3.11: one cancellation is lost (see clients/python/grandstand/wire/tasks.py).
LOSES_A_CANCELLATION = """
    import asyncio, contextlib
    from mesh import config, runtime

    async def stubborn():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def start(process):
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        raise OSError("the disk is full")
        yield

    arguments = "--instance aggregate-1 --listen a:1 --mesh a:2 --nats nats://a:3 --redis redis://a:4"
    runtime.run(config.parse("aggregate", arguments.split()), start, [], 1024)
"""


def test_a_start_that_fails_ends_the_process_although_a_task_loses_its_cancellation() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOSES_A_CANCELLATION)],
        cwd=checkout(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert message_of(ended.stderr.rstrip()) == "aggregate-1: the disk is full"
