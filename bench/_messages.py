"""The messages that the ingest benchmark sends, made as cheaply as they can be: the crowd of one game.

    single    a viewer's stream: one event a message; the actor is the stream's own
    batched   a game server's stream: 64 events a message, of actors drawn at random from a million

Of sixteen events eleven are votes (a changeable poll of four options), four are reactions and one is a
score: what a crowd does, and no event is like the one before it.

protobuf makes the bytes of a message once; after that only its numbers are rewritten: the sequence
numbers, as varints of their proper width, and the digits of the actors' names.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench._frames import message
from grandstand.event.v1.event_pb2 import Event, Reaction, Score, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Heartbeat, Hello, PublishRequest

BATCH = 64
OPTIONS = ("red", "blue", "green", "gold")
KINDS = ("fire", "clap")
POLL, BOARD, PULSE = "mvp", "top", "cheer"
ACTOR_DIGITS = 6
_CYCLE = 16
_DIGITS_KEPT = 1 << 16
_SINGLES_KEPT = 100_000

HEARTBEAT = message(PublishRequest(heartbeat=Heartbeat()).SerializeToString())


class Messages(Protocol):
    """Makes the messages of streams."""

    events: int
    """In each message."""

    producer: bool
    """Whether its streams are a producer's."""

    def make(self, stream: int, seq: int) -> bytes:
        """The gRPC message of this stream whose first event has this number."""
        ...


def actor_of(number: int) -> str:
    return f"viewer-{number:0{ACTOR_DIGITS}d}"


def hello(actor_id: str, *, producer: bool) -> bytes:
    """As a gRPC message."""
    opening = Hello(actor_id=actor_id, producer=producer, client="grandstand-bench")
    return message(PublishRequest(hello=opening).SerializeToString())


def event(game_id: str, number: int, seq: int, actor_id: str = "") -> Event:
    """What the crowd's event of this number says."""
    made = Event(game_id=game_id, origin_seq=seq, actor_id=actor_id)
    at = number % _CYCLE
    if at == _CYCLE - 1:
        made.score.CopyFrom(Score(board_id=BOARD, points=number * 7919 % 9973))
    elif at % 4 == 3 or at == 6:
        made.reaction.CopyFrom(Reaction(pulse_id=PULSE, kind=KINDS[at & 1], count=1 + at % 3))
    else:
        made.vote.CopyFrom(Vote(poll_id=POLL, option_ids=[OPTIONS[at * 5 // 2 % len(OPTIONS)]]))
    return made


class Singles:
    """Streams that come to the same number share the bytes; at most _SINGLES_KEPT are kept."""

    events = 1
    producer = False

    def __init__(self, game_id: str) -> None:
        self._game_id = game_id
        self._made: dict[tuple[int, int], bytes] = {}

    def make(self, stream: int, seq: int) -> bytes:
        key = (stream % _CYCLE, seq)
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= _SINGLES_KEPT:
                self._made.clear()
            batch = EventBatch(events=[event(self._game_id, stream % _CYCLE + seq, seq)])
            found = self._made[key] = message(PublishRequest(events=batch).SerializeToString())
        return found


class _Form(NamedTuple):
    """A message, and where its numbers are: for each byte of a sequence number whose it is, how many bits
    come before it, and whether another byte follows."""

    data: bytes
    owners: NDArray[np.int64]
    shifts: NDArray[np.int64]
    more: NDArray[np.int64]
    places: NDArray[np.int64]
    digits: NDArray[np.int64]


class Batches:
    """The message of a stream begins with a number that is 1 more than a multiple of BATCH."""

    events = BATCH
    producer = True

    def __init__(self, game_id: str, seed: int = 1) -> None:
        self._game_id = game_id
        random = np.random.default_rng(seed)
        self._digits = random.integers(48, 58, size=_DIGITS_KEPT, dtype=np.uint8)
        self._at = random.integers(0, _DIGITS_KEPT, size=4096).tolist()
        self._count = 0
        self._forms: dict[tuple[int, int, int], _Form] = {}

    def make(self, stream: int, seq: int) -> bytes:
        assert seq % BATCH == 1, seq
        key = (stream % _CYCLE, _width(seq), _width(seq + BATCH - 1))
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = self._form(stream, seq)
        data = np.frombuffer(bytearray(form.data), dtype=np.uint8)
        data[form.places] = seq + form.owners >> form.shifts & 0x7F | form.more
        self._count += 1
        at = self._at[self._count % len(self._at)]
        data[form.digits] = self._digits.take(range(at, at + form.digits.size), mode="wrap")
        return data.tobytes()

    def _form(self, stream: int, seq: int) -> _Form:
        bodies = [
            event(self._game_id, stream + seq + at, seq + at, actor_of(0)).SerializeToString()
            for at in range(BATCH)
        ]
        batch = EventBatch(events=[Event.FromString(body) for body in bodies])
        data = message(PublishRequest(events=batch).SerializeToString())
        columns: list[tuple[int, int, int, int]] = []
        digits: list[int] = []
        begin = 0
        for at, body in enumerate(bodies):
            begin = data.index(body, begin)
            width = _width(seq + at)
            # The first field is origin_seq: a byte for its tag, then the number.
            columns += [
                (at, 7 * byte, 0x80 if byte < width - 1 else 0, begin + 1 + byte) for byte in range(width)
            ]
            name = begin + body.index(b"viewer-") + len(b"viewer-")
            digits += range(name, name + ACTOR_DIGITS)
            begin += len(body)
        owners, shifts, more, places = np.array(columns, dtype=np.int64).T
        return _Form(data, owners, shifts, more, places, np.array(digits, dtype=np.int64))


def _width(number: int) -> int:
    """Bytes of a varint."""
    return max(1, (number.bit_length() + 6) // 7)
