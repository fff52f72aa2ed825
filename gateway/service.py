"""GatewayService: checks what comes in, and hands it to the relay or the fan-out."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import Message

from gateway.fanout import FanOut
from gateway.relay import Relay
from grandstand.gateway.v1 import gateway_pb2 as pb
from mesh import ids, limits
from mesh.errors import Invalid
from mesh.runtime import answering


class GatewayService:
    def __init__(self, relay: Relay, fan_out: FanOut) -> None:
        self._relay = relay
        self._fan_out = fan_out

    async def issue_origin(
        self, request: pb.IssueOriginRequest, context: grpc.aio.ServicerContext
    ) -> pb.IssueOriginResponse:
        now_s = time.time()
        origin_id = ids.new_origin(producer=False, now_s=now_s, entropy=os.urandom(12))
        response = pb.IssueOriginResponse(origin_id=origin_id, credit=ids.origin_credit(origin_id))
        response.expires_at.FromSeconds(ids.origin_issued_at_s(origin_id) + limits.ORIGIN_AGE_MAX_S)
        return response

    async def send(self, request: pb.SendRequest, context: grpc.aio.ServicerContext) -> pb.SendResponse:
        async with answering(context):
            event = request.event
            origin_id = ids.check_origin("event.origin_id", event.origin_id, time.time())
            if origin_id[0] != "v":
                raise Invalid(
                    f"event.origin_id: {origin_id} is a producer's; ask IssueOrigin for one of your own"
                )
            if not 1 <= event.origin_seq < 2**63:
                raise Invalid(f"event.origin_seq: is {event.origin_seq}; 1 to 2^63-1 expected")
            ids.check_id("event.game_id", event.game_id)
            ids.check_id("event.actor_id", event.actor_id)
            if event.WhichOneof("body") is None:
                raise Invalid(
                    "event.body: is not set; "
                    "give a vote, a score, a reaction, a presence, a measure or a custom"
                )
            # Here, because ingest takes what this gateway relays for a producer's own.
            if event.vote.weight > 1:
                raise Invalid(
                    f"event.vote.weight: is {event.vote.weight}; at most 1 is allowed here, "
                    "more only on a producer's own stream (IngestService.Publish)"
                )
            return pb.SendResponse(positions=[await self._relay.send(event)])

    async def subscribe(
        self, request: pb.SubscribeRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        async with answering(context):
            async for message in self._fan_out.subscribe(request):
                yield message


def add_to_server(service: GatewayService, server: grpc.aio.Server) -> None:
    """Registers the service. Subscribe's messages come encoded: a frame is encoded once for a
    whole cohort, which the generated registration cannot express."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "IssueOrigin": grpc.unary_unary_rpc_method_handler(
            service.issue_origin, pb.IssueOriginRequest.FromString, _encode
        ),
        "Send": grpc.unary_unary_rpc_method_handler(service.send, pb.SendRequest.FromString, _encode),
        "Subscribe": grpc.unary_stream_rpc_method_handler(
            service.subscribe, pb.SubscribeRequest.FromString, None
        ),
    }
    name = pb.DESCRIPTOR.services_by_name["GatewayService"].full_name
    assert set(handlers) == {m.name for m in pb.DESCRIPTOR.services_by_name["GatewayService"].methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def _encode(message: Message) -> bytes:
    return message.SerializeToString()
