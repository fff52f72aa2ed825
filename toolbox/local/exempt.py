"""The networks of this machine, which a mesh for development exempts from bounds by address.

An Envoy beside us says of a client on its own machine that it comes from an address that this machine has
towards others, not from loopback.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from mesh.addresses import Network, network

LOOPBACK = ("127.0.0.0/8", "::1/128")
# Of networks for documentation (RFC 5737, RFC 3849): a route to them is looked up, nothing is sent.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_DISCARD_PORT = 9


def own_networks() -> tuple[Network, ...]:
    """Loopback, and the addresses that routes to the outside begin at and that the machine's name has."""
    found = set[str]()
    for family, elsewhere in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, _DISCARD_PORT))
            found.add(str(probe.getsockname()[0]))
    with contextlib.suppress(OSError):
        found.update(str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None))
    return tuple(network(each.partition("%")[0]) for each in (*LOOPBACK, *sorted(found)))


def arguments(trusted_hops: int = 0, exempt: Sequence[Network] = ()) -> tuple[str, ...]:
    """Of a service."""
    hops = ("--trusted-hops", str(trusted_hops)) if trusted_hops else ()
    return (*hops, *(argument for each in exempt for argument in ("--exempt", str(each))))
