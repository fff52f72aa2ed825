"""Ingest: the real session, check and coalescer, with a model of the shell around them.

As ingest.service and ingest.publisher: a block is published again under its message id while its
ack does not come; at its deadline its events are not acked, and the stream ends for the
client to resend; an ack that comes later than that is none (I1, I9). A killed ingest forgets
everything, and what it had sent off may still be stored.
"""

from __future__ import annotations

from struct import pack

from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import PublishRequest, PublishResponse, Reject
from grandstand.internal.v1.internal_pb2 import VotedQuestion, VotedRequest
from ingest.check import Checker, Row
from ingest.coalesce import Batch, Coalescer, encode
from ingest.session import Session
from mesh import ids, limits
from mesh.errors import AlreadyDone, GrandstandError, Unavailable
from tests.simulation.catalog import ModelCatalog
from tests.simulation.link import Link
from tests.simulation.process import Process
from tests.simulation.stream import ModelStream
from tests.simulation.workers import Workers
from tests.simulation.world import World


class _Stream:
    """One Publish session and the link it is on."""

    def __init__(self, link: Link, session: Session) -> None:
        self.link = link
        self.session = session
        self.is_ending = False
        self.not_stored = 0

    def say_ack(self) -> None:
        ack = self.session.take_ack()
        if ack is not None:
            self.link.answer(PublishResponse(ack=ack))
        if self.is_ending and self.session.unsettled == self.not_stored:
            self.link.answer(None)

    def named(self, row: Row) -> str:
        return "" if row.origin_id == self.session.origin_id else row.origin_id

    def refuse(self, origin_id: str, origin_seq: int, error: GrandstandError) -> None:
        self.link.answer(
            PublishResponse(
                reject=Reject(
                    origin_id=origin_id,
                    origin_seq=origin_seq,
                    code=error.code,
                    message=error.message,
                    retryable=error.retryable,
                )
            )
        )
        self.session.refused(origin_id, origin_seq)


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
        self._coalescer: Coalescer[_Stream] = Coalescer()
        self._checker = Checker(self._view)
        self._blocks = 0
        self._pump_at_s = float("inf")

    def died(self) -> None:
        for link in self._streams:
            link.cut()

    # A link's server.

    def opened(self, link: Link) -> None:
        self._streams[link] = _Stream(link, self.session_type())

    def cut(self, link: Link) -> None:
        self._streams.pop(link, None)

    def take(self, link: Link, request: PublishRequest) -> None:
        stream = self._streams.get(link)
        if stream is None or stream.is_ending:
            return
        try:
            if request.WhichOneof("message") == "hello":
                entropy = self.world.random.randbytes(12)
                welcome = stream.session.hello(request.hello, now_s=self.world.now_s, entropy=entropy)
                link.answer(PublishResponse(welcome=welcome))
            else:
                self._events(stream, request)
        except GrandstandError:
            stream.is_ending = True
        stream.say_ack()

    def _events(self, stream: _Stream, request: PublishRequest) -> None:
        session = stream.session
        for event in session.events(request).events:
            try:
                row = self._checker.check(
                    event,
                    origin_id=session.origin_id,
                    actor_id=session.actor_id,
                    now_s=self.world.now_s,
                    producer=session.producer,
                )
            except GrandstandError as error:
                stream.refuse(event.origin_id, event.origin_seq, error)
            else:
                self._coalescer.add(row, stream, self.world.now_s)
        self._pump()

    # The publisher.

    def _pump(self) -> None:
        for batch in self._coalescer.take_due(self.world.now_s):
            self._store(batch)
        due_s = self._coalescer.next_due_at()
        if due_s is not None and due_s < self._pump_at_s:
            self._pump_at_s = due_s
            self.then(self._pump_again, 0, max(0.0, due_s - self.world.now_s))

    def _pump_again(self) -> None:
        self._pump_at_s = float("inf")
        self._pump()

    def _store(self, batch: Batch[_Stream]) -> None:
        self._refuse_second_votes(batch)
        if not batch.rows:
            return
        self._blocks += 1
        message_id = f"{self.name}-{self.life}-{self._blocks}"
        rows = tuple(batch.rows)
        data = encode(rows, int(self.world.now_s * 1e9)).SerializeToString()
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
                self._durable(batch, sequence)

        def give_up() -> None:
            nonlocal waits
            waits = False
            self._failed(batch)

        attempt()
        if self.acks_when_sent:
            acked(self._stream.last + 1)

    def _durable(self, batch: Batch[_Stream], sequence: int) -> None:
        position = Position(partition=batch.partition, sequence=sequence)
        for row, stream in zip(batch.rows, batch.tickets, strict=True):
            stream.session.durable(stream.named(row), row.origin_seq, position)
        for stream in dict.fromkeys(batch.tickets):
            stream.say_ack()

    def _failed(self, batch: Batch[_Stream]) -> None:
        error = Unavailable("simulated: not stored by its deadline")
        for row, stream in zip(batch.rows, batch.tickets, strict=True):
            if stream.named(row):
                stream.refuse(row.origin_id, row.origin_seq, error)
            else:
                stream.not_stored += 1
                stream.is_ending = True
        for stream in dict.fromkeys(batch.tickets):
            stream.say_ack()

    def _refuse_second_votes(self, batch: Batch[_Stream]) -> None:
        """Asks the partition's owner, if there is one and it answers, as ingest.votes does."""
        for topic in sorted({(row.game_id, row.topic) for row in batch.rows if row.final}):
            places = [at for at, row in enumerate(batch.rows) if (row.game_id, row.topic) == topic]
            question = _question([batch.rows[at] for at in places])
            answer = self._workers.second_votes(batch.partition, VotedRequest(questions=[question]))
            if answer is None:
                continue
            for at in sorted(
                (at for at, second in zip(places, answer.second[0], strict=True) if second), reverse=True
            ):
                row, stream = batch.rows.pop(at), batch.tickets.pop(at)
                stream.refuse(stream.named(row), row.origin_seq, AlreadyDone("simulated: a second vote"))
                stream.say_ack()


def _question(rows: list[Row]) -> VotedQuestion:
    return VotedQuestion(
        game_id=rows[0].game_id,
        topic=rows[0].topic,
        actors=b"".join(ids.actor_key(row.actor_id) for row in rows),
        producer=bytes(row.origin_id[0] == "p" for row in rows),
        origins=b"".join(ids.origin_key(row.origin_id) for row in rows),
        origin_seqs=pack(f"<{len(rows)}Q", *(row.origin_seq for row in rows)),
    )
