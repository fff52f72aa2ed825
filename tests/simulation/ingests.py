"""Ingest: the real session, intake, check, coalescer and sift, with a model of the shell around them.

As ingest.stream and ingest.publisher: a block is published again under its message id while its
ack does not come; at its deadline its events are not acked, and those that somebody still waits for
are published again in another block; an ack that comes later than the deadline is none (I1, I9).
A killed ingest forgets everything, and what it had sent off may still be stored.
"""

from __future__ import annotations

from typing import Any

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Hello, PublishRequest, PublishResponse, Reject
from grandstand.internal.v1.internal_pb2 import Incoming, VotedRequest
from ingest.admission import Admission
from ingest.check import Checker
from ingest.coalesce import Batch, Coalescer, Entry, Place, rows_of
from ingest.intake import Intake, Relayed, Ticket, Unheard
from ingest.pressure import Pressure
from ingest.session import Input, Session
from ingest.sift import sift
from ingest.votes import question
from mesh import limits
from mesh.auth.identity import Identity
from mesh.errors import AlreadyDone, GrandstandError, Unavailable
from tests.simulation.catalog import ModelCatalog
from tests.simulation.link import Link
from tests.simulation.process import Process
from tests.simulation.stream import ModelStream
from tests.simulation.workers import Workers
from tests.simulation.world import World


class _Stream:
    """One Publish session and the link it is on; what ingest.stream is there."""

    is_relayed = False

    def __init__(self, link: Link, session: Session) -> None:
        self.link = link
        self.session = session
        self.is_gone = False
        self.is_ending = False

    def say_ack(self) -> None:
        ack = self.session.take_ack()
        if ack is not None:
            self.link.answer(PublishResponse(ack=ack))
        if self.is_ending and not self.session.unsettled:
            self.link.answer(None)

    def stored(self, first: int, last: int, position: Position) -> None:
        self.session.settled(first, last, position)

    def shed(self, seq: int) -> None:
        self.session.settled(seq, seq, None, shed=True)

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        self._reject("", seq, error, maybe_stored)
        self.session.settled(seq, seq, None)

    def relayed(self, origin_id: str) -> Ticket:
        return Relayed(self, origin_id)

    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None:
        self.session.relayed_stored(origin_id, seq, position)

    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        self._reject(origin_id, seq, error, maybe_stored)
        self.session.relayed_refused()

    def _reject(self, origin_id: str, seq: int, error: GrandstandError, maybe_stored: bool) -> None:
        self.link.answer(
            PublishResponse(
                reject=Reject(
                    origin_id=origin_id,
                    origin_seq=seq,
                    code=error.code,
                    message=error.message,
                    retryable=error.retryable,
                    maybe_stored=maybe_stored,
                )
            )
        )


class ModelIngest(Process):
    session_type: type[Session] = Session
    """Broken on purpose by some tests; as is `acks_when_sent`."""
    acks_when_sent = False

    def __init__(
        self, world: World, name: str, stream: ModelStream, catalog: ModelCatalog, workers: Workers
    ) -> None:
        super().__init__(world, name)
        self._stream = stream
        self._workers = workers
        self._view = catalog.view()
        self.born()

    def born(self) -> None:
        self._streams: dict[Link, _Stream] = {}
        self._coalescer: Coalescer[Ticket] = Coalescer()
        self._checker = Checker(self._view)
        self._intake = Intake(self._checker, self._coalescer, Admission(), Pressure())
        self._blocks = 0
        self._pump_at_s = float("inf")

    def died(self) -> None:
        for link in self._streams:
            link.cut()

    # A link's server.

    def opened(self, link: Link) -> None:
        self._streams[link] = _Stream(link, self.session_type())

    def cut(self, link: Link) -> None:
        stream = self._streams.pop(link, None)
        if stream is not None:
            stream.is_gone = True

    def take(self, link: Link, request: PublishRequest) -> None:
        stream = self._streams.get(link)
        if stream is None or stream.is_ending:
            return
        message = Incoming.FromString(request.SerializeToString())
        try:
            match message.WhichOneof("message"):
                case "hello":
                    self._open(stream, Hello.FromString(message.hello))
                case "heartbeat":
                    stream.session.step(Input.HEARTBEAT)
                case _:
                    self._events(stream, message)
        except GrandstandError:
            stream.is_ending = True
        self._pump()
        stream.say_ack()

    def _open(self, stream: _Stream, hello: Hello) -> None:
        bearer = Identity(hello.actor_id, hello.producer, None, self.world.now_s + 3600)
        entropy = self.world.random.randbytes(12)
        welcome = stream.session.hello(hello, bearer, now_s=self.world.now_s, entropy=entropy)
        stream.link.answer(PublishResponse(welcome=welcome))

    def _events(self, stream: _Stream, message: Incoming) -> None:
        now_s = self.world.now_s
        unheard: Unheard = []
        try:
            self._intake.take(stream, message.events.events, now_s, now_s, unheard)
        finally:
            self._intake.take_unheard(stream, unheard, now_s, now_s)

    # The publisher.

    def _pump(self) -> None:
        for batch in self._coalescer.take_due(self.world.now_s):
            self._refuse_second_votes(batch)
            self._store(batch)
        if self._coalescer.due_at < self._pump_at_s:
            self._pump_at_s = self._coalescer.due_at
            self.then(self._pump_again, 0, max(0.0, self._pump_at_s - self.world.now_s))

    def _pump_again(self) -> None:
        self._pump_at_s = float("inf")
        self._pump()

    def _store(self, batch: Batch[Ticket]) -> None:
        if not batch.count:
            return
        self._blocks += 1
        message_id = f"{self.name}-{self.life}-{self._blocks}"
        rows = tuple(rows_of(batch))
        data = batch.encode(int(self.world.now_s * 1e9)).SerializeToString()
        deadline_s = batch.opened_at + limits.PUBLISH_DEADLINE_S
        waits = True

        def attempt() -> None:
            if not waits:
                return
            if self.world.now_s >= deadline_s:
                give_up()
                return
            self._stream.publish(
                batch.partition, data, message_id, rows, lambda s: self.then(lambda: acked(s), 0)
            )
            left_s = deadline_s - self.world.now_s
            self.then(attempt, 0, min(limits.PUBLISH_ATTEMPT_S, left_s))

        def acked(sequence: int) -> None:
            nonlocal waits
            if waits and self.world.now_s < deadline_s:
                waits = False
                position = Position(partition=batch.partition, sequence=sequence)
                for run in batch.runs:
                    run.ticket.stored(run.first, run.last, position)
                self._say_acks()

        def give_up() -> None:
            nonlocal waits
            waits = False
            self._go_on(batch)

        attempt()
        if self.acks_when_sent:
            acked(self._stream.last + 1)

    def _go_on(self, batch: Batch[Ticket]) -> None:
        error = Unavailable("simulated: not stored by its deadline")
        sifted = sift(batch, error, self._checker, self.world.now_s)
        for entries, why in sifted.refused:
            for ticket, seq, *_ in entries:
                ticket.refused(seq, why, maybe_stored=True)
        batch.keep(sifted.kept)
        batch.opened_at = self.world.now_s
        self._store(batch)
        self._say_acks()

    def _say_acks(self) -> None:
        for stream in list(self._streams.values()):
            stream.say_ack()

    def _refuse_second_votes(self, batch: Batch[Ticket]) -> None:
        """Asks the partition's owner, if there is one and it answers, as ingest.votes does."""
        kept: dict[Place, list[Entry[Any]]] = dict(batch.sections)
        for place, entries in batch.sections.items():
            if not entries[0][4].final:
                continue
            asked = question(place, entries, batch.actor_keys(), batch.origins())
            answer = self._workers.second_votes(batch.partition, VotedRequest(questions=[asked]))
            if answer is None:
                continue
            second = answer.second[0]
            for (ticket, seq, *_), is_second in zip(entries, second, strict=True):
                if is_second:
                    ticket.refused(seq, AlreadyDone("simulated: a second vote"))
            kept[place] = [entry for entry, is_second in zip(entries, second, strict=True) if not is_second]
        batch.keep(kept)
        self._say_acks()
