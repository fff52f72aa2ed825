"""How fast one address may ask at the edge, before anything behind it is asked: the filter local_ratelimit.

The services bound what an address holds; a flood of requests that they refuse one by one still keeps Envoy
and them from everybody else. Here it ends at the first filter that may refuse. A bucket for each address and
kind of request:

    streams   Subscribe, Publish: a hall of 2,000 viewers behind one address comes back within ten seconds. A
              thousand streams at once cost everybody half a second
    reads     what aggregate and notify answer: one address never fills the edge's breaker of reads
              (clusters), however long its requests stay without a message
    sends     the rest of the gateway's: votes of that hall
    probes    /healthz, /livez and gRPC's health check, which a gateway answers
    page      the page's files, by their size. Envoy holds a whole file for each request until its client has
              read it (195 KiB for 182), or STALLED_S without a byte, so a thousand small requests that read
              nothing would fill the heap. An address has at most half of it.

Beyond it gRPC's RESOURCE_EXHAUSTED, and 429 for plain HTTP. Bounds: ADDRESSES_MAX of each kind; beyond it the
address that asked longest ago begins with a full bucket. Off where networks are exempt from bounds by
address: the filter cannot tell them apart.

The address is what `trusted_hops` makes of the request, an IPv6 one its /64, as in mesh.addresses. Envoy
does not read all that proxies write into x-forwarded-for as that does: an IPv4 address in IPv6 form has a
bucket of its own here, apart from the others of its "/64", and whoever a proxy names with a port, which
Envoy cannot read, has none, as all of them would share the proxy's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from mesh.envoy.clusters import EDGE_READS_MAX
from mesh.envoy.config import EnvoyConfig, PageFile
from mesh.envoy.contract import Rpc, rpcs
from mesh.envoy.routes import HEALTH_PATH, LIVE_PATH, MESH_HEALTH_PATH, UNARY_TIMEOUT_S


class AddressRate(NamedTuple):
    burst: int
    per_s: int


RATES = {
    "streams": AddressRate(500, 200),
    "reads": AddressRate(1_000, 80),
    "sends": AddressRate(4_000, 1_000),
    "probes": AddressRate(200, 20),
}
PAGE_UNIT_BYTES = 4 * 1024
PAGE_REFILL_S = 60
"""Until an empty bucket for the page is full again."""
STALLED_S = 30
"""After so long without progress a stream ends (the listeners' stream_idle_timeout)."""
ADDRESSES_MAX = 10_000
SAID = "your address asks more often than the edge lets one address; wait some seconds, then ask again"

assert RATES["reads"].burst + RATES["reads"].per_s * UNARY_TIMEOUT_S < EDGE_READS_MAX

_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_UNBOUNDED = {"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "1s"}
_PAGE = "page"
_MAPPED = {"ranges": [{"address_prefix": "::ffff:0:0", "prefix_len": 96}]}
"""IPv4 addresses in IPv6 form."""
_WITH_PORT = r" *(?:[^,:]+:\d+|\[[^,]*) *"
"""An entry of x-forwarded-for, as of 203.0.113.7:1234 or [2001:db8::7]:1234."""


def kind_of(rpc: Rpc) -> str:
    """A key of RATES."""
    if rpc.streams:
        return "streams"
    return "reads" if rpc.kind in ("aggregate", "notify") else "sends"


def page_rate(heap_bytes_max: int) -> AddressRate:
    """In units of PAGE_UNIT_BYTES: with what is added while a file is held, a quarter of the heap."""
    held = 1 + STALLED_S / PAGE_REFILL_S
    burst = max(1, int(heap_bytes_max / 4 / held / PAGE_UNIT_BYTES))
    return AddressRate(burst, max(1, burst // PAGE_REFILL_S))


def rate_filter(config: EnvoyConfig) -> dict[str, Any]:
    """The filter of the edge."""
    # By service, too: Envoy bounds the size of a regex.
    paths: dict[tuple[str, str], list[str]] = {}
    for rpc in rpcs():
        if rpc.at_edge:
            paths.setdefault((kind_of(rpc), rpc.path.rpartition("/")[0]), []).append(rpc.path)
    paths["probes", ""] = [MESH_HEALTH_PATH, LIVE_PATH, HEALTH_PATH]
    counted = [(kind, found, 1) for (kind, _), found in paths.items()]
    counted += [(_PAGE, found, units) for units, found in _by_units(config.page).items()]
    rates = RATES | {_PAGE: page_rate(config.heap_bytes_max)}
    forms = _forms(config.trusted_hops)
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "address",
            # Of what no kind's bucket is for.
            "token_bucket": _UNBOUNDED,
            "filter_enabled": _ALWAYS,
            "filter_enforced": _ALWAYS,
            "rate_limited_as_resource_exhausted": True,
            "max_dynamic_descriptors": ADDRESSES_MAX,
            "descriptors": [_bucket(kind, rate, form) for kind, rate in rates.items() for form in forms],
            "rate_limits": [
                {
                    "actions": [_kind(kind, found, config.trusted_hops), *form],
                    "hits_addend": {"number": units},
                }
                for kind, found, units in counted
                for form in forms
            ],
        },
    }


def _by_units(page: Iterable[PageFile]) -> dict[int, list[str]]:
    """Paths of the page's files, by what one of them costs."""
    found: dict[int, list[str]] = defaultdict(list)
    for each in page:
        found[1 + len(each.body) // PAGE_UNIT_BYTES].append(each.path)
    return found


Form = tuple[dict[str, Any], ...]
"""Actions that make the key of an address, or nothing of one that has another form."""


def _forms(trusted_hops: int) -> tuple[Form, ...]:
    network: Form = ({"masked_remote_address": {"v6_prefix_mask_len": 64}},)
    if not trusted_hops:
        # The peer's own, which Envoy does not give in the form that is mapped.
        return (network,)
    mapped = {"descriptor_value": "mapped", "address_matcher": _MAPPED}
    other = {"descriptor_value": "other", "address_matcher": _MAPPED | {"invert_match": True}}
    return (
        ({"remote_address_match": other}, *network),
        ({"remote_address_match": mapped}, {"remote_address": {}}),
    )


def _bucket(kind: str, rate: AddressRate, form: Form) -> dict[str, Any]:
    """A key without a value stands for each value that comes."""
    return {
        "entries": [{"key": "header_match", "value": kind}, *(_entry(each) for each in form)],
        "token_bucket": {"max_tokens": rate.burst, "tokens_per_fill": rate.per_s, "fill_interval": "1s"},
    }


def _entry(action: dict[str, Any]) -> dict[str, str]:
    ((name, fields),) = action.items()
    value = fields.get("descriptor_value")
    return {"key": name, "value": value} if value else {"key": name}


def _kind(kind: str, paths: list[str], trusted_hops: int) -> dict[str, Any]:
    """Routes do not look at what follows a question mark."""
    any_path = "|".join(re.escape(path) for path in paths)
    headers: list[dict[str, Any]] = [_header(":path", rf"(?:{any_path})(?:\?.*)?")]
    if trusted_hops:
        named = rf"(?:.*,)?{_WITH_PORT}(?:,[^,]*){{{trusted_hops}}}"
        headers.append(_header("x-forwarded-for", named) | {"invert_match": True})
    return {"header_value_match": {"descriptor_value": kind, "headers": headers}}


def _header(name: str, regex: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"safe_regex": {"regex": regex}}}
