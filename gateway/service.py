"""GatewayService: which method is whose.

The token comes first (I10). Send and IssueOrigin want one; the rest goes without, but one that is given must
be good, as the edge has it too: a client that believes it is somebody is told when it is not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from gateway.guests import ENTROPY_BYTES, Guests
from gateway.sending import Sending, Sends
from grandstand.gateway.v1 import gateway_pb2 as pb
from grandstand.wire.errors import Invalid
from mesh import telemetry, wall_clock
from mesh.addresses import AddressKeys, forwarded_for
from mesh.auth import Identity, Verifies, authorization_of
from mesh.auth.origins import Origins
from mesh.http2.call import Accept, Call, Handler, Metadata
from mesh.http2.unary import unary
from mesh.pseudonyms import UNKEYED, PublicId

_SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"]

Request = TypeVar("Request", bound=Message)


class GatewayService:
    """`subscribe` accepts the calls of Subscribe; it asks for the token itself. `now`: Unix seconds; `clock`:
    monotonic seconds; `public`: under which ids actors are shown."""

    def __init__(
        self,
        relay: Sends,
        subscribe: Accept,
        verifier: Verifies,
        guests: Guests,
        addresses: AddressKeys,
        origins: Origins,
        now: Callable[[], float] = wall_clock.now_s,
        clock: Callable[[], float] = time.monotonic,
        public: PublicId = UNKEYED,
    ) -> None:
        self._sending = Sending(relay, verifier, origins, now, clock)
        self._now = now
        self._subscribe = subscribe
        self._verifier = verifier
        self._guests = guests
        self._addresses = addresses
        self._clock = clock
        self._public = public

    def methods(self) -> dict[str, Accept]:
        """By path, as the engine wants them."""
        accepts = {
            "IssueGuest": self._accept_guest,
            "IssueOrigin": self._accept_origin,
            "Send": self._sending.accept,
            "Subscribe": self._subscribe,
        }
        assert set(accepts) == {method.name for method in _SERVICE.methods}, "every method of the proto"
        return {path_of(name): accept for name, accept in accepts.items()}

    def _method(
        self, name: str, kind: type[Request], answer: Callable[[Request, Identity | None], Message]
    ) -> Accept:
        """A method that is answered at once. `answer` is told whose token was shown."""

        def answer_encoded(encoded: bytes, metadata: Metadata) -> bytes:
            identity = self._identity(metadata)
            try:
                request = kind.FromString(encoded)
            except DecodeError:
                raise Invalid(
                    f"request: its {len(encoded)} bytes are no {kind.DESCRIPTOR.full_name}; "
                    "make it with the proto's generated code"
                ) from None
            return answer(request, identity).SerializeToString()

        return unary(telemetry.traced(path_of(name), answer_encoded))

    def _accept_guest(self, call: Call) -> Handler:
        address = self._addresses.of(forwarded_for(call.metadata), call.peer)
        return self._method("IssueGuest", pb.IssueGuestRequest, partial(self._issue_guest, address))(call)

    def _issue_guest(
        self, address: int | None, _: pb.IssueGuestRequest, shown: Identity | None
    ) -> pb.IssueGuestResponse:
        entropy = os.urandom(ENTROPY_BYTES)
        guest = self._guests.issue(address, self._now(), self._clock(), entropy, shown)
        response = pb.IssueGuestResponse(token=guest.token, actor_id=guest.actor_id)
        response.expires_at.FromSeconds(int(guest.expires_at_s))
        return response

    def _accept_origin(self, call: Call) -> Handler:
        """Raises Unauthenticated, Unavailable."""
        identity = self._sending.identify(authorization_of(call.metadata))
        return self._method("IssueOrigin", pb.IssueOriginRequest, partial(self._issue_origin, identity))(call)

    def _issue_origin(
        self, identity: Identity, _: pb.IssueOriginRequest, __: Identity | None
    ) -> pb.IssueOriginResponse:
        """Raises Forbidden, Exhausted."""
        response = self._sending.issue_origin(identity)
        if identity.actor_id:
            (response.shown_as,) = self._public([identity.actor_id])
        return response

    def _identity(self, metadata: Metadata) -> Identity | None:
        """Whose token is shown; None where none is. Raises Unauthenticated, Unavailable."""
        authorization = authorization_of(metadata)
        return None if authorization is None else self._verifier.verify(authorization, self._now())


def path_of(method: str) -> str:
    """Of a method of GatewayService."""
    return f"/{_SERVICE.full_name}/{method}"
