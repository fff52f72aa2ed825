"""GatewayService: checks what comes in, and hands it to the relay or the fan-out.

The token comes first (I10). Send wants one; the rest goes without, but one that is given must be good, as the
edge has it too: a client that believes it is somebody is told when it is not.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from gateway.fanout import FanOut
from gateway.guests import ENTROPY_BYTES, Guests
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.gateway.v1 import gateway_pb2 as pb
from mesh import ids, limits
from mesh.auth import Identity, Verifier, authorization_of
from mesh.errors import Invalid, Unauthenticated
from mesh.runtime import answering


class Sends(Protocol):
    """What Send needs of the relay."""

    async def send(self, event: Event) -> Position:
        """Where the event is stored. Raises what ingest refused it with; Exhausted, Unavailable."""
        ...


class GatewayService:
    def __init__(self, relay: Sends, fan_out: FanOut, verifier: Verifier, guests: Guests) -> None:
        self._relay = relay
        self._fan_out = fan_out
        self._verifier = verifier
        self._guests = guests

    async def issue_guest(
        self, request: pb.IssueGuestRequest, context: grpc.aio.ServicerContext
    ) -> pb.IssueGuestResponse:
        async with answering(context):
            self._bearer(context)
            guest = self._guests.issue(time.time(), os.urandom(ENTROPY_BYTES))
            response = pb.IssueGuestResponse(token=guest.token, actor_id=guest.actor_id)
            response.expires_at.FromSeconds(int(guest.expires_at_s))
            return response

    async def issue_origin(
        self, request: pb.IssueOriginRequest, context: grpc.aio.ServicerContext
    ) -> pb.IssueOriginResponse:
        async with answering(context):
            self._bearer(context)
            origin_id = ids.new_origin(producer=False, now_s=time.time(), entropy=os.urandom(12))
            response = pb.IssueOriginResponse(origin_id=origin_id, credit=ids.origin_credit(origin_id))
            response.expires_at.FromSeconds(ids.origin_issued_at_s(origin_id) + limits.ORIGIN_AGE_MAX_S)
            return response

    async def send(self, request: pb.SendRequest, context: grpc.aio.ServicerContext) -> pb.SendResponse:
        async with answering(context):
            identity = self._bearer(context)
            if identity is None:
                raise Unauthenticated(
                    "token: there is none; get one from the platform or IssueGuest, "
                    "and send metadata authorization: Bearer <JWT>"
                )
            event = request.event
            event.actor_id = identity.act_for("event.actor_id", event.actor_id)
            identity.check_game("event.game_id", event.game_id)
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
            identity = self._bearer(context)
            if identity is not None:
                identity.check_game("game_id", request.game_id)
            async for message in self._fan_out.subscribe(request):
                yield message

    def _bearer(self, context: grpc.aio.ServicerContext) -> Identity | None:
        """Who calls; None without a token. Raises Unauthenticated, Unavailable."""
        authorization = authorization_of(context.invocation_metadata())
        return None if authorization is None else self._verifier.verify(authorization, time.time())


def add_to_server(service: GatewayService, server: grpc.aio.Server) -> None:
    """Registers the service. Subscribe's messages come encoded: a frame is encoded once for a
    whole cohort, which the generated registration cannot express."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "IssueGuest": grpc.unary_unary_rpc_method_handler(
            service.issue_guest, pb.IssueGuestRequest.FromString, _encode
        ),
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
