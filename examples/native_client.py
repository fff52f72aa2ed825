"""A native client on the reference client, which resumes by itself: votes, and sees the vote counted.

GRANDSTAND_TOKEN=$(./grandstand token --actor ana) python examples/native_client.py POLL OPTION [HOST:PORT]
"""

import asyncio
import os
import sys

from grandstand.client import ClientError, Publisher, Viewer, open_channel
from grandstand.event.v1.event_pb2 import Event, Vote


async def main(poll_id: str, option_id: str, edge: str = "127.0.0.1:8080") -> None:
    vote = Event(game_id="demo", vote=Vote(poll_id=poll_id, option_ids=[option_id]))
    async with open_channel(edge) as channel:
        # A callable instead of the token is asked again whenever a fresh one is needed.
        async with Publisher(channel, token=os.environ["GRANDSTAND_TOKEN"]) as publisher:
            receipt = await publisher.send(vote)
        viewer = Viewer(channel, "demo", topics=[f"poll/{poll_id}"], positions=receipt.positions)
        async for _ in viewer:
            state = viewer.states[f"poll/{poll_id}"]
            print({option.option_id: option.votes for option in state.tally.options})
            break


try:
    asyncio.run(main(*sys.argv[1:]))
except ClientError as error:
    sys.exit(str(error))
