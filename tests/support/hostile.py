"""Bytes that no honest client sends: seeded, so that what was found is found again.

`Hostile` makes messages of a Publish stream by hand, field by field, because protobuf's own encoder
writes no wrong types, no huge varints and no lengths that lie.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from grandstand.event.v1.event_pb2 import Custom, Event, Measure, Presence, Reaction, Score, Vote
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Heartbeat, Hello, PublishRequest

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = 0, 1, 2, 3, 4, 5

NUMBERS = (0, 1, 2, 63, 64, 65, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1)
POINTS = (0, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))
VALUES = (0.0, -0.0, 1e15, 1.1e15, 5e-324, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    "",
    "a",
    "x" * 64,
    "x" * 65,
    "x" * 5_000,
    "über",
    "\x00",
    "a\nb",
    "\x1b[31mred",
    "ann.*",
    "a/b",
    "\u202egnp.exe",
    "\ufeff",
    "💥" * 20,
    "e\u0301" * 30,
    "\U0010ffff",
    "' or 1=1 --",
    "%s%n{0}",
)


def varint(value: int) -> bytes:
    """As protobuf writes it; of any size, so also of more than the ten bytes that are allowed."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def field(number: int, wire_type: int, body: bytes) -> bytes:
    """One field; for BYTES `body` gets its length before it."""
    tag = varint(number << 3 | wire_type)
    return tag + varint(len(body)) + body if wire_type == BYTES else tag + body


def origin(kind: str, issued_at_s: float, tail: str = "0" * 24) -> str:
    return f"{kind}{int(issued_at_s) & 0xFFFFFFFF:08x}{tail}"


class Hostile:
    """A client of game `game`, which has a poll `mvp` (red, blue), a closed one, a board `top`, a pulse
    `cheer` (fire, clap), a metric `delay` and a custom topic `own`. Most of what it says is right, so that
    the rest gets far.
    """

    def __init__(self, seed: int, now_s: float, game: str) -> None:
        self.random = random.Random(seed)
        self.next_seq = 1
        self._now_s = now_s
        self._game = game

    def odd(self, share: float = 0.08) -> bool:
        return self.random.random() < share

    def message(self) -> bytes:
        """Any kind of message; after a bad one a stream has ended."""
        if not self.odd(0.15):
            return self.request()
        return self.random.choice(
            (self.arbitrary, self.wire, self.truncated, self.mutated, self.mutated, self.doubled)
        )()

    def arbitrary(self, bytes_max: int = 200) -> bytes:
        return self.random.randbytes(self.random.randrange(bytes_max))

    def request(self) -> bytes:
        """Well-formed, with values as they should not be."""
        if self.odd():
            return PublishRequest(heartbeat=Heartbeat()).SerializeToString()
        if self.odd(0.02):
            return PublishRequest(hello=self.hello()).SerializeToString()
        if self.odd(0.02):
            return PublishRequest(events=EventBatch()).SerializeToString()
        events = [self.event() for _ in range(self.random.choice((1, 1, 2, 3, 10, 30)))]
        batch = EventBatch(events=events, traceparent=self.text() if self.odd() else "")
        return PublishRequest(events=batch).SerializeToString()

    def hello(self) -> Hello:
        return Hello(
            origin_id=self.origin_id() if self.odd(0.3) else "",
            next_origin_seq=self.random.choice(NUMBERS) if self.odd(0.3) else 0,
            actor_id=self.text() if self.odd(0.3) else "",
            client=self.text() if self.odd(0.5) else "",
            producer=self.odd(0.5),
        )

    def event(self) -> Event:
        """The next one of this client's own, or a relayed one."""
        event = Event(
            game_id=self.text() if self.odd(0.03) else self._game,
            actor_id=self.name("ann", "bob") if self.odd(0.6) else "",
        )
        if self.odd():
            event.origin_id = self.origin_id()
            event.origin_seq = self.random.choice(NUMBERS)
        elif self.odd(0.02):
            event.origin_seq = self.random.choice(NUMBERS)
        else:
            event.origin_seq = self.next_seq
            self.next_seq += 1
        self._fill(event)
        return event

    def _fill(self, event: Event) -> None:
        pick = self.random.choice
        match pick(("vote", "score", "reaction", "presence", "measure", "custom", "")):
            case "vote":
                options = [self.name("red", "blue") for _ in range(pick((1, 1, 1, 0, 2, 70)))]
                poll_id = self.name("mvp", "mvp", "closed")
                event.vote.CopyFrom(Vote(poll_id=poll_id, option_ids=options, weight=self.count(0, 1, 5)))
            case "score":
                event.score.CopyFrom(Score(board_id=self.name("top"), points=pick(POINTS)))
            case "reaction":
                kind, count = self.name("fire", "clap"), self.count(0, 1, 100)
                event.reaction.CopyFrom(Reaction(pulse_id=self.name("cheer"), kind=kind, count=count))
            case "presence":
                event.presence.CopyFrom(Presence(state=pick((1, 2, 1, 2, 0, 3, -1, 2**31 - 1))))
            case "measure":
                event.measure.CopyFrom(Measure(metric_id=self.name("delay"), value=pick(VALUES)))
            case "custom":
                payload = self.random.randbytes(pick((0, 1, 1_024, 1_025)))
                event.custom.CopyFrom(Custom(custom_id=self.name("own"), payload=payload))

    def wire(self) -> bytes:
        """Fields of known and unknown numbers with any wire type, nested, with lengths that lie."""
        return b"".join(self._field(0) for _ in range(self.random.randint(1, 4)))

    def truncated(self) -> bytes:
        whole = self.request()
        return whole[: self.random.randrange(len(whole))] if whole else b""

    def mutated(self) -> bytes:
        """A few bytes of a well-formed message changed, taken out, or put in."""
        found = bytearray(self.request())
        for _ in range(self.random.randint(1, 5)):
            at = self.random.randrange(len(found) + 1)
            change = self.random.randrange(3)
            if change == 0 and at < len(found):
                found[at] = self.random.randrange(256)
            elif change == 1:
                del found[at : at + self.random.randint(1, 4)]
            else:
                found[at:at] = self.random.randbytes(self.random.randint(1, 4))
        return bytes(found)

    def doubled(self) -> bytes:
        """Two messages in one: of a oneof the last stands."""
        return self.request() + self.request()

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def name(self, *known: str) -> str:
        return self.text() if self.odd() else self.random.choice(known)

    def count(self, *right: int) -> int:
        return self.random.choice(NUMBERS) % 2**32 if self.odd() else self.random.choice(right)

    def origin_id(self) -> str:
        if not self.odd(0.4):
            return origin(self.random.choice("vp"), self._now_s)
        years_s = 365 * 86_400
        forms: tuple[Callable[[], str], ...] = (
            lambda: origin("v", self._now_s + self.random.choice((-1, 1)) * years_s),
            lambda: origin("p", self._now_s + self.random.choice((-2, -1, 1, 2)) * 86_400),
            lambda: origin("x", self._now_s),
            lambda: origin("v", self._now_s, "G" * 24),
            lambda: origin("v", self._now_s)[:-1],
            self.text,
        )
        return self.random.choice(forms)()

    def _field(self, depth: int) -> bytes:
        number = self.random.choice((1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16, 100, 2**29 - 1, 0))
        wire_type = self.random.choice(
            (VARINT, FIXED64, BYTES, BYTES, BYTES, GROUP, END_GROUP, FIXED32, 6, 7)
        )
        if wire_type == VARINT:
            return field(number, VARINT, varint(self.random.choice((*NUMBERS, 2**70, 2**200))))
        if wire_type == FIXED64:
            return field(number, FIXED64, struct.pack("<d", self.random.choice(VALUES)))
        if wire_type == FIXED32:
            return field(number, FIXED32, self.random.randbytes(self.random.choice((4, 4, 3))))
        if wire_type != BYTES:
            return field(number, wire_type, b"")
        if depth < 6 and self.random.random() < 0.6:
            body = b"".join(self._field(depth + 1) for _ in range(self.random.randint(0, 3)))
        else:
            body = self.random.choice((b"", b"\xff\xfe", self.text().encode(), self.arbitrary(20)))
        if self.random.random() < 0.1:
            lie = self.random.choice((len(body) + 1, 2**31, 2**63, 2**64 - 1))
            return varint(number << 3 | BYTES) + varint(lie) + body
        return field(number, BYTES, body)
