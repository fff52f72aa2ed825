"""Limits on viewers: of this gateway, of one actor and of one address. Pure.

A refused viewer is told when to come back. A crowd that was told the same delay would come back as a crowd,
so each gets the next turn of a virtual queue: turns follow each other at VIEWER_RETRIES_PER_S
(ADDRESS_RETRIES_PER_S, ACTOR_RETRIES_PER_S), so the delay grows with the number of recent refusals and
shrinks as time passes. The queue is one number, the time of its last turn (the virtual scheduling of GCRA,
ITU-T I.371). No delay exceeds VIEWER_RETRY_MAX_S: beyond it delays are random in the upper half of that.

An address is an IPv4 address or the /64 of an IPv6 one, of which one household has 2^64. This machine's own
addresses, loopback, and a peer without an address (a Unix socket) have no limit: these are a proxy or a test,
and the proxy names the viewer's own address (`address_of`).

Bounds: the counts and queues of actors and addresses that have a viewer here; each is removed with its last.
On overflow: Exhausted, naming the limit that was reached, the narrowest first.

Rejected: a limit on the rate of joins: a crowd that joins costs one encode, and is the normal case. A plain
random delay: it spreads a crowd of any size over the same time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from typing import TypeVar

from gateway import bounds
from grandstand.wire.errors import Exhausted, shown
from mesh import limits

_IPV6 = 1 << 64
"""Set in the key of an IPv6 network."""
_LOOPBACK = 127
"""The first octet."""

Key = TypeVar("Key", str, int)


class ViewerAdmission:
    """An admitted viewer's place in the counts; given back once, when it leaves."""

    __slots__ = ("actor_id", "address", "is_in")

    def __init__(self, actor_id: str | None, address: int | None) -> None:
        self.actor_id = actor_id
        self.address = address
        self.is_in = True


class ViewerLimits:
    """`random` answers floats of 0 to 1, 1 excluded. `now_s`: seconds of a clock that never goes back."""

    def __init__(
        self,
        viewers_max: int = limits.VIEWERS_MAX,
        per_actor_max: int = bounds.VIEWERS_PER_ACTOR_MAX,
        per_address_max: int = bounds.VIEWERS_PER_ADDRESS_MAX,
        *,
        random: Callable[[], float],
        own: Collection[str] = (),
    ) -> None:
        """`own`: this machine's addresses, which have no bound either."""
        self._viewers_max = viewers_max
        self._per_actor_max = per_actor_max
        self._per_address_max = per_address_max
        self._random = random
        self._own = frozenset(own)
        self._viewers = 0
        self._actors: dict[str, int] = {}
        self._addresses: dict[int, int] = {}
        self._turns: dict[str | int | None, float] = {}
        """The last turn of each queue: None the gateway's, a str an actor's, an int an address's."""

    @property
    def viewers(self) -> int:
        """How many viewers are admitted now."""
        return self._viewers

    def enter(self, actor_id: str | None, address: str, now_s: float) -> ViewerAdmission:
        """Admits a viewer; `actor_id` is None without a token. Raises Exhausted with `retry_after_s`."""
        key = None if address in self._own else _key_of(address)
        if actor_id is not None and self._actors.get(actor_id, 0) >= self._per_actor_max:
            raise self._refusal(
                actor_id,
                bounds.ACTOR_RETRIES_PER_S,
                now_s,
                f"actor {shown(actor_id)} has {self._per_actor_max} viewers on this gateway, "
                "the most one actor may have; close one",
            )
        if key is not None and self._addresses.get(key, 0) >= self._per_address_max:
            raise self._refusal(
                key,
                bounds.ADDRESS_RETRIES_PER_S,
                now_s,
                f"address {_named(key)} has {self._per_address_max} viewers on this gateway, "
                "the most one address may have; close one, or use another network",
            )
        if self._viewers >= self._viewers_max:
            raise self.refusal(
                f"this gateway has {self._viewers_max} viewers, the most it takes; another may have room",
                now_s,
            )
        self._viewers += 1
        if actor_id is not None:
            self._actors[actor_id] = self._actors.get(actor_id, 0) + 1
        if key is not None:
            self._addresses[key] = self._addresses.get(key, 0) + 1
        return ViewerAdmission(actor_id, key)

    def leave(self, admission: ViewerAdmission) -> None:
        """The viewer has left. Idempotent."""
        if not admission.is_in:
            return
        admission.is_in = False
        self._viewers -= 1
        if admission.actor_id is not None:
            self._leave(self._actors, admission.actor_id)
        if admission.address is not None:
            self._leave(self._addresses, admission.address)

    def refusal(self, why: str, now_s: float) -> Exhausted:
        """The refusal by the gateway as a whole, also when it is overloaded. `why` is for a person, and ends
        without a full stop."""
        return self._refusal(None, bounds.VIEWER_RETRIES_PER_S, now_s, why)

    def _leave(self, counts: dict[Key, int], key: Key) -> None:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
            self._turns.pop(key, None)

    def _refusal(self, queue: str | int | None, per_s: float, now_s: float, why: str) -> Exhausted:
        turn_s = max(self._turns.get(queue, 0.0), now_s + bounds.VIEWER_RETRY_MIN_S)
        last_s = now_s + bounds.VIEWER_RETRY_MAX_S - 1 / per_s
        if turn_s <= last_s:
            self._turns[queue] = turn_s + 1 / per_s
            after_s = turn_s + self._random() / per_s - now_s
        else:
            after_s = bounds.VIEWER_RETRY_MAX_S * (1 + self._random()) / 2
        return Exhausted(f"{why}; come again in {after_s:.1f} s", retry_after_s=after_s)


def address_of(forwarded_for: str | None, peer: str) -> str:
    """The viewer's address: the last entry of `x-forwarded-for`, which our own Envoy saw and appended;
    without one, or if it is none, the peer of the connection. What stands before the last entry anybody may
    have made up."""
    if not forwarded_for:
        return peer
    last = forwarded_for.rpartition(",")[2].strip()
    return peer if _ipv4(last) is None and _parsed(last) is None else last


def _ipv4(address: str) -> int | None:
    """Of the usual form, told twenty times as fast as by `ipaddress`; None if it is none, or to be looked
    at."""
    if not address.isascii():
        return None
    number = 0
    parts = address.split(".", 4)
    for part in parts:
        if not part.isdigit() or len(part) > 3 or (part[0] == "0" and part != "0"):
            return None
        octet = int(part)
        if octet > 255:
            return None
        number = number << 8 | octet
    return number if len(parts) == 4 else None


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None if it is none. A port, which some proxies add, is cut off."""
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def _key_of(address: str) -> int | None:
    """An IPv4 address as a number, an IPv6 network above those; None where no bound applies."""
    number = _ipv4(address)
    if number is None:
        parsed = _parsed(address)
        if parsed is None or (parsed.version == 6 and parsed.is_loopback):
            return None
        number = int(parsed)
        if parsed.version == 6:
            return _IPV6 | number >> 64
    return None if number >> 24 == _LOOPBACK else number


def _named(key: int) -> str:
    if key < _IPV6:
        return str(ipaddress.IPv4Address(key))
    return str(ipaddress.IPv6Network(((key ^ _IPV6) << 64, 64)))
