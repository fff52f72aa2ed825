"""The OpenMetrics text of a process, for all who scrape it.

However many scrape and however often, it is rendered at most every CACHED_S, one family in each turn of the
loop: rendering all at once takes a loop that is to tick every 50 ms some milliseconds. So the families of one
text are read a few turns apart.

Rejected: a thread of its own (prometheus_client.start_http_server). It reads the state of cores while the
loop changes it, and each turn of the loop waits up to 5 ms for the interpreter meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from mesh.metrics.admin import Reply
from mesh.metrics.registry import MetricRegistry

CACHED_S = 0.25
END = b"# EOF\n"


class Exposition:
    def __init__(self, registry: MetricRegistry) -> None:
        self._registry = registry
        self._text = b""
        self._made_at_s = float("-inf")
        self._rendering: asyncio.Task[bytes] | None = None
        self.renders = 0

    async def page(self) -> Reply:
        return Reply(200, await self.text(), CONTENT_TYPE_LATEST)

    async def text(self) -> bytes:
        loop = asyncio.get_running_loop()
        if loop.time() - self._made_at_s < CACHED_S:
            return self._text
        if self._rendering is None:
            self._rendering = loop.create_task(self._render())
        return await asyncio.shield(self._rendering)

    async def _render(self) -> bytes:
        try:
            parts = []
            for family in self._registry.families():
                text: bytes = generate_latest(_Alone(family))  # type: ignore[no-untyped-call]
                parts.append(text.removesuffix(END))
                await asyncio.sleep(0)
            self._text = b"".join(parts) + END
            self._made_at_s = asyncio.get_running_loop().time()
            self.renders += 1
            return self._text
        finally:
            self._rendering = None


class _Alone:
    """A registry of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family
