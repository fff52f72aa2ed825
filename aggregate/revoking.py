"""AccessService: takes tokens back and lists what is revoked. A slot of the catalog's bucket is written.

What was answered is stored: every service hears of it by its watch of the bucket (mesh.auth.revocations). Any
number of instances may write at once: slots are written by compare-and-set.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from nats.errors import Error as NatsError
from nats.js.errors import KeyWrongLastSequenceError

from aggregate import audit, page_tokens
from grandstand.access.v1 import access_pb2 as pb
from grandstand.access.v1.access_pb2_grpc import AccessServiceServicer
from grandstand.wire import actors
from grandstand.wire.errors import Invalid, Unavailable
from mesh import limits
from mesh.auth.access import Access
from mesh.auth.claims import TOKEN_ID_CHARACTERS_MAX
from mesh.auth.revocations import Revocation, key_of, seconds_of, time_of
from mesh.catalog.watch import CatalogWatch
from mesh.runtime import answering

_ATTEMPTS_MAX = 8
_LIST = ("revocations",)
"""The question of its page tokens."""


class AccessService(AccessServiceServicer):
    def __init__(self, watch: CatalogWatch, access: Access, now: Callable[[], float]) -> None:
        """`now`: Unix seconds."""
        self._watch = watch
        self._access = access
        self._now = now
        self._turn = asyncio.Lock()
        """Who writes: of two that chose one slot, one would have to choose again."""

    async def Revoke(
        self, request: pb.RevokeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.RevokeResponse:
        async with answering(context):
            by = self._access.operator_of_all(context)
            asked = check(request, self._now())
            async with self._turn:
                stored = await self._store(asked)
            audit.revoked(stored, by)
            return pb.RevokeResponse(revocation=stored.encoded())

    async def ListRevocations(
        self, request: pb.ListRevocationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListRevocationsResponse:
        async with answering(context):
            self._access.operator_of_all(context)
            wanted, now_s = page_tokens.page_size(request.page_size), self._now()
            key = self._watch.view.pseudonym_key
            after = page_tokens.place_of(request.page_token, _LIST, key, now_s)
            held = self._watch.revocations.held(int(after) if after else -1, now_s)
            response = pb.ListRevocationsResponse(
                revocations=[revocation.encoded() for _, revocation in held[:wanted]]
            )
            if len(held) > wanted:
                response.next_page_token = page_tokens.issue(str(held[wanted - 1][0]), _LIST, key, now_s)
            return response

    async def _store(self, asked: Revocation) -> Revocation:
        """What stands in the bucket then. Raises Exhausted, Unavailable."""
        revocations = self._watch.revocations
        try:
            for _ in range(_ATTEMPTS_MAX):
                slot, revocation = revocations.place(asked, self._now())
                key, value = key_of(slot), revocation.encoded().SerializeToString()
                last = revocations.revision(slot) or None
                try:
                    revision = await self._watch.bucket.update(key, value, last=last)
                except KeyWrongLastSequenceError:
                    await self._watch.refresh(key)
                else:
                    revocations.put(key, revision, value)
                    return revocation
        except (NatsError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"the revocation may be stored or not ({why}); revoke again") from None
        raise Unavailable("others revoke at this moment; try again")


def check(request: pb.RevokeRequest, now_s: float) -> Revocation:
    """What is asked for. Raises Invalid, naming the field."""
    match request.WhichOneof("tokens"):
        case "actor_id":
            actors.check_actor("actor_id", request.actor_id)
        case "token_id":
            if not 1 <= len(request.token_id) <= TOKEN_ID_CHARACTERS_MAX:
                raise Invalid(
                    f"token_id: has {len(request.token_id)} characters; the jti of a token is expected, 1 to "
                    f"{TOKEN_ID_CHARACTERS_MAX}"
                )
            if request.HasField("issued_before"):
                raise Invalid("issued_before: is not looked at for a token_id; leave it unset")
        case "all":
            if not request.all:
                raise Invalid("all: is false; set it to true, or name an actor_id or a token_id")
        case _:
            raise Invalid("tokens: says nothing; set actor_id, token_id or all")
    before_s = _seconds("issued_before", request.issued_before) or now_s
    if before_s > now_s + limits.TOKEN_LEEWAY_S:
        raise Invalid(
            f"issued_before: {time_of(before_s)} is {before_s - now_s:.0f} s ahead; at most "
            f"{limits.TOKEN_LEEWAY_S:g} s are allowed, as tokens of the future cannot be judged yet"
        )
    # Of a token's id nothing says when it was issued, but it was by now.
    longest_s = (now_s if request.token_id else before_s) + limits.TOKEN_LIFE_MAX_S
    until_s = _seconds("kept_until", request.kept_until) or longest_s
    if not now_s < until_s <= longest_s:
        raise Invalid(
            f"kept_until: is {time_of(until_s)}; after now ({time_of(now_s)}) and by {time_of(longest_s)} is "
            "allowed, as no token lives longer"
        )
    return Revocation(
        request.actor_id, request.token_id, 0.0 if request.token_id else before_s, until_s, now_s
    )


def _seconds(field: str, time: Timestamp) -> float:
    """Unix seconds; 0 if it is not set."""
    seconds = seconds_of(time)
    if not 0 <= seconds < math.inf or seconds > 253_402_300_799:
        raise Invalid(f"{field}: is {seconds:g} s since 1970; a time of 1970 to 9999 is expected")
    return seconds
