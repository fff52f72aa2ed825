"""Carries a session's events over its streams, and tells each of them what became of it.

The thin shell around `session`: it opens the streams with a fresh token, lets `stream` carry them, waits
between them for as long as the session says, and ends when resending cannot help. It runs as one task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio

from grandstand.client.attempts import Over
from grandstand.client.credentials import StreamToken, Token, metadata_of
from grandstand.client.errors import CODES, Refused, SessionLost, Shed
from grandstand.client.pending import Pending, Receipt, to_request
from grandstand.client.session import PublishSession, Send, Wait, WasRefused, WasShed, WasStored
from grandstand.client.stream import converse
from grandstand.client.stream_state import Due
from grandstand.ingest.v1.ingest_pb2 import Hello, PublishRequest, PublishResponse
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub

log = logging.getLogger(__name__)

_UNAVAILABLE = 14


@dataclass(slots=True)
class PublisherCounts:
    """What happened so far, for progress lines. Of events, but for `resumed`."""

    sent: int = 0
    """Taken from the caller."""
    acked: int = 0
    refused: int = 0
    shed: int = 0
    """By the mesh."""
    dropped: int = 0
    """In the own buffer."""
    retried: int = 0
    """Sent again because their refusal said so."""
    resumed: int = 0
    """Streams that stood again after one broke."""


class PublishDriver:
    """`on_change` is called whenever there may be room again, or nothing is left to wait for."""

    def __init__(
        self,
        session: PublishSession[Pending],
        channel: grpc.aio.Channel,
        hello: Hello,
        token: Token | None,
        on_change: Callable[[], None],
    ) -> None:
        self.work = asyncio.Event()
        """Set it when there is something to send."""
        self.stands = asyncio.Event()
        """Set once the first stream stands, or none ever will."""
        self.lost: SessionLost | None = None
        self.counts = PublisherCounts()
        self._session = session
        self._stub: Any = IngestServiceStub(channel)
        self._hello = hello
        self._token = StreamToken(token)
        self._on_change = on_change

    @property
    def broke(self) -> str:
        """How the last attempt ended, for a person; "" if none did."""
        attempts = self._session.attempts
        if not attempts.broke:
            return ""
        code = CODES.get(attempts.broke_code, grpc.StatusCode.UNKNOWN)
        return f"the last attempt ended {code.name}: {attempts.broke}"

    async def run(self) -> None:
        """Streams, one after the other, until the session is closed or lost."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                code, message = await self._stream()
                then = self._session.ended(code, message, loop.time())
                if then is None:
                    return
                if isinstance(then, Over):
                    self.fail(SessionLost(CODES.get(then.code, grpc.StatusCode.UNKNOWN), then.message))
                    return
                await asyncio.sleep(then.delay_s)
        except ValueError as error:
            self.fail(SessionLost(grpc.StatusCode.INTERNAL, f"the server broke the protocol: {error}"))
        except Exception as error:
            log.exception("the session ended for a fault of the client")
            self.fail(SessionLost(grpc.StatusCode.INTERNAL, f"a fault of the client: {error!r}"))

    def fail(self, error: SessionLost) -> None:
        """Every event that is unsettled fails with this; the first reason stands."""
        self.lost = self.lost or error
        for pending in self._session.abandon():
            pending.settle(error)
        self.stands.set()
        self._on_change()

    async def _stream(self) -> tuple[int, str]:
        """One stream; how it ended."""
        try:
            metadata = metadata_of(self._token.ask())
        except Exception as error:
            log.warning("no token: %r", error)
            return _UNAVAILABLE, f"the token's provider failed: {error!r}"
        hello = self._session.opened(asyncio.get_running_loop().time())
        hello.MergeFrom(self._hello)
        return await converse(
            lambda: self._stub.Publish(metadata=metadata), PublishRequest(hello=hello), self, self.work
        )

    # The side that `stream` talks to.

    @property
    def gone_at_s(self) -> float:
        return self._session.gone_at_s

    def silence(self, now_s: float) -> str:
        return self._session.silence(now_s)

    def receive(self, response: PublishResponse, now_s: float) -> None:
        session, counts = self._session, self.counts
        for outcome in session.receive(response, now_s):
            match outcome:
                case WasStored(events, positions):
                    counts.acked += len(events)
                    for origin_seq, pending in events:
                        pending.settle(Receipt(session.origin_id, origin_seq, positions))
                case WasShed(pending, maybe_stored):
                    counts.shed += 1
                    pending.settle(Shed("the mesh is under pressure", maybe_stored=maybe_stored))
                case WasRefused(pending, code, message, maybe_stored):
                    counts.refused += 1
                    refused = CODES.get(code, grpc.StatusCode.UNKNOWN)
                    pending.settle(Refused(refused, message, maybe_stored=maybe_stored))
        if session.stands:
            self.stands.set()
        self._on_change()

    def next(self, now_s: float) -> PublishRequest | Due | Wait:
        action = self._session.next(now_s)
        return to_request(action.batch) if isinstance(action, Send) else action

    def renew(self, now_s: float) -> None:
        if self._token.is_renewed():
            self._session.renewed()
        else:
            self._session.renew_later(now_s)
