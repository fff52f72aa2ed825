"""What the edge itself refused, before any service saw it: Envoy's own counters, since it began.

It counts and remembers nobody: what a token that is not good says cannot be believed, and an address is not
an actor. So the figures are of all callers together.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from toolbox.local.probe import get

_PATIENCE_S = 2.0
_TOKENS = re.compile(
    r'^envoy_http_jwt_authn_denied\{envoy_http_conn_manager_prefix="edge"\} (\d+)', re.MULTILINE
)
_RATES = re.compile(r"^envoy_\w*http_local_rate_limit_rate_limited(?:\{[^}]*\})? (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EdgeRefusals:
    tokens: int
    """Calls whose token was missing or not good."""
    rates: int
    """Calls of addresses that asked too often."""

    def __str__(self) -> str:
        return (
            f"the edge itself refused {self.tokens:,} calls for their token and {self.rates:,} for the rate "
            "of their address since it began, of all actors together; it does not know whose"
        )


def parse(text: str) -> EdgeRefusals:
    """From Envoy's /stats/prometheus. What is not there was never counted, or is not bounded here."""
    tokens, rates = _TOKENS.findall(text), _RATES.findall(text)
    return EdgeRefusals(sum(map(int, tokens)), sum(map(int, rates)))


async def read(metrics: str) -> EdgeRefusals | None:
    """`metrics`: where `up` collects them; None if that or Envoy does not answer."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            status, content = await get(urlsplit(metrics).port or 0, "/metrics/envoy")
    except (OSError, ValueError, TimeoutError, EOFError, asyncio.LimitOverrunError):
        return None
    return parse(content.decode(errors="replace")) if status == 200 else None
