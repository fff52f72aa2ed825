"""Subscribe: one viewer's call, from its request to its end.

No task and no queue for a viewer: this object, a stream of the HTTP/2 engine and a row in a broadcast
group.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError

from gateway.subscription import Subscription, check
from gateway.viewer_limits import Door, Ticket, address_of
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from mesh.auth import Identity, Verifier, authorization_of
from mesh.errors import GrandstandError, Invalid
from mesh.http2.call import Call, Handler

_FORWARDED_FOR = "x-forwarded-for"


class Hall(Protocol):
    """Where viewers are let in (gateway.fanout)."""

    def join(self, viewer: Viewer) -> None:
        """Sends to it from now on. Raises GrandstandError, or ends the viewer later."""

    def leave(self, viewer: Viewer) -> None:
        """It has gone; also one that was never let in."""

    def room(self, viewer: Viewer) -> None:
        """There is room for a message that did not fit before."""


class Watching:
    """Accepts the calls. `clock`: monotonic seconds."""

    def __init__(
        self, hall: Hall, door: Door, verifier: Verifier, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hall = hall
        self._door = door
        self._verifier = verifier
        self._clock = clock

    def accept(self, call: Call) -> Handler:
        """Raises Unauthenticated."""
        authorization = forwarded_for = None
        for name, value in call.metadata:
            if name == "authorization":
                authorization = authorization_of(call.metadata)
            elif name == _FORWARDED_FOR:
                forwarded_for = value
        identity = None
        if authorization is not None:
            identity = self._verifier.verify(authorization, time.time())
        return Viewer(self, call, identity, address_of(forwarded_for, call.peer))

    def enter(self, viewer: Viewer, subscription: Subscription, address: str) -> None:
        """Raises GrandstandError."""
        viewer.ticket = self._door.enter(subscription.actor_id, address, self._clock())
        viewer.game_id = subscription.game_id
        viewer.actor_id = subscription.actor_id
        viewer.subscription = subscription
        self._hall.join(viewer)

    def left(self, viewer: Viewer) -> None:
        if viewer.ticket is not None:
            self._door.leave(viewer.ticket)
            viewer.ticket = None
            self._hall.leave(viewer)

    def room(self, viewer: Viewer) -> None:
        self._hall.room(viewer)


class Viewer:
    """One open subscription, as a Handler of its call."""

    __slots__ = ("_asked_as", "_watching", "actor_id", "call", "game_id", "subscription", "ticket")

    def __init__(self, watching: Watching, call: Call, identity: Identity | None, address: str) -> None:
        self.call = call
        self.game_id = ""
        self.actor_id: str | None = None
        """Who watches; None without a token of somebody."""
        self.subscription: Subscription | None = None
        """What is asked for; forgotten once the viewer has its seat."""
        self.ticket: Ticket | None = None
        self._watching = watching
        self._asked_as: tuple[Identity | None, str] | None = (identity, address)

    def received(self, message: bytes) -> None:
        if self._asked_as is None:
            self.end(Invalid("a second request; Subscribe takes one, open another stream"))
            return
        (identity, address), self._asked_as = self._asked_as, None
        try:
            request = SubscribeRequest.FromString(message)
        except DecodeError:
            self.end(Invalid(f"request: {len(message)} bytes are no SubscribeRequest"))
            return
        try:
            self._watching.enter(self, check(request, identity), address)
        except GrandstandError as error:
            self.end(error)

    def half_closed(self) -> None:
        if self._asked_as is not None:
            self.end(Invalid("no request came; Subscribe takes one"))

    def writable(self) -> None:
        self._watching.room(self)

    def gone(self) -> None:
        self._watching.left(self)

    def end(self, error: GrandstandError) -> None:
        """Ends the stream with the error's status; idempotent."""
        self.call.end(error.code, error.message, error.retry_after_s)
        self._watching.left(self)
