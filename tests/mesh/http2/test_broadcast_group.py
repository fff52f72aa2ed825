"""One message for many calls: one buffer, everybody's own window, and nobody's message cut by another's."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.http2 import bounds, broadcast_group
from mesh.http2 import frames as f
from mesh.http2.broadcast_group import BroadcastGroup
from mesh.http2.call import Call
from mesh.http2.few_members import FEW_MAX
from mesh.http2.shared_message import Shared
from tests.support.seats import WIDE, Line

NOW = 5.0


class Asked:
    """Counts the calls of on_writable."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def joined(
    line: Line, count: int, on_writable: Callable[[], None] | None = None
) -> tuple[BroadcastGroup, list[Call]]:
    group = BroadcastGroup(on_writable or Asked())
    calls = line.open(count)
    for call in calls:
        group.add(call, 0, 0, NOW)
    line.writes()
    return group, calls


def everybody(group: BroadcastGroup, message: bytes, to: int) -> int:
    return group.advance(Shared(message), 0, to, to, NOW)


def test_a_message_for_all_is_one_buffer_a_connection() -> None:
    lines = [Line(), Line()]
    group = BroadcastGroup(Asked())
    for line in lines:
        for call in line.open(50):
            group.add(call, 0, 0, NOW)
        line.writes()
    assert len(group) == 100
    assert everybody(group, b"goal", 1) == 100
    for line in lines:
        assert line.writes() == 1, "above FEW_MAX"
        assert all(line.messages(stream) == [b"goal"] for stream in line.streams)


def test_those_elsewhere_are_not_sent_what_is_not_for_them() -> None:
    line = Line()
    group, calls = joined(line, 3)
    late = line.open()[0]
    group.add(late, 7, 0, NOW)
    assert group.advance(Shared(b"x"), 7, 8, 9, NOW) == 1
    assert [line.messages(stream) for stream in line.streams] == [[], [], [], [b"x"]]
    assert group.position(late) == 9
    assert group.position(calls[0]) == 0


def test_a_call_without_a_window_is_left_where_it_is_until_it_reads() -> None:
    asked = Asked()
    line = Line(window=10)
    group, (call,) = joined(line, 1, asked)
    assert everybody(group, b"12345", 1) == 1  # 10 bytes with the prefix
    assert everybody(group, b"67890", 2) == 0
    assert group.position(call) == 1
    assert not group.has_ready(0, 2)
    assert asked.times == 0
    line.widen(1, 10)
    assert asked.times == 1
    assert group.has_ready(0, 2)
    assert everybody(group, b"67890", 2) == 1
    assert line.messages(1) == [b"12345", b"67890"]


@pytest.mark.parametrize("size", [100, bounds.FRAME_BYTES_MAX, 100_000])
def test_a_message_that_is_wider_than_a_window_comes_in_pieces_and_whole(size: int) -> None:
    asked = Asked()
    line = Line(window=40)
    group, (call,) = joined(line, 1, asked)
    message = bytes(range(256)) * (size // 256 + 1)
    assert everybody(group, message, 1) == 1
    assert everybody(group, b"newer", 2) == 0  # not into the middle of the other
    while line.messages(1) != [message]:
        line.widen(1, 39)
    assert asked.times > 0
    line.widen(1, 39)
    assert everybody(group, b"newer", 2) == 1
    assert line.messages(1) == [b"newer"]
    assert group.position(call) == 2


def test_what_has_no_room_on_the_connection_is_sent_when_there_is() -> None:
    asked = Asked()
    line = Line(connection_window=f.WINDOW_DEFAULT)
    group, _ = joined(line, 100, asked)
    assert everybody(group, b"x" * 995, 1) == 65
    line.writes()
    assert asked.times == 0
    line.widen(0, 100_000)
    assert asked.times == 1
    assert everybody(group, b"x" * 995, 1) == 35
    assert all(len(line.messages(stream)) == 1 for stream in line.streams)


def test_a_call_keeps_its_own_messages_apart_from_the_shared_ones() -> None:
    line = Line(window=1000)
    group, (call,) = joined(line, 1)
    call.send(b"own")
    everybody(group, b"shared", 1)
    assert call.try_send(b"own too")
    everybody(group, b"again", 2)
    assert line.messages(1) == [b"own", b"shared", b"own too", b"again"]


def test_a_half_close_does_not_cut_the_broadcast_message_that_an_ended_call_is_still_sending() -> None:
    line = Line(window=8)
    group, (call,) = joined(line, 1)
    everybody(group, b"0123456789", 1)
    call.end()
    line.take(line.peer.feed(f.frame(f.DATA, f.END_STREAM, 1)))
    assert not line.ended
    line.widen(1, 100)
    assert line.messages(1) == [b"0123456789"]
    assert line.ended == {1}


def test_try_send_says_when_there_is_no_room_and_tells_later() -> None:
    line = Line(window=8)
    _, (call,) = joined(line, 1)
    assert call.try_send(b"abc")
    assert not call.try_send(b"def")
    assert line.peer.handlers[0].events == []
    line.widen(1, 8)
    line.peer.turn()
    assert line.peer.handlers[0].events == ["writable"]
    assert call.try_send(b"ghi")
    assert line.messages(1) == [b"abc", b"ghi"]


def test_try_send_waits_for_the_connection_too() -> None:
    line = Line(connection_window=f.WINDOW_DEFAULT)
    group, calls = joined(line, 70)
    assert everybody(group, b"x" * 995, 1) == 65
    assert not calls[0].try_send(b"y" * 995)
    line.writes()
    line.widen(0, 100_000)
    line.peer.turn()
    assert line.peer.handlers[0].events == ["writable"]
    assert calls[0].try_send(b"y" * 995)


def test_a_call_leaves_the_group_when_it_ends_or_is_reset() -> None:
    line = Line()
    group, calls = joined(line, 5)
    line.reset(line.streams[1])
    calls[3].end()
    assert len(group) == 3
    assert everybody(group, b"x", 1) == 3
    received = [line.messages(stream) for stream in line.streams]
    assert received == [[b"x"], [], [b"x"], [], [b"x"]]


def test_who_was_sent_something_lately_is_not_reminded() -> None:
    line = Line()
    group, _ = joined(line, 2)
    third = line.open()[0]
    group.add(third, -1, 0, NOW)
    group.advance(Shared(b"x"), 0, 1, 1, NOW + 3)
    fourth = line.open()[0]
    group.add(fourth, 1, 0, NOW)
    # The third was sent nothing ever: the first thing it hears must not be a heartbeat.
    assert group.heartbeat(Shared(b"alive"), NOW + 1, NOW + 4) == 1
    assert line.messages(7) == [b"alive"]


def test_what_is_told_comes_once_each_and_in_order() -> None:
    line = Line(window=9)
    group, _ = joined(line, 1)
    notes = [b"one ", b"two ", b"four"]
    assert group.announce(Shared(notes[0]), 1, NOW) == 1
    assert group.announce(Shared(notes[1]), 2, NOW) == 0
    assert group.has_unannounced(2)
    assert group.announce(Shared(notes[2]), 3, NOW) == 0
    line.widen(1, 100)
    for number, note in enumerate(notes, 1):
        group.announce(Shared(note), number, NOW)
    assert not group.has_unannounced(3)
    assert line.messages(1) == notes


@pytest.mark.parametrize("few", [1, 3, FEW_MAX])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_windows_and_any_order_leave_every_stream_whole(few: int, data: st.DataObject) -> None:
    """Shared messages, own ones, windows that open by bits, viewers that go: what comes is always whole
    messages, shared ones in rising order, and in the end everybody who still reads has the last. By a loop
    up to `few` members, by numpy beyond."""
    with mock.patch.object(broadcast_group, "FEW_MAX", few):
        any_windows_and_any_order(data)


def any_windows_and_any_order(data: st.DataObject) -> None:
    window = data.draw(st.sampled_from([0, 1, 7, 30, 1000, WIDE]))
    lines = [Line(window), Line(window, f.WINDOW_DEFAULT)]
    group = BroadcastGroup(Asked())
    viewers: list[tuple[Line, int]] = []
    got: dict[tuple[Line, int], list[int]] = {}
    own: dict[tuple[Line, int], list[bytes]] = {}

    def sized(number: int) -> bytes:
        return b"%d:" % number + b"s" * data.draw(st.sampled_from([0, 3, 50, 20_000]))

    def read(viewer: tuple[Line, int]) -> None:
        line, stream = viewer
        for message in line.messages(stream):
            if message.startswith(b"own"):
                assert own[viewer].pop(0) == message
            else:
                number = int(message.partition(b":")[0])
                assert not got[viewer] or number > got[viewer][-1]
                got[viewer].append(number)

    number = 0
    newest = Shared(b"0:")
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["join", "advance", "own", "widen", "connection", "reset"])):
            case "join":
                line = data.draw(st.sampled_from(lines))
                (call,) = line.open()
                viewer = (line, line.streams[-1])
                viewers.append(viewer)
                got[viewer], own[viewer] = [], []
                group.add(call, 0, 0, NOW)
            case "advance":
                number += 1
                newest = Shared(sized(number))
                group.advance(newest, 0, number, number, NOW)
            case "own" if viewers:
                viewer = data.draw(st.sampled_from(viewers))
                message = b"own" + b"o" * data.draw(st.sampled_from([0, 40]))
                if viewer[0].calls[viewer[1]].try_send(message):
                    own[viewer].append(message)
            case "widen" if viewers:
                line, stream = data.draw(st.sampled_from(viewers))
                line.widen(stream, data.draw(st.sampled_from([1, 10, 500, 30_000])))
            case "connection":
                data.draw(st.sampled_from(lines)).widen(0, 20_000)
            case "reset" if viewers:
                viewer = data.draw(st.sampled_from(viewers))
                read(viewer)
                viewer[0].reset(viewer[1])
                viewers.remove(viewer)
        for viewer in viewers:
            read(viewer)
    assert len(group) == len(viewers)
    number += 1
    newest = Shared(b"%d:" % number)
    for _ in range(3):
        for line in lines:
            line.widen(0, 10_000_000)
        for line, stream in viewers:
            line.widen(stream, 1_000_000)
        group.advance(newest, 0, number, number, NOW)
        for viewer in viewers:
            read(viewer)
    assert all(numbers[-1] == number for viewer, numbers in got.items() if viewer in viewers)
    assert not any(own[viewer] for viewer in viewers)
