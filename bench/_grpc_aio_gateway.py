"""The baseline of the fan-out benchmark: a gateway with a grpc.aio stream for each viewer.

`python -m bench._grpc_aio_gateway HOST:PORT NATS_URL GAME`. The fan-out as it was before the engine, and no
more than it takes: partials come from core NATS, a frame is encoded once for everybody, and each viewer has a
coroutine that waits for the next frame and sends the newest one (what it missed is conflated).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from nats.aio.msg import Msg

from bench._marks import frame_of
from grandstand.gateway.v1 import gateway_pb2 as pb
from grandstand.internal.v1.internal_pb2 import Partial, PartitionResults
from grandstand.wire import ids
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.listener import GrpcListener

SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"].full_name
_MESSAGE_BYTES_MAX = 16 * 1024


class Fan:
    """The newest frame, and who waits for the next."""

    def __init__(self) -> None:
        self._version = 0
        self._frame = b""
        self._wakes: set[asyncio.Event] = set()

    async def take(self, message: Msg) -> None:
        (game,) = PartitionResults.FromString(message.data).games
        (partial,) = game.partials
        self._frame = frame_of(Partial.FromString(partial), time.time())
        self._version += 1
        for wake in self._wakes:
            wake.set()

    async def subscribe(
        self, _: pb.SubscribeRequest, __: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        wake = asyncio.Event()
        self._wakes.add(wake)
        version = 0
        try:
            while True:
                wake.clear()
                if self._version > version:
                    version = self._version
                    yield self._frame
                await wake.wait()
        finally:
            self._wakes.discard(wake)


async def _serve(address: str, nats_url: str, game_id: str) -> None:
    fan = Fan()
    (partition,) = ids.partitions_of(game_id, 1)
    bus = await Bus.connect(nats_url, "bench-grpc-aio")
    await bus.client.subscribe(subjects.results(partition), cb=fan.take)
    await bus.client.flush()
    listener = GrpcListener([SERVICE], _MESSAGE_BYTES_MAX)
    handler: grpc.RpcMethodHandler[pb.SubscribeRequest, bytes] = grpc.unary_stream_rpc_method_handler(
        fan.subscribe, pb.SubscribeRequest.FromString, None
    )
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"Subscribe": handler})
    listener.server.add_generic_rpc_handlers((handlers,))
    await listener.start(address)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
