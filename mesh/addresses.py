"""The address that a call counts for in every bound by address. Pure.

Envoy appends the address of its peer to `x-forwarded-for`, and so does each proxy before it. `trusted_hops`
proxies before Envoy are trusted: the entry that the farthest of them appended names the caller. It is found
by counting from the right; what stands left of it is the caller's word and never believed. If that entry is
missing or is no address, the last entry is taken, which Envoy appended itself: a caller that bypasses a proxy
counts for the address it comes from. Envoy reads the header alike (`xff_num_trusted_hops`). Without the
header the peer of the connection is taken.

The key of an address is an IPv4 address, or the /64 of an IPv6 one, of which one household has 2^64. An IPv4
address in IPv6 form (::ffff:0:0/96) is the IPv4 address. No bound applies to exempt networks, nor to a peer
without an address (a Unix socket).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

_IPV6 = 1 << 64
"""Set in the key of an IPv6 network."""
_MAPPED = bytes(10) + b"\xff\xff"
FORWARDED_FOR = "x-forwarded-for"
TRUSTED_HOPS_MAX = 16

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressKeys:
    """`trusted_hops`: how many proxies of the operator's own stand before Envoy. `exempt`: networks without
    bounds."""

    def __init__(self, trusted_hops: int = 0, exempt: Iterable[Network] = ()) -> None:
        if not 0 <= trusted_hops <= TRUSTED_HOPS_MAX:
            raise ValueError(f"trusted hops: is {trusted_hops}; 0 to {TRUSTED_HOPS_MAX} are allowed")
        self._from_right = trusted_hops + 1
        networks = tuple(exempt)
        self._exempt_v4 = _masked(each for each in networks if each.version == 4)
        self._exempt_v6 = _masked(each for each in networks if each.version == 6)

    def of(self, forwarded_for: str | None, peer: str) -> int | None:
        """The key of the caller's address; None if no bound applies to it. `forwarded_for`: the value of
        x-forwarded-for (`forwarded_for`); `peer`: of the connection, "" on a Unix socket."""
        address = None
        if forwarded_for:
            entries = forwarded_for.rsplit(",", self._from_right)
            if len(entries) >= self._from_right:
                address = _read(entries[-self._from_right])
            if address is None:
                address = _read(entries[-1])
        if address is None:
            address = _read(peer)
        if address is None:
            return None
        number = int.from_bytes(address, "big")
        if len(address) == 4:
            return None if _is_in(number, self._exempt_v4) else number
        return None if _is_in(number, self._exempt_v6) else _IPV6 | number >> 64


def forwarded_for(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """x-forwarded-for of a call's metadata, several as one (RFC 9110, 5.3); None without."""
    found = [
        value if isinstance(value, str) else value.decode("latin-1")
        for name, value in metadata
        if name == FORWARDED_FOR
    ]
    return ",".join(found) if found else None


def named(key: int) -> str:
    """For a person, such as "203.0.113.7" or "2001:db8:0:1::/64"."""
    if key < _IPV6:
        return str(ipaddress.IPv4Address(key))
    return str(ipaddress.IPv6Network(((key ^ _IPV6) << 64, 64)))


def network(text: str) -> Network:
    """A network such as 10.0.0.0/8, or one address. Raises ValueError."""
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network such as 10.0.0.0/8 or fd00::/8: {error}") from None
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= 96:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), found.prefixlen - 96))
    return found


def _masked(networks: Iterable[Network]) -> tuple[tuple[int, int], ...]:
    return tuple((int(each.netmask), int(each.network_address)) for each in networks)


def _is_in(number: int, networks: tuple[tuple[int, int], ...]) -> bool:
    return any(number & mask == base for mask, base in networks)


def _read(text: str) -> bytes | None:
    """Of an address, 4 or 16 bytes; None if it is none. A port, which some proxies add, and a zone are cut
    off. Rejected: ipaddress, which takes five times as long."""
    text = text.strip()
    if ":" not in text:
        return _packed(socket.AF_INET, text)
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        return _packed(socket.AF_INET, text.partition(":")[0])
    found = _packed(socket.AF_INET6, text.partition("%")[0])
    return found[12:] if found is not None and found.startswith(_MAPPED) else found


def _packed(family: socket.AddressFamily, text: str) -> bytes | None:
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):
        return None
