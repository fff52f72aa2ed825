"""The floor under ingest: a grpc.aio server whose Publish reads the bytes of each message, and no more.

`python -m bench._floor HOST:PORT` prints "ready"; each line on its standard input is answered by how many
messages were read so far, and its end ends the process. It decodes nothing, stores nothing and answers
nothing: no handler on grpc.aio can take messages for less.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from grandstand.wire import bounds as wire_bounds

SERVICE, METHOD = "grandstand.ingest.v1.IngestService", "Publish"
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 100_000),
    ("grpc.max_receive_message_length", wire_bounds.INGEST_MESSAGE_BYTES_MAX),
    # grpc drops calls at random when a thousand wait to be accepted.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
)


class Floor:
    """Counts what it reads."""

    def __init__(self) -> None:
        self.read = 0

    async def publish(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for _ in requests:
            self.read += 1
        if self.read < 0:
            yield b""  # makes this a generator, as grpc wants it; it answers nothing


async def serve(address: str) -> None:
    floor = Floor()
    server = grpc.aio.server(options=_OPTIONS)
    handler: Any = grpc.stream_stream_rpc_method_handler(floor.publish)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    server.add_insecure_port(address)
    await server.start()
    gc.collect()
    gc.freeze()
    ended = asyncio.Event()

    def asked() -> None:
        if sys.stdin.readline():
            print(floor.read, flush=True)
        else:
            ended.set()

    asyncio.get_running_loop().add_reader(sys.stdin, asked)
    print("ready", flush=True)
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
