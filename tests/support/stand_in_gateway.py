"""A gateway that says what a test tells it to, on the real engine: for what a good gateway never says.

That real gateways say the same where they say anything is what tests/clients/test_resumes.py and the tests of
the gateway show, with the same client.
"""

from __future__ import annotations

from collections.abc import Mapping

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.gateway.v1.gateway_pb2 import Snapshot, SubscribeRequest, SubscribeResponse
from mesh.auth import authorization_of
from mesh.http2.call import Accept, Call, Handler

SUBSCRIBE = "/grandstand.gateway.v1.GatewayService/Subscribe"


class Stream:
    """One Subscribe."""

    def __init__(self, call: Call) -> None:
        self.token = (authorization_of(call.metadata) or "").removeprefix("Bearer ")
        self.request: SubscribeRequest | None = None
        self.is_gone = False
        """The client ended it."""
        self._call = call

    def say(self, message: SubscribeResponse) -> None:
        self._call.send(message.SerializeToString())

    def show(self, *states: TopicState) -> None:
        self.say(SubscribeResponse(snapshot=Snapshot(topics=states)))

    def end(self, code: int, message: str = "", retry_after_s: float | None = None) -> None:
        self._call.end(code, message, retry_after_s)

    def received(self, message: bytes) -> None:
        self.request = SubscribeRequest.FromString(message)

    def half_closed(self) -> None:
        pass

    def writable(self) -> None:
        pass

    def gone(self) -> None:
        self.is_gone = True


class StandInGateway:
    """Its streams, in the order of their opening."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []

    @property
    def methods(self) -> Mapping[str, Accept]:
        return {SUBSCRIBE: self._accept}

    @property
    def asked(self) -> int:
        """How many streams said what they want."""
        return sum(stream.request is not None for stream in self.streams)

    def _accept(self, call: Call) -> Handler:
        self.streams.append(Stream(call))
        return self.streams[-1]
