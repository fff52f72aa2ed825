"""A viewer's streams: the next one stands before the old one is ended, and one is always shown or coming."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grandstand.client.attempts import Over
from grandstand.client.backoff import Backoff
from grandstand.client.retry import DETAILS, JITTER, RETRY_AFTER_MAX_S, retry_after_s
from grandstand.client.stream_handover import (
    ANNOUNCEMENTS_MAX,
    RECONNECT_AFTER_MAX_S,
    MessageEffect,
    StreamHandover,
)
from grandstand.gateway.v1.gateway_pb2 import Drain, Heartbeat, Snapshot, SubscribeResponse, Update
from grandstand.notify.v1.notify_pb2 import Announcement
from mesh.http2.details import status_details

UNAVAILABLE, NOT_FOUND, UNAUTHENTICATED, RESOURCE_EXHAUSTED = 14, 5, 16, 8
SNAPSHOT = SubscribeResponse(snapshot=Snapshot())
UPDATE = SubscribeResponse(update=Update())
HEARTBEAT = SubscribeResponse(heartbeat=Heartbeat())
BACKOFF = Backoff(base_s=1.0, cap_s=8.0)


def drain(after_s: float) -> SubscribeResponse:
    return SubscribeResponse(drain=Drain(reconnect_after=Duration(nanos=0, seconds=int(after_s))))


def announcement(game_id: str) -> SubscribeResponse:
    return SubscribeResponse(announcement=Announcement(game_id=game_id))


def watching() -> tuple[StreamHandover, int]:
    """With one stream that is shown."""
    streams = StreamHandover(BACKOFF, lambda: 0.5)
    assert streams.open_in_s(0.0) == 0
    first = streams.opened()
    assert streams.heard(first, SNAPSHOT, 0.0) == MessageEffect(shows=True, takes_over=True)
    assert streams.open_in_s(0.0) is None
    return streams, first


def test_a_drained_stream_is_shown_until_the_snapshot_of_the_next_is_there() -> None:
    streams, old = watching()
    assert streams.heard(old, drain(5), 10.0).shows
    assert streams.open_in_s(10.0) == 5
    assert streams.open_in_s(15.0) == 0
    new = streams.opened()
    assert streams.open_in_s(15.0) is None
    assert streams.heard(old, UPDATE, 15.1) == MessageEffect(shows=True)
    assert streams.heard(new, HEARTBEAT, 15.2) == MessageEffect(shows=False)
    assert streams.heard(new, SNAPSHOT, 15.3) == MessageEffect(shows=True, takes_over=True, ends=old)
    assert streams.heard(new, UPDATE, 15.4) == MessageEffect(shows=True)
    assert (streams.drained, streams.open_in_s(16.0)) == (1, None)


def test_a_stream_that_ends_before_its_drain_said_is_followed_when_the_drain_said() -> None:
    streams, old = watching()
    streams.heard(old, drain(5), 10.0)
    assert streams.ended(old, UNAVAILABLE, "gone", 11.0) is None
    assert streams.open_in_s(12.0) == 3


def test_a_stream_whose_successor_is_opened_already_is_followed_by_that() -> None:
    streams, old = watching()
    streams.heard(old, drain(0), 10.0)
    new = streams.opened()
    assert streams.ended(old, UNAVAILABLE, "gone", 11.0) is None
    assert streams.open_in_s(11.0) is None
    assert streams.heard(new, SNAPSHOT, 11.1) == MessageEffect(shows=True, takes_over=True)


def test_a_successor_that_fails_is_tried_again_while_the_old_one_is_shown() -> None:
    streams, old = watching()
    streams.heard(old, drain(0), 10.0)
    new = streams.opened()
    assert streams.ended(new, UNAVAILABLE, "not yet", 10.1) is None
    assert streams.open_in_s(10.1) == pytest.approx(1.0), "half of the backoff's ceiling of 2 s"
    assert streams.heard(old, UPDATE, 10.2) == MessageEffect(shows=True)
    assert streams.ended(old, UNAVAILABLE, "gone", 10.6) is None
    assert streams.open_in_s(10.6) == pytest.approx(0.5)


def test_a_stream_that_breaks_is_followed_after_a_backoff_that_grows_until_one_brought_something() -> None:
    streams, first = watching()
    waits = []
    streams.ended(first, UNAVAILABLE, "cut", 0.0)
    waits.append(streams.open_in_s(0.0))
    for _ in range(2):
        streams.ended(streams.opened(), UNAVAILABLE, "cut", 0.0)
        waits.append(streams.open_in_s(0.0))
    assert waits == [0.5, 1.0, 2.0]
    useful = streams.opened()
    streams.heard(useful, SNAPSHOT, 0.0)
    streams.ended(useful, UNAVAILABLE, "cut", 0.0)
    assert streams.open_in_s(0.0) == 0.5


def test_a_misfit_is_followed_after_a_backoff_that_grows_though_streams_bring_something() -> None:
    streams, stream = watching()
    waits = []
    for _ in range(3):
        streams.mismatched(stream, "no such option", 0.0)
        waits.append(streams.open_in_s(0.0))
        stream = streams.opened()
        streams.heard(stream, SNAPSHOT, 0.0)
    assert waits == [1.0, 2.0, 4.0]


def test_a_wait_that_the_server_asked_for_is_the_least_and_gets_some_jitter() -> None:
    streams, first = watching()
    streams.ended(first, RESOURCE_EXHAUSTED, "full", 0.0, retry_after_s=40.0)
    assert streams.open_in_s(0.0) == 40.0 * (1 + JITTER / 2)
    streams.ended(streams.opened(), RESOURCE_EXHAUSTED, "full", 100.0, retry_after_s=0.0)
    assert streams.open_in_s(100.0) == 1.0, "never less than the backoff"


def test_what_no_other_stream_would_cure_is_the_end() -> None:
    streams, first = watching()
    over = streams.ended(first, NOT_FOUND, "no such game", 0.0)
    assert over == Over(NOT_FOUND, "no such game")
    streams, first = watching()
    assert streams.ended(first, UNAUTHENTICATED, "expired", 0.0) is None, "the next asks for a fresh token"
    assert isinstance(streams.ended(streams.opened(), UNAUTHENTICATED, "expired", 0.0), Over)


def test_an_announcement_that_two_streams_bring_is_told_once() -> None:
    streams, old = watching()
    assert streams.heard(old, announcement("a"), 0.0).shows
    streams.heard(old, drain(0), 0.0)
    new = streams.opened()
    streams.heard(new, SNAPSHOT, 0.0)
    assert not streams.heard(new, announcement("a"), 0.0).shows
    assert streams.heard(new, announcement("b"), 0.0).shows


def test_announcements_are_not_remembered_without_bound() -> None:
    streams, old = watching()
    for number in range(ANNOUNCEMENTS_MAX + 1):
        streams.heard(old, announcement(str(number)), 0.0)
    streams.heard(old, drain(0), 0.0)
    new = streams.opened()
    streams.heard(new, SNAPSHOT, 0.0)
    assert not streams.heard(new, announcement(str(ANNOUNCEMENTS_MAX)), 0.0).shows
    assert streams.heard(new, announcement("0"), 0.0).shows, "the oldest is forgotten"


def test_a_stream_that_brought_something_had_a_good_token() -> None:
    streams, first = watching()
    for _ in range(3):
        assert streams.ended(first, UNAUTHENTICATED, "expired", 0.0) is None
        first = streams.opened()
        streams.heard(first, SNAPSHOT, 0.0)


def test_a_drain_far_in_the_future_is_not_waited_for() -> None:
    streams, old = watching()
    streams.heard(old, drain(10**9), 0.0)
    assert streams.open_in_s(0.0) == RECONNECT_AFTER_MAX_S


messages = st.one_of(
    st.sampled_from([SNAPSHOT, UPDATE, HEARTBEAT, announcement("a"), announcement("b")]),
    st.integers(-5, 30).map(drain),
)


class Streams(RuleBasedStateMachine):
    """Any order of what may happen to the streams of a viewer."""

    @initialize()
    def begin(self) -> None:
        self.now_s = 0.0
        self.streams = StreamHandover(BACKOFF, lambda: 0.5)
        self.open: list[int] = []
        self.shown: int | None = None

    @rule(wait_s=st.floats(0, 10))
    def time_passes(self, wait_s: float) -> None:
        self.now_s += wait_s
        if self.streams.open_in_s(self.now_s) == 0:
            self.open.append(self.streams.opened())

    @precondition(lambda self: bool(self.open))
    @rule(message=messages, pick=st.integers(0, 1))
    def a_message_comes(self, message: SubscribeResponse, pick: int) -> None:
        stream = self.open[pick % len(self.open)]
        heard = self.streams.heard(stream, message, self.now_s)
        kind = message.WhichOneof("message")
        if heard.ends is not None:
            assert kind == "snapshot", "the old one is ended only once the new one's snapshot is there"
            assert heard.ends == self.open.pop(0)
        if stream != self.open[0]:
            assert not heard.shows, "what a successor says before its snapshot"
        elif kind != "announcement":
            assert heard.shows
        if heard.takes_over:
            assert stream != self.shown
            self.shown = stream
        if heard.shows:
            assert stream == self.shown, "the screen began again with the stream that it shows"

    @precondition(lambda self: bool(self.open))
    @rule(
        code=st.sampled_from([0, UNAVAILABLE, UNAUTHENTICATED, RESOURCE_EXHAUSTED, NOT_FOUND]),
        pick=st.integers(0, 1),
        retry_s=st.none() | st.floats(0, 20),
    )
    def a_stream_ends(self, code: int, pick: int, retry_s: float | None) -> None:
        stream = self.open.pop(pick % len(self.open))
        over = self.streams.ended(stream, code, "why", self.now_s, retry_after_s=retry_s)
        if over is not None:
            assert code in (NOT_FOUND, UNAUTHENTICATED)
            self.begin()

    @precondition(lambda self: bool(self.open))
    @rule()
    def a_delta_does_not_fit(self) -> None:
        assert self.streams.mismatched(self.open.pop(0), "why", self.now_s) is None

    @invariant()
    def at_most_two_streams_and_one_or_the_next_in_sight(self) -> None:
        assert len(self.open) <= 2
        in_s = self.streams.open_in_s(self.now_s)
        assert self.open or (in_s is not None and in_s <= RECONNECT_AFTER_MAX_S)
        assert len(self.open) < 2 or in_s is None, "no third"


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def decoded_binary(field: bytes) -> bytes:
    """As gRPC sends it: base64 without padding."""
    return b64decode(field + b"=" * (-len(field) % 4))


def trailers(value: bytes) -> list[tuple[str, Any]]:
    return [("x", "y"), (DETAILS, value)]


@given(st.floats(0, 600))
def test_the_wait_that_the_engine_says_is_read_from_the_status(after_s: float) -> None:
    value = decoded_binary(status_details(RESOURCE_EXHAUSTED, "full", after_s, None))
    assert retry_after_s(trailers(value)) == pytest.approx(after_s, abs=1e-6)


def test_a_status_that_says_no_wait_or_nothing_that_can_be_read_asks_for_none() -> None:
    other = Status(code=8)
    other.details.add().Pack(ErrorInfo(reason="full"))
    broken = Status(code=8)
    broken.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff\xff")
    for value in (b"", b"\xff\xff", other.SerializeToString(), broken.SerializeToString()):
        assert retry_after_s(trailers(value)) is None
    assert retry_after_s([]) is None


def test_a_wait_without_end_is_cut() -> None:
    forever = decoded_binary(status_details(8, "", 1e9, None))
    assert retry_after_s(trailers(forever)) == RETRY_AFTER_MAX_S


@given(st.binary(max_size=60))
def test_no_trailer_breaks_the_client(value: bytes) -> None:
    wait_s = retry_after_s(trailers(value))
    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_MAX_S
