"""The reference client: how a service owner talks to the mesh, in Python over grpc.aio.

    async with open_channel("127.0.0.1:8080") as channel:
        async with Publisher(channel, actor_id="ana") as publisher:
            vote = Vote(poll_id="mvp", option_ids=["ana"])
            receipt = await publisher.send(Event(game_id="demo", vote=vote))
        viewer = Viewer(channel, "demo", topics=["poll/*"], positions=receipt.positions)
        async for message in viewer:
            print(viewer.states["poll/mvp"].tally)

`outbox`, `backoff` and `screen` are pure; `publisher` and `viewer` are the thin shells that do I/O.
"""

from mesh.client.backend import Backend
from mesh.client.backoff import Backoff
from mesh.client.connect import address_of, open_channel
from mesh.client.credentials import Token, call_metadata
from mesh.client.errors import ClientError, Refused, SessionLost
from mesh.client.pending import Receipt
from mesh.client.publisher import Publisher
from mesh.client.screen import Screen, includes
from mesh.client.viewer import Viewer

__all__ = [
    "Backend",
    "Backoff",
    "ClientError",
    "Publisher",
    "Receipt",
    "Refused",
    "Screen",
    "SessionLost",
    "Token",
    "Viewer",
    "address_of",
    "call_metadata",
    "includes",
    "open_channel",
]
