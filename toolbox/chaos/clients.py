"""The clients of a run: each sends what its author says, and writes down what it was told.

Two kinds, as in life. A native client holds a Publisher, which resends by itself until it is acked
or refused. A browser calls Send and resends under the same identity until it is answered; after
`PAGE_EVENTS` events it loads the page again: a new origin, and a new actor.

Bound: a native client has at most its credit outstanding, a browser one event. Load is open loop as far
as the credit reaches; what cannot be sent in time is not made up for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import grpc.aio

from grandstand.client import Backoff, ClientError, Publisher, Receipt, Refused, Shed, Token, call_metadata
from grandstand.client.errors import FINAL
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.gateway.v1.gateway_pb2 import IssueOriginRequest, SendRequest
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from toolbox.chaos import scene
from toolbox.chaos.entries import Book, Entry
from toolbox.chaos.workload import Workload
from toolbox.load.pace import Pacer

PAGE_EVENTS = 25
# Longer than a gateway's own patience with ingest.
ATTEMPT_S = 10.0


class ClientContext:
    """Where all clients of a run write down what they sent and what they were told."""

    def __init__(
        self,
        book: Book,
        on_sent: Callable[[Entry], None],
        on_ack: Callable[[Entry, Sequence[Position]], None],
    ) -> None:
        self.book = book
        self._on_sent = on_sent
        self._on_ack = on_ack

    def sent(self, entry: Entry) -> None:
        self.book.sent(entry)
        self._on_sent(entry)

    def acked(self, entry: Entry, positions: Sequence[Position]) -> None:
        self.book.ack(entry, ((position.partition, position.sequence) for position in positions))
        self._on_ack(entry, positions)

    def refused(self, entry: Entry, author: Workload, code: grpc.StatusCode, *, maybe_stored: bool) -> None:
        if entry.topic.startswith(scene.CLOSING_TOPICS) and code is grpc.StatusCode.FAILED_PRECONDITION:
            author.closed.add(entry.topic)
        self.book.refuse(entry, code.name, maybe_stored=maybe_stored)


class Native:
    """A client with a stream of its own: a viewer, or a producer that acts for many."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        author: Workload,
        context: ClientContext,
        pacer: Pacer,
        random: Random,
        actor: str,
        token: Token,
    ) -> None:
        self._channel = channel
        self._author = author
        self._context = context
        self._pacer = pacer
        self._random = random
        self._actor = actor
        self._token = token

    async def run(self, stop: asyncio.Event) -> None:
        """Sends until `stop`, then waits until everything is settled. Raises SessionLost."""
        async with Publisher(
            self._channel,
            actor_id=self._actor,
            producer=not self._actor,
            token=self._token,
            random=self._random,
            # Its order is the author's: nothing may overtake what waits for room.
            buffer_events_max=0,
        ) as publisher:
            waiting: tuple[Event, Entry] | None = None
            while await _paced(self._pacer, stop):
                event, entry = waiting or self._author.next()
                receipt = publisher.try_submit(event)
                if receipt is None:
                    # No room. It goes first when there is: an actor's order has no gaps.
                    waiting = event, entry
                    continue
                waiting = None
                self._context.sent(entry)
                receipt.add_done_callback(partial(self._told, entry))

    def _told(self, entry: Entry, receipt: asyncio.Future[Receipt]) -> None:
        error = None if receipt.cancelled() else receipt.exception()
        if isinstance(error, Refused):
            self._context.refused(entry, self._author, error.code, maybe_stored=error.maybe_stored)
        elif isinstance(error, Shed):
            self._context.book.shed_it(entry, maybe_stored=error.maybe_stored)
        elif error is not None or receipt.cancelled():
            self._context.book.give_up(entry)
        else:
            self._context.acked(entry, receipt.result().positions)


class Browser:
    """A page that sends now and then. `open_page(n)` makes the author of its n-th load, with its actor."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        open_page: Callable[[int], Workload],
        context: ClientContext,
        pacer: Pacer,
        random: Random,
        token: Token,
    ) -> None:
        self._token = token
        self._stub: Any = GatewayServiceStub(channel)
        self._open_page = open_page
        self._context = context
        self._pacer = pacer
        self._random = random
        self._backoff = Backoff(cap_s=1.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Sends until `stop`; what is under way then is settled first."""
        pages = sent = 0
        author, origin_id = self._open_page(pages), await self._origin()
        while await _paced(self._pacer, stop):
            if sent == PAGE_EVENTS:
                pages, sent = pages + 1, 0
                closed = author.closed
                author, origin_id = self._open_page(pages), await self._origin()
                author.closed |= closed
            event, entry = author.next()
            sent += 1
            event.origin_id, event.origin_seq = origin_id, sent
            self._context.sent(entry)
            await self._send(event, entry, author)

    async def _origin(self) -> str:
        issued = await self._until_answered(self._stub.IssueOrigin, IssueOriginRequest())
        return str(issued.origin_id)

    async def _send(self, event: Event, entry: Entry, author: Workload) -> None:
        """A refusal may answer a resend of the gateway's own, whose first copy is stored: never certain."""
        try:
            answer = await self._until_answered(self._stub.Send, SendRequest(event=event))
        except ClientError as error:
            self._context.refused(entry, author, error.code, maybe_stored=True)
        except BaseException:
            self._context.book.give_up(entry)
            raise
        else:
            self._context.acked(entry, answer.positions)

    async def _until_answered(self, method: Any, request: Any) -> Any:
        """As the protocol says: again and again with the same identity. Raises ClientError for a refusal."""
        attempt = 0
        while True:
            try:
                return await method(request, timeout=ATTEMPT_S, metadata=call_metadata(self._token))
            except grpc.aio.AioRpcError as error:
                if error.code() in FINAL:
                    raise ClientError(error.code(), error.details() or "no details") from None
            await asyncio.sleep(self._backoff.delay_s(attempt, self._random))
            attempt += 1


async def _paced(pacer: Pacer, stop: asyncio.Event) -> bool:
    """Waits for the moment of the next event; False when it is time to stop."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(pacer.next_s):
            await stop.wait()
    pacer.due(loop.time())
    return not stop.is_set()
