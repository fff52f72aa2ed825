"""The reference client: how a service owner talks to the mesh, in Python over grpc.aio.

    from grandstand.client import Event, Publisher, Viewer, Vote, open_channel

    async with open_channel("127.0.0.1:8080") as channel:
        async with Publisher(channel, token=my_token) as publisher:
            vote = Vote(poll_id="mvp", option_ids=["ana"])
            receipt = await publisher.send(Event(game_id="demo", vote=vote))
        viewer = Viewer(channel, "demo", topics=["poll/*"], positions=receipt.positions)
        async for message in viewer:  # that says what changed; `states` are whole
            print(viewer.states["poll/mvp"].tally)

A game server that is not asyncio uses BlockingPublisher, which has a thread of its own. `token` is a JWT or a
callable that gives one.

What a Publisher is made of, from the inside: `outbox` (the numbers under way), `buffer` (events without
one), `stream_state` (one stream), `attempts` and `backoff` (the next stream) and `session` (all of them)
are pure; `stream` and `publish_driver` do the I/O. A Viewer's pure parts are `state_cache` (what is shown),
`stream_handover` (its streams) and `retry`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grandstand.client.backend import Backend
    from grandstand.client.backoff import Backoff
    from grandstand.client.blocking import BlockingPublisher
    from grandstand.client.connect import address_of, open_channel
    from grandstand.client.credentials import Token, call_metadata
    from grandstand.client.errors import BufferFull, ClientError, Dropped, Refused, SessionLost, Shed
    from grandstand.client.notices import Notices
    from grandstand.client.pending import Receipt
    from grandstand.client.publish_driver import PublisherCounts
    from grandstand.client.publisher import Publisher
    from grandstand.client.state_cache import StateCache, includes
    from grandstand.client.viewer import Viewer
    from grandstand.event.v1.event_pb2 import (
        Custom,
        Event,
        Measure,
        Position,
        Presence,
        Reaction,
        Score,
        Vote,
    )

__all__ = [
    "Backend",
    "Backoff",
    "BlockingPublisher",
    "BufferFull",
    "ClientError",
    "Custom",
    "Dropped",
    "Event",
    "Measure",
    "Notices",
    "Position",
    "Presence",
    "Publisher",
    "PublisherCounts",
    "Reaction",
    "Receipt",
    "Refused",
    "Score",
    "SessionLost",
    "Shed",
    "StateCache",
    "Token",
    "Viewer",
    "Vote",
    "address_of",
    "call_metadata",
    "includes",
    "open_channel",
]

_MODULES = {
    "Backend": "backend",
    "Backoff": "backoff",
    "BlockingPublisher": "blocking",
    "BufferFull": "errors",
    "ClientError": "errors",
    "Dropped": "errors",
    "Notices": "notices",
    "Publisher": "publisher",
    "PublisherCounts": "publish_driver",
    "Receipt": "pending",
    "Refused": "errors",
    "SessionLost": "errors",
    "Shed": "errors",
    "StateCache": "state_cache",
    "Token": "credentials",
    "Viewer": "viewer",
    "address_of": "connect",
    "call_metadata": "credentials",
    "includes": "state_cache",
    "open_channel": "connect",
}
_MESSAGES = "grandstand.event.v1.event_pb2"

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """On first use: who needs only a pure part of the client does not load grpc."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = f"{__name__}.{_MODULES[name]}" if name in _MODULES else _MESSAGES
        return getattr(import_module(module), name)
