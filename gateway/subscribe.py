"""Subscribe: one viewer's call, from its request to its end.

A viewer has no task and no queue: this object, a stream of the HTTP/2 engine and a row in a broadcast group.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError

from gateway import frames
from gateway.subscription import Subscription, check
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.wire.errors import GrandstandError, Invalid
from mesh import wall_clock
from mesh.addresses import AddressKeys, forwarded_for
from mesh.auth import Identity, Revocations, TokenStreams, Verifies, authorization_of
from mesh.http2.call import Call, Handler
from mesh.stream_limits import StreamAdmission, StreamLimits


class ViewerRegistry(Protocol):
    """Holds the viewers that were admitted (gateway.fanout)."""

    def join(self, viewer: ViewerStream) -> None:
        """Sends to the viewer from now on. Raises GrandstandError, or ends the viewer later."""

    def leave(self, viewer: ViewerStream) -> None:
        """The viewer has gone. Also called for one that never joined."""

    def writable(self, viewer: ViewerStream) -> None:
        """The stream is writable again, after a message did not fit."""

    def tell(self, viewer: ViewerStream, message: bytes) -> bool:
        """Sends an encoded SubscribeResponse to this viewer alone, if it fits now and its Snapshot was
        sent."""


class SubscribeService:
    """Accepts the calls of Subscribe. `clock`: monotonic seconds; `now`: Unix seconds."""

    def __init__(
        self,
        registry: ViewerRegistry,
        viewer_limits: StreamLimits,
        verifier: Verifies,
        addresses: AddressKeys,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = wall_clock.now_s,
        revocations: Revocations | None = None,
    ) -> None:
        self._now = now
        self.tokens: TokenStreams[ViewerStream] = TokenStreams(
            Revocations() if revocations is None else revocations, random.random
        )
        """Viewers without a token are not among them."""
        self._registry = registry
        self._viewer_limits = viewer_limits
        self._verifier = verifier
        self._addresses = addresses
        self._clock = clock

    def accept(self, call: Call) -> Handler:
        """The viewer counts from here on, whenever its request comes. Raises Unauthenticated, Exhausted."""
        authorization = authorization_of(call.metadata)
        identity = None
        if authorization is not None:
            identity = self._verifier.verify(authorization, self._now())
        address = self._addresses.of(forwarded_for(call.metadata), call.peer)
        actor_id = None if identity is None else identity.actor_id or None
        asked_at_s = self._clock()
        admission = self._viewer_limits.enter(actor_id, address, asked_at_s)
        viewer = ViewerStream(self, call, identity, admission)
        viewer.asked_at_s = asked_at_s
        if identity is not None:
            self.tokens.enter(viewer, identity, self._now())
        return viewer

    def join(self, viewer: ViewerStream, subscription: Subscription) -> None:
        """Raises GrandstandError."""
        viewer.game_id = subscription.game_id
        viewer.actor_id = subscription.actor_id
        viewer.subscription = subscription
        self._registry.join(viewer)

    def left(self, viewer: ViewerStream) -> None:
        self.tokens.leave(viewer)
        if viewer.admission is not None:
            self._viewer_limits.leave(viewer.admission)
            viewer.admission = None
            self._registry.leave(viewer)

    def writable(self, viewer: ViewerStream) -> None:
        self._registry.writable(viewer)

    def warn_of_expiry(self, viewer: ViewerStream, expires_at_s: float) -> bool:
        return self._registry.tell(viewer, frames.token_expiring(expires_at_s, self._now()))


class ViewerStream:
    """One open subscription, as a Handler of its call."""

    __slots__ = (
        "_has_request",
        "_identity",
        "_service",
        "actor_id",
        "admission",
        "asked_at_s",
        "call",
        "game_id",
        "subscription",
    )

    def __init__(
        self,
        service: SubscribeService,
        call: Call,
        identity: Identity | None,
        admission: StreamAdmission,
    ) -> None:
        self.call = call
        self.game_id = ""
        self.actor_id: str | None = None
        """Who watches; None without a token of somebody."""
        self.subscription: Subscription | None = None
        """The request; None once the viewer is in a cohort."""
        self.admission: StreamAdmission | None = admission
        """None once it has left."""
        self.asked_at_s = 0.0
        """When the call came, until the viewer has its seat."""
        self._service = service
        self._identity = identity
        """Who asks, until the request came."""
        self._has_request = False

    def received(self, message: bytes) -> None:
        if self._has_request:
            self.end(Invalid("a second request; Subscribe takes one, open another stream"))
            return
        self._has_request = True
        identity, self._identity = self._identity, None
        try:
            request = SubscribeRequest.FromString(message)
        except DecodeError:
            self.end(Invalid(f"request: {len(message)} bytes are no SubscribeRequest"))
            return
        try:
            self._service.join(self, check(request, identity))
        except GrandstandError as error:
            self.end(error)

    def half_closed(self) -> None:
        if not self._has_request:
            self.end(Invalid("no request came; Subscribe takes one"))

    def writable(self) -> None:
        self._service.writable(self)

    def gone(self) -> None:
        self._service.left(self)

    def warn_of_expiry(self, expires_at_s: float) -> bool:
        """As mesh.auth.token_streams.TokenStream."""
        return self._service.warn_of_expiry(self, expires_at_s)

    def finish(self, message: bytes) -> None:
        """Sends the last message, an encoded SubscribeResponse, and ends the stream OK."""
        self.call.send(message)
        self.call.end()
        self._service.left(self)

    def end(self, error: GrandstandError) -> None:
        """Ends the stream with the error's status; idempotent."""
        self.call.end(error.code, error.message, error.retry_after_s)
        self._service.left(self)
