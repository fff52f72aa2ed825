"""The peer of the ingest benchmark: nats-py publishes each event as a message of its own by `publish_async`.

`python -m bench._peer NATS_URL` prints "ready"; a line with a number is answered, with that number, once so
many events are published and acked. The events are the crowd's, encoded beforehand; at most _PENDING_MAX are
unacked at once, nats-py's own default.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys

import nats
from nats.js import api as js_api

from bench._child import READY
from bench._messages import actor_of, event
from grandstand.wire import ids

STREAM, SUBJECT = "PEER", "peer"
_EVENTS = 20_000
_ORIGINS = 64
_PENDING_MAX = 4_000
_ACKED_S = 30.0


async def publish(url: str) -> None:
    client = await nats.connect(url, name="peer")
    js = client.jetstream(publish_async_max_pending=_PENDING_MAX)
    await js.add_stream(js_api.StreamConfig(name=STREAM, subjects=[SUBJECT], storage=js_api.StorageType.FILE))
    events = itertools.cycle(_payloads())
    loop = asyncio.get_running_loop()
    gc.collect()
    gc.freeze()
    print(READY, flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        for payload in itertools.islice(events, int(line)):
            await js.publish_async(SUBJECT, payload)
        async with asyncio.timeout(_ACKED_S):
            await js.publish_async_completed()
        info = await js.stream_info(STREAM)
        print(info.state.messages, flush=True)
        await js.purge_stream(STREAM)
    await client.close()


def _payloads() -> list[bytes]:
    origins = [
        ids.new_origin(producer=True, now_s=1_790_000_000, entropy=number.to_bytes(12, "big"))
        for number in range(_ORIGINS)
    ]
    made = []
    for number in range(_EVENTS):
        each = event("bench", number, number + 1, actor_of(number * 7_919 % 1_000_000))
        each.origin_id = origins[number % _ORIGINS]
        made.append(each.SerializeToString())
    return made


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1]))
