"""What says that the server behind an address is, or may be, no longer the one that takes writes. Pure.

A failover need not close anything: the former master lives on as a replica, and what is connected to it stays
connected. It is known by what it answers (`says_replaced`), and by what it is asked each second
(`ServerWatch`): readers are refused nothing by a replica.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

LOOK_S = 1.0
"""How often a server that is in use is asked who it is."""
RESOLVE_EVERY = 3
"""One look in this many goes through the address, over a new connection: a former master that was not told
that it was replaced goes on calling itself one."""

# What a server answers that is a replica, is still loading, or was cut off from its replicas; older servers
# put the word of a failing command into the error of the script that ran it.
_SIGNS = (
    "READONLY",
    "MASTERDOWN",
    "LOADING",
    "UNBLOCKED",
    "NOREPLICAS",
    "CLUSTERDOWN",
    # How redis-py tells READONLY of a master that Sentinels named.
    "The previous master is now a slave",
)


def says_replaced(error: BaseException) -> bool:
    """Whether to drop the connections and look the address up again."""
    said = str(error)
    # redis-py takes the word at the beginning off and makes it a class.
    name = type(error).__name__
    return name in ("ReadOnlyError", "MasterDownError", "BusyLoadingError", "ClusterDownError") or any(
        sign in said for sign in _SIGNS
    )


class Look(Enum):
    NONE = auto()
    IN_USE = auto()
    """Ask a connection that is in use."""
    RESOLVED = auto()
    """Ask a new one, through the address."""


class ServerWatch:
    """`now_s`: seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._looks = 0
        self._identity = ""

    def due(self, now_s: float) -> Look:
        """What to ask now, if anything; the next is due LOOK_S later."""
        if now_s < self._due_s:
            return Look.NONE
        self._due_s = now_s + LOOK_S
        self._looks += 1
        return Look.IN_USE if self._looks % RESOLVE_EVERY else Look.RESOLVED

    def heard(self, about: Mapping[str, str]) -> str:
        """Takes the answer to INFO replication. Why connections are to be dropped; "" if they are not."""
        identity, before = about.get("master_replid", ""), self._identity
        self._identity = identity
        if about.get("role", "master") != "master":
            return "the server is a replica now"
        if before and identity != before:
            return "another server answers at its address, or one that was started or promoted since"
        return ""


def parse_info(text: str) -> dict[str, str]:
    """The fields of an answer to INFO."""
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}
