"""All that a stream holds of some subjects, from its oldest message to what was its newest when one began."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

from mesh.jetstream.bus import Bus
from mesh.jetstream.pull import Pull, PullBroken, Pulled

_PATIENCE_S = 1.0
_FRUITLESS_MAX = 5


async def walk(
    bus: Bus, stream: str, subjects: Sequence[str], start: int = 1
) -> AsyncGenerator[tuple[list[Pulled], int], None]:
    """In the stream's order, each message once, with how many are still to come. A consumer that breaks is
    recreated after what it brought. Close it, if it is left early (contextlib.aclosing).

    Bound: a batch (mesh.jetstream.pull), and the next one under way. Raises NatsError; TimeoutError also when
    _FRUITLESS_MAX consumers in a row brought nothing.
    """
    fruitless = 0
    while True:
        pull = Pull(bus, stream, subjects)
        try:
            await pull.open(start)
            left = pull.pending
            with contextlib.suppress(PullBroken):
                # What was purged meanwhile does not come: then it is counted again.
                while left > 0 and (pulled := await pull.next(_PATIENCE_S)):
                    fruitless = 0
                    start = pulled[-1].sequence + 1
                    left -= len(pulled)
                    yield pulled, max(left, 0)
        finally:
            await pull.close()
        if left <= 0:
            return
        fruitless += 1
        if fruitless >= _FRUITLESS_MAX:
            raise TimeoutError(f"{stream} brings none of the {left} messages that it has")
