"""Ending tasks for sure.

Before Python 3.12, `asyncio.wait_for` loses a cancellation that comes in the same turn of the loop
as its result, and redis-py and nats-py wait by it: a task cancelled once may go on as if nothing
had been. So who must know that a task is over cancels it until it is. Our own code waits by
`asyncio.timeout`, which has no such gap.
"""

from __future__ import annotations

import asyncio

_AGAIN_S = 0.05


async def end(*tasks: asyncio.Task[None]) -> None:
    """Returns when all are over, whatever they came to; their exceptions are the caller's to ask for."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)


async def end_all_others() -> None:
    """Ends every task of this loop but the caller's: `asyncio.run` cancels each only once, and waits."""
    current = asyncio.current_task()
    while others := {task for task in asyncio.all_tasks() if task is not current}:
        await end(*others)
