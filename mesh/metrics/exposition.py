"""The OpenMetrics text of a process, for all who scrape it.

However many scrape and however often, it is rendered at most every CACHED_S, and SAMPLES_A_TURN in each turn
of the loop, which take about a millisecond: all at once would hold up a loop that is to tick every 50. So the
families of one text are read a few turns apart; each is read at once.

Rejected: a thread of its own (prometheus_client.start_http_server). It reads the state of cores while the
loop changes it, and each turn of the loop waits up to 5 ms for the interpreter meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from mesh.metrics.admin import AdminReply
from mesh.metrics.cached import CACHED_S, Cached
from mesh.metrics.registry import MetricRegistry

SAMPLES_A_TURN = 100
_END = b"# EOF\n"


class Exposition:
    def __init__(self, registry: MetricRegistry, cached_s: float = CACHED_S) -> None:
        self.rendered = Cached(self._render, cached_s)
        self._registry = registry

    async def page(self) -> AdminReply:
        return AdminReply(200, await self.rendered.get(), CONTENT_TYPE_LATEST)

    async def _render(self) -> bytes:
        parts = []
        for family in self._registry.families():
            samples, family.samples = family.samples, []
            head = _text(family)
            parts.append(head)
            for at in range(0, len(samples), SAMPLES_A_TURN):
                family.samples = samples[at : at + SAMPLES_A_TURN]
                parts.append(_text(family).removeprefix(head))
                await asyncio.sleep(0)
        return b"".join(parts) + _END


def _text(family: Family) -> bytes:
    text: bytes = generate_latest(_Alone(family))
    return text.removesuffix(_END)


class _Alone:
    """A registry of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family
