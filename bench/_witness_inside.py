"""What an operator and a newcomer do beside the witness, once a second, in a thread of its own.

Inside: OpenPoll and ClosePoll on the mesh listener. At the edge: a guest's token, an origin, a vote with it,
and a Read that waits for that vote (I6). Any failure is an error, and so is one that takes longer than
CALL_S.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

import grpc

from bench._attack_target import ASIDE, OPTIONS, POLL
from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceStub
from grandstand.catalog.v1.catalog_pb2 import ClosePollRequest, OpenPollRequest, Poll, PollOption
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.gateway.v1.gateway_pb2 import IssueGuestRequest, IssueOriginRequest, SendRequest
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub

CALL_S = 10.0
EVERY_S = 1.0


def poll_of(game_id: str, poll_id: str) -> Poll:
    """As all of the benchmark are: whoever voted may vote again."""
    options = [PollOption(option_id=each, label=each) for each in OPTIONS]
    return Poll(game_id=game_id, poll_id=poll_id, question="Who?", options=options, changeable=True)


class Inside:
    """`errors` and `took_s` are emptied by `begin`."""

    def __init__(self, edge: str, mesh: str, owner: str) -> None:
        self.errors: Counter[str] = Counter()
        self.took_s: list[float] = []
        self._owner = (("authorization", f"Bearer {owner}"),)
        self._count = 0
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._edge = grpc.insecure_channel(edge)
        self._mesh = grpc.insecure_channel(mesh)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def begin(self) -> None:
        with self._lock:
            self.errors.clear()
            self.took_s.clear()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(2 * CALL_S)

    def _run(self) -> None:
        while not self._is_over.wait(EVERY_S):
            for name, act in (("OpenPoll, ClosePoll", self._operate), ("a newcomer's vote", self._come)):
                began_s = time.monotonic()
                error = ""
                try:
                    act()
                except grpc.RpcError as failed:
                    error = f"{name}: {failed.code().name} {failed.details()}"[:160]
                with self._lock:
                    self.took_s.append(time.monotonic() - began_s)
                    if error:
                        self.errors[error] += 1

    def _operate(self) -> None:
        self._count += 1
        catalog = CatalogServiceStub(self._mesh)
        poll = poll_of(ASIDE, f"p{self._count}")
        catalog.OpenPoll(OpenPollRequest(poll=poll), metadata=self._owner, timeout=CALL_S)
        closing = ClosePollRequest(game_id=ASIDE, poll_id=poll.poll_id)
        catalog.ClosePoll(closing, metadata=self._owner, timeout=CALL_S)

    def _come(self) -> None:
        gateway = GatewayServiceStub(self._edge)
        issued = gateway.IssueGuest(IssueGuestRequest(), timeout=CALL_S)
        shown = (("authorization", f"Bearer {issued.token}"),)
        origin = gateway.IssueOrigin(IssueOriginRequest(), metadata=shown, timeout=CALL_S)
        vote = Vote(poll_id=POLL, option_ids=[OPTIONS[0]])
        event = Event(origin_id=origin.origin_id, origin_seq=1, game_id=ASIDE, vote=vote)
        sent = gateway.Send(SendRequest(event=event), metadata=shown, timeout=CALL_S)
        read = AggregateServiceStub(self._edge).Read
        read(ReadRequest(game_id=ASIDE, topics=[f"poll/{POLL}"], positions=sent.positions), timeout=CALL_S)
