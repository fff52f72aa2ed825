"""A strike: what is done to what, when, for how long. Pure data."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """How it is struck."""

    KILL = "kill"
    """SIGKILL."""
    PAUSE = "pause"
    """SIGSTOP, and SIGCONT after a while."""
    RESTART = "restart"
    """SIGTERM: a graceful end, and the supervisor starts it again."""
    EMPTY = "empty"
    """FLUSHALL: Redis lives, and has forgotten everything."""
    FREEZE = "freeze"
    """A pause that is longer than every grace."""
    CUT = "cut"
    """Its connection to NATS stays open and carries nothing, for longer than every grace."""
    REBUILD = "rebuild"
    """`grandstand rebuild`, of all partitions or of one."""
    FORGET = "forget"
    """One key of each kind is deleted in Redis, and the owners of those partitions are killed."""
    DISK = "disk"
    """The disk of a store is full, and later it is not."""
    HANG = "hang"
    """SIGSTOP of a store; it goes on after seconds."""
    SLOW = "slow"
    """Every reply of a store takes `amount` seconds more."""
    LOSE = "lose"
    """One key of each kind is deleted in Redis; whoever owns the partitions lives on."""
    FAILOVER = "failover"
    """The replica of Redis is promoted; the old master lives on as a replica, with its connections open."""
    DROP = "drop"
    """What a service and a store send each other is lost on the way, in one direction or both."""
    CLOCK = "clock"
    """A clock is `amount` seconds off: a service's, or that of NATS."""


ALL, ONE, KEYS = "all partitions", "one partition", "single keys"
"""Targets that are no processes: of REBUILD, and of FORGET."""
GRAY = frozenset({Kind.DISK, Kind.HANG, Kind.SLOW, Kind.LOSE, Kind.FAILOVER, Kind.DROP, Kind.CLOCK})
"""The target lives, and lies (I11)."""


@dataclass(frozen=True, slots=True)
class Strike:
    """`at_s` counts from the beginning of the load; `for_s` is how long its cause lasts, 0 for a moment."""

    at_s: float
    kind: Kind
    target: str
    for_s: float = 0.0
    amount: float = 0.0
    """Seconds: of SLOW and CLOCK."""
    how: str = ""
    """Of DROP: `nats up`, `valkey both`, and so on; up is towards the store. Of CLOCK: `jump` or `drift`."""
