"""Whose address a call counts for."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.addresses import AddressKeys, forwarded_for, named, network

HOME, OFFICE, PROXY, ENVOYS_PEER = "203.0.113.7", "198.51.100.1", "192.0.2.9", "10.0.0.1"
LOOPBACK = (network("127.0.0.0/8"), network("::1"))


def of(header: str | None, peer: str = ENVOYS_PEER, hops: int = 0) -> str | None:
    key = AddressKeys(hops).of(header, peer)
    return None if key is None else named(key)


@pytest.mark.parametrize(
    ("hops", "header", "expected"),
    [
        (0, None, ENVOYS_PEER),
        (0, "", ENVOYS_PEER),
        (0, HOME, HOME),
        (0, f"6.6.6.6, {HOME}", HOME),
        (0, f"6.6.6.6,{HOME} ", HOME),
        (0, f"{HOME}, junk", ENVOYS_PEER),
        (0, f"{HOME},", ENVOYS_PEER),
        (0, f"{HOME}, " + "1" * 10_000, ENVOYS_PEER),
        (0, "999.1.1.1", ENVOYS_PEER),
        (0, "6.6.6.6, 2001:db8:0:1::9", "2001:db8:0:1::/64"),
        (0, "[2001:db8:0:1::9]:443", "2001:db8:0:1::/64"),
        (0, "fe80::1%eth0", "fe80::/64"),
        (0, f"{HOME}:4711", HOME),
        (0, f"::ffff:{HOME}", HOME),
        (1, f"6.6.6.6, {HOME}, {PROXY}", HOME),
        (1, f"{HOME}:4711,{PROXY}", HOME),
        (2, f"6.6.6.6, {HOME}, {OFFICE}, {PROXY}", HOME),
    ],
)
def test_the_entry_of_the_farthest_trusted_hop_is_believed_and_nothing_left_of_it(
    hops: int, header: str | None, expected: str
) -> None:
    assert of(header, hops=hops) == expected


@pytest.mark.parametrize("header", [PROXY, f"junk, {PROXY}", f", {PROXY}"])
def test_who_comes_around_a_proxy_counts_for_the_address_it_comes_from(header: str) -> None:
    assert of(header, hops=1) == PROXY
    assert of(header, hops=2) == PROXY


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=5), st.integers(0, 3), st.text("0123456789.,: "))
def test_nothing_that_a_caller_writes_changes_what_it_counts_for(
    appended: list[str], hops: int, claimed: str
) -> None:
    """Each proxy appends its peer, whatever came."""
    trusted = [HOME, *appended[:hops]] + [PROXY] * (hops - len(appended))
    assert of(",".join((claimed, *trusted)), hops=hops) == of(",".join(trusted), hops=hops) == HOME


def test_several_headers_are_one() -> None:
    metadata = (("x-forwarded-for", HOME), ("te", "trailers"), ("x-forwarded-for", b"192.0.2.9"))
    assert of(forwarded_for(metadata), hops=1) == HOME
    assert forwarded_for((("te", "trailers"),)) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "127.0.0.1:80"])
def test_an_exempt_network_has_no_bound(address: str) -> None:
    assert AddressKeys(exempt=LOOPBACK).of(None, address) is None
    assert AddressKeys(exempt=LOOPBACK).of(address, HOME) is None
    assert AddressKeys().of(None, address) is not None


def test_an_exempt_address_exempts_none_of_its_neighbours() -> None:
    addresses = AddressKeys(exempt=(network("2001:db8::7"), network(HOME), network("::ffff:10.0.0.0/104")))
    assert addresses.of(None, "2001:db8::7") is None
    assert addresses.of(None, "2001:db8::8") is not None
    assert addresses.of(None, HOME) is None
    assert addresses.of(None, OFFICE) is not None
    assert addresses.of(None, "10.9.9.9") is None


@pytest.mark.parametrize("peer", ["", "unix:/run/x"])
def test_a_peer_without_an_address_has_no_bound(peer: str) -> None:
    assert AddressKeys(1).of(None, peer) is None


@given(st.one_of(st.ip_addresses(), st.ip_addresses(network="::ffff:0:0/96")))
def test_an_address_is_what_the_standard_library_says_it_is(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mapped = getattr(address, "ipv4_mapped", None) or address
    prefix = 32 if mapped.version == 4 else 64
    expected = ipaddress.ip_network((int(mapped), prefix) if prefix == 32 else f"{mapped}/64", strict=False)
    assert of(None, str(address)) == str(expected).removesuffix("/32")


@given(st.text(max_size=80), st.text(max_size=80), st.integers(0, 3))
def test_no_junk_is_an_error(header: str, peer: str, hops: int) -> None:
    AddressKeys(hops, LOOPBACK).of(header, peer)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "somewhere", "10.0.0.0/33"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no network such as"):
        network(text)


def test_hops_out_of_bounds_are_told() -> None:
    with pytest.raises(ValueError, match="is -1; 0 to 16"):
        AddressKeys(-1)
