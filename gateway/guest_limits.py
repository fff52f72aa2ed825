"""How many guests a gateway makes: of one address, and in all. Pure.

An address has a bucket: GUESTS_PER_ADDRESS_BURST at once (a stadium behind one NAT), then
GUESTS_PER_ADDRESS_PER_S. The gateway has one too, which bounds what signing costs. Its last GUESTS_RESERVED
places are for addresses that took at most GUESTS_FEW of late, so one that takes all it may leaves room for
the others.

A refused caller is given the next turn of a virtual queue, as in mesh.stream_limits: a crowd that was told
the same delay would come back as a crowd.

Bound: GUEST_ADDRESSES_MAX addresses whose bucket is not full. On overflow the one that asked longest ago is
forgotten, and has a full bucket.

Rejected: buckets that all gateways share, which costs a call for each guest. With n gateways an address has n
times the burst.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gateway import bounds
from grandstand.wire.errors import Exhausted
from mesh import addresses


class _Bucket:
    """`full_at_s`: when it is full again (the virtual scheduling of GCRA, ITU-T I.371)."""

    __slots__ = ("full_at_s", "turn_s")

    def __init__(self) -> None:
        self.full_at_s = 0.0
        self.turn_s = 0.0
        """The last turn that was given out."""


class GuestLimits:
    """`random` returns floats from 0 to 1, 1 excluded."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._all = _Bucket()
        self._addresses: OrderedDict[int, _Bucket] = OrderedDict()

    def admit(self, address: int | None, at_s: float) -> None:
        """Counts a guest. `address`: its key (mesh.addresses), None where no bound by address applies;
        `at_s`: of a clock that never goes back. Raises Exhausted with `retry_after_s`."""
        bucket = _Bucket() if address is None else self._bucket(address, at_s)
        per_s, burst = bounds.GUESTS_PER_ADDRESS_PER_S, bounds.GUESTS_PER_ADDRESS_BURST
        taken = _taken(bucket, at_s, per_s)
        if address is not None and taken > burst - 1:
            after_s = self._after(bucket, per_s, at_s + (taken - burst + 1) / per_s, at_s)
            raise Exhausted(
                f"address {addresses.named(address)} took {burst} guests at once, the most it may, "
                f"and gets {per_s:g} a second; come again in {after_s:.1f} s",
                retry_after_s=after_s,
            )
        spared = 0 if taken < bounds.GUESTS_FEW else bounds.GUESTS_RESERVED
        over = _taken(self._all, at_s, bounds.GUESTS_PER_S) - (bounds.GUESTS_BURST - spared - 1)
        if over > 0:
            after_s = self._after(self._all, bounds.GUESTS_PER_S, at_s + over / bounds.GUESTS_PER_S, at_s)
            raise Exhausted(
                f"more than {bounds.GUESTS_PER_S:g} guests a second come to this gateway; "
                f"come again in {after_s:.1f} s",
                retry_after_s=after_s,
            )
        bucket.full_at_s = max(bucket.full_at_s, at_s) + 1 / per_s
        self._all.full_at_s = max(self._all.full_at_s, at_s) + 1 / bounds.GUESTS_PER_S

    def _bucket(self, address: int, at_s: float) -> _Bucket:
        known = self._addresses
        bucket = known.get(address)
        if bucket is None:
            bucket = known[address] = _Bucket()
            while len(known) > bounds.GUEST_ADDRESSES_MAX:
                known.popitem(last=False)
        known.move_to_end(address)
        while next(iter(known.values())).full_at_s <= at_s and len(known) > 1:
            known.popitem(last=False)
        return bucket

    def _after(self, bucket: _Bucket, per_s: float, room_at_s: float, at_s: float) -> float:
        """How long the next caller who is refused for this bucket is to wait."""
        turn_s = max(bucket.turn_s + 1 / per_s, room_at_s)
        if turn_s - at_s > bounds.GUEST_RETRY_MAX_S:
            return bounds.GUEST_RETRY_MAX_S * (1 + self._random()) / 2
        bucket.turn_s = turn_s
        return turn_s + self._random() / per_s - at_s


def _taken(bucket: _Bucket, at_s: float, per_s: float) -> float:
    # Rounded: a sum of thousands of intervals is a little off.
    return round(max(0.0, bucket.full_at_s - at_s) * per_s, 2)
