"""Against the `h2` library: whatever a client does in good order, however its bytes are cut on their way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from grandstand.wire.errors import Forbidden
from mesh.http2 import frames as f
from mesh.http2.call import Call, Handler
from tests.support.h2_client import ClientCall, H2Client
from tests.support.http2_peer import PATH
from tests.support.http2_service import Echo


class Fountain(Echo):
    """Says as many numbers as it is asked for, whenever there is room, and ends."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._numbers = iter(range(0))

    def received(self, message: bytes) -> None:
        self._numbers = iter(range(int(message)))
        self._next: bytes | None = b""
        self._next = self._draw()
        self.writable()

    def half_closed(self) -> None:
        pass

    def writable(self) -> None:
        while self._next is not None and self.call.try_send(self._next):
            self._next = self._draw()
        if self._next is None:
            self.call.end()

    def _draw(self) -> bytes | None:
        number = next(self._numbers, None)
        return None if number is None else numbered(number)


class Hasty(Echo):
    """Ends with the first message, whatever else comes."""

    def received(self, message: bytes) -> None:
        self.call.send(message)
        self.call.end(9, "enough")


def numbered(number: int) -> bytes:
    return b"%d" % number * 50


def accept(call: Call) -> Handler:
    kind = dict(call.metadata).get("x-kind", "echo")
    if kind == "refused":
        raise Forbidden("not you", retry_after_s=1.0)
    return {"echo": Echo, "fountain": Fountain, "hasty": Hasty}[kind](call)


@dataclass(frozen=True)
class Open:
    kind: str
    sizes: tuple[int, ...]
    """Of its messages; of a fountain: how many are wanted."""

    def payloads(self) -> list[bytes]:
        if self.kind == "fountain":
            return [b"%d" % self.sizes]
        return [bytes([33 + index]) * size for index, size in enumerate(self.sizes)]


@dataclass(frozen=True)
class Write:
    call: int
    size: int
    padding: int | None


@dataclass(frozen=True)
class Act:
    """`what` to the call whose turn it is, with a `size`."""

    what: str
    call: int = 0
    size: int = 0


@dataclass(frozen=True)
class Settle:
    window: int
    frame_size: int


Step = Open | Write | Act | Settle

sizes = st.one_of(st.integers(1, 100), st.integers(1, 40_000))
several = st.lists(st.one_of(st.integers(0, 50), st.integers(0, 70_000)), max_size=4).map(tuple)
opens = st.one_of(
    st.builds(Open, st.just("echo"), several),
    st.builds(Open, st.just("fountain"), st.tuples(st.integers(0, 2_000))),
    st.builds(Open, st.sampled_from(("hasty", "refused")), several),
)
steps: st.SearchStrategy[Step] = st.one_of(
    opens,
    st.builds(Write, st.integers(0, 20), sizes, st.one_of(st.none(), st.integers(0, 255))),
    st.builds(Act, st.sampled_from(("up", "down")), st.just(0), sizes),
    st.builds(Act, st.just("give back"), st.integers(0, 20), sizes),
    st.builds(Act, st.sampled_from(("ping", "reset", "exchange")), st.integers(0, 20)),
    st.builds(
        Settle,
        st.one_of(st.integers(0, 100), st.integers(0, 200_000)),
        st.sampled_from((16_384, 16_385, 1_000_000)),
    ),
)


class Play:
    """Takes steps, and knows what must come of them."""

    def __init__(self) -> None:
        self.client = H2Client(accept)
        self.asked: list[tuple[Open, ClientCall]] = []
        self.pings = 0

    def take(self, step: Step) -> None:
        client = self.client
        match step:
            case Open(kind):
                self.asked.append((step, client.open(step.payloads(), PATH, ("x-kind", kind))))
            case Settle(window, frame_size):
                client.settle(window, frame_size)
            case Write(_, size, padding):
                if self.asked:
                    client.write(self._call(step.call), size, padding)
            case Act("up"):
                client.up(step.size)
            case Act("down"):
                client.down(step.size)
            case Act("ping"):
                self.pings += 1
                client.ping()
            case Act("exchange"):
                client.exchange()
            case Act("give back") if self.asked:
                client.acknowledge(self._call(step.call), step.size)
            case Act("reset") if self.asked:
                client.reset(self._call(step.call))

    def _call(self, index: int) -> ClientCall:
        return self.asked[index % len(self.asked)][1]

    def end(self, pieces: list[int]) -> None:
        """All that can come comes, in pieces of these sizes; then everything is as it should be."""
        client, cycle = self.client, itertools.cycle(pieces)
        client.exchange(lambda: next(cycle))
        # Windows that are closed are opened, else nothing would come.
        client.settle(f.WINDOW_DEFAULT, 16_384)
        client.to_the_end(lambda: next(cycle))
        client.peer.wait(1.0)
        client.to_the_end(lambda: next(cycle))
        assert client.goaways == []
        assert client.pings_answered == self.pings
        assert not client.peer.server.is_over
        for asked, call in self.asked:
            if call.reset_code == 8:
                continue
            assert call.is_ended, asked
            EXPECT[asked.kind](asked, call)
        assert client.peer.streams == 0
        assert client.peer.server.calls.buffered_bytes == 0
        refused = {"call PERMISSION_DENIED service"}
        assert {str(termination) for termination, _ in client.peer.terminations.items()} <= refused


def _echoed(asked: Open, call: ClientCall) -> None:
    assert call.trailers.get("grpc-status", call.headers.get("grpc-status")) == "0"
    assert call.messages() == asked.payloads()


def _all_numbers(asked: Open, call: ClientCall) -> None:
    assert call.messages() == [numbered(number) for number in range(asked.sizes[0])]
    assert call.trailers.get("grpc-status", call.headers.get("grpc-status")) == "0"


def _one(asked: Open, call: ClientCall) -> None:
    status = call.trailers.get("grpc-status", call.headers.get("grpc-status"))
    if asked.sizes:
        assert (status, call.messages()) == ("9", asked.payloads()[:1])
    else:
        assert (status, call.messages()) == ("0", [])


def _refused(_: Open, call: ClientCall) -> None:
    assert call.headers["grpc-status"] == "7"
    assert "grpc-status-details-bin" in call.headers
    assert call.messages() == []


EXPECT = {"echo": _echoed, "fountain": _all_numbers, "hasty": _one, "refused": _refused}


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=60), st.lists(st.integers(1, 70_000), min_size=1, max_size=5))
@example([Open("echo", (70_000,)), Act("exchange"), Settle(0, 16_384), Act("exchange")], [1])
def test_every_call_gets_its_own_whole_and_in_order(taken: list[Step], pieces: list[int]) -> None:
    play = Play()
    for step in taken:
        play.take(step)
    play.end(pieces)
