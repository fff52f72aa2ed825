"""How fast one address may ask at the edge, before anything behind it is asked: the filter local_ratelimit.

The services bound what an address holds; a flood of requests that they refuse one by one still keeps Envoy
and them from everybody else. Here it ends at the first filter that may refuse. A bucket for each address
(IPv4, or IPv6 as it comes: who has a network has many) and kind of request:

    streams   Subscribe, Publish: a hall of 2,000 viewers behind one address comes back within ten seconds. A
              thousand streams at once cost everybody half a second
    reads     what aggregate answers: one address never fills the edge's breaker of reads (clusters), however
              long its requests stay without a message
    sends     the rest of the gateway's: votes of that hall

Beyond it gRPC's RESOURCE_EXHAUSTED. Bounds: ADDRESSES_MAX of each kind; beyond it the address that asked
longest ago begins with a full bucket. Off where networks are exempt from bounds by address: the filter cannot
tell them apart. The address is what `trusted_hops` makes of the request.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mesh.envoy.clusters import EDGE_READS_MAX
from mesh.envoy.contract import Rpc
from mesh.envoy.routes import UNARY_TIMEOUT_S


class AddressRate(NamedTuple):
    burst: int
    per_s: int


RATES = {
    "streams": AddressRate(500, 200),
    "reads": AddressRate(1_000, 80),
    "sends": AddressRate(4_000, 1_000),
}
ADDRESSES_MAX = 10_000
SAID = "your address asks more often than the edge lets one address; wait some seconds, then ask again"

assert RATES["reads"].burst + RATES["reads"].per_s * UNARY_TIMEOUT_S < EDGE_READS_MAX

_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_UNBOUNDED = {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s"}


def kind_of(rpc: Rpc) -> str:
    """A key of RATES."""
    if rpc.streams:
        return "streams"
    return "reads" if rpc.kind == "aggregate" else "sends"


def rate_filter() -> dict[str, Any]:
    """The filter of the edge. What no route has a rate for passes: the page's files among them."""
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "address",
            "token_bucket": _UNBOUNDED,
            "filter_enabled": _ALWAYS,
            "filter_enforced": _ALWAYS,
            "rate_limited_as_resource_exhausted": True,
            "max_dynamic_descriptors": ADDRESSES_MAX,
            "descriptors": [_bucket(kind, rate) for kind, rate in RATES.items()],
        },
    }


def rates_of(rpc: Rpc) -> list[dict[str, Any]]:
    """What its route says to the filter."""
    return [{"actions": [{"generic_key": {"descriptor_value": kind_of(rpc)}}, {"remote_address": {}}]}]


def _bucket(kind: str, rate: AddressRate) -> dict[str, Any]:
    """A key without a value stands for each value that comes."""
    return {
        "entries": [{"key": "generic_key", "value": kind}, {"key": "remote_address"}],
        "token_bucket": {"max_tokens": rate.burst, "tokens_per_fill": rate.per_s, "fill_interval": "1s"},
    }
