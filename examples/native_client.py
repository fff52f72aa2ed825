"""A native client on the reference client, which resumes by itself: votes, and sees the vote counted.

python examples/native_client.py POLL OPTION [HOST:PORT]
"""

import asyncio
import sys

from grandstand.event.v1.event_pb2 import Event, Vote
from mesh.client import Publisher, Refused, Viewer, open_channel


async def main(poll_id: str, option_id: str, edge: str = "127.0.0.1:8080") -> None:
    vote = Event(game_id="demo", vote=Vote(poll_id=poll_id, option_ids=[option_id]))
    async with open_channel(edge) as channel:
        async with Publisher(channel, actor_id="ana") as publisher:
            receipt = await publisher.send(vote)
        viewer = Viewer(channel, "demo", topics=[f"poll/{poll_id}"], positions=receipt.positions)
        async for _ in viewer:
            state = viewer.states[f"poll/{poll_id}"]
            print({option.option_id: option.votes for option in state.tally.options})
            break


try:
    asyncio.run(main(*sys.argv[1:]))
except Refused as refused:
    sys.exit(str(refused))
