"""Which worker shall own which partition: rendezvous hashing (highest random weight). Pure.

Every worker that knows the same names comes to the same answer, without a leader. A worker
that comes moves to itself what is now its own and nothing else; one that goes leaves
its partitions to the others and moves nothing else.

It says only who shall own; who does is said by the lease (I3). While workers disagree about
who lives, one of them waits for a lease that the other holds.

Rejected: a fair share by counting (one worker more or less would move almost everything), and a
hash ring, which balances worse for the same promise. _SALT is the one of some thousands that
shares 16 partitions most evenly among aggregate-1 to aggregate-8; any names do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from grandstand.wire import bounds as wire_bounds

_SALT = b"4fb"


def weight(partition: int, instance: str) -> int:
    """How much the instance is for the partition; the same in every process and release."""
    digest = hashlib.blake2b(f"{instance}|{partition}".encode(), digest_size=8, salt=_SALT).digest()
    return int.from_bytes(digest, "big")


def owner_of(partition: int, instances: Iterable[str]) -> str | None:
    """Who shall own the partition; None if there is nobody."""
    return max(instances, key=lambda instance: (weight(partition, instance), instance), default=None)


def share_of(
    instance: str, instances: Iterable[str], partitions: int = wire_bounds.PARTITIONS
) -> frozenset[int]:
    """The partitions that `instance` shall own among `instances`."""
    known = sorted({instance, *instances})
    return frozenset(p for p in range(partitions) if owner_of(p, known) == instance)
