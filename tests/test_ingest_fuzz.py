"""Bad input, by the thousand: the right code, a message that names what is wrong, no growth (I7, I10).

The cores first, without I/O: whatever the bytes are, each number taken is told of exactly once, and
what reaches a block is sound.
"""

from __future__ import annotations

import math
from collections import Counter

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_OPEN,
    STAGE_SEALED,
    Board,
    CustomTopic,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
)
from grandstand.event.v1.event_pb2 import Position
from grandstand.ingest.v1.ingest_pb2 import Hello, PublishRequest
from grandstand.internal.v1.internal_pb2 import Incoming
from ingest.admission import Admission
from ingest.check import Checker
from ingest.coalesce import Batch, Coalescer
from ingest.intake import Intake, Relayed, Ticket
from ingest.pressure import Pressure
from ingest.session import Input, Session
from mesh import limits, subjects
from mesh.auth.identity import Identity
from mesh.catalog import CatalogView
from mesh.errors import BY_CODE, GrandstandError, Invalid, Unknown
from tests.hostile import Hostile, origin

NOW_S = 1_800_000_000.0
GAME = "g"
CODES = set(BY_CODE)
MESSAGE_CHARACTERS_MAX = 700


def definitions() -> list[tuple[str, Game | Poll | Board]]:
    options = [PollOption(option_id=o, label=o) for o in ("red", "blue")]
    poll = {"game_id": GAME, "question": "Who?", "options": options, "weight_max": 5, "choices_max": 2}
    return [
        (
            subjects.game_key(GAME),
            Game(
                game_id=GAME,
                title="Game",
                spread=3,
                audience=True,
                pulses=[Pulse(pulse_id="cheer", kinds=["fire", "clap"])],
                metrics=[Metric(metric_id="delay")],
                customs=[CustomTopic(custom_id="own")],
            ),
        ),
        (subjects.poll_key(GAME, "mvp"), Poll(poll_id="mvp", stage=STAGE_OPEN, **poll)),  # type: ignore[arg-type]
        (subjects.poll_key(GAME, "closed"), Poll(poll_id="closed", stage=STAGE_SEALED, **poll)),  # type: ignore[arg-type]
        (
            subjects.board_key(GAME, "top"),
            Board(game_id=GAME, board_id="top", title="Top", mode=BOARD_MODE_SUM, stage=STAGE_OPEN),
        ),
    ]


def catalog() -> CatalogView:
    view = CatalogView()
    for revision, (key, definition) in enumerate(definitions(), start=1):
        view.put(key, revision, definition.SerializeToString())
    return view


def assert_readable(error: GrandstandError) -> None:
    """A person can read it, and a log or a header can hold it."""
    assert error.code in CODES, error
    assert error.message.isprintable(), repr(error.message)
    assert 0 < len(error.message) <= MESSAGE_CHARACTERS_MAX, error.message


class Client:
    """One stream without its I/O: what it was told, by number."""

    is_gone = False
    is_relayed = False

    def __init__(self, identity: Identity) -> None:
        self.session = Session()
        self.identity = identity
        self.coalescer: Coalescer[Ticket] = Coalescer()
        self.pressure = Pressure()
        self.intake = Intake(Checker(catalog()), self.coalescer, Admission(), self.pressure)
        self.told: Counter[int] = Counter()

    def stored(self, first: int, last: int, position: Position) -> None:
        self.told.update(range(first, last + 1))
        self.session.settled(first, last, position)

    def refused(self, seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        assert_readable(error)
        self.told[seq] += 1
        self.session.settled(seq, seq, None)

    def shed(self, seq: int) -> None:
        self.told[seq] += 1
        self.session.settled(seq, seq, None, shed=True)

    def relayed(self, origin_id: str) -> Ticket:
        return Relayed(self, origin_id)

    def relayed_stored(self, origin_id: str, seq: int, position: Position) -> None:
        self.session.relayed_stored(origin_id, seq, position)

    def relayed_refused(
        self, origin_id: str, seq: int, error: GrandstandError, *, maybe_stored: bool = False
    ) -> None:
        assert_readable(error)
        self.session.relayed_refused()

    def hear(self, data: bytes) -> None:
        """As ingest.stream takes a message. Raises GrandstandError where the stream ends."""
        try:
            message = Incoming.FromString(data)
            if message.WhichOneof("message") == "hello":
                hello = Hello.FromString(message.hello)
        except DecodeError:
            raise Invalid(f"message: {len(data)} bytes that are no PublishRequest") from None
        match message.WhichOneof("message"):
            case "hello":
                self.session.hello(hello, self.identity, now_s=NOW_S, entropy=bytes(12))
            case "heartbeat":
                self.session.step(Input.HEARTBEAT)
            case "events":
                unheard: list[tuple[object, Unknown]] = []
                try:
                    self.intake.take(self, message.events.events, NOW_S, 0.0, unheard)
                finally:
                    self.intake.take_unheard(self, unheard, NOW_S, 0.0)
            case _:
                raise Invalid(f"message: {len(data)} bytes without hello, events or heartbeat")

    def store(self) -> list[Batch[Ticket]]:
        """All blocks are stored; returns them."""
        batches = self.coalescer.take_due(math.inf)
        for sequence, batch in enumerate(batches, start=1):
            for run in batch.runs:
                run.ticket.stored(run.first, run.last, Position(partition=batch.partition, sequence=sequence))
        return batches


def assert_sound(batch: Batch[Ticket]) -> None:
    """What reaches a block can be folded."""
    assert 0 <= batch.partition < limits.PARTITIONS
    block = batch.encode(int(NOW_S * 1e9)).events
    assert sum(section.rows for section in block.sections) == batch.count
    for _, seq, _, _, judged in batch.entries():
        assert 1 <= seq < 2**63
        assert judged.place[0] == GAME
        if judged.kind == "measure":
            assert math.isfinite(judged.value)
        if judged.kind == "score":
            assert abs(judged.value) <= limits.POINTS_MAX
    for actor_id in batch.actor_ids():
        assert 1 <= len(actor_id) <= limits.ID_CHARACTERS_MAX
        assert actor_id.isascii()


IDENTITIES = (
    Identity("ann", False, None, NOW_S + 60),
    Identity("ann", False, frozenset(["other"]), NOW_S + 60),
    Identity("", True, None, NOW_S + 60),
    Identity("srv", True, frozenset([GAME]), NOW_S + 60),
)


def play(client: Client, messages: list[bytes]) -> None:
    """Until the stream ends; what holds whatever came."""
    for data in messages:
        try:
            client.hear(data)
        except GrandstandError as error:
            assert_readable(error)
            break
    for batch in client.store():
        assert_sound(batch)
    session = client.session
    assert session.unsettled == 0
    assert session.acked == session.next_seq - 1
    assert all(count == 1 for count in client.told.values())
    taken = sorted(client.told)
    assert not taken or taken == list(range(taken[0], session.next_seq))
    assert session.relayed == 0


@given(st.integers(0, 2**32), st.sampled_from(IDENTITIES), st.sampled_from(["", "as the token", "late"]))
def test_whatever_comes_each_number_taken_is_told_of_once_and_blocks_are_sound(
    seed: int, identity: Identity, greeting: str
) -> None:
    hostile = Hostile(seed, NOW_S, GAME)
    hello = Hello(producer=identity.producer)
    if greeting == "late":
        hello.next_origin_seq = hostile.next_seq = 2**63 - 20
        hello.origin_id = origin("p" if identity.producer else "v", NOW_S)
    elif not greeting:
        hello = hostile.hello()
    messages = [hostile.message() for _ in range(hostile.random.randint(1, 8))]
    play(Client(identity), [PublishRequest(hello=hello).SerializeToString(), *messages])


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(IDENTITIES))
def test_arbitrary_bytes_end_a_stream_with_a_reason(messages: list[bytes], identity: Identity) -> None:
    client = Client(identity)
    client.session.hello(Hello(producer=identity.producer), identity, now_s=NOW_S, entropy=bytes(12))
    play(client, messages)
