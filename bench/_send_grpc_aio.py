"""The baseline of the Send benchmark: the gateway's Send behind a unary handler of grpc.aio.

`python -m bench._send_grpc_aio` with the arguments of `python -m gateway`. Everything else is the product's:
the same verifier, the same checks, the same relay, the same life of the process. What remains is what a call
costs on grpc.aio, and the future its coroutine waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from gateway.relay import Relay
from gateway.sending import check_event
from grandstand.client.connect import open_channel
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1 import gateway_pb2 as pb
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import GrandstandError
from mesh import runtime
from mesh.auth import Verifier, authorization_of
from mesh.auth.origins import Origins
from mesh.auth.service import MeshCredentials, open_origins, open_verifier
from mesh.config import parse
from mesh.runtime import answering

SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"].full_name


class GrpcAioSend:
    def __init__(self, relay: Relay, verifier: Verifier, origins: Origins) -> None:
        self._relay = relay
        self._verifier = verifier
        self._origins = origins
        self._loop = asyncio.get_running_loop()

    async def send(
        self, request: pb.SendRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SendResponse:
        async with answering(context):
            now_s = time.time()
            identity = self._verifier.verify(authorization_of(context.invocation_metadata()), now_s)
            check_event(request.event, identity, self._origins, now_s)
            answer: asyncio.Future[Position | GrandstandError] = self._loop.create_future()
            submitted = self._relay.submit(request.event, answer.set_result)
            try:
                told = await answer
            finally:
                submitted.cancel()
            if isinstance(told, GrandstandError):
                raise told
            return pb.SendResponse(positions=(told,))


@contextlib.asynccontextmanager
async def start(process: runtime.Runtime) -> AsyncIterator[None]:
    config = process.config
    credentials = MeshCredentials.of(config)
    async with (
        open_verifier(config) as verifier,
        open_origins(config) as origins,
        open_channel(config.mesh) as channel,
    ):
        relay = Relay(channel, config.instance, token=credentials.token)
        relay.start()
        handler = grpc.unary_unary_rpc_method_handler(
            GrpcAioSend(relay, verifier, origins).send,
            pb.SendRequest.FromString,
            pb.SendResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"Send": handler})
        process.server.add_generic_rpc_handlers((handlers,))
        try:
            yield
        finally:
            await relay.stop()


if __name__ == "__main__":
    runtime.run(parse("gateway"), start, [SERVICE], wire_bounds.GATEWAY_MESSAGE_BYTES_MAX)
