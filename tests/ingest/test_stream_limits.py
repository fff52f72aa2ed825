"""Which streams an ingest opens: whom they count for, and when they give back their places."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from grandstand.wire.errors import Exhausted
from ingest.service import STREAM_BOUNDS, IngestService
from ingest.stream import PublishStream, StreamContext
from mesh.addresses import AddressKeys, network
from mesh.auth import Identity
from mesh.http2.call import Call
from mesh.runtime import Runtime
from mesh.stream_limits import StreamLimits

HOME, OFFICE = "203.0.113.7", "198.51.100.1"
ANN = Identity("ann", False, None, 1e9)
SERVER = Identity("server", True, None, 1e9)
NAMELESS = Identity("", True, None, 1e9)
GATEWAY = Identity("", True, None, 1e9, of_mesh=True)


class Door:
    """An ingest's `accept`, and who comes to it."""

    def __init__(self, total: int = 100, actor: int = 2, producer: int = 4, address: int = 5) -> None:
        bounds = replace(STREAM_BOUNDS, total_max=total, per_actor_max=actor, per_address_max=address)
        self._identity = ANN
        self.service = IngestService(
            cast(Runtime, SimpleNamespace(draining=asyncio.Event())),
            cast(StreamContext, SimpleNamespace(loop=SimpleNamespace(time=lambda: 0.0))),
            lambda authorization, now_s: self._identity,
            StreamLimits(bounds, random=lambda: 0.5),
            AddressKeys(1, (network("127.0.0.0/8"),)),
            producer,
        )

    def open(self, identity: Identity, address: str = HOME) -> PublishStream:
        self._identity = identity
        metadata = (("x-forwarded-for", f"6.6.6.6, {address}, 192.0.2.9"),)
        return self.service.accept(cast(Call, SimpleNamespace(metadata=metadata, peer="")))

    def refusal(self, identity: Identity, address: str = HOME) -> str:
        with pytest.raises(Exhausted) as caught:
            self.open(identity, address)
        assert caught.value.retry_after_s is not None
        return caught.value.message


@pytest.mark.parametrize(
    ("who", "most", "told"),
    [
        (ANN, 2, "actor 'ann' has 2 Publish streams on this ingest"),
        (SERVER, 4, "actor 'server' has 4 Publish streams"),
        (NAMELESS, 4, "actor '' (tokens without a sub) has 4 Publish streams"),
    ],
)
def test_an_actor_has_so_many_a_producer_more_and_each_its_own(who: Identity, most: int, told: str) -> None:
    door = Door()
    streams = [door.open(who, f"10.0.0.{n}") for n in range(most)]
    assert told in door.refusal(who, OFFICE)
    door.open(replace(who, actor_id="bob"), OFFICE)
    streams[0].gone()
    streams[0].gone()
    door.open(who, OFFICE)
    assert "Publish streams" in door.refusal(who, OFFICE)


def test_an_address_has_so_many_behind_the_trusted_proxy() -> None:
    door = Door()
    for n in range(5):
        door.open(replace(ANN, actor_id=f"a{n}"))
    assert f"address {HOME} has 5 Publish streams on this ingest" in door.refusal(ANN)
    assert "address" in door.refusal(SERVER)
    door.open(ANN, OFFICE)
    for n in range(10):
        door.open(replace(ANN, actor_id=f"b{n}"), "127.0.0.1")


def test_the_meshs_own_gateways_count_only_in_all() -> None:
    door = Door(total=20)
    for _ in range(20):
        door.open(GATEWAY)
    assert "this ingest has 20 Publish streams, the most it takes" in door.refusal(GATEWAY)
