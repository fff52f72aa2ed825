"""A Publish stream between a client and an ingest: ordered both ways, and broken at any time.

When it breaks, the client hears of it soon. The ingest may go on with what was sent until it hears,
while the client's next stream is served elsewhere; and acks that were on the way are lost.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from grandstand.ingest.v1.ingest_pb2 import PublishRequest, PublishResponse
from tests.simulation.process import Process
from tests.simulation.world import World


class Server(Protocol):
    def opened(self, link: Link) -> None: ...
    def take(self, link: Link, request: PublishRequest) -> None: ...
    def cut(self, link: Link) -> None: ...


class Client(Protocol):
    def take(self, link: Link, response: PublishResponse) -> None: ...
    def ended(self, link: Link) -> None: ...


class Link:
    def __init__(self, world: World, client: Client, at_client: Process, ingest: Server, at_ingest: Process):
        self._world = world
        self._client = client
        self._at_client = at_client
        self._ingest = ingest
        self._at_ingest = at_ingest
        self._up: deque[PublishRequest] = deque()
        self._down: deque[PublishResponse | None] = deque()
        self._client_knows = False
        self._ingest_knows = False
        self.is_broken = False
        ingest.opened(self)

    def send(self, request: PublishRequest) -> None:
        """By the client."""
        if not self.is_broken:
            self._up.append(request)
            self._at_ingest.then(self._arrive_up)
            if self._world.odds(0.01):
                self.cut()

    def answer(self, response: PublishResponse | None) -> None:
        """By the ingest; None ends the stream."""
        if not self.is_broken:
            self._down.append(response)
            self._at_client.then(self._arrive_down)
            if self._world.odds(0.01):
                self.cut()

    def cut(self) -> None:
        if not self.is_broken:
            self.is_broken = True
            self._at_client.then(self._tell_client, 0.05)
            self._at_ingest.then(self._tell_ingest, 0.3)

    def _arrive_up(self) -> None:
        if self._up and not self._ingest_knows:
            self._ingest.take(self, self._up.popleft())

    def _arrive_down(self) -> None:
        if self.is_broken or not self._down:
            return
        response = self._down.popleft()
        if response is None:
            self.cut()
        else:
            self._client.take(self, response)

    def _tell_client(self) -> None:
        if not self._client_knows:
            self._client_knows = True
            self._client.ended(self)

    def _tell_ingest(self) -> None:
        if not self._ingest_knows:
            self._ingest_knows = True
            self._ingest.cut(self)
