"""How many reads wait at once: for a position not folded yet, or for a partition that is folded again.
Pure.

Anybody may read, and name a position that will never come. What such a read costs is its place: it shares the
looks at Redis with all others (mesh.redis.results), and ends after BARRIER_S.

Bounds: READS_WAITING_MAX in all, READS_WAITING_PER_ADDRESS_MAX for one address. On overflow: Exhausted, to
come again within a time that differs from one to the other. A read that need not wait is not counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from aggregate import bounds
from grandstand.wire.errors import Exhausted


class WaitingReads:
    """`random` answers floats of 0 to 1, 1 excluded."""

    def __init__(
        self,
        random: Callable[[], float],
        at_once_max: int = bounds.READS_WAITING_MAX,
        per_address_max: int = bounds.READS_WAITING_PER_ADDRESS_MAX,
    ) -> None:
        self._random = random
        self._at_once_max = at_once_max
        self._per_address_max = per_address_max
        self.waiting = 0
        """In all."""
        self.refused = 0
        self._addresses: dict[int, int] = {}

    @contextlib.contextmanager
    def entered(self, address: int | None) -> Iterator[None]:
        """Counts a read for the body. `address`: the key of who reads, None without a bound by address.
        Raises Exhausted."""
        mine = 0 if address is None else self._addresses.get(address, 0)
        if mine >= self._per_address_max:
            raise self._refusal(f"{mine} reads from this address", "one address", self._per_address_max)
        if self.waiting >= self._at_once_max:
            raise self._refusal(f"{self.waiting} reads", "this instance", self._at_once_max)
        self.waiting += 1
        if address is not None:
            self._addresses[address] = mine + 1
        try:
            yield
        finally:
            self.waiting -= 1
            if address is not None:
                self._addresses[address] -= 1
                if not self._addresses[address]:
                    del self._addresses[address]

    def _refusal(self, waiting: str, whose: str, bound: int) -> Exhausted:
        self.refused += 1
        after_s = bounds.READ_RETRY_S * (1 + self._random())
        return Exhausted(
            f"{waiting} wait for what is not folded yet; {whose} may have {bound}: read without positions, "
            f"or again in {after_s:.1f} s",
            retry_after_s=after_s,
        )
