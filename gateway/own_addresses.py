"""The addresses that this machine has towards others.

An Envoy beside us says of a client on its own machine that it comes from such an address, not from loopback.
"""

from __future__ import annotations

import contextlib
import socket

# Of networks for documentation (RFC 5737, RFC 3849): a route to them is looked up, nothing is sent.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_DISCARD_PORT = 9


def own_addresses() -> frozenset[str]:
    """Those that its routes to the outside begin at, and those its name stands for; perhaps none."""
    found: set[str] = set()
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, _DISCARD_PORT))
            found.add(str(probe.getsockname()[0]))
    with contextlib.suppress(OSError):
        found.update(str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None))
    return frozenset(found)
